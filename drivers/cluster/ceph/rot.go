package ceph

// This file changes a copy behind the cluster's back: an object of our own is written, its first bytes are found on the disk
// under fault, and some of them are changed there.

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// objectSize is what is written: more than what BlueStore puts into its log first (64 KiB on what it takes for a spinning disk).
const objectSize = 1 << 20

// rotten is a note of what was changed, kept beside the disk so that everybody can see it.
type rotten struct {
	OSD      int    `json:"osd"`
	Object   string `json:"object"`
	Offset   int64  `json:"offset"`
	Old, New []byte
	Sum      []byte `json:"sum"` // the object's first bytes, as they were written
}

func (d *Driver) rotFile(o OSD) string { return filepath.Join(d.c.Dir, o.name()+".rot") }

// rot writes an object whose first copy lies on o, and changes that copy.
func (d *Driver) rot(ctx context.Context, o OSD, j drivers.Journal) (err error) {
	name, err := d.objectOn(ctx, o)
	if err != nil {
		return err
	}
	data := make([]byte, objectSize)
	rand.Read(data) // never fails
	file := d.rotFile(o) + ".object"
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return fmt.Errorf("making an object: %w", err)
	}
	defer os.Remove(file)
	defer func() {
		if err != nil {
			_, rerr := d.c.Run(context.WithoutCancel(ctx), "rados", "-p", d.c.Pool, "rm", name)
			err = errors.Join(err, rerr)
		}
	}()
	if _, err := d.c.Run(ctx, "rados", "-p", d.c.Pool, "put", name, file); err != nil {
		return err
	}
	offset, err := find(o.Disk.Image, data[:64])
	if err != nil {
		return err
	}
	bad := bytes.Clone(data[:8])
	for i := range bad {
		bad[i] ^= 0xff
	}
	note := rotten{OSD: o.ID, Object: name, Offset: offset, Old: data[:8], New: bad, Sum: data[:64]}
	u := d.undoOf(opRot, map[string]string{"osd": strconv.Itoa(o.ID), "object": name, "offset": strconv.FormatInt(offset, 10),
		"old": hex.EncodeToString(note.Old), "new": hex.EncodeToString(note.New)})
	if err := j(ctx, u); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := patch(o.Disk.Image, offset, bad); err != nil {
		return err
	}
	b, err := json.Marshal(note)
	if err != nil {
		return err
	}
	return os.WriteFile(d.rotFile(o), b, 0o600)
}

// objectOn finds a name whose object is read from o.
func (d *Driver) objectOn(ctx context.Context, o OSD) (string, error) {
	for i := range 64 {
		name := fmt.Sprintf("apd-rot-%d", i)
		var m struct {
			Primary *int `json:"acting_primary"`
		}
		if err := d.ask(ctx, &m, "osd", "map", d.c.Pool, name); err != nil {
			return "", err
		}
		if m.Primary == nil {
			return "", errors.New("ceph does not say where an object lies")
		}
		if *m.Primary == o.ID {
			return name, nil
		}
	}
	return "", fmt.Errorf("no object of the pool %s is read from %s", d.c.Pool, o.name())
}

// find looks for bytes at the blocks of a sparse file.
func find(file string, want []byte) (int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, fmt.Errorf("looking into a disk: %w", err)
	}
	defer f.Close()
	const block, chunk = 4096, 1 << 20
	b := make([]byte, chunk)
	for at := int64(0); ; {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return 0, errors.New("what was written is not found on the disk")
		}
		if err != nil {
			return 0, fmt.Errorf("looking into a disk: %w", err)
		}
		data -= data % block
		n, err := f.ReadAt(b, data)
		if err != nil && err != io.EOF {
			return 0, fmt.Errorf("looking into a disk: %w", err)
		}
		for i := 0; i+len(want) <= n; i += block {
			if bytes.Equal(b[i:i+len(want)], want) {
				return data + int64(i), nil
			}
		}
		at = data + chunk
	}
}

func patch(file string, at int64, b []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("changing a disk: %w", err)
	}
	_, err = f.WriteAt(b, at)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("changing a disk: %w", err)
	}
	return nil
}

// note reads what was changed on a disk.
func (d *Driver) note(o OSD) (n rotten, ok bool) {
	b, err := os.ReadFile(d.rotFile(o))
	return n, err == nil && json.Unmarshal(b, &n) == nil
}

// rotsStill tells whether the changed bytes are still there, seen through the disk's own server.
func (d *Driver) rotsStill(ctx context.Context, o OSD, n rotten) bool {
	b, err := o.Disk.read(ctx, uint64(n.Offset), uint32(len(n.New)))
	return err == nil && bytes.Equal(b, n.New)
}

// unrot writes the old bytes back where the changed ones still are: the cluster may have used that place for something else since.
func (d *Driver) unrot(ctx context.Context, o OSD, args map[string]string) (changed bool, err error) {
	if _, err := os.Stat(d.c.Dir); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	at, err := strconv.ParseInt(args["offset"], 10, 64)
	if err != nil {
		return false, fmt.Errorf("reading the undo's offset: %w", err)
	}
	old, err := hex.DecodeString(args["old"])
	if err != nil {
		return false, fmt.Errorf("reading the undo's old bytes: %w", err)
	}
	bad, err := hex.DecodeString(args["new"])
	if err != nil {
		return false, fmt.Errorf("reading the undo's new bytes: %w", err)
	}
	if d.rotsStill(ctx, o, rotten{Offset: at, New: bad}) {
		if err := patch(o.Disk.Image, at, old); err != nil {
			return false, err
		}
		changed = true
	}
	if _, ok := d.note(o); ok {
		changed = true
		rctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		if _, err := d.c.Run(rctx, "rados", "-p", d.c.Pool, "rm", args["object"]); err != nil {
			return changed, err
		}
		if err := os.Remove(d.rotFile(o)); err != nil {
			return changed, err
		}
	}
	return changed, nil
}
