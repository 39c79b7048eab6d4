// This file has the errors of the contract.

package drivers

import "errors"

// Operator is an error for the person who runs the lab: the cause, what it means for the run, and what to do.
type Operator struct {
	Cause  string
	Impact string
	Do     string
	Err    error
}

// Error joins cause, impact and remedy into one sentence each.
func (e *Operator) Error() string {
	s := e.Cause
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Impact != "" {
		s += ". " + e.Impact
	}
	if e.Do != "" {
		s += ". " + e.Do
	}
	return s
}

// Unwrap returns the underlying error.
func (e *Operator) Unwrap() error { return e.Err }

// ErrStillRunning is what a VMPower returns whose task has not ended in time.
var ErrStillRunning = errors.New("the task is still running")

// ErrUnknownUndo is what Driver.Undo returns for an Op that is not its own.
var ErrUnknownUndo = errors.New("this driver knows no such undo")
