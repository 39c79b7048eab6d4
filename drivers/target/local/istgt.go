// This file is istgt: one process with a configuration of its own, written before it starts.

package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/localproc"
)

type istgt struct{}

// stop asks istgt to end, as its rc script does, and waits for that.
func (istgt) stop(ctx context.Context, id localproc.ID) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	err := id.Terminate(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("istgt was told to end and has not within %v: %w", stopTimeout, err)
	}
	return err
}

func (istgt) launch(ctx context.Context, c Config) error {
	bin, err := localproc.LookPath("istgt")
	if err != nil {
		return &drivers.Operator{Cause: "no istgt", Impact: "there is no target", Do: "apt-get install istgt", Err: err}
	}
	text, err := c.istgtConf()
	if err != nil {
		return err
	}
	for name, text := range map[string]string{".conf": text, ".auth": ""} {
		if err := os.WriteFile(c.file(name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("writing istgt's configuration: %w", err)
		}
	}
	logf, err := os.OpenFile(c.file(".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening istgt's log: %w", err)
	}
	defer logf.Close()
	cmd := exec.Command(bin, "-D", "-c", c.file(".conf"), "-p", c.file(".own-pid")) // -D: it stays in the foreground
	cmd.Dir = c.Dir
	cmd.Stdout, cmd.Stderr = logf, logf
	id, err := localproc.Start(cmd, c.pidFile())
	if err != nil {
		return fmt.Errorf("starting the target: %w", err)
	}
	var d net.Dialer
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		conn, err := d.DialContext(ctx, "tcp", c.Portal)
		if err == nil {
			tick.Stop()
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("istgt does not listen: %w", err)
		case <-tick.C:
			if !id.Alive() {
				tail, _ := os.ReadFile(logf.Name())
				return fmt.Errorf("istgt ended while starting: %s", bytes.TrimSpace(tail[max(0, len(tail)-400):]))
			}
		}
	}
}

// configure does nothing: istgt reads its configuration when it starts.
func (istgt) configure(context.Context, Config) error { return nil }

// istgtConf is the configuration. Its values are those that NAS4Free writes (its conf/config.xml: Timeout 30, NopInInterval 20,
// Time2Retain 60), with as many sessions as a lab's guests need. LUN 0 is a small disk of its own, as istgt wants one.
func (c Config) istgtConf() (string, error) {
	base, name, ok := strings.Cut(c.Target, ":")
	if !ok || name == "" {
		return "", fmt.Errorf("istgt makes a target's name of its node's and its own: %q has no colon", c.Target)
	}
	zero := c.file(".lun0")
	f, err := os.OpenFile(zero, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(f.Truncate(1<<20), f.Close())
	}
	if err != nil {
		return "", fmt.Errorf("making LUN 0: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `[Global]
  NodeBase "%s"
  PidFile %s
  AuthFile %s
  MediaDirectory %s
  Timeout 30
  NopInInterval 20
  DiscoveryAuthMethod None
  MaxSessions 128
  MaxConnections 8
  FirstBurstLength 262144
  MaxBurstLength 1048576
  MaxRecvDataSegmentLength 262144
  InitialR2T Yes
  ImmediateData Yes
  DataPDUInOrder Yes
  DataSequenceInOrder Yes
  ErrorRecoveryLevel 0
  DefaultTime2Wait 2
  DefaultTime2Retain 60
[UnitControl]
  AuthMethod None
[PortalGroup1]
  Portal DA1 %s
[InitiatorGroup1]
  InitiatorName "ALL"
  Netmask ALL
[LogicalUnit1]
  TargetName "%s"
  Mapping PortalGroup1 InitiatorGroup1
  AuthMethod None
  UseDigest Auto
  UnitType Disk
  QueueDepth 64
  LUN0 Storage %s 1MB
`, base, c.file(".own-pid"), c.file(".auth"), c.Dir, c.Portal, name, zero)
	for _, l := range c.LUNs {
		fmt.Fprintf(&b, "  LUN%d Storage %s Auto\n", l.LUN, l.File)
	}
	return b.String(), nil
}
