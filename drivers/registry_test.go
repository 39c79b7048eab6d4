package drivers

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// some is a driver with a few powers.
type some struct{ Driver }

func (*some) StopService(context.Context, Journal) error { return nil }
func (*some) BreakKinds() []FaultKind                    { return []FaultKind{Reset} }
func (*some) BreakPath(context.Context, FaultKind, Journal) error {
	return nil
}

func TestHas(t *testing.T) {
	g := NewWithT(t)
	for _, p := range AllPowers {
		g.Expect(Has((*some)(nil), p)).To(Equal(p == CanStopService || p == CanReset), string(p))
	}
	g.Expect(Has((*some)(nil), "flight")).To(BeFalse())
}

func TestPowerFor(t *testing.T) {
	g := NewWithT(t)
	g.Expect(PowerFor(NoFault)).To(BeEmpty())
	g.Expect(PowerFor(Swallow)).To(Equal(CanStall))
	for _, k := range []FaultKind{ServiceStop, Reset, Blackhole, LinkDown, Stall} {
		g.Expect(AllPowers).To(ContainElement(PowerFor(k)))
	}
}

func TestRegister(t *testing.T) {
	g := NewWithT(t)
	open := func(context.Context, Env) (Driver, error) { return nil, nil }
	good := Registration{Name: "test/one", Type: (*some)(nil), Open: open}
	Register(good)
	got, ok := Lookup("test/one")
	g.Expect(ok).To(BeTrue())
	g.Expect(got.Name).To(Equal("test/one"))
	_, ok = Lookup("test/none")
	g.Expect(ok).To(BeFalse())
	g.Expect(Names()).To(ContainElement("test/one"))
	g.Expect(func() { Register(good) }).To(PanicWith(ContainSubstring(`"test/one"`)))
	g.Expect(func() { Register(Registration{Name: "test/two", Type: (*some)(nil)}) }).To(Panic())
	g.Expect(func() { Register(Registration{Name: "test/three", Open: open}) }).To(Panic())
}

func TestOperator(t *testing.T) {
	g := NewWithT(t)
	why := errors.New("refused")
	err := error(&Operator{Cause: "the NAS does not answer", Impact: "nothing was started", Do: "plug it in", Err: why})
	g.Expect(err).To(MatchError("the NAS does not answer: refused. nothing was started. plug it in"))
	g.Expect(err).To(MatchError(why))
	g.Expect(&Operator{Cause: "x"}).To(MatchError("x"))
}

func TestUndoAsJSON(t *testing.T) {
	g := NewWithT(t)
	b, err := json.Marshal(Undo{Driver: "d", Op: "o"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(b).To(MatchJSON(`{"driver": "d", "op": "o"}`), "an unset dead-man timer is left out")
}

func TestClock(t *testing.T) {
	g := NewWithT(t)
	zero := time.Now()
	c := Clock{Zero: zero}
	g.Expect(c.At(zero.Add(time.Second))).To(Equal(time.Second))
	a := c.Now()
	g.Expect(a).To(BeNumerically(">=", 0))
	g.Expect(c.Now()).To(BeNumerically(">=", a))
}
