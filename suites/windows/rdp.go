// Claims W3 and W4: new RDP connections fail, one from before lives on.

package windows

import (
	"fmt"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// stages are how far a new connection may come without being one, the first of them the least.
var stages = []string{"refused", "silent", "x224", "tls"}

var _ = claim.Register(claim.Claim{
	ID: "guest.windows.new-rdp-fails", Title: "A new RDP connection cannot be made while the disk is away", Labels: []string{"apd", "windows", "rdp"},
	Source: record.Source{Doc: "S1", Code: "W3", JA: "iSCSIが切断している状態でRDP接続を開始すると反応できないので当然繋がりません",
		EN:   "If an RDP connection is begun while iSCSI is cut it cannot respond, so naturally it does not connect.",
		Note: "before the outage a new connection logged on, and in it each ends before that; the stage that it reached is told, for TCP accepts what Windows cannot answer. Credentials that are still checked are no desktop yet: only a session refutes"},
	In: scenario.WindowsOutage,
	Judge: func(run record.Run) record.Verdict {
		return claim.EachWindows(run, func(g drivers.Lane) record.Verdict {
			outage := run.During(run.Fault())
			if len(run.States(g, "rdp.new")) == 0 {
				return claim.Unsure("nobody tried")
			}
			if _, was := run.Before(run.Fault().Begin).Ever(g, "rdp.new", "logon"); !was {
				return claim.Unsure("no new connection logged on before the outage either")
			}
			short, was := outage.Ever(g, "rdp.new", stages...)
			if !was {
				m, _ := outage.Ever(g, "rdp.new", "logon")
				return loggedOn("new connections logged on all the while", m)
			}
			if m, on := outage.After(short).Ever(g, "rdp.new", "logon"); on {
				return loggedOn("a new connection logged on in the outage", m)
			}
			return claim.Confirm(fmt.Sprintf("new connections did not get further than that: %s", short.What), short)
		})
	},
})

// loggedOn refutes, unless the probe went no further than the credentials.
func loggedOn(what string, at record.Moment) record.Verdict {
	if at.Attrs["depth"] == "credentials" {
		return claim.Unsure("credentials were checked in the outage, which is no desktop yet: look with logon: session", at)
	}
	return claim.Refute(what, at)
}

var _ = claim.Register(claim.Claim{
	ID: "guest.windows.held-rdp-survives", Title: "An RDP session from before stays up", Labels: []string{"apd", "windows", "rdp"},
	Source: record.Source{Doc: "S1", Code: "W4", JA: "切断前にRDP接続していれば接続も維持されたままで",
		EN:   "If RDP was connected before the cut, the connection too is kept up",
		Note: "it is not dropped in the outage, nor by the recovery"},
	In: scenario.WindowsOutage,
	Judge: func(run record.Run) record.Verdict {
		return claim.EachWindows(run, func(g drivers.Lane) record.Verdict {
			before := run.Before(run.Fault().Begin)
			if _, was := before.Ever(g, "rdp.held", "connected"); !was {
				return claim.Unsure("no session was held before")
			}
			if m, was := run.Ever(g, "rdp.held", "dropped"); was && strings.Contains(m.Text, "OTHERCONNECTION") { // ERRINFO_DISCONNECTED_BY_OTHERCONNECTION
				return claim.Unsure("another session took its place, which is not the outage's doing", m)
			}
			return claim.Never(run, g, "rdp.held", "dropped")
		})
	},
})
