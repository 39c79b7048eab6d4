// Command apd-agent stays in a guest's memory, tells on standard output what it sees there, takes commands on standard
// input and ends with it. It is put into the guest and run by the guest's driver.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent/resident"
)

func main() {
	o := resident.Defaults()
	version := flag.Bool("version", false, "print the version of the protocol and end")
	remove := flag.Bool("remove", false, "remove this program's own file, which lies in memory")
	flag.StringVar(&o.Instance, "instance", "manual", "the name of this agent: letters, digits, dashes")
	flag.StringVar(&o.Keep, "keep", "", "delete logs of instances whose names begin otherwise")
	flag.StringVar(&o.Dir, "dir", o.Dir, "the folder of the acknowledged-write log")
	flag.StringVar(&o.Device, "device", o.Device, "the device to read from; by default the disk of the root file system")
	flag.StringVar(&o.Kmsg, "kmsg", o.Kmsg, "the kernel's log")
	flag.StringVar(&o.Seed, "seed", o.Seed, "the folder of the seed data")
	flag.DurationVar(&o.WriteEvery, "write-every", o.WriteEvery, "the pause between two records of the log")
	flag.DurationVar(&o.ReadEvery, "read-every", o.ReadEvery, "the pause between two reads of the disk")
	flag.BoolVar(&o.Quiet, "quiet", false, "take commands, do nothing else")
	flag.Parse()
	if *version {
		fmt.Println(agent.Protocol)
		return
	}
	if *remove {
		if exe, err := os.Executable(); err == nil {
			_ = os.Remove(exe)
		}
	}
	if err := resident.Run(context.Background(), o, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "apd-agent:", err)
		os.Exit(1)
	}
	os.Exit(0) // goroutines that hang in a call to the disk are not waited for
}
