// This file sums up what was read back of the acknowledged-write log.

package watch

import (
	"fmt"
	"strconv"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// sumUp adds the results of all files and names those that are damaged.
func sumUp(files []agent.LogFile, results []agent.FileResult) (drivers.Observation, error) {
	if len(results) != len(files) {
		return drivers.Observation{}, fmt.Errorf("the agent checked %d of %d files", len(results), len(files))
	}
	var acked, found, missing, corrupt, disorder uint64
	text := ""
	for i, r := range results {
		if r.Error != "" {
			return drivers.Observation{}, fmt.Errorf("%s: %s", r.Path, r.Error)
		}
		acked += files[i].Acked
		found += r.Found
		missing += r.Missing
		corrupt += r.Corrupt
		disorder += r.Disorder
		if r.Missing+r.Corrupt+r.Disorder > 0 {
			text += fmt.Sprintf("%s: acknowledged %d, found %d, missing %d, corrupt %d, out of order %d, last %d\n",
				r.Path, r.Acked, r.Found, r.Missing, r.Corrupt, r.Disorder, r.Last)
		}
	}
	value := "intact"
	if text != "" {
		value = "damaged"
	}
	dec := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return drivers.Observation{Topic: "acklog", Value: value, Text: text, Attrs: map[string]string{
		"acked": dec(acked), "found": dec(found), "missing": dec(missing), "corrupt": dec(corrupt),
		"disorder": dec(disorder), "files": strconv.Itoa(len(files)),
	}}, nil
}
