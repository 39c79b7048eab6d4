// This file speaks REST v1.0 and v2.0.

package truenas

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// v1 is REST v1.0 (tag 11.0-RC, gui/api/resources.py): HTTP Basic, root alone, paths with a slash at their end.
type v1 struct {
	web *web
	has version
}

const serviceV1 = "/api/v1.0/services/services/" + serviceName + "/"

func (a *v1) get(ctx context.Context, path string) ([]byte, error) {
	return a.web.do(ctx, basic, http.MethodGet, path, nil)
}

func (a *v1) service(ctx context.Context) (service, error) {
	b, err := a.get(ctx, serviceV1)
	if err != nil {
		return service{}, err
	}
	return readServiceV1(b)
}

// control sets srv_enable, which is persisted: v1.0 knows no other start or stop (tag 11.0-RC, gui/services/forms.py,
// servicesForm). A start that fails sets it back to false and is answered with 200 all the same.
func (a *v1) control(ctx context.Context, start bool) error {
	_, err := a.web.do(ctx, basic, http.MethodPut, serviceV1, map[string]bool{"srv_enable": start})
	return err
}

func (a *v1) reboot(ctx context.Context) error {
	_, err := a.web.do(ctx, basic, http.MethodPost, "/api/v1.0/system/reboot/", map[string]any{})
	return err
}

// boot asks v2.0, which is there from 11.0 on: v1.0 tells neither uptime nor boot time.
func (a *v1) boot(ctx context.Context) (boot, error) {
	if !a.has.atLeast(11, 0) {
		return boot{}, errNotTold
	}
	b, err := a.get(ctx, "/api/v2.0/system/info")
	if err != nil {
		if status(err) != 0 { // undocumented in 11.0: what it does not answer it does not tell
			return boot{}, errNotTold
		}
		return boot{}, err
	}
	return readInfo(b)
}

func (a *v1) sessions(context.Context) ([]session, error) { return nil, errNotTold }

// layout asks with limit=0, which lifts the default of 20 a page (tag 11.0-RC, gui/api/utils.py).
func (a *v1) layout(ctx context.Context) (layout, error) {
	var bodies [4][]byte
	for i, path := range []string{"globalconfiguration/", "target/?limit=0", "extent/?limit=0", "targettoextent/?limit=0"} {
		var err error
		if bodies[i], err = a.get(ctx, "/api/v1.0/services/iscsi/"+path); err != nil {
			return layout{}, err
		}
	}
	return readLayoutV1(bodies[0], bodies[1], bodies[2], bodies[3])
}

func (a *v1) close() {}

// v2 is REST v2.0 (the tags' middlewared/restful.py).
type v2 struct {
	web *web
	has version
	as  auth
}

func (a *v2) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	return a.web.do(ctx, a.as, method, "/api/v2.0/"+path, body)
}

// arrays tells that a body is the array of a method's arguments (tag 11.0-RC, restful.py, do): an object would pass its
// keys.
func (a *v2) arrays() bool { return !a.has.atLeast(11, 1) }

func (a *v2) service(ctx context.Context) (service, error) {
	b, err := a.call(ctx, http.MethodGet, "service?service="+serviceName, nil)
	if err != nil {
		return service{}, err
	}
	return readService(b)
}

// control ignores the answer: up to 24.10 false is what a stop gives that worked, from 25.04 on true.
func (a *v2) control(ctx context.Context, start bool) error {
	path := "service/stop"
	if start {
		path = "service/start"
	}
	var body any = map[string]any{"service": serviceName}
	if a.arrays() {
		body = []any{serviceName}
	}
	_, err := a.call(ctx, http.MethodPost, path, body)
	return err
}

// rebootReason is what 25.04 and later want to be told.
const rebootReason = "allpathsdown: a reboot under test"

func (a *v2) reboot(ctx context.Context) error {
	var body any = map[string]any{}
	switch {
	case a.arrays():
		body = []any{map[string]any{"delay": 0}}
	case a.has.atLeast(25, 4):
		body = map[string]any{"reason": rebootReason, "options": map[string]any{}}
	}
	_, err := a.call(ctx, http.MethodPost, "system/reboot", body)
	return err
}

// boot prefers the boot id, which 25.10 tells to anybody (tag TS-25.10.0, main.py, boot_id_handler).
func (a *v2) boot(ctx context.Context) (boot, error) {
	if a.has.atLeast(25, 10) {
		b, err := a.web.do(ctx, nobody, http.MethodGet, "/api/boot_id", nil)
		if err != nil {
			return boot{}, err
		}
		return readBootID(b)
	}
	b, err := a.call(ctx, http.MethodGet, "system/info", nil)
	if a.arrays() && status(err) != 0 {
		return boot{}, errNotTold
	}
	if err != nil {
		return boot{}, err
	}
	return readInfo(b)
}

// sessions are told from 11.3 on (tag FN-11.3-U5, plugins/iscsi.py).
func (a *v2) sessions(ctx context.Context) ([]session, error) {
	b, err := a.call(ctx, http.MethodGet, "iscsi/global/sessions", nil)
	if status(err) == http.StatusNotFound {
		return nil, errNotTold
	}
	if err != nil {
		return nil, err
	}
	return readSessions(b)
}

// layout asks v1.0 before 11.2, whose v2.0 has no iscsi.
func (a *v2) layout(ctx context.Context) (layout, error) {
	if !a.has.atLeast(11, 2) {
		return (&v1{a.web, a.has}).layout(ctx)
	}
	var bodies [4][]byte
	for i, path := range []string{"iscsi/global", "iscsi/target", "iscsi/extent", "iscsi/targetextent"} {
		var err error
		if bodies[i], err = a.call(ctx, http.MethodGet, path, nil); err != nil {
			return layout{}, err
		}
	}
	return readLayout(bodies[0], bodies[1], bodies[2], bodies[3])
}

func (a *v2) close() {}

// refused tells an answer that says no from one that never came: after the latter the change may have been made.
func refused(err error) bool {
	var r *rpcError
	return status(err)/100 == 4 || errors.As(err, &r) && r.Code != codeTooMany || errors.Is(err, errAccess)
}

// errAccess is matched by a login that was refused.
var errAccess = errors.New("the login was refused")

// accessError says how a login was refused, in the system's own word.
type accessError struct{ word string }

func (e *accessError) Error() string { return fmt.Sprintf("the login was refused: %s", e.word) }
func (e *accessError) Is(err error) bool {
	return err == errAccess
}
