package main

// This file is apd proxy: the path's proxy by itself, for a real lab whose real hosts connect to it.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/allpathsdown/allpathsdown/drivers/path/iscsiproxy"
)

// errNoAddress is what is wrong with most calls that are.
var errNoAddress = errors.New("apd proxy needs --listen HOST:PORT and --target HOST:PORT")

// cmdProxy stands between initiators and one portal until it is interrupted. Faults come over the control socket.
func cmdProxy(ctx context.Context, args []string) (err error) {
	f := flags("proxy")
	c := iscsiproxy.Config{}
	f.StringVar(&c.Listen, "listen", "", "host:port for initiators; port 0 picks one")
	f.StringVar(&c.Target, "target", "", "host:port of the target's portal")
	f.StringVar(&c.Advertise, "advertise", "", "host:port that answers to SendTargets name instead of the target's; default: where the initiator has connected to")
	f.Func("also", "one more host:port of the same target to be named so; * for all (repeatable)", func(v string) error {
		c.Also = append(c.Also, v)
		return nil
	})
	control := f.String("control", "", "path of the control socket (default: in a folder of its own)")
	if _, err := parse(f, args, 0, 0, "only flags"); err != nil {
		return err
	}
	if c.Listen == "" || c.Target == "" {
		return errNoAddress
	}
	for name, at := range map[string]string{"listen": c.Listen, "target": c.Target, "advertise": c.Advertise} {
		if _, _, err := net.SplitHostPort(at); err != nil && at != "" {
			return fmt.Errorf("apd proxy: --%s is not HOST:PORT: %w", name, err)
		}
	}
	if *control == "" {
		dir, err := os.MkdirTemp("", "apd-proxy")
		if err != nil {
			return fmt.Errorf("making a folder for the control socket: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		*control = filepath.Join(dir, "control")
	}
	var mu sync.Mutex // events come from many connections
	c.OnEvent = func(e iscsiproxy.Event) {
		mu.Lock()
		defer mu.Unlock()
		if jsonOut {
			printJSON(e)
			return
		}
		fmt.Println(eventLine(e))
	}
	iscsiproxy.ShareCores()
	mu.Lock() // until the addresses are told, nothing else is
	p, err := iscsiproxy.Listen(c)
	if err != nil {
		mu.Unlock()
		return err
	}
	defer p.Close()
	if jsonOut {
		printJSON(map[string]string{"listen": p.Addr(), "target": c.Target, "control": *control})
	} else {
		fmt.Printf("initiators  %s\ntarget      %s\ncontrol     %s\n", p.Addr(), c.Target, *control)
	}
	mu.Unlock()
	return p.Serve(ctx, *control)
}

// eventLine is an event for people.
func eventLine(e iscsiproxy.Event) string {
	s := e.At.Format("15:04:05.000") + " " + e.What
	if e.Fault != "" {
		s += fmt.Sprintf(" %s (fault %s)", e.Kind, e.Fault)
	}
	if e.Conn != 0 {
		s += fmt.Sprintf(" connection %d", e.Conn)
	}
	if e.Initiator != "" {
		s += " of " + e.Initiator
	}
	if e.ITT != 0 {
		s += fmt.Sprintf(" LUN %d op %#02x LBA %d tag %#x", e.LUN, e.Op, e.LBA, e.ITT)
	}
	if e.Bytes != 0 {
		s += fmt.Sprintf(" %d bytes", e.Bytes)
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}
