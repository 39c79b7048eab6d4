// This file reads what a Redfish controller answers, and says what its errors mean.

package power

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"github.com/stmcginnis/gofish/common"
	"github.com/stmcginnis/gofish/redfish"

	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

// notOne says that a name does not mean one system.
type notOne struct {
	what  string
	names []string // those that there are, or that are meant
	meant int
}

func (e *notOne) Error() string {
	return fmt.Sprintf("%d systems are meant by %q, of %s", e.meant, e.what, strings.Join(e.names, ", "))
}

// choose picks the system that a lab file names; without a name there may be one only.
func choose(all []*redfish.ComputerSystem, what string) (*redfish.ComputerSystem, error) {
	var found []*redfish.ComputerSystem
	e := &notOne{what: what}
	for _, s := range all {
		e.names = append(e.names, plain(s.ID, ""))
		if what == "" || slices.Contains([]string{s.ID, s.ODataID, s.Name, s.HostName, s.UUID, s.SerialNumber}, what) {
			found = append(found, s)
		}
	}
	if e.meant = len(found); e.meant != 1 {
		return nil, e
	}
	return found[0], nil
}

// answered is an answer that says no.
type answered struct {
	status int
	words  string
}

func (e *answered) Error() string {
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", e.status, e.words))
}

func httpStatus(err error) int {
	var e *common.Error
	var a *answered
	switch {
	case errors.As(err, &e):
		return e.HTTPReturnedStatusCode
	case errors.As(err, &a):
		return a.status
	}
	return 0
}

// tidy makes an error short: the library's has the whole answer in it.
func (b *redfishBMC) tidy(err error) error {
	var all *common.CollectionError
	if errors.As(err, &all) {
		for _, one := range all.Failures { // one says as much as all
			return b.tidy(one)
		}
	}
	var e *common.Error
	if !errors.As(err, &e) {
		return err
	}
	words := e.Message
	if len(e.ExtendedInfos) > 0 && e.ExtendedInfos[0].Message != "" {
		words = e.ExtendedInfos[0].Message
	}
	return &answered{e.HTTPReturnedStatusCode, plain(words, b.password)}
}

func (b *redfishBMC) blame(err error) outcome {
	var bad *tlstrust.Untrusted
	var which *notOne
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &bad):
		return outcome{"the certificate of " + b.at + " is not trusted", bad.Do("the controller's", "its own page shows it")}
	case errors.As(err, &which):
		return outcome{"it cannot be told which system is the target", "Write redfish.system and the Id of one"}
	case errors.Is(err, errLogin), httpStatus(err) == http.StatusUnauthorized:
		return outcome{fmt.Sprintf("the controller at %s does not let %q in", b.at, b.user), "Correct redfish.user and password_file; too many sessions may be open too"}
	case httpStatus(err) == http.StatusForbidden:
		return outcome{fmt.Sprintf("the controller does not let %q do that", b.user), "Give the user a role that may reset the system (ConfigureComponents)"}
	case httpStatus(err) == http.StatusNotFound, errors.As(err, &syntax):
		return outcome{"there is no Redfish at " + b.at, "Correct redfish.url, or use ipmi"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return outcome{"nothing listens at " + b.at, "Correct redfish.url, or switch Redfish on there"}
	}
	return outcome{"the controller at " + b.at + " cannot be worked with", "Look at " + b.endpoint + "/redfish/v1/ by hand"}
}

// statusOf reads a PowerState (DSP2046, Resource.PowerState).
func statusOf(word string) (status, error) {
	s := status{word: word}
	switch redfish.PowerState(word) {
	case redfish.OnPowerState, redfish.PausedPowerState:
		s.on, s.sure = true, true
	case redfish.OffPowerState:
		s.sure = true
	case redfish.PoweringOffPowerState:
		s.on = true
	case redfish.PoweringOnPowerState:
	default:
		return s, fmt.Errorf("the controller says of the power: %q", plain(word, ""))
	}
	return s, nil
}

// resets are the ways to do something, best first. A power cycle takes the power away, which a restart of the machine need not.
var resets = map[action][]redfish.ResetType{
	actOn: {redfish.OnResetType, redfish.ForceOnResetType}, actOff: {redfish.ForceOffResetType},
	actCycle:   {redfish.PowerCycleResetType, redfish.ForceRestartResetType},
	actRestart: {redfish.GracefulRestartResetType}, actShutdown: {redfish.GracefulShutdownResetType},
}

// resetType picks the way; a controller that lists none is taken at its word only when it is asked.
func resetType(a action, listed []redfish.ResetType) (redfish.ResetType, bool) {
	if len(listed) == 0 && a == actCycle {
		return redfish.ForceRestartResetType, true // more have it than a power cycle
	} else if len(listed) == 0 {
		return resets[a][0], true
	}
	for _, r := range resets[a] {
		if slices.Contains(listed, r) {
			return r, true
		}
	}
	return "", false
}
