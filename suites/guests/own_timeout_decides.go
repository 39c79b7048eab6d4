// Claim G3: the guest's own timeout decides.

package guests

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.own-timeout-decides", Title: "When a guest gives its disk up is decided by its own timeout", Labels: []string{"apd", "linux"},
	Source: record.Source{Doc: "S1", Code: "G3", JA: "iSCSIが切断した場合にどうVMに影響するかはVMのゲストOS次第 ゲストOS側のタイムアウト処理などが大きく影響することになります",
		EN:   "How a cut of iSCSI affects a VM depends on its guest OS; the timeout handling of the guest OS has a large influence.",
		Note: "in one outage, two guests with different SCSI timeouts: the kernel of the one with the longer timeout says that it waited longer for a command before it gave it up, by at least the difference of the timeouts. Where a kernel does not say so, the first failed read has to come later by that much; the resets between the retries take up to 10 s each, so that one that comes a little early decides nothing"},
	In: scenario.LongOutage,
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		a, b, ta, tb := extremes(run)
		if ta >= tb {
			return claim.Unsure("it takes two guests with different timeouts")
		}
		window := claim.AtLeast(tb-ta, fmt.Sprintf("guest SCSI timeouts %.0f s and %.0f s", ta, tb))
		ea, eb := run.During(f).Events(a, "read-error", ""), run.During(f).Events(b, "read-error", "")
		switch {
		case !run.During(f).Heard(a) || !run.During(f).Heard(b):
			return claim.Unsure("it takes two guests that somebody watched")
		case len(ea) == 0 && len(eb) > 0:
			return claim.Refute("only the guest with the longer timeout gave up", eb[0])
		case len(ea) == 0:
			return claim.Longer("no guest gave up", f, claim.AtMost(16*ta+30, fmt.Sprintf("guest SCSI timeout %.0f s", ta)))
		case len(eb) == 0:
			v := claim.Measure("guest "+b.Name+" had not given up when the outage ended", record.From(ea[0]).To(f.Undo), "s", window, ea[0], f.Undo)
			if v.Outcome == record.Refuted {
				v.Outcome = record.Inconclusive // it may have been about to
			}
			return v
		}
		if wa, ma, ok := waited(run.During(f), a); ok {
			if wb, mb, ok := waited(run.During(f), b); ok {
				return claim.Measure(fmt.Sprintf("by its kernel's words guest %s waited longer for a command than guest %s", b.Name, a.Name),
					record.Interval{Lo: wb - wa, Hi: wb - wa}, "s", window, ma, mb)
			}
		}
		v := claim.Measure(fmt.Sprintf("guest %s gave up later than guest %s", b.Name, a.Name), record.From(ea[0]).To(eb[0]), "s", window, ea[0], eb[0])
		if v.Outcome == record.Refuted && record.From(claim.Cut(f)).To(eb[0]).Hi >= 6*tb { // its own retries, and a reset less
			v.Outcome = record.Inconclusive
		}
		return v
	},
})

// waited is what Linux says of the first command that it gave up: for how long it had, which is 6 timeouts (drivers/scsi/scsi_lib.c,
// scsi_cmd_runtime_exceeced: the retries allowed and one, times the timeout).
func waited(run record.Run, guest drivers.Lane) (seconds float64, at record.Moment, ok bool) {
	for _, m := range run.Events(guest, "kmsg", "") {
		if _, rest, found := strings.Cut(m.Text, "timing out command, waited "); found {
			if n, err := strconv.Atoi(strings.TrimSuffix(rest, "s")); err == nil {
				return float64(n), m, true
			}
		}
	}
	return 0, at, false
}

// extremes returns the guests with the shortest and the longest timeout, and those in seconds.
func extremes(run record.Run) (a, b drivers.Lane, ta, tb float64) {
	for _, g := range run.Guests() {
		t, ok := claim.SCSITimeout(run, g)
		if !ok {
			continue
		}
		if ta == 0 || t < ta {
			a, ta = g, t
		}
		if t > tb {
			b, tb = g, t
		}
	}
	return a, b, ta, tb
}
