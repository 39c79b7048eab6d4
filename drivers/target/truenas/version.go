// This file knows which version has which API.

package truenas

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The generations of the API, as lab files name them.
const (
	apiV1  = "v1"      // REST v1.0: FreeNAS 9 to 11.3 (gone in tag TN-12.0: no gui/api)
	apiV2  = "v2"      // REST v2.0: 11.0 to 25.10 (gone in tag TS-26.0.0-BETA.3: no restful.py)
	apiRPC = "jsonrpc" // JSON-RPC 2.0 over a WebSocket: from 25.04 on
)

func knownAPI(name string) bool { return slices.Contains([]string{"", apiV1, apiV2, apiRPC}, name) }

// version is what a system says it is.
type version struct {
	text         string // in its own words
	product      string // FreeNAS, TrueNAS, TrueNAS-SCALE
	major, minor int
}

// versionNumber finds the first number with a point in it: "FreeNAS-11.0-RC (ad90a865b)", "TrueNAS-SCALE-24.10.2".
var versionNumber = regexp.MustCompile(`^([A-Za-z][A-Za-z-]*?)?-?(\d{1,3})\.(\d{1,3})`)

// parseVersion reads a version as the system writes it.
func parseVersion(text string) (version, error) {
	text = strings.TrimSpace(text)
	m := versionNumber.FindStringSubmatch(text)
	if m == nil {
		return version{}, fmt.Errorf("%.80q is not the version of a FreeNAS or TrueNAS", text)
	}
	v := version{text: strings.ToValidUTF8(text[:min(len(text), 200)], "?"), product: m[1]}
	if v.product == "" {
		v.product = "TrueNAS"
	}
	v.major, _ = strconv.Atoi(m[2]) // at most three digits
	v.minor, _ = strconv.Atoi(m[3])
	if v.major < 9 {
		return version{}, fmt.Errorf("version %q is older than any that is known here", v.text)
	}
	return v, nil
}

func (v version) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// apis lists the generations that the version has, the one to use first. 11.0's v2.0 takes arrays for bodies and was not
// documented, so v1.0 goes before it.
func (v version) apis() []string {
	switch {
	case !v.atLeast(11, 0):
		return []string{apiV1}
	case !v.atLeast(11, 1):
		return []string{apiV1, apiV2}
	case !v.atLeast(12, 0):
		return []string{apiV2, apiV1}
	case !v.atLeast(25, 4):
		return []string{apiV2}
	case !v.atLeast(26, 0):
		return []string{apiRPC, apiV2}
	}
	return []string{apiRPC}
}

// choose returns the generation to use, or an *otherGeneration.
func (v version) choose(want string) (string, error) {
	has := v.apis()
	if want == "" {
		return has[0], nil
	}
	if slices.Contains(has, want) {
		return want, nil
	}
	return "", &otherGeneration{v, want}
}

// otherGeneration says that the lab file names an API that the system does not have.
type otherGeneration struct {
	version version
	want    string
}

func (e *otherGeneration) Error() string {
	return fmt.Sprintf("the lab file says api: %s, and %s has %s", e.want, e.version.text, strings.Join(e.version.apis(), " and "))
}

// errNoAPI is what a server gives that has none of the APIs.
var errNoAPI = errors.New("it answers, and has neither /api/versions nor /api/v2.0 nor /api/v1.0")

// errNotTold is what a version gives that does not tell something.
var errNotTold = errors.New("this version does not tell")
