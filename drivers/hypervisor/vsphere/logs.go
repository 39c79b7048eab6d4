// This file reads the host's logs for lines about storage.

package vsphere

import (
	"github.com/allpathsdown/allpathsdown/drivers/lookout"

	"context"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// logKeys are the logs that say something about storage.
var logKeys = []string{"vmkernel", "hostd", "vobd"}

// aboutStorage matches the lines that are worth keeping.
var aboutStorage = regexp.MustCompile(`\bAPD\b|APD_|[iI](?i:scsi).*\b(?:OFFLINE|ONLINE)\b|ScsiDeviceIO|\bNMP\b|\bHBX\b|StorageApdHandler|Lost access|(?i:\blink(?:state)?\b.*\b(?:up|down|flapping)\b)|All Paths Down`)

const (
	logLines  = 500 // at once; a vCenter gives no more, an ESXi 1,000 (govmomi v0.54.1, object/diagnostic_log.go)
	perMinute = 200 // lines told of one log
	restLog   = time.Minute
)

// logWatch follows one log.
type logWatch struct {
	d *Driver
	logTail
	rest  time.Duration
	quota quota
}

// logTail is where the reading of one log stands.
type logTail struct {
	key  string
	next int32 // the number of the next line; 0 when that is not known
}

func (d *Driver) watchLogs(ctx context.Context, r *lookout.Report) {
	var logs []*logWatch
	for _, key := range logKeys {
		logs = append(logs, &logWatch{d: d, logTail: logTail{key: key}})
	}
	r.Watch(ctx, "logs", everyLog, func(ctx context.Context, now func() lookout.Look) error {
		for _, w := range logs {
			if err := w.look(ctx, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// look reads what was added. A log that the host does not give is left alone for a while.
func (w *logWatch) look(ctx context.Context, now func() lookout.Look) error {
	if w.d.env.Clock.Now() < w.rest {
		return nil
	}
	p, err := w.d.find(ctx)
	if err != nil {
		return err
	}
	var lines []string
	err = w.d.api.call(ctx, func(ctx context.Context, v *visit) (err error) {
		lines, err = w.read(ctx, v.Client, p.host)
		return err
	})
	l := now()
	if unsupported(err) || err != nil && (fault.Is(err, &types.NoPermission{}) || fault.Is(err, &types.CannotAccessFile{})) {
		w.d.env.Logf("%s: the host does not give its log %s: %s", w.d.env.ID, w.key, w.d.api.scrub(err.Error()))
		w.rest = l.At + restLog
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the log %s: %w", w.key, err)
	}
	if dropped := w.quota.turn(l.At); dropped > 0 {
		l.Event(w.d.env.Lane, "log", "suppressed", "", map[string]string{"log": w.key, "lines": strconv.Itoa(dropped)})
	}
	for _, line := range lines {
		if aboutStorage.MatchString(line) && w.quota.take() {
			w.at(l, p, line).Event(w.d.env.Lane, "log", w.key, w.d.api.scrub(strings.TrimRight(line, "\r\n")), nil)
		}
	}
	return nil
}

// at is when a line was written: a line begins with the host's time, which is known when the host is asked directly.
func (w *logWatch) at(l lookout.Look, _ *place, line string) lookout.Look {
	if w.direct() {
		if t, ok := lineTime(line); ok {
			if lo, hi, ok := w.d.clock.place(t, l.At); ok {
				return l.Between(lo, hi)
			}
		}
	}
	return l
}

func (w *logWatch) direct() bool {
	v, err := w.d.api.current()
	return err == nil && v != nil && !v.IsVC()
}

// lineTime reads the time at the beginning of a line of a host's log.
func lineTime(line string) (time.Time, bool) {
	first, _, _ := strings.Cut(line, " ")
	t, err := time.Parse(time.RFC3339Nano, first)
	return t, err == nil && t.Year() > 1999 && t.Year() < 2200
}

// read returns the lines that were added since the last read; the first read returns none.
func (w *logTail) read(ctx context.Context, v *vim25.Client, host ref) ([]string, error) {
	if v.ServiceContent.DiagnosticManager == nil {
		return nil, soap.WrapVimFault(&types.NotSupported{})
	}
	browse := func(start, lines int32) (types.DiagnosticManagerLogHeader, error) {
		req := types.BrowseDiagnosticLog{This: *v.ServiceContent.DiagnosticManager, Key: w.key, Start: start, Lines: lines}
		if v.IsVC() {
			req.Host = &host
		}
		res, err := methods.BrowseDiagnosticLog(ctx, v, &req)
		if err != nil {
			return types.DiagnosticManagerLogHeader{}, err
		}
		return res.Returnval, nil
	}
	if w.next == 0 {
		h, err := browse(math.MaxInt32, 1)
		if err == nil {
			h, err = browse(h.LineEnd, logLines)
		}
		if err == nil {
			_, w.next = newLines(h, max(h.LineEnd, 1))
		}
		return nil, err
	}
	h, err := browse(w.next, logLines)
	if err != nil {
		return nil, err
	}
	if h.LineEnd > 0 && h.LineEnd < w.next-1 { // the log was begun anew
		if h, err = browse(1, logLines); err != nil {
			return nil, err
		}
		w.next = 1
	}
	lines, next := newLines(h, w.next)
	w.next = next
	return lines, nil
}

// newLines picks the lines from number next on: asked for lines beyond the end, some servers give the last one again.
func newLines(h types.DiagnosticManagerLogHeader, next int32) ([]string, int32) {
	first := h.LineStart
	if first <= 0 {
		first = next
	}
	old := min(max(int(next)-int(first), 0), len(h.LineText))
	after := int64(first) + int64(len(h.LineText))
	return h.LineText[old:], int32(min(max(after, int64(next)), math.MaxInt32-1))
}

// quota counts lines, so that a log that floods does not flood the record.
type quota struct {
	until         time.Duration
	told, dropped int
}

// turn begins a new minute when it is time, and returns how many lines were dropped in the old one.
func (q *quota) turn(now time.Duration) int {
	if now < q.until {
		return 0
	}
	dropped := q.dropped
	*q = quota{until: now + time.Minute}
	return dropped
}

func (q *quota) take() bool {
	if q.told >= perMinute {
		q.dropped++
		return false
	}
	q.told++
	return true
}
