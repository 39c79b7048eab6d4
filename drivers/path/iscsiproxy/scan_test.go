package iscsiproxy

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

func testPair(t testing.TB, rules ...*fault) *pair {
	t.Helper()
	p := &Proxy{cfg: Config{Log: func(string, ...any) {}}}
	p.rules.Store(&rules)
	return newPair(p, 1, nil)
}

// feed sends wire through scan in pieces of random size, as run does.
func feed(h *half, rnd *rand.Rand, wire []byte) (out []byte) {
	for len(wire) > 0 {
		n := min(1+rnd.IntN(1<<rnd.IntN(17)), len(wire), len(h.buf)-h.have)
		h.have += copy(h.buf[h.have:], wire[:n])
		wire = wire[n:]
		b, pos := h.scan()
		out = append(out, b...)
		h.have = copy(h.buf, h.buf[pos:h.have])
	}
	return out
}

func command(itt uint32, lun int, op byte, data []byte) *iscsi.PDU {
	p := &iscsi.PDU{Data: data}
	p.Header[0], p.Header[1] = iscsi.OpSCSICmd, iscsi.FinalBit|iscsi.CmdWrite
	p.SetITT(itt)
	p.SetCmdSN(itt)
	p.SetLUN(iscsi.NewLUN(lun))
	p.SetEDTL(uint32(len(data)))
	copy(p.CDB(), iscsi.CDBReadWrite(op, 0, 1))
	return p
}

// However the stream is cut into reads, what is not hit comes out as it went in, and what is hit does not.
func TestScanPieces(t *testing.T) {
	for round := range uint64(300) {
		rnd := rand.New(rand.NewPCG(round, 1))
		d := iscsi.Digests{Header: round%2 == 0, Data: round%3 == 0}
		one := 1
		pr := testPair(t, &fault{Fault: Fault{Kind: Stall, Rule: &Rule{LUN: &one, Class: "write"}}})
		pr.hdgst.Store(d.Header)
		pr.ddgst.Store(d.Data)
		var in, want []byte
		for i := range uint32(40) {
			data := bytes.Repeat([]byte{byte(i + 1)}, rnd.IntN(1<<rnd.IntN(18)))
			c := command(i, int(i%2), iscsi.Write16, data)
			if rnd.IntN(4) == 0 {
				c.AHS = make([]byte, 8)
			}
			in = iscsi.AppendPDU(in, c, d)
			if i%2 == 0 {
				want = iscsi.AppendPDU(want, c, d)
				continue
			}
			tur := &iscsi.PDU{Header: c.Header}
			tur.Header[1] = iscsi.FinalBit | iscsi.AttrSimple
			tur.SetEDTL(0)
			clear(tur.CDB())
			want = iscsi.AppendPDU(want, tur, d)
			out := &iscsi.PDU{Data: data[:len(data)/2]} // solicited data of the lost command goes with it
			out.Header[0] = iscsi.OpDataOut
			out.SetITT(i)
			in = iscsi.AppendPDU(in, out, d)
		}
		if got := feed(&pr.up, rnd, in); !bytes.Equal(got, want) {
			t.Fatalf("round %d: %d bytes in, %d out, %d wanted", round, len(in), len(got), len(want))
		}
		if pr.up.left != 0 || pr.up.have != 0 {
			t.Fatalf("round %d: %d left, %d in the buffer", round, pr.up.left, pr.up.have)
		}
	}
}

// The fast path allocates nothing, with rules armed that do not match too.
func TestScanAllocs(t *testing.T) {
	nine := 9
	pr := testPair(t, &fault{Fault: Fault{Kind: Stall, Rule: &Rule{LUN: &nine}}})
	wire := iscsi.AppendPDU(nil, command(1, 1, iscsi.Write16, make([]byte, 4096)), iscsi.Digests{})
	if n := testing.AllocsPerRun(1000, func() {
		pr.up.have = copy(pr.up.buf, wire)
		if out, pos := pr.up.scan(); len(out) != len(wire) || pos != len(wire) {
			t.Fatal("not forwarded")
		}
	}); n != 0 {
		t.Errorf("%v allocations a PDU", n)
	}
}

// What a command costs in the scanner, and what it costs more when faults are armed on another LUN.
func BenchmarkScan(b *testing.B) {
	two := 2
	stall := &fault{Fault: Fault{Kind: Stall, Rule: &Rule{LUN: &two}}}
	for name, rules := range map[string][]*fault{"idle": nil, "armed": {stall, stall, stall, stall}} {
		b.Run(name, func(b *testing.B) {
			const n = 16
			pr := testPair(b, rules...)
			var wire []byte
			for i := range uint32(n) {
				wire = iscsi.AppendPDU(wire, command(i, 1, iscsi.Read16, nil), iscsi.Digests{})
			}
			for b.Loop() {
				pr.up.have = copy(pr.up.buf, wire)
				pr.up.scan()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/command")
		})
	}
}

// FuzzScan feeds anything in both directions: no panic, and what goes on is never longer than what came.
func FuzzScan(f *testing.F) {
	f.Add(iscsi.AppendPDU(nil, command(1, 1, iscsi.Write16, make([]byte, 100)), iscsi.Digests{}), false, uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, digests bool, seed uint64) {
		pr := testPair(t, &fault{Fault: Fault{Kind: Swallow, Rule: new(Rule)}})
		pr.hdgst.Store(digests)
		pr.ddgst.Store(digests)
		rnd := rand.New(rand.NewPCG(seed, 2))
		if n := len(feed(&pr.up, rnd, b)); n > len(b) {
			t.Fatalf("%d bytes became %d", len(b), n)
		}
		pr.inject = nil
		feed(&pr.down, rnd, b)
	})
}
