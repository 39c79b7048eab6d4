// This file has the dead-man timer: what the far side does by itself when nobody comes back to undo a change.

package farside

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// timers are the shell functions of the dead-man timer. The action stands in a file of its own, so that neither systemd (which
// expands $ and % in a command) nor a second shell reads it as anything else. Without systemd a shell waits, and it kills its sleep
// when it is ended. A process is only taken for a timer when its arguments have the timer's name: numbers are used again.
const timers = `apd_run=/var/run
apd_sd() { [ -d /run/systemd/system ] && command -v systemd-run >/dev/null 2>&1; }
apd_armed() {
	if apd_sd; then
		systemctl is-active --quiet "$1.timer" 2>/dev/null
		return
	fi
	apd_p=$(cat "$apd_run/$1.pid" 2>/dev/null) || return 1
	case $apd_p in '' | *[!0-9]*) return 1 ;; esac
	case $(ps -ww -p "$apd_p" -o args= 2>/dev/null) in *"$1"*) return 0 ;; esac
	return 1
}
apd_arm() {
	umask 077
	cat >"$apd_run/$1.sh" || return 1
	echo "rm -f '$apd_run/$1.sh' '$apd_run/$1.pid'" >>"$apd_run/$1.sh" || return 1
	if apd_sd; then
		systemd-run --quiet --unit="$1" --on-active="$2" --timer-property=AccuracySec=100ms /bin/sh "$apd_run/$1.sh" || return 1
	else
		nohup /bin/sh -c 'trap "kill \$s 2>/dev/null; exit 0" TERM; sleep "$2" & s=$!; wait "$s"; exec /bin/sh "$1"' \
			"$1" "$apd_run/$1.sh" "$2" >/dev/null 2>&1 </dev/null &
		echo $! >"$apd_run/$1.pid" || return 1
	fi
	for apd_i in 1 2 3 4 5; do
		apd_armed "$1" && return 0
		sleep 0.1 2>/dev/null || sleep 1
	done
	return 1
}
apd_disarm() {
	if ! apd_armed "$1"; then
		rm -f "$apd_run/$1.sh" "$apd_run/$1.pid"
		return 1
	fi
	if apd_sd; then systemctl stop "$1.timer" || return 1; else kill "$apd_p" || return 1; fi
	rm -f "$apd_run/$1.sh" "$apd_run/$1.pid"
}
`

// Bounds of a timer, in seconds: a shorter one could fire while it is armed, a longer one is no safety.
const (
	LeastSeconds   = 1
	MostSeconds    = 24 * 3600
	DefaultSeconds = 120
)

// slack is how much later than asked a timer may fire: systemd's accuracy, and the start of a shell.
const slack = time.Second

var timerID = regexp.MustCompile(`^apd-[a-z]{1,16}-[0-9a-f]{8}$`)

// NewTimer returns the name of a timer that nobody else has; kind is a short word of small letters.
func NewTimer(kind string) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it does not fail
	return "apd-" + kind + "-" + hex.EncodeToString(b[:])
}

// IsTimer tells whether a text out of a journal can be a timer's name: it is about to stand in a shell script.
func IsTimer(id string) bool { return timerID.MatchString(id) }

// Seconds returns a configuration's seconds, or the default.
func Seconds(n int) (int, error) {
	switch {
	case n == 0:
		return DefaultSeconds, nil
	case n < LeastSeconds || n > MostSeconds:
		return 0, fmt.Errorf("seconds is %d, and has to be from %d to %d", n, LeastSeconds, MostSeconds)
	}
	return n, nil
}

// Arm makes the far side run a shell script by itself after so many seconds, and returns when it will have run at the latest.
func (h *Host) Arm(ctx context.Context, bound time.Duration, id string, seconds int, action string) (time.Time, error) {
	const end = "APD_END_OF_ACTION"
	if !IsTimer(id) || strings.Contains(action, end) {
		return time.Time{}, fmt.Errorf("%q is no timer that can be armed", id)
	}
	body := fmt.Sprintf("apd_arm %s %d <<'%s' || { apd_disarm %[1]s; exit 1; }\n%[4]s\n%[3]s\necho armed", id, seconds, end, action)
	out, err := h.Script(ctx, bound, body)
	if err == nil && !strings.HasSuffix(out, "armed") {
		err = errors.New("the far side does not say that its timer runs")
	}
	if err != nil { // it may run all the same, and then does no more than an undo does
		return time.Time{}, fmt.Errorf("arming the dead-man timer: %w", err)
	}
	return time.Now().Add(time.Duration(seconds)*time.Second + slack).Round(0), nil
}

// Disarm stops a timer that somebody thought better of; it also works when ctx has ended.
func (h *Host) Disarm(ctx context.Context, bound time.Duration, id string) error {
	if !IsTimer(id) {
		return fmt.Errorf("%q is no timer's name", id)
	}
	_, err := h.Script(context.WithoutCancel(ctx), bound, "apd_disarm "+id+" || :")
	return err
}
