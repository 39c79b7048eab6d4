package iscsiproxy

// Fuzz targets and bounds of the scanner with every kind of fault armed, without a network.

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

// armed is a pair whose connection really is one, with one fault a kind, each for a LUN of its own.
func armed(t testing.TB, d iscsi.Digests) *pair {
	t.Helper()
	p := &Proxy{cfg: Config{Log: func(string, ...any) {}, Target: "192.0.2.1:3260"}, addr: "192.0.2.2:3260", pairs: make(map[*pair]struct{}), subs: make(map[chan Event]struct{})}
	p.ctx, p.end = context.WithCancel(context.Background())
	t.Cleanup(p.end)
	sets := map[place][]*fault{}
	zero := 0
	for i, r := range []struct {
		k Kind
		r Rule
	}{
		{Stall, Rule{}}, {Swallow, Rule{}}, {Status, Rule{Action: Action{Status: 2, Sense: "03/11/00"}}}, {Status, Rule{Action: Action{Status: 8, Executed: true}}},
		{AckLost, Rule{}}, {Delay, Rule{Action: Action{DelayMS: 1}}}, {Hold, Rule{}}, {R2T, Rule{}}, {CorruptData, Rule{}}, {CorruptDigest, Rule{}},
		{TMF, Rule{Function: 5, Action: Action{Answer: &zero}}}, {TMF, Rule{Function: 2}}, {NopIgnore, Rule{}},
	} {
		lun := i + 1
		at := kinds[r.k].at
		if at == onCommand {
			r.r.LUN = &lun
		}
		f := &fault{Fault: Fault{ID: "1", Kind: r.k, Rule: &r.r}, ended: make(chan struct{})}
		f.sense, _ = r.r.sense()
		sets[at] = append(sets[at], f)
	}
	cmds, tasks, nops := sets[onCommand], sets[onTask], sets[onNop]
	p.rules.Store(&cmds)
	p.tasks.Store(&tasks)
	p.nops.Store(&nops)
	a, b := net.Pipe()
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	pr := newPair(p, 1, a)
	pr.hdgst.Store(d.Header)
	pr.ddgst.Store(d.Data)
	t.Cleanup(func() {
		pr.mu.Lock()
		pr.dropHeld(func(*held) bool { return true })
		pr.mu.Unlock()
	})
	return pr
}

// FuzzExchange plays any exchange of well-formed PDUs through both directions: both come out well-formed, and when the
// faults are over nothing is held.
func FuzzExchange(f *testing.F) {
	f.Add([]byte{0, 1, 1, 30, 1, 1, 1, 0, 0, 3, 2, 9, 1, 3, 2, 0}, true, true, uint64(1))
	f.Add(bytes.Repeat([]byte{0, 8, 1, 30, 1, 8, 1, 0, 0, 40, 1, 3, 1, 33, 1, 1}, 8), false, true, uint64(2))
	f.Fuzz(func(t *testing.T, script []byte, hd, dd bool, seed uint64) {
		d := iscsi.Digests{Header: hd, Data: dd}
		pr := armed(t, d)
		rnd := rand.New(rand.NewPCG(seed, 3))
		var up, down []byte
		for i := 0; i+4 <= len(script) && i < 400; i += 4 {
			b := script[i : i+4]
			q := &iscsi.PDU{Data: bytes.Repeat(b[1:2], int(b[3])<<(b[2]>>5))}
			q.SetITT(uint32(b[2] & 7))
			q.SetLUN(iscsi.NewLUN(int(b[1] & 15)))
			if b[0]&1 == 0 {
				q.Header[0] = []byte{iscsi.OpSCSICmd, iscsi.OpSCSICmd, iscsi.OpDataOut, iscsi.OpTMFReq, iscsi.OpTMFReq | iscsi.ImmediateBit, iscsi.OpNopOut | iscsi.ImmediateBit, iscsi.OpNopOut, iscsi.OpLogout}[b[0]>>1&7]
				q.Header[1] = iscsi.FinalBit | b[1]>>4
				if q.Opcode() == iscsi.OpSCSICmd {
					copy(q.CDB(), iscsi.CDBReadWrite([]byte{iscsi.Read16, iscsi.Write16}[b[1]>>7], 0, 1))
				} else {
					q.SetTTT(uint32(b[2] & 7))
				}
				up = append(up, feed(&pr.up, rnd, iscsi.AppendPDU(nil, q, d))...)
			} else {
				q.Header[0] = []byte{iscsi.OpSCSIResp, iscsi.OpDataIn, iscsi.OpR2T, iscsi.OpTMFResp, iscsi.OpNopIn, iscsi.OpSCSIResp, iscsi.OpDataIn, iscsi.OpAsync}[b[0]>>1&7]
				q.Header[1] = iscsi.FinalBit | b[1]>>4&7
				down = append(down, feed(&pr.down, rnd, iscsi.AppendPDU(nil, q, d))...)
			}
		}
		for _, fs := range []*[]*fault{pr.p.rules.Load(), pr.p.tasks.Load()} {
			for _, one := range *fs {
				close(one.ended)
				pr.letGo(one)
			}
		}
		tail, _ := pr.down.scan()
		down = append(down, tail...)
		pr.mu.Lock()
		if n := len(pr.held) + len(pr.inject); n != 0 {
			t.Errorf("%d PDUs are still held", n)
		}
		pr.mu.Unlock()
		for _, b := range [][]byte{up, down} {
			for rd := iscsi.NewReader(bytes.NewReader(b), 1<<24); ; {
				rd.Digests.Header = d.Header // data digests may be wrong on purpose; without them so may those of headers
				var h iscsi.Header
				ahs, err := rd.ReadHeader(&h)
				if err == io.EOF {
					break
				}
				if err != nil && (dd || len(ahs) > 0 || !hd) {
					t.Fatalf("what goes on is malformed: %v", err)
				}
				if err != nil {
					break
				}
				rd.Digests.Data = dd
				if err := rd.Skip(&h); err != nil {
					t.Fatalf("what goes on is cut off: %v", err)
				}
			}
		}
	})
}

// FuzzLogin feeds login and text PDUs with any text in both directions, with every fault of logins armed.
func FuzzLogin(f *testing.F) {
	f.Add([]byte("InitiatorName=iqn.x:i\x00SessionType=Normal\x00"), byte(0x87), false, uint64(1))
	f.Add([]byte("TargetName=iqn.x:t\x00TargetAddress=192.0.2.1:3260,1\x00TargetAddress=[2001:db8::1],2\x00TargetAddress=\x00"), byte(0x80), true, uint64(1))
	f.Add([]byte("HeaderDigest=CRC32C\x00DataDigest=CRC32C\x00"), byte(0x87), true, uint64(1))
	f.Fuzz(func(t *testing.T, text []byte, flags byte, redirect bool, seed uint64) {
		pr := armed(t, iscsi.Digests{})
		rnd := rand.New(rand.NewPCG(seed, 4))
		slow := &fault{Fault: Fault{Kind: LoginSlow, Rule: &Rule{Action: Action{DelayMS: 1}}}}
		to := &fault{Fault: Fault{Kind: LoginRedirect, Rule: &Rule{Nth: 1 + int(flags>>6&1), Action: Action{Login: 0x101, Address: "192.0.2.9:3260"}}}}
		pr.p.logins.Store(&[]*fault{slow, to})
		for _, op := range []byte{iscsi.OpLoginReq | iscsi.ImmediateBit, iscsi.OpTextReq, iscsi.OpLoginResp, iscsi.OpTextResp} {
			q := &iscsi.PDU{Data: text}
			q.Header[0], q.Header[1] = op, flags
			h := &pr.up
			if q.Opcode() >= iscsi.OpNopIn {
				h = &pr.down
				if redirect {
					q.Header[36] = 1
				}
			}
			d := iscsi.Digests{Header: pr.hdgst.Load(), Data: pr.ddgst.Load()}
			in := iscsi.AppendPDU(nil, q, d)
			out := feed(h, rnd, in)
			if h.left != 0 || h.have != 0 {
				t.Fatalf("%d left, %d in the buffer", h.left, h.have)
			}
			if n := len(out); n > len(in)+iscsi.HeaderLen+64+32*bytes.Count(text, []byte("TargetAddress=")) {
				t.Fatalf("%d bytes became %d", len(in), n)
			}
		}
	})
}

// With every kind of fault armed, what they do not hit costs no allocation.
func TestArmedAllocs(t *testing.T) {
	for _, d := range []iscsi.Digests{{}, {Header: true, Data: true}} {
		pr := armed(t, d)
		none := []*fault{}
		pr.p.tasks.Store(&none) // it remembers every command
		c := command(1, 99, iscsi.Write16, make([]byte, 4096))
		wire := iscsi.AppendPDU(nil, c, d)
		resp := &iscsi.PDU{Header: iscsi.Header{0: iscsi.OpSCSIResp, 1: iscsi.FinalBit}}
		back := iscsi.AppendPDU(nil, resp, d)
		if n := testing.AllocsPerRun(1000, func() {
			pr.up.have = copy(pr.up.buf, wire)
			if out, _ := pr.up.scan(); len(out) != len(wire) {
				t.Fatal("not forwarded")
			}
			pr.down.have = copy(pr.down.buf, back)
			if out, _ := pr.down.scan(); len(out) != len(back) {
				t.Fatal("not forwarded")
			}
		}); n != 0 {
			t.Errorf("%+v: %v allocations", d, n)
		}
	}
}

// An initiator that sends without end what the proxy has to remember loses its connection.
func TestBounded(t *testing.T) {
	tmf := func(i uint32) *iscsi.PDU {
		q := &iscsi.PDU{Header: iscsi.Header{0: iscsi.OpTMFReq | iscsi.ImmediateBit, 1: iscsi.FinalBit | iscsi.TMFLUNReset}}
		q.SetITT(i)
		return q
	}
	for name, one := range map[string]func(uint32) *iscsi.PDU{
		"lost commands":   func(i uint32) *iscsi.PDU { return command(i, 1, iscsi.Read16, nil) },
		"task management": tmf,
	} {
		pr := armed(t, iscsi.Digests{})
		rnd := rand.New(rand.NewPCG(1, 1))
		open := func() bool {
			select {
			case <-pr.gone:
				return false
			default:
				return true
			}
		}
		n := uint32(0)
		for ; open() && n < 2*maxTasks; n++ {
			feed(&pr.up, rnd, iscsi.AppendPDU(nil, one(n), iscsi.Digests{}))
		}
		if open() || len(pr.tasks) > maxTasks || len(pr.inject) > maxMade+1 {
			t.Errorf("%s: %d tasks, %d PDUs after %d", name, len(pr.tasks), len(pr.inject), n)
		}
	}
}

// An answer to SendTargets, or a redirection, names the path in place of its target, and no one else.
func TestAddresses(t *testing.T) {
	for _, d := range []iscsi.Digests{{}, {Header: true, Data: true}} {
		pr := armed(t, d)
		pr.p.cfg.Also = []string{"192.0.2.7:3261"}
		pr.p.cfg.Advertise = "path.example:3260"
		var leaks []string
		pr.p.cfg.OnEvent = func(e Event) { leaks = append(leaks, e.What) }
		in := iscsi.Keys{{Name: "TargetName", Value: "iqn.x:t"}, {Name: "TargetAddress", Value: "192.0.2.1,1"}, {Name: "TargetAddress", Value: "192.0.2.1:3260,2"},
			{Name: "TargetAddress", Value: "192.0.2.7:3261"}, {Name: "TargetAddress", Value: "192.0.2.8:3260,4"}}
		want := iscsi.Keys{in[0], {Name: "TargetAddress", Value: "path.example:3260,1"}, {Name: "TargetAddress", Value: "path.example:3260,2"},
			{Name: "TargetAddress", Value: "path.example:3260"}, in[4]}
		for _, h := range []iscsi.Header{{0: iscsi.OpTextResp, 1: iscsi.FinalBit}, {0: iscsi.OpLoginResp, 36: loginRedirected, 37: 1}} {
			out := feed(&pr.down, rand.New(rand.NewPCG(1, 1)), iscsi.AppendPDU(nil, &iscsi.PDU{Header: h, Data: in.Append(nil)}, d))
			got, err := iscsi.ReadPDU(bytes.NewReader(out), d, 1<<20)
			if err != nil || !bytes.Equal(got.Data, want.Append(nil)) {
				t.Errorf("opcode 0x%02x: %q %v", h.Opcode(), got.Data, err)
			}
		}
		if len(leaks) != 2 || leaks[0] != "leak" {
			t.Errorf("%v", leaks)
		}
	}
}

// A header whose digest is wrong is told of, and passes.
func TestMalformed(t *testing.T) {
	pr := armed(t, iscsi.Digests{Header: true})
	var seen []string
	pr.p.cfg.OnEvent = func(e Event) { seen = append(seen, e.What) }
	wire := iscsi.AppendPDU(nil, command(1, 99, iscsi.Write16, make([]byte, 100)), iscsi.Digests{Header: true})
	bad := bytes.Clone(wire)
	bad[6] ^= 0x40
	in := append(append(bytes.Clone(wire), bad...), wire...)
	if out := feed(&pr.up, rand.New(rand.NewPCG(1, 1)), in); !bytes.Equal(out, in) {
		t.Errorf("%d bytes in, %d out", len(in), len(out))
	}
	if len(seen) != 1 || seen[0] != "malformed" {
		t.Errorf("%v", seen)
	}
}
