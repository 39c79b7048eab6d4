// This file says the few words of the X protocol that make a window small and large again. The layouts are those of the X Window
// System Protocol, X Version 11, appendix B (encoding).

package rdp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// cookieName is the way to be let in.
const cookieName = "MIT-MAGIC-COOKIE-1"

// The requests, by their opcodes.
const (
	xGetWindowAttributes = 3
	xMapWindow           = 8
	xUnmapWindow         = 10
	xQueryTree           = 15
)

// maxReply bounds a reply in bytes: a screen of ours has a handful of windows.
const maxReply = 64 << 10

// blink unmaps and maps again every window that is to be seen on a display: xfreerdp tells the guest that its screen is not
// needed, and then that it is.
func blink(ctx context.Context, display string, cookie []byte) error {
	c, err := dialScreen(ctx, display)
	if err != nil {
		return err
	}
	defer c.Close()
	root, err := xSetup(c, cookie)
	if err != nil {
		return err
	}
	tree, err := xAsk(c, xQueryTree, root)
	if err != nil {
		return err
	}
	n := int(binary.LittleEndian.Uint16(tree[16:])) // number of windows; they follow the 32 bytes
	if len(tree) < 32+4*n {
		return errors.New("the screen names more windows than it lists")
	}
	var shown []uint32
	for i := range n {
		w := binary.LittleEndian.Uint32(tree[32+4*i:])
		a, err := xAsk(c, xGetWindowAttributes, w)
		if err != nil {
			continue // it has just gone
		}
		if a[26] != 0 { // map-state: not unmapped
			shown = append(shown, w)
		}
	}
	if len(shown) == 0 {
		return errors.New("there is no window on the screen")
	}
	var b []byte
	for _, op := range []byte{xUnmapWindow, xMapWindow} {
		for _, w := range shown {
			b = append(b, xRequest(op, w)...)
		}
	}
	if _, err := c.Write(b); err != nil {
		return fmt.Errorf("telling the screen: %w", err)
	}
	_, err = xAsk(c, xQueryTree, root) // an answer to this says that the others were carried out
	return err
}

// dialScreen connects to a display, until ctx's deadline.
func dialScreen(ctx context.Context, display string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", "@/tmp/.X11-unix/X"+strings.TrimPrefix(display, ":"))
	if err != nil {
		return nil, fmt.Errorf("connecting to the screen: %w", err)
	}
	if until, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(until)
	}
	return c, nil
}

// xRequest is a request whose only argument is a window.
func xRequest(op byte, window uint32) []byte {
	return binary.LittleEndian.AppendUint32([]byte{op, 0, 2, 0}, window)
}

// xSetup says hello and returns the root window.
func xSetup(c io.ReadWriter, cookie []byte) (root uint32, err error) {
	b := []byte{'l', 0, 11, 0, 0, 0} // least significant byte first, protocol 11.0
	b = binary.LittleEndian.AppendUint16(b, uint16(len(cookieName)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(cookie)))
	b = append(b, 0, 0)
	b = append(b, cookieName+strings.Repeat("\x00", (4-len(cookieName)%4)%4)...)
	b = append(b, cookie...)
	b = append(b, make([]byte, (4-len(cookie)%4)%4)...)
	if _, err := c.Write(b); err != nil {
		return 0, fmt.Errorf("greeting the screen: %w", err)
	}
	var h [8]byte
	if _, err := io.ReadFull(c, h[:]); err != nil {
		return 0, fmt.Errorf("waiting for the screen: %w", err)
	}
	b = make([]byte, 4*int(binary.LittleEndian.Uint16(h[6:])))
	if _, err := io.ReadFull(c, b); err != nil {
		return 0, fmt.Errorf("waiting for the screen: %w", err)
	}
	if h[0] != 1 {
		return 0, errors.New("the screen lets nobody in")
	}
	if len(b) < 32 {
		return 0, errors.New("the screen says too little of itself")
	}
	vendor, formats := int(binary.LittleEndian.Uint16(b[16:])), int(b[21])
	at := 32 + (vendor+3)/4*4 + 8*formats
	if len(b) < at+4 {
		return 0, errors.New("the screen names no root window")
	}
	return binary.LittleEndian.Uint32(b[at:]), nil
}

// xAsk sends a request about a window and reads its reply, of at least 32 bytes. No event comes in between: none was asked for.
func xAsk(c io.ReadWriter, op byte, window uint32) ([]byte, error) {
	if _, err := c.Write(xRequest(op, window)); err != nil {
		return nil, fmt.Errorf("asking the screen: %w", err)
	}
	b := make([]byte, 32)
	if _, err := io.ReadFull(c, b); err != nil {
		return nil, fmt.Errorf("waiting for the screen: %w", err)
	}
	if b[0] != 1 {
		return nil, fmt.Errorf("the screen answers with the error %d", b[1])
	}
	n := int(binary.LittleEndian.Uint32(b[4:]))
	if n > maxReply/4 {
		return nil, fmt.Errorf("the screen answers with %d words", n)
	}
	b = append(b, make([]byte, 4*n)...)
	if _, err := io.ReadFull(c, b[32:]); err != nil {
		return nil, fmt.Errorf("waiting for the screen: %w", err)
	}
	return b, nil
}
