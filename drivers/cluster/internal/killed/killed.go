// Package killed kills a harness in mid-fault, for the tests of drivers whose system is a stand-in in the test's own process. The
// harness is the test's program once more; it and its guard reach the stand-in over a bridge.
package killed

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	"github.com/allpathsdown/allpathsdown/fixtures/undo"
)

// Runner runs a command of a stand-in.
type Runner interface {
	Run(ctx context.Context, line string, in io.Reader) (string, error)
}

// Stand is a stand-in as its test has it.
type Stand struct {
	Config any               // the driver's, which goes to the other processes as JSON
	Dial   drivers.Dial      // to its systems
	Shells map[string]Runner // its shells that are not reached by dialling
	State  func() string     // how it is, without the driver: equal texts for equal states
	Powers conformance.Options
}

// Open opens the driver in another process than that of the stand-in.
type Open func(config []byte, dial drivers.Dial, shell func(name string) Runner) (drivers.Driver, error)

// What the other processes are told: their folder, which holds the configuration, the bridge's address and the journal; and the
// power that the harness uses.
const (
	envDir   = "APD_KILLED_DIR"
	envPower = "APD_KILLED_POWER"
)

// Main runs a package's tests, or is the harness, or its guard.
func Main(m *testing.M, o Open) {
	dir := os.Getenv(envDir)
	undo.RunGuardIfAsked(func(context.Context, undo.Header) (undo.Opener, error) {
		return func(context.Context, string) (drivers.Driver, error) { return openIn(dir, o) }, nil
	})
	if name := os.Getenv(envPower); name != "" {
		fmt.Fprintln(os.Stderr, harness(dir, name, o))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func openIn(dir string, o Open) (drivers.Driver, error) {
	config, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	b := bridge(filepath.Join(dir, "bridge"))
	return o(config, b.dial, func(name string) Runner { return far{b, name} })
}

// harness breaks something, and waits until it is killed. It returns when that did not work, or when the test is gone.
func harness(dir, name string, o Open) error {
	d, err := openIn(dir, o)
	if err != nil {
		return fmt.Errorf("opening the driver: %w", err)
	}
	j, err := undo.Create(filepath.Join(dir, "journal"), undo.Header{Lab: "killed", Run: name, At: time.Now()})
	if err != nil {
		return err
	}
	guard, err := undo.StartGuard(j.Path(), filepath.Join(dir, "guard.log"))
	if err != nil {
		return err
	}
	defer runtime.KeepAlive(guard) // it mends when its pipe is closed, which the collector would do
	var may conformance.Options
	b, err := os.ReadFile(filepath.Join(dir, "setting.json"))
	if err == nil {
		err = json.Unmarshal(b, &may.Setting)
	}
	if err != nil {
		return err
	}
	for _, p := range conformance.Powers(d, may) {
		if p.Name != name {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := p.Do(ctx, d, func(ctx context.Context, u drivers.Undo) error { _, err := j.Add(ctx, u); return err }); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		_, err := io.Copy(io.Discard, os.Stdin)
		return fmt.Errorf("the test is gone: %v", err)
	}
	return fmt.Errorf("the driver has no power %s", name)
}

// Each kills a harness in the middle of each fault that d, a driver on the stand-in, can make, and expects that the stand-in is as
// before within limit, and that the journal holds nothing more.
func Each(t *testing.T, d drivers.Driver, s Stand, limit time.Duration) {
	powers := conformance.Powers(d, s.Powers)
	if len(powers) == 0 {
		t.Fatal("the driver can break nothing")
	}
	for _, p := range powers {
		t.Run(p.Name, func(t *testing.T) { one(t, s, p.Name, limit) })
	}
}

func one(t *testing.T, s Stand, power string, limit time.Duration) {
	t.Helper()
	dir := t.TempDir()
	for name, v := range map[string]any{"config.json": s.Config, "setting.json": s.Powers.Setting} {
		b, err := json.Marshal(v)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	stop, err := serve(filepath.Join(dir, "bridge"), s)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	before := s.State()
	c := exec.Command(os.Args[0], "-test.run=^$")
	c.Env = append(os.Environ(), envDir+"="+dir, envPower+"="+power)
	var said strings.Builder
	c.Stderr = &said
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }()
	within(t, limit, "nothing is broken", func() bool {
		select {
		case <-ended:
			t.Fatalf("the harness ended: %s", &said)
		default:
		}
		return s.State() != before
	})
	_ = c.Process.Kill()
	<-ended
	defer func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "guard.log"))
			t.Logf("before it was %s\nit is         %s\nthe guard said: %s", before, s.State(), log)
		}
	}()
	within(t, limit, "it is not as before", func() bool { return s.State() == before })
	within(t, limit, "the guard has not done its work", func() bool {
		_, pending, err := undo.Pending(filepath.Join(dir, "journal"))
		return err == nil && len(pending) == 0
	})
	if s.State() != before {
		t.Fatalf("once the guard had done its work it was %s; before %s", s.State(), before)
	}
}

// within waits until something is so.
func within(t *testing.T, limit time.Duration, otherwise string, so func() bool) {
	t.Helper()
	end := time.NewTimer(limit)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("after %v %s", limit, otherwise)
		}
	}
}
