// This file looks at what a LUN is made of: a file or a volume, how large it is, and the pool below.

package overssh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Store is what a LUN is made of, as the system shows it now.
type Store struct {
	Path  string // as the target's configuration has it
	Real  string // behind links
	Kind  string // file, device, other or gone
	Bytes int64  // its size
	Pool  *Pool  // the ZFS pool that it is on; nil: it is on none
	In    Contents

	Unread string // why its beginning cannot be read
}

// The kinds of a Store.
const (
	kindFile   = "file"
	kindDevice = "device"
	kindGone   = "gone"
)

// The parts of a look at a Store.
const (
	partStore = "store"
	partPool  = "pool"
	partHead  = "head"
	partMiB   = "mib"
	partSay   = "say"
)

// fresh makes the system forget what it has cached of a device that the target writes to without that cache (LIO's iblock, SCST's
// vdisk_blockio). On a FreeBSD devices have no cache.
const fresh = "if [ -b \"$r\" ]; then blockdev --flushbufs \"$r\"; fi\n"

// find sets r to what a path stands for.
func find(p string) string {
	return "p=" + Quote(p) + "\nr=$(readlink -f \"$p\" 2>/dev/null)\n[ -n \"$r\" ] || r=$p\n"
}

// dump shows count blocks of r. The block size is what the offset allows: a disk with sectors of 4 KiB gives no half ones.
func dump(off, n int64) string {
	bs := int64(4096)
	if off%bs != 0 {
		bs = 512
	}
	return fmt.Sprintf("dd if=\"$r\" bs=%d skip=%d count=%d 2>/dev/null | od -An -v -tx1", bs, off/bs, (n+bs-1)/bs)
}

// zvols is where a ZFS volume is seen as a device, on Linux and on FreeBSD alike.
const zvols = "/dev/zvol/"

// show shows a Store. A file is on the pool of its dataset, which df(1) tells; a volume's name is its path, or that of the link to it.
func show(p string) string {
	return find(p) + fresh + `echo "real $r"
if [ -b "$r" ]; then echo "kind device"; echo "size $(blockdev --getsize64 "$r")"
elif [ -c "$r" ]; then echo "kind device"; echo "size $(diskinfo "$r" | awk '{ print $3 }')"
elif [ -f "$r" ]; then echo "kind file"; echo "size $(stat -c %s "$r" 2>/dev/null || stat -f %z "$r")"
elif [ -e "$r" ]; then echo "kind other"
else echo "kind gone"; fi
z=
case $p in
` + zvols + `*) z=${p#` + zvols + `};;
*) if [ -f "$r" ]; then z=$(df -PT "$r" 2>/dev/null | awk 'NR == 2 && $2 == "zfs" { print $1 }')
elif [ -b "$r" ]; then
for l in $(find ` + zvols + ` -type l 2>/dev/null); do if [ "$(readlink -f "$l")" = "$r" ]; then z=${l#` + zvols + `}; fi; done
fi;;
esac
z=${z%%/*}
echo "zfs $z"
echo; echo "` + marker + partPool + `"
if [ -n "$z" ]; then zpool status "$z" 2>&1; fi
echo; echo "` + marker + partHead + `"
if [ -f "$r" ] || [ -b "$r" ] || [ -c "$r" ]; then
` + dump(0, headBytes) + `
echo; echo "` + marker + partMiB + `"
` + dump(lvmAt, 512) + `
fi`
}

// readStore reads what show shows.
func readStore(p, out string) (Store, error) {
	parts := sections(marker + partStore + "\n" + out)
	word := func(key string) string { return strings.Join(Marked(parts[partStore], key), "\n") }
	s := Store{Path: p, Real: word("real"), Kind: word("kind")}
	switch s.Kind {
	case kindGone, "other":
		return s, nil
	case kindFile, kindDevice:
	default:
		return Store{}, fmt.Errorf("what %s is made of is not understood: %q", p, clip(out))
	}
	size, err := strconv.ParseInt(word("size"), 10, 64)
	if err != nil || size < 0 {
		return Store{}, fmt.Errorf("the size of %s is not told: %q", p, clip(word("size")))
	}
	s.Bytes = size
	if z := word("zfs"); z != "" {
		pool, err := ReadPool(parts[partPool], z)
		if err != nil {
			return Store{}, err
		}
		s.Pool = &pool
	}
	return s, nil
}

// stores asks what the target's LUNs are made of: the paths, by number.
func (d *Driver) stores(ctx context.Context) (map[int]string, error) {
	if d.sys.ReadStores == nil {
		return nil, d.blind(errors.New("nobody knows how " + d.sys.Product + " tells it"))
	}
	out, err := d.run(ctx, d.t.command, d.sys.Stores)
	if err := brokeOff(err); err != nil {
		return nil, d.operator(err)
	}
	found, err := d.sys.ReadStores(out)
	if err != nil {
		return nil, d.blind(fmt.Errorf("%w: %q", err, clip(out)))
	}
	return found, nil
}

// blind says that nothing can be said of a LUN.
func (d *Driver) blind(err error) error {
	var op *drivers.Operator
	if errors.As(err, &op) {
		return err
	}
	return &drivers.Operator{Cause: "what a LUN of " + d.c.Target + " is made of cannot be looked at on " + d.c.SSH.Address, Impact: "nothing can be said of damage to it",
		Do: "see the reason; check on the system that the target has this LUN, and that the file or volume can be read", Err: err}
}

// store looks at one.
func (d *Driver) store(ctx context.Context, p string) (Store, error) {
	if !path.IsAbs(p) || strings.ContainsAny(p, "\x00\r\n") {
		return Store{}, d.blind(fmt.Errorf("it is made of no file and of no volume, but of %q", clip(p)))
	}
	out, err := d.run(ctx, d.t.command, show(p))
	if err := brokeOff(err); err != nil {
		return Store{}, d.operator(err)
	}
	s, err := readStore(p, out)
	if err != nil {
		return Store{}, d.blind(err)
	}
	if s.Kind != kindFile && s.Kind != kindDevice {
		return s, nil
	}
	s.In, err = d.contents(ctx, s, out)
	if errors.Is(err, errShort) {
		s.Unread, err = d.readPart(ctx, p, 0, min(s.Bytes, block))
		if s.Unread == "" && err == nil {
			err = errShort // od is what fails, and not the disk
		}
	}
	if err != nil {
		return Store{}, d.blind(err)
	}
	return s, nil
}

// errShort says that a system shows fewer bytes of a store than it has.
var errShort = errors.New("its first bytes are not all shown")

// contents tells what is in a Store from its head, and looks into its only partition.
func (d *Driver) contents(ctx context.Context, s Store, out string) (Contents, error) {
	parts := sections(out)
	head, herr := readHex(parts[partHead])
	mib, merr := readHex(parts[partMiB])
	switch {
	case herr != nil || merr != nil:
		return Contents{}, errors.Join(herr, merr)
	case len(head) < int(min(s.Bytes, headBytes)):
		return Contents{}, errShort
	}
	c, more := identify(head, mib)
	if !more || c.Start >= s.Bytes {
		return c, nil
	}
	out, err := d.run(ctx, d.t.command, find(s.Path)+fresh+"echo "+marker+partHead+"\n"+dump(c.Start, 4096)+"\necho; echo "+marker+partMiB+"\n"+dump(c.Start+lvmAt, 512))
	if err := brokeOff(err); err != nil {
		return Contents{}, d.operator(err)
	}
	parts = sections(out)
	head, herr = readHex(parts[partHead])
	mib, merr = readHex(parts[partMiB])
	if err := errors.Join(herr, merr); err != nil {
		return Contents{}, err
	}
	c.FS = fileSystem(head, mib)
	return c, nil
}

// mostStores bounds how many LUNs are looked at beforehand.
const mostStores = 64

// remember looks at every LUN when the driver first sees the target, so that a check can tell what has changed since. What
// cannot be looked at is kept as an error.
func (d *Driver) remember(ctx context.Context) {
	d.mu.Lock()
	known := d.first != nil
	d.mu.Unlock()
	if known || d.sys.Stores == "" {
		return
	}
	first := map[int]Store{}
	paths, err := d.stores(ctx)
	for _, lun := range slices.Sorted(maps.Keys(paths))[:min(len(paths), mostStores)] {
		s, serr := d.store(ctx, paths[lun])
		if serr != nil {
			err = serr
			continue
		}
		first[lun] = s
	}
	if ctx.Err() != nil {
		return // it may be looked at in time later
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.first, d.firstErr = first, err
}

// seenFirst returns what a LUN was when the driver first saw it.
func (d *Driver) seenFirst(lun int) (Store, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.first[lun]
	return s, ok
}
