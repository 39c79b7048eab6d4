// Claim E10: two targets behave alike.

package apd

import (
	"fmt"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.RegisterAcross(claim.Across{
	ID: "targets.behave-alike", Title: "What an outage does does not depend on which target it is", Labels: []string{"apd", "pdl"},
	Source: record.Source{Doc: "S1", Code: "E10", JA: "FreeNASとNAS4Free両方同じ条件で確認したものの差はなかったので以下で紹介するのは両OS共通です",
		EN:   "FreeNAS and NAS4Free were both checked under the same conditions, and there was no difference, so what follows holds for both.",
		Note: "one run with each target, same kind of host and profile: every claim that two of them have a verdict on has the same; N is the number of claims"},
	Judge: alike,
})

// alike tells whether the runs have the same verdicts. One that could not decide says neither.
func alike(rows []claim.Compared) record.Verdict {
	var differ, open []string
	n := 0
	for _, c := range rows {
		if c.Not != "" {
			continue
		}
		outcomes := map[record.Outcome]bool{}
		for _, row := range c.Rows {
			if row.K != "" {
				outcomes[row.Outcome] = true
			}
		}
		switch {
		case outcomes[record.Confirmed] && outcomes[record.Refuted]:
			differ = append(differ, c.Claim)
		case outcomes[record.Inconclusive]:
			open = append(open, c.Claim)
			continue
		}
		n++
	}
	v := record.Verdict{N: n}
	switch {
	case len(differ) > 0:
		v.Outcome, v.Why = record.Refuted, fmt.Sprintf("%d of %d claims differ: %s", len(differ), n, strings.Join(differ, ", "))
	case len(open) > 0:
		v.Outcome, v.Why = record.Inconclusive, fmt.Sprintf("%d claims are alike, and one target or the other is undecided on %s", n, strings.Join(open, ", "))
	case n == 0:
		v.Outcome, v.Why = record.Inconclusive, "no claim was judged with two of them"
	default:
		v.Outcome, v.Why = record.Confirmed, fmt.Sprintf("all %d claims have the same verdict", n)
	}
	return v
}
