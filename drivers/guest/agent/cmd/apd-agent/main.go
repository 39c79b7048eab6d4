// Command apd-agent stays in a guest's memory, tells on standard output what it sees there, takes commands on standard
// input and ends with it. It is put into the guest and run by the guest's driver.
//
// With -identity it listens instead: it says on standard output where, lets its pipes go, and outlives whoever started it.
// It ends when a client tells it to, or when it has been alone for too long.
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
	flag.StringVar(&o.Folder, "folder", o.Folder, "the folder whose subfolders are listed, where the agent lists folders")
	flag.Float64Var(&o.Pace, "pace", 0, "beats, records and reads a second, 1 to 10, in place of the two pauses")
	flag.DurationVar(&o.Alone, "alone", o.Alone, "with -identity: end after so long without a client")
	identity := flag.String("identity", "", "the file with the identity to listen with; it is deleted once it is read")
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
	run := func() error { return resident.Run(context.Background(), o, os.Stdin, os.Stdout) }
	if *identity != "" {
		run = func() error { return listen(*identity, o) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "apd-agent:", err)
		os.Exit(1)
	}
	os.Exit(0) // goroutines that hang in a call to the disk are not waited for
}

// listen runs the agent for those who have the identity's other half.
func listen(identity string, o resident.Options) error {
	id, err := resident.ReadIdentity(identity)
	if err != nil {
		return err
	}
	if err := o.Check(); err != nil {
		return err
	}
	ln, err := resident.Listen(id)
	if err != nil {
		return err
	}
	fmt.Println("listening on", ln.Addr())
	if err := resident.Leave(); err != nil {
		return err
	}
	return resident.Serve(context.Background(), o, ln)
}
