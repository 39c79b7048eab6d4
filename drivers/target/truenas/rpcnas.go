// This file drives the service by JSON-RPC: 25.04 by service.start and service.stop, 25.10 on by the job service.control.

package truenas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

func (r *rpc) version(ctx context.Context) (string, error) {
	b, err := r.call(ctx, "system.version")
	if err != nil {
		return "", err
	}
	return decode[string](b)
}

func (r *rpc) service(ctx context.Context) (service, error) {
	b, err := r.call(ctx, "service.query", []any{[]any{"service", "=", serviceName}}, map[string]any{"get": true})
	if err != nil {
		return service{}, err
	}
	return readService(b)
}

// serviceTimeout is what service.control is told to take at most, in seconds: its own default (tag TS-25.10.0,
// api/v25_10_0/service.py, ServiceOptions).
const serviceTimeout = 120

// control asks for a start or a stop, not silently: a failure then has a reason. Its answer is not heeded.
func (r *rpc) control(ctx context.Context, start bool) error {
	verb, method := "STOP", "service.stop"
	if start {
		verb, method = "START", "service.start"
	}
	if !r.has.atLeast(25, 10) {
		_, err := r.call(ctx, method, serviceName, map[string]any{"silent": false})
		return err
	}
	b, err := r.call(ctx, "service.control", verb, serviceName, map[string]any{"silent": false, "timeout": serviceTimeout})
	if err != nil {
		return err
	}
	id, err := decode[int](b)
	if err != nil {
		return nil // no job's id: what became of it is looked at anyway
	}
	return r.await(ctx, id)
}

// jobError is a job that ended badly.
type jobError struct{ state, text string }

func (e *jobError) Error() string { return fmt.Sprintf("the job ended as %s: %s", e.state, e.text) }

// await waits until a job has ended (tag TS-25.10.0, job.py).
func (r *rpc) await(ctx context.Context, id int) error {
	for {
		b, err := within(ctx, r.t.quick, func(ctx context.Context) (json.RawMessage, error) {
			return r.call(ctx, "core.get_jobs", []any{[]any{"id", "=", id}})
		})
		if err != nil {
			return err
		}
		state, text, err := readJob(b)
		switch {
		case err != nil:
			return err
		case state == "SUCCESS":
			return nil
		case state == "FAILED" || state == "ABORTED":
			return &jobError{state, r.web.login.quote(text)}
		}
		if !drivers.Wait(ctx, r.t.poll) {
			return context.Cause(ctx)
		}
	}
}

// readJob reads the answer of core.get_jobs for one job.
func readJob(b []byte) (state, text string, err error) {
	list, err := decode[[]struct {
		State string `json:"state"`
		Error string `json:"error"`
	}](b)
	if err != nil {
		return "", "", err
	}
	if len(list) != 1 {
		return "", "", fmt.Errorf("%w: %d jobs instead of one", errForm, len(list))
	}
	return list[0].State, list[0].Error, nil
}

func (r *rpc) reboot(ctx context.Context) error {
	_, err := r.call(ctx, "system.reboot", rebootReason, map[string]any{"delay": 0})
	return err
}

// boot asks 25.10 without a login, since that is how it is known soonest after a boot.
func (r *rpc) boot(ctx context.Context) (boot, error) {
	if r.has.atLeast(25, 10) {
		b, err := r.web.do(ctx, nobody, http.MethodGet, "/api/boot_id", nil)
		if err != nil {
			return boot{}, err
		}
		return readBootID(b)
	}
	b, err := r.call(ctx, "system.reboot.info")
	if err != nil {
		return boot{}, err
	}
	return readBootID(b)
}

func (r *rpc) sessions(ctx context.Context) ([]session, error) {
	b, err := r.call(ctx, "iscsi.global.sessions")
	if noMethod(err) {
		return nil, errNotTold
	}
	if err != nil {
		return nil, err
	}
	return readSessions(b)
}

func (r *rpc) layout(ctx context.Context) (layout, error) {
	var bodies [4][]byte
	for i, method := range []string{"iscsi.global.config", "iscsi.target.query", "iscsi.extent.query", "iscsi.targetextent.query"} {
		var err error
		if bodies[i], err = r.call(ctx, method); err != nil {
			return layout{}, err
		}
	}
	return readLayout(bodies[0], bodies[1], bodies[2], bodies[3])
}

func noMethod(err error) bool {
	var e *rpcError
	return errors.As(err, &e) && e.Code == codeNoMethod
}

// stamp writes a time for an undo, and age reads how long ago it was; without one it was long ago.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func age(text string) time.Duration {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 1<<63 - 1
	}
	return max(0, time.Since(t))
}
