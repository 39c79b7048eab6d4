// This file logs in to the host's own shell, for what the API cannot do: restart its management service, and crash it.

package vsphere

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

const (
	shellBound = 60 * time.Second // restarting hostd waits for the old one to end
	crashBound = 15 * time.Second // a host that crashes does not answer
)

// sh runs one command in the host's shell.
func (d *Driver) sh(ctx context.Context, limit time.Duration, line string) error {
	return within(ctx, limit, func(ctx context.Context) error {
		_, err := d.shell.Run(ctx, line, nil)
		return err
	})
}

var errNoShell = errors.New("the lab file gives no ssh to the host")

// RestartManagement restarts hostd, which leaves the machines alone.
func (d *Driver) RestartManagement(ctx context.Context) error {
	if d.shell == nil {
		return fmt.Errorf("restarting the management service: %w", errNoShell)
	}
	if err := d.sh(ctx, shellBound, "/etc/init.d/hostd restart"); err != nil {
		return fmt.Errorf("restarting the management service: %w", err)
	}
	return nil
}

// Of a host's purple screen: the option that says for how many seconds it is shown before the host boots, and how many that is to
// be; with the default, 0, it would be shown for ever.
const (
	BlueScreenTimeout = "Misc.BlueScreenTimeout"
	RebootAfter       = "120"
)

// CrashKernel has the host's kernel panic; run runs a command in its shell. A host that does so does not answer any more.
func CrashKernel(ctx context.Context, run func(ctx context.Context, line string) error) error {
	err := within(ctx, crashBound, func(ctx context.Context) error { return run(ctx, "vsish -e set /reliability/crashMe/Panic 1") })
	var quiet *silence
	if err == nil || errors.Is(err, sshell.ErrCut) || errors.As(err, &quiet) {
		return nil
	}
	return fmt.Errorf("crashing the host: %w", err)
}

// CrashHost makes the host's kernel panic, once it is sure that the host comes back by itself.
func (d *Driver) CrashHost(ctx context.Context, j drivers.Journal) error {
	if !d.cfg.AllowHostCrash {
		return errors.New("crashing the host: the lab file does not allow it: allow_host_crash")
	}
	if d.shell == nil {
		return fmt.Errorf("crashing the host: %w", errNoShell)
	}
	if err := d.Tune(ctx, BlueScreenTimeout, RebootAfter, j); err != nil {
		return fmt.Errorf("making sure that the host comes back: %w", err)
	}
	return CrashKernel(ctx, func(ctx context.Context, line string) error {
		_, err := d.shell.Run(ctx, line, nil)
		return err
	})
}
