// Claims E7, E8 and E9: when the state "all paths down" times out.

package apd

import (
	"fmt"
	"strconv"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

const apdJA, apdEN = "最初のアクセスが失われて回復処理進行中の後140秒後に「すべてのパスがダウンしています」状態から「すべてのパスがダウンしてタイムアウトしました」状態になりますがこの140秒はMisc.APDTimeoutで設定できます",
	"140 seconds after the first 'access lost, recovery in progress' the state goes from 'all paths down' to 'all paths down, timed out'; these 140 seconds can be set by Misc.APDTimeout."

// apdTolerance is how far the interval may be from the setting, in seconds: the documents give whole seconds, and hosts look at
// their timers now and then.
const apdTolerance = 3.0

// apdTimeout judges the interval between a host's two events against the value that was in force.
func apdTimeout(run record.Run, f record.Fault, host drivers.Lane, setting float64) record.Verdict {
	if on, ok := run.Setting(host, "Misc.APDHandlingEnable"); ok && on == "0" {
		return claim.Unsure("Misc.APDHandlingEnable is 0, so that there is no APD timeout")
	}
	outage := run.Between(f.Begin.Lo, f.Undo.Lo)
	start := claim.Logged(outage, host, claim.APDStartEvent)
	if len(start) == 0 {
		if v := claim.NotLogged(outage, host, claim.APDStartEvent); v.Outcome != record.Confirmed {
			return v
		}
		return claim.Refute("its event log has no start of an APD", f.Active)
	}
	if end := claim.Logged(outage.After(start[0]), host, claim.APDTimeoutEvent); len(end) > 0 {
		return claim.Measure("from the APD's start to its timeout", record.From(start[0]).To(end[0]), "s",
			claim.Within(setting-apdTolerance, setting+apdTolerance, fmt.Sprintf("Misc.APDTimeout %.0f s", setting)), start[0], end[0])
	}
	if held := record.From(start[0]).To(f.Undo); held.Lo <= setting+apdTolerance {
		return claim.Unsure(fmt.Sprintf("the outage ended %.0f s after the APD's start, too early for a timeout of %.0f s", held.Lo, setting), start[0], f.Undo)
	}
	if v := claim.NotLogged(outage, host, claim.APDTimeoutEvent); v.Outcome != record.Confirmed {
		return v
	}
	return claim.Refute(fmt.Sprintf("no timeout of the APD came, though it lasted for longer than %.0f s", setting), start[0], f.Undo)
}

var _ = claim.Register(claim.Claim{
	ID: "esxi.apd-timeout-after-apdtimeout", Title: "After Misc.APDTimeout the state 'all paths down' times out", Labels: []string{"apd", "host", "events"},
	Source: record.Source{Doc: "S1", Code: "E7", JA: apdJA, EN: apdEN, Note: "the time between the host's two events is what Misc.APDTimeout says, 3 s more or less"},
	Where:  claim.Platform{Hosts: []string{"esxi"}}, In: scenario.LongOutage,
	Judge: func(run record.Run) record.Verdict {
		return claim.EachHost(run, func(host drivers.Lane) record.Verdict {
			setting, ok := claim.HostSeconds(run, host, "Misc.APDTimeout")
			if !ok {
				return claim.Unsure("its Misc.APDTimeout was not read")
			}
			return apdTimeout(run, run.Fault(), host, setting)
		})
	},
})

var _ = claim.Register(claim.Claim{
	ID: "esxi.apd-timeout-follows-setting", Title: "Misc.APDTimeout can be changed, and the timeout follows it", Labels: []string{"apd", "host", "events", "tune"},
	Source: record.Source{Doc: "S1", Code: "E8", JA: apdJA, EN: apdEN,
		Note: "another value is set through the API before the outage; the time between the two events is that value, 3 s more or less; afterwards the old one is set and read back"},
	Where: claim.Platform{Hosts: []string{"esxi"}}, In: scenario.ChangedAPDTimeout,
	Judge: func(run record.Run) record.Verdict {
		return claim.EachHost(run, func(host drivers.Lane) record.Verdict {
			tuned, back := run.Events(host, "setting", "tuned"), run.Events(host, "setting", "put-back")
			if len(tuned) == 0 {
				return claim.Unsure("no other value was set")
			}
			value, err := strconv.ParseFloat(tuned[0].Attrs["value"], 64)
			if err != nil {
				return claim.Unsure("the value that was set is not known", tuned[0])
			}
			v := apdTimeout(run, run.Fault(), host, value)
			switch {
			case len(back) == 0:
				return claim.Join(v, claim.Unsure("it was not seen that the old value is set again"))
			case back[0].Attrs["value"] != back[0].Attrs["old"]:
				return claim.Join(v, claim.Refute("the old value could not be set again: it is "+back[0].Attrs["value"], back[0]))
			}
			return v
		})
	},
})

var _ = claim.Register(claim.Claim{
	ID: "esxi.no-apd-timeout-before-its-time", Title: "An outage shorter than Misc.APDTimeout never times out", Labels: []string{"apd", "host", "events"},
	Source: record.Source{Doc: "S1", Code: "E9", JA: apdJA, EN: apdEN, Note: "implied: an outage that ends before the timeout logs none, and the datastore never shows it"},
	Where:  claim.Platform{Hosts: []string{"esxi"}}, In: scenario.BriefOutage,
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		gone := record.From(claim.Cut(f)).To(f.End)
		return claim.EachHost(run, func(host drivers.Lane) record.Verdict {
			setting, ok := claim.HostSeconds(run, host, "Misc.APDTimeout")
			if !ok {
				return claim.Unsure("its Misc.APDTimeout was not read")
			}
			if gone.Hi >= setting {
				return claim.Unsure(fmt.Sprintf("the outage of up to %.0f s was no shorter than Misc.APDTimeout, %.0f s", gone.Hi, setting), f.Active, f.End)
			}
			since := run.Between(f.Begin.Lo, run.To)
			if len(run.States(host, "path")) > 0 {
				if _, back := run.After(f.Undo).Ever(host, "path", "online"); !back { // for the host the outage went on
					since = run.Between(f.Begin.Lo, f.End.Hi)
				}
			}
			return claim.Join(claim.NotLogged(since, host, claim.APDTimeoutEvent), claim.Never(since, host, "apd", "apd-timeout"))
		})
	},
})
