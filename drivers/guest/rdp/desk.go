// This file has what xfreerdp needs around it: a screen in memory (Xvfb) and a home folder, which both go with this process.

package rdp

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// deskLimit bounds the start of the screen, deskEnd its end.
const (
	deskLimit = 20 * time.Second
	deskEnd   = 2 * time.Second
)

// desk is a screen and a home.
type desk struct {
	display string // like ":0"
	home    string // xfreerdp makes its folders there, and the key to the screen is in it
	cookie  []byte // the key
	screen  *exec.Cmd
	ended   chan struct{} // closed when the screen has ended
	remove  io.Closer     // of the home
	removed func() error
}

// newDesk starts a screen. It listens on an abstract socket only, so that there is no file of it; the cookie keeps others out.
func newDesk(ctx context.Context, xvfb string) (made *desk, err error) {
	ctx, cancel := context.WithTimeout(ctx, deskLimit)
	defer cancel()
	d := &desk{ended: make(chan struct{}), cookie: make([]byte, 16)}
	if _, err := rand.Read(d.cookie); err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	if err := d.makeHome(); err != nil {
		return nil, fmt.Errorf("making a home for the client: %w", err)
	}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	number, out, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	defer number.Close()
	// -nolock leaves out /tmp/.X0-lock; who is not root may not say so, and there the server removes it at its end.
	d.screen = exec.Command(xvfb, "-displayfd", "3", "-nolisten", "tcp", "-nolisten", "unix", "-nolock", "-noreset",
		"-auth", d.keyFile(), "-screen", "0", "1024x768x24")
	d.screen.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.home}
	d.screen.ExtraFiles = []*os.File{out}
	err = start(d.screen, syscall.SIGTERM)
	_ = out.Close()
	if err != nil {
		close(d.ended)
		return nil, fmt.Errorf("starting Xvfb: %w", err)
	}
	go func() {
		_ = d.screen.Wait()
		close(d.ended)
	}()
	stop := context.AfterFunc(ctx, func() { _ = number.SetReadDeadline(time.Now()) })
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(number, 16)).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("waiting for Xvfb: %w", err)
	}
	d.display = ":" + strings.TrimSpace(line)
	if err := d.ready(ctx); err != nil {
		return nil, fmt.Errorf("waiting for Xvfb: %w", err)
	}
	return d, nil
}

// ready waits until the screen lets somebody in: it tells its number a moment before that.
func (d *desk) ready(ctx context.Context) error {
	for {
		c, err := dialScreen(ctx, d.display)
		if err == nil {
			_, err = xSetup(c, d.cookie)
			_ = c.Close()
		}
		if err == nil {
			return nil
		}
		t := time.NewTimer(50 * time.Millisecond)
		select {
		case <-t.C:
		case <-d.ended:
			t.Stop()
			return errors.New("it has ended")
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}

// makeHome makes the folder, which a shell removes when it sees the end of this process, and the key file in it.
func (d *desk) makeHome() (err error) {
	if d.home, err = os.MkdirTemp("", "apd-rdp-"); err != nil {
		return err
	}
	// A folder is not removed while a process that is just dying still makes files in it: so it tries twice.
	cmd := exec.Command("/bin/sh", "-c", `cat >/dev/null; rm -rf -- "$0" || { sleep 1; rm -rf -- "$0"; }`, d.home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		_ = os.RemoveAll(d.home)
		return err
	}
	d.remove, d.removed = in, cmd.Wait
	// An entry of Xauthority(5): family wild, no address, no display number, the name and the cookie.
	b := binary.BigEndian.AppendUint16(nil, 0xffff)
	for _, s := range []string{"", "", cookieName, string(d.cookie)} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	if err := os.WriteFile(d.keyFile(), b, 0o600); err != nil {
		_ = d.remove.Close()
		_ = d.removed()
		return err
	}
	return nil
}

func (d *desk) keyFile() string { return filepath.Join(d.home, "key") }

// alive tells whether the screen is there.
func (d *desk) alive() bool {
	select {
	case <-d.ended:
		return false
	default:
		return true
	}
}

// Close ends the screen and removes the home.
func (d *desk) Close() {
	if d.screen != nil && d.screen.Process != nil {
		_ = d.screen.Process.Signal(syscall.SIGTERM)
		if !wait(d.ended, deskEnd) {
			<-d.ended
		} else {
			_ = d.screen.Process.Kill()
			<-d.ended
		}
	}
	_ = d.remove.Close()
	_ = d.removed()
}
