// This file works out from a disk's own counters how busy it was.

package resident

import (
	"encoding/binary"
	"errors"
	"time"
)

// diskTimes is one reading of a disk's counters.
type diskTimes struct {
	idle  time.Duration // without any outstanding request, since the counters were enabled
	stamp time.Duration // when the counters were read, on the system's clock, which can be set
	taken int64         // the same on the guest's monotonic clock, ns
}

// performanceSize is the size of DISK_PERFORMANCE (winioctl.h) in bytes, on 64-bit Windows. Its numbers of 64 bits are counted
// in units of 100 ns; of them IdleTime stands at 32 and QueryTime, the system time of the reading, at 56.
const (
	performanceSize = 88
	idleTimeAt      = 32
	queryTimeAt     = 56
	hundredNS       = 100 * time.Nanosecond
)

// readPerformance reads a DISK_PERFORMANCE that was taken at a moment of the monotonic clock.
func readPerformance(b []byte, taken int64) (diskTimes, error) {
	if len(b) < queryTimeAt+8 {
		return diskTimes{}, errors.New("the disk's counters are too short")
	}
	idle, stamp := int64(binary.LittleEndian.Uint64(b[idleTimeAt:])), int64(binary.LittleEndian.Uint64(b[queryTimeAt:]))
	if idle < 0 || stamp <= 0 {
		return diskTimes{}, errors.New("the disk's counters make no sense")
	}
	// Since 1601 there are more nanoseconds than a Duration holds: only differences count, so the upper part may go.
	const day = int64(24 * time.Hour / hundredNS)
	return diskTimes{idle: time.Duration(idle) * hundredNS, stamp: time.Duration(stamp%(100000*day)) * hundredNS, taken: taken}, nil
}

// clockSlack is how far the system's clock may be from the monotonic one between two readings, before it is taken to have
// been set. The system time of a reading is about 10 ms coarse (ntdddisk.h, DISK_PERFORMANCE), and the call takes its time.
const clockSlack = 100 * time.Millisecond

// busyPercent is how much of the time between two readings the disk was busy, 0 to 100.
func busyPercent(before, after diskTimes) (float64, bool) {
	mono := time.Duration(after.taken - before.taken)
	span := after.stamp - before.stamp
	if (span - mono).Abs() > clockSlack {
		span = mono
	}
	if span <= 0 || after.idle < before.idle {
		return 0, false
	}
	return 100 * min(max(1-float64(after.idle-before.idle)/float64(span), 0), 1), true
}
