// This file checks a LUN from the target's side, after a run: whether its store is there, whole and on a healthy pool, and where it
// can be told without changing anything, whether what is in it is.

package overssh

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// CheckImage tells the event "image" of one LUN. Its Value is damaged when anything that was looked at is; clean when the file
// system in it was checked, which needs that no initiator is logged in; and otherwise stored: its store is whole, and nobody has
// looked into it. Attrs: lun, what (file system, size, pool), store (its path), size (bytes), pool, contents (how they were
// checked, or why not) and read (whether it was read to its end).
func (d *Driver) CheckImage(ctx context.Context, lun int) (drivers.Observation, error) {
	o := d.seen(d.env.Clock.Now(), drivers.Event, "image", "", "")
	o.Attrs = map[string]string{"lun": strconv.Itoa(lun)}
	ctx, cancel := context.WithTimeout(ctx, d.c.ImageWithin)
	defer cancel()
	paths, err := d.stores(ctx)
	if err != nil {
		return o, err
	}
	p, ok := paths[lun]
	if !ok {
		return o, d.blind(fmt.Errorf("the target has no LUN %d", lun))
	}
	s, err := d.store(ctx, p)
	if err != nil {
		return o, err
	}
	c := check{d: d, lun: lun, s: s}
	if err := c.all(ctx); err != nil {
		return o, err
	}
	c.tell(&o)
	o.Hi = d.env.Clock.Now()
	return o, nil
}

// check is one look at a LUN.
type check struct {
	d        *Driver
	lun      int
	s        Store
	damage   []string
	before   []string // what is ill and was so before the run
	checked  bool     // the file system was checked, and is clean
	contents string   // how, or why not
	read     string
}

func (c *check) all(ctx context.Context) error {
	first, known := c.d.seenFirst(c.lun)
	c.read, c.contents = "not asked for (read_image)", "not looked into: there is nothing to look into"
	switch s := c.s; {
	case s.Kind == kindGone:
		c.damage = append(c.damage, s.Path+" is not there")
		return nil
	case s.Kind != kindFile && s.Kind != kindDevice:
		return c.d.blind(fmt.Errorf("%s is neither a file nor a volume", s.Path))
	case known && first.Path == s.Path && first.Bytes != s.Bytes:
		c.damage = append(c.damage, fmt.Sprintf("%s has %d bytes, and had %d when the driver first saw it", s.Path, s.Bytes, first.Bytes))
	}
	if c.s.Pool != nil {
		if ill := c.s.Pool.Ill(); ill != "" {
			say := "the pool " + c.s.Pool.Name + " is not well: " + ill
			if known && first.Pool != nil && first.Pool.Ill() == ill {
				c.before = append(c.before, say+" (as it was when the driver first saw it)")
			} else {
				c.damage = append(c.damage, say)
			}
		}
	}
	if c.s.Unread != "" {
		c.damage = append(c.damage, c.s.Path+" cannot be read: "+c.s.Unread)
		return nil
	}
	if c.d.c.ReadImage {
		said, err := c.d.readAll(ctx, c.s)
		if err != nil {
			return err
		}
		c.read = "to its end"
		if said != "" {
			c.read = said
			c.damage = append(c.damage, c.s.Path+" cannot be read to its end: "+said)
		}
	}
	if was := first.In.FS; known && first.Path == c.s.Path && marked(was) && c.s.In != first.In {
		c.damage = append(c.damage, fmt.Sprintf("it had %s when the driver first saw it, and now has %s", first.In, c.s.In))
	}
	return c.look(ctx)
}

// marked tells file systems whose mark does not go by itself.
func marked(fs string) bool { return fs == XFS || fs == Ext || fs == VMFS || fs == NTFS }

// look checks the file system, where one is known that can be.
func (c *check) look(ctx context.Context) error {
	var script string
	switch in := c.s.In; in.FS {
	case XFS:
		script = checkXFS(c.s)
	case Ext:
		script = checkExt(c.s)
	case Nothing:
		c.contents = "not looked into: there is nothing in it"
		return nil
	case Unknown:
		c.contents = "not looked into: it is nothing that is known here"
		return nil
	case Several:
		c.contents = "not looked into: it has " + in.String()
		return nil
	default:
		c.contents = "not looked into: nothing here can check " + in.FS + " without changing it"
		return nil
	}
	if err := c.d.unused(ctx, "before its file system is checked"); err != nil {
		return err
	}
	c.d.env.Logf("%s: checking the %s of LUN %d", c.d.env.ID, c.s.In, c.lun)
	out, err := c.d.run(ctx, c.d.c.ImageWithin, script)
	if err := brokeOff(err); err != nil {
		return c.d.operator(err)
	}
	v, err := readVerdict(c.s.In.FS, out)
	if err != nil {
		return c.d.blind(err)
	}
	if err := c.d.unused(ctx, "after its file system was checked"); err != nil {
		return err // what was found may be of a write that was under way
	}
	c.contents = v.how
	c.checked = v.clean
	if v.damage != "" {
		c.damage = append(c.damage, v.damage)
	}
	return nil
}

// tell writes it into the observation.
func (c *check) tell(o *drivers.Observation) {
	switch {
	case len(c.damage) > 0:
		o.Value = "damaged"
	case c.checked && len(c.before) == 0:
		o.Value = "clean"
	default:
		o.Value = "stored"
	}
	o.Text = strings.Join(append(c.damage, c.before...), "; ")
	o.Attrs["what"] = c.s.what()
	o.Attrs["store"], o.Attrs["size"], o.Attrs["contents"], o.Attrs["read"] = c.s.Path, strconv.FormatInt(c.s.Bytes, 10), c.contents, c.read
	if len(c.before) > 0 {
		o.Attrs["contents"] += "; " + strings.Join(c.before, "; ")
	}
	if p := c.s.Pool; p != nil {
		o.Attrs["pool"] = p.Name + " " + p.State
	}
}

// what says what a Store is: "xfs, 335544320 bytes, a file, pool tank ONLINE".
func (s Store) what() string {
	if s.Kind == kindGone {
		return "gone"
	}
	w := fmt.Sprintf("%s, %d bytes, a %s", s.In, s.Bytes, s.Kind)
	if s.Pool != nil {
		w += ", pool " + s.Pool.Name + " " + s.Pool.State
	}
	return w
}

// unused waits until no initiator is logged in: what is written to while it is checked looks damaged. The driver's own looks at the
// portal rest meanwhile.
func (d *Driver) unused(ctx context.Context, when string) error {
	select {
	case d.eyes <- struct{}{}:
		defer func() { <-d.eyes }()
	case <-ctx.Done():
		return d.operator(fmt.Errorf("waiting for the look at the portal to end: %w", context.Cause(ctx)))
	}
	end := time.Now().Add(d.t.settle)
	for {
		out, err := d.run(ctx, d.t.command, d.sys.Sessions)
		if err := brokeOff(err); err != nil {
			return d.operator(err)
		}
		n, err := d.sys.Count(out)
		if err != nil {
			return d.blind(fmt.Errorf("how many initiators are logged in is not told: %w", err))
		}
		if n == 0 {
			return nil
		}
		if time.Now().After(end) {
			return &drivers.Operator{Cause: fmt.Sprintf("%d initiators are logged in at %s %s", n, d.c.Portal, when), Impact: "nothing can be said of damage: a LUN that is written to cannot be checked",
				Do: "log them out: shut down what uses the target, or unmount it there. Where hosts have to stay logged in, what is in the LUN has to be checked from them"}
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return d.operator(err)
		}
	}
}

// readChunk is how much one command reads, in bytes; with the deadline of each that is 3.6 MB/s, slower than any disk that works.
const readChunk = 1 << 30

// readAll reads a store to its end and tells how far it is, ten times. It returns what keeps it from being read.
func (d *Driver) readAll(ctx context.Context, s Store) (bad string, err error) {
	told := int64(0)
	for at := int64(0); at < s.Bytes; at += readChunk {
		if bad, err := d.readPart(ctx, s.Path, at, min(readChunk, s.Bytes-at)); bad != "" || err != nil {
			return bad, err
		}
		if done := min(at+readChunk, s.Bytes); done*10/s.Bytes > told {
			told = done * 10 / s.Bytes
			d.env.Logf("%s: read %d of %d bytes of %s", d.env.ID, done, s.Bytes, s.Path)
		}
	}
	return "", nil
}

// block is dd's, in bytes.
const block = 1 << 20

var records = regexp.MustCompile(`(?m)^([0-9]{1,12})\+([0-9]{1,12}) records in`)

// readPart reads n bytes from an offset that is a multiple of block.
func (d *Driver) readPart(ctx context.Context, p string, at, n int64) (bad string, err error) {
	out, err := d.run(ctx, d.t.read, find(p)+fmt.Sprintf("dd if=\"$r\" of=/dev/null bs=%d skip=%d count=%d 2>&1", block, at/block, (n+block-1)/block))
	if err := brokeOff(err); err != nil {
		return "", d.operator(err)
	}
	return readRecords(out, n), nil
}

// readRecords says why dd has not read n bytes; empty: it has.
func readRecords(out string, n int64) string {
	m := records.FindStringSubmatch(out)
	if m == nil {
		return "dd said " + strconv.Quote(clip(out))
	}
	whole, _ := strconv.ParseInt(m[1], 10, 64)
	part, _ := strconv.ParseInt(m[2], 10, 64)
	if want, rest := n/block, n%block; whole < want || rest > 0 && whole == want && part == 0 {
		return "dd said " + strconv.Quote(clip(out))
	}
	return ""
}

// verdict is what a check of a file system gave.
type verdict struct {
	clean       bool
	how, damage string
}

// onto makes a read-only device of the place of a file system, so that a check cannot write to it and does not ask for it alone;
// it goes with the shell that holds it open, however that ends. A file whose file system is at its beginning needs none.
func onto(s Store, without string) string {
	size := ""
	if s.In.Bytes > 0 {
		size = fmt.Sprintf(" --sizelimit %d", s.In.Bytes)
	}
	return find(s.Path) + fresh + "f=$r\n" + fmt.Sprintf(`if [ ! -f "$r" ] || [ %[1]d != 0 ]; then
if l=$(losetup -r -f --show -o %[1]d%[2]s "$r" 2>&1) && exec 9<"$l"; then f=$l; losetup -d "$l"
else %[3]s
fi
fi
`, s.In.Start, size, without)
}

// need says that a program is not there.
func need(program string) string {
	return "command -v " + program + " >/dev/null || { echo \"none the system has no " + program + "\"; exit 0; }\n"
}

// checkXFS looks with xfs_repair -n, which changes nothing (xfs_repair(8)).
func checkXFS(s Store) string {
	return need("xfs_repair") + onto(s, `echo "none no read-only device can be made of it: $l"; exit 0`) +
		"if [ -f \"$f\" ]; then set -- -f; else set --; fi\nxfs_repair -n \"$@\" \"$f\" 2>&1\necho \"status $?\""
}

// checkExt looks with e2fsck -fn, which opens it read-only (e2fsck(8)), and takes an offset itself.
func checkExt(s Store) string {
	return need("e2fsck") + onto(s, fmt.Sprintf(`if [ %d != 0 ]; then f="$r?offset=%d"; fi`, s.In.Start, s.In.Start)) +
		"e2fsck -fn \"$f\" 2>&1\necho \"status $?\""
}

// readVerdict reads what a check said, of which the last line is "status N", or "none WHY" that nothing was checked.
func readVerdict(fs, out string) (verdict, error) {
	out = strings.TrimSpace(out)
	if why, ok := strings.CutPrefix(out, "none "); ok {
		return verdict{how: "not looked into: " + strings.ToValidUTF8(clip(why), "")}, nil
	}
	i := strings.LastIndex(out, "status ")
	if i < 0 {
		return verdict{}, fmt.Errorf("the check of its %s broke off: %q", fs, clip(out))
	}
	status, err := strconv.Atoi(out[i+len("status "):])
	if err != nil {
		return verdict{}, fmt.Errorf("the check of its %s broke off: %q", fs, clip(out))
	}
	return judge(fs, status, strings.TrimSpace(out[:i]))
}

// judge knows the programs' statuses: xfs_repair -n ends with 1 when it found damage, and also when it could not begin, where it
// has told of no phase (xfs_repair(8), and its source); e2fsck -n has the bit 4 for errors that it left as they are (e2fsck(8)).
// Neither can replay a journal without writing, so what they find of a file system whose journal is not empty is no damage.
func judge(fs string, status int, said string) (verdict, error) {
	how := map[string]string{XFS: "checked: xfs_repair -n", Ext: "checked: e2fsck -fn"}[fs]
	if how == "" {
		return verdict{}, errors.New("nothing here can check " + fs)
	}
	errorsFound := fs == XFS && status == 1 && strings.Contains(said, "Phase 1") || fs == Ext && status > 0 && status < 128 && status&4 != 0
	pending := strings.Contains(said, "valuable metadata changes in a log") || strings.Contains(said, "skipping journal recovery")
	switch {
	case status == 0 && !pending:
		return verdict{clean: true, how: how}, nil
	case pending && (status == 0 || errorsFound):
		return verdict{how: "not told: its journal has not been replayed, so it was not unmounted in order"}, nil
	case errorsFound:
		return verdict{how: how, damage: fs + " is damaged: " + tail(said)}, nil
	}
	return verdict{how: fmt.Sprintf("not looked into: %s ended with status %d: %s", strings.TrimPrefix(how, "checked: "), status, tail(said))}, nil
}

// tail bounds what a program said to its end, where it sums up.
func tail(s string) string {
	const most = 2000
	return strings.ToValidUTF8(s[max(0, len(s)-most):], "")
}
