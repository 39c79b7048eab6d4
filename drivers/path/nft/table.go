// This file makes the table, deletes it, and reads what nft(8) says of it.

package nft

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/path/internal/farside"
)

const opDelete = "nft-delete"

// What a look can find.
const (
	none      = "none"
	blackhole = string(drivers.Blackhole)
	reset     = string(drivers.Reset)
	foreign   = "foreign"
)

// BreakKinds lists the faults.
func (d *Driver) BreakKinds() []drivers.FaultKind {
	return []drivers.FaultKind{drivers.Blackhole, drivers.Reset}
}

// BreakPath arms the timer, journals the undo and loads the table, by a script that first looks whether the timer still runs. The
// table is made with "create", which fails as a whole where one of that name has appeared meanwhile.
func (d *Driver) BreakPath(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	if kind != drivers.Blackhole && kind != drivers.Reset {
		return fmt.Errorf("this path cannot do %s", kind)
	}
	v, err := d.usable(ctx)
	if err == nil && v.rule != none {
		err = d.leftOver(v)
	}
	if err != nil {
		return err
	}
	id := farside.NewTimer("nft")
	until, err := d.host.Arm(ctx, d.pace.act, id, d.c.Seconds, deleteScript(d.c.Table, id))
	if err != nil {
		return d.host.Blame(err)
	}
	u := drivers.Undo{Driver: d.env.ID, Op: opDelete, Until: until, Args: map[string]string{"table": d.c.Table, "timer": id, "rule": none}}
	if err := j(ctx, u); err != nil {
		if derr := d.host.Disarm(ctx, d.pace.act, id); derr != nil && d.env.Logf != nil {
			d.env.Logf("%s: a dead-man timer stays armed; it will find no table of its own: %v", d.env.ID, derr)
		}
		return err
	}
	d.broken.Store(true)
	out, err := d.host.Script(ctx, d.pace.act, "apd_armed "+id+" || { echo unarmed; exit 0; }\nnft -f - <<'APD_RULES' || exit 1\n"+
		d.rules(kind, id)+"APD_RULES\necho loaded")
	switch {
	case err != nil:
		return fmt.Errorf("loading the rules: %w", err)
	case strings.Contains(out, "unarmed"):
		return fmt.Errorf("the dead-man timer does not run any more, so nothing was cut")
	case !strings.HasSuffix(out, "loaded"):
		return fmt.Errorf("the rules were not loaded: %s", out)
	}
	return nil
}

// Undo deletes the table that this very fault made, if it is still there, and ends the timer. An nft that does not work is no table
// that is gone: that is asked first.
func (d *Driver) Undo(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	if u.Op != opDelete {
		return "", drivers.ErrUnknownUndo
	}
	table, id := u.Args["table"], u.Args["timer"]
	if !tableName.MatchString(table) || !farside.IsTimer(id) {
		return "", fmt.Errorf("the undo's table %q or timer %q cannot be", table, id)
	}
	d.broken.Store(false)
	out, err := d.host.Script(ctx, d.pace.act, "nft list tables >/dev/null || exit 1\n"+deleteScript(table, id)+"\napd_disarm "+id+" && echo disarmed\n:")
	if err != nil {
		return "", d.host.Blame(err)
	}
	if strings.Contains(out, "deleted") || strings.Contains(out, "disarmed") {
		return drivers.Undone, nil
	}
	return drivers.NothingLeft, nil
}

// owner begins the comment of a table of this driver; the kind and the timer's name follow.
const owner = "allpathsdown"

// deleteScript deletes the table when its comment has the timer's name. It fails when the table stays.
func deleteScript(table, id string) string {
	return fmt.Sprintf(`case $(nft list table inet %[1]s 2>/dev/null) in
*'comment "%[2]s '*' %[3]s"'*) nft delete table inet %[1]s || exit 1; echo deleted ;;
esac`, table, owner, id)
}

// rules are the table. Resets pass: the one that a reject sends goes through the same chains, and rejecting it would only lose it.
// Both chains stand before connection tracking (priority -200), so that no other rule sees what is cut.
func (d *Driver) rules(kind drivers.FaultKind, id string) string {
	verdict := "counter drop"
	if kind == drivers.Reset {
		verdict = "tcp flags & rst != rst counter reject with tcp reset"
	}
	var in, out strings.Builder
	for _, set := range sets(d.addresses) {
		fmt.Fprintf(&in, "\t\t%s tcp dport %d %s\n", strings.Replace(set, "addr", "daddr", 1), d.c.Port, verdict)
		fmt.Fprintf(&out, "\t\t%s tcp sport %d %s\n", strings.Replace(set, "addr", "saddr", 1), d.c.Port, verdict)
	}
	return fmt.Sprintf(`create table inet %[1]s { comment "%[2]s %[3]s %[4]s"; }
table inet %[1]s {
	chain in {
		type filter hook input priority -310; policy accept;
%[5]s	}
	chain out {
		type filter hook output priority -310; policy accept;
%[6]s	}
}
`, d.c.Table, owner, kind, id, in.String(), out.String())
}

// sets groups addresses by family, as "ip addr { ... }"; none at all is one empty group, which matches everything.
func sets(addresses []netip.Addr) []string {
	byFamily := map[string][]string{}
	for _, a := range addresses {
		family := "ip6"
		if a.Is4() {
			family = "ip"
		}
		byFamily[family] = append(byFamily[family], a.String())
	}
	var out []string
	for _, family := range []string{"ip", "ip6"} {
		if l := byFamily[family]; len(l) > 0 {
			out = append(out, family+" addr { "+strings.Join(l, ", ")+" }")
		}
	}
	if len(out) == 0 {
		return []string{""}
	}
	return out
}

// lookScript asks for the user, the port of the SSH connection, whether nft works, and the table.
func lookScript(table string) string {
	return `echo "os $(uname -s)"
echo "uid $(id -u)"
set -- $SSH_CONNECTION
echo "port $4"
if apd_o=$(nft list tables 2>&1); then echo works; else echo "words $apd_o"; fi
if apd_o=$(nft list table inet ` + table + ` 2>/dev/null); then
	echo table
	echo "$apd_o"
fi
:`
}

// view is one look at the far side.
type view struct {
	system string
	root   bool
	port   int // of the SSH connection, on the far side; 0: not told
	works  bool
	words  string // what nft said when it does not work
	rule   string
	hits   uint64
}

// mark is the comment of a table of this driver.
var mark = regexp.MustCompile(`^comment "` + owner + ` (` + blackhole + `|` + reset + `) (apd-nft-[0-9a-f]{8})"$`)

// counted is a counter in a rule.
var counted = regexp.MustCompile(`\bcounter packets ([0-9]{1,20}) bytes`)

// parse reads what lookScript's script said. The comment counts only where nft puts a table's own: within the first two lines.
func parse(out string) view {
	v := view{rule: none}
	at := -1 // how many lines of the table were read; -1: it has not begun
	for l := range strings.Lines(out) {
		l = strings.TrimSpace(l)
		if at >= 0 {
			if m := mark.FindStringSubmatch(l); m != nil && at == 1 {
				v.rule = m[1]
			}
			if m := counted.FindStringSubmatch(l); m != nil {
				n, _ := strconv.ParseUint(m[1], 10, 64)
				v.hits += n
			}
			at++
			continue
		}
		word, rest, _ := strings.Cut(l, " ")
		switch word {
		case "os":
			v.system = rest
		case "uid":
			v.root = rest == "0"
		case "port":
			v.port, _ = strconv.Atoi(rest)
		case "works":
			v.works = true
		case "words":
			v.words = rest
		case "table":
			at, v.rule = 0, foreign
		}
	}
	return v
}
