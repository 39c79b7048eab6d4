package ceph

// This file is a disk that can really hang: nbdkit serves an image, nbdfuse makes a file of that, and an OSD uses the file. What
// the disk itself does is looked at through a connection of its own, beside the OSD.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is one of them.
type Disk struct {
	Image   string `yaml:"image" json:"image"`     // what is on it
	Socket  string `yaml:"socket" json:"socket"`   // where nbdkit listens
	Control string `yaml:"control" json:"control"` // nbdkit's pause filter
	Fail    string `yaml:"fail" json:"fail"`       // while this file is there, every command fails
	Block   string `yaml:"block" json:"block"`     // the file that the OSD uses
	Server  Daemon `yaml:"server" json:"server"`   // nbdkit
	Mount   Daemon `yaml:"mount" json:"mount"`     // nbdfuse
}

// NewDisk names the files of the disk called name, in dir and, for sockets, in a folder with a short name.
func NewDisk(name, dir, sockets string) Disk {
	at := func(ext string) string { return dir + "/" + name + ext }
	d := Disk{Image: at(".img"), Socket: sockets + "/" + name + ".nbd", Control: sockets + "/" + name + ".ctl", Fail: at(".fail"), Block: at(".block")}
	d.Server = Daemon{PIDFile: at(".nbdkit.pid"), Log: at(".nbdkit.log"), Argv: []string{"nbdkit", "-f", "-U", d.Socket, "--filter=pause", "--filter=error",
		"file", d.Image, "pause-control=" + d.Control, "error=EIO", "error-rate=100%", "error-file=" + d.Fail}}
	d.Mount = Daemon{PIDFile: at(".nbdfuse.pid"), Log: at(".nbdfuse.log"), Argv: []string{"nbdfuse", d.Block, "nbd+unix:///?socket=" + d.Socket}}
	return d
}

// Attach makes the disk appear, as far as it has not.
func (d Disk) Attach(ctx context.Context) error {
	if state(d.Server.PIDFile) == "down" { // who was connected to it has lost the disk, also when he does not know yet
		if err := d.detach(ctx); err != nil {
			return err
		}
		os.Remove(d.Socket)
		os.Remove(d.Control)
	}
	if err := d.Server.Start(); err != nil {
		return err
	}
	if err := until(ctx, func() bool { return d.look(ctx) == nil }); err != nil {
		return fmt.Errorf("nbdkit does not serve %s: %w", d.Image, err)
	}
	if d.mounted() {
		return nil
	}
	if err := d.detach(ctx); err != nil {
		return err
	}
	f, err := os.OpenFile(d.Block, os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("making a disk's file: %w", err)
	}
	f.Close()
	if err := d.Mount.Start(); err != nil {
		return err
	}
	if err := until(ctx, d.mounted); err != nil {
		return fmt.Errorf("nbdfuse does not show %s: %w", d.Block, err)
	}
	return nil
}

// there tells whether the disk is as Attach makes it, whatever it answers.
func (d Disk) there() bool { return state(d.Server.PIDFile) != "down" && d.mounted() }

// mounted tells whether the OSD's file is a disk.
func (d Disk) mounted() bool {
	if state(d.Mount.PIDFile) != "up" {
		return false
	}
	st, err := os.Stat(d.Block)
	return err == nil && st.Size() > 0
}

// detach takes the file away from its server, which may have died.
func (d Disk) detach(ctx context.Context) error {
	if err := d.Mount.Kill(ctx); err != nil {
		return err
	}
	return Unmount(ctx, d.Block)
}

// Unmount takes a FUSE mount away, also one whose server is gone. What is not mounted is left alone.
func Unmount(ctx context.Context, path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	switch {
	case err == nil, errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EPERM):
		return fmt.Errorf("unmounting %s: %w", path, err)
	}
	out, err := command(ctx, "fusermount3", "-u", "-z", path) // an ordinary user's way
	if err != nil && !strings.Contains(string(out), "not found") {
		return fmt.Errorf("unmounting %s: %w", path, err)
	}
	return nil
}

// pause makes nbdkit answer nothing any more ('p'), or go on ('r'); it says the letter back in capitals (nbdkit-pause-filter(1)).
func (d Disk) pause(ctx context.Context, letter byte) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", d.Control)
	if err != nil {
		return fmt.Errorf("reaching the disk's server: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write([]byte{letter}); err != nil {
		return fmt.Errorf("telling the disk's server: %w", err)
	}
	var said [1]byte
	if _, err := io.ReadFull(conn, said[:]); err != nil {
		return fmt.Errorf("hearing from the disk's server: %w", err)
	}
	if said[0] != letter-'a'+'A' {
		return fmt.Errorf("the disk's server said %q to %q", said[0], letter)
	}
	return nil
}

// Medium is what the disk does to who reads from it, seen beside the driver: serves, hangs, fails or gone.
func (d Disk) Medium(ctx context.Context) string { v, _ := d.medium(ctx); return v }

// lookTimeout is after how long a disk that has not answered hangs.
const lookTimeout = time.Second

// medium is what the disk does to who reads from it: serves, hangs, fails or gone. rotten is for who knows what should be there.
func (d Disk) medium(ctx context.Context) (value, text string) {
	lctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	err := d.look(lctx)
	var refused ioError
	switch {
	case err == nil:
		return "serves", ""
	case errors.As(err, &refused):
		return "fails", err.Error()
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "gone", err.Error()
	}
	return "hangs", err.Error()
}

func (d Disk) look(ctx context.Context) error {
	_, err := d.read(ctx, 0, 512)
	return err
}

// ioError is an error that the disk answered with.
type ioError uint32

func (e ioError) Error() string { return "the disk answers: " + syscall.Errno(e).Error() }

// The numbers of the NBD protocol (github.com/NetworkBlockDevice/nbd, doc/proto.md).
const (
	nbdOption  = 0x49484156454F5054 // IHAVEOPT
	nbdRequest = 0x25609513
	nbdReply   = 0x67446698
)

// read reads from the disk's server as any client could: with the fixed newstyle handshake, its default export and one read.
func (d Disk) read(ctx context.Context, offset uint64, length uint32) ([]byte, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", d.Socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	var hello [18]byte
	if _, err := io.ReadFull(conn, hello[:]); err != nil {
		return nil, err
	}
	if string(hello[:8]) != "NBDMAGIC" || binary.BigEndian.Uint64(hello[8:]) != nbdOption {
		return nil, errors.New("what listens there does not speak NBD")
	}
	choose := binary.BigEndian.AppendUint32(nil, 3) // fixed newstyle, no zeroes
	choose = binary.BigEndian.AppendUint64(choose, nbdOption)
	choose = binary.BigEndian.AppendUint32(choose, 1) // NBD_OPT_EXPORT_NAME
	choose = binary.BigEndian.AppendUint32(choose, 0) // the default export
	choose = binary.BigEndian.AppendUint32(choose, nbdRequest)
	choose = binary.BigEndian.AppendUint32(choose, 0)   // no flags, NBD_CMD_READ
	choose = binary.BigEndian.AppendUint64(choose, 'x') // handle
	choose = binary.BigEndian.AppendUint64(choose, offset)
	choose = binary.BigEndian.AppendUint32(choose, length)
	if _, err := conn.Write(choose); err != nil {
		return nil, err
	}
	var export [10]byte // size and flags
	if _, err := io.ReadFull(conn, export[:]); err != nil {
		return nil, err
	}
	var reply [16]byte
	if _, err := io.ReadFull(conn, reply[:]); err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint32(reply[:]) != nbdReply {
		return nil, errors.New("the reply of the disk's server is none of NBD's")
	}
	if e := binary.BigEndian.Uint32(reply[4:]); e != 0 {
		return nil, ioError(e)
	}
	b := make([]byte, length)
	_, err = io.ReadFull(conn, b)
	return b, err
}

// until waits until ok, asking often: a process is starting.
func until(ctx context.Context, ok func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// Remove ends the disk for good, whatever hangs on it: its servers first, since who sleeps on it can be ended only then.
func (d Disk) Remove(ctx context.Context) error {
	return errors.Join(d.Server.Kill(ctx), d.detach(ctx))
}
