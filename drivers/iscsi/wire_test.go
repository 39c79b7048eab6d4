package iscsi

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestPDURoundTrip(t *testing.T) {
	for _, d := range []Digests{{}, {Header: true}, {Data: true}, {Header: true, Data: true}} {
		for _, n := range []int{0, 1, 4, 48, 4096, 4097, 100001} {
			p := PDU{AHS: []byte{0, 5, 2, 0, 0, 0, 0, 0}, Data: bytes.Repeat([]byte{7}, n)}
			p.Header[0] = OpDataIn
			wire := AppendPDU(nil, &p, d)
			var b batch
			b.head = make([]byte, 0, 64<<10)
			h := p.Header
			h[4] = 0
			var viaBatch bytes.Buffer
			b.add(&h, p.Data, d)
			if err := b.writeTo(&viaBatch); err != nil {
				t.Fatal(err)
			}
			p2 := PDU{Header: h, Data: p.Data}
			if !bytes.Equal(viaBatch.Bytes(), AppendPDU(nil, &p2, d)) {
				t.Errorf("%+v %d: writev form differs", d, n)
			}
			q, err := ReadPDU(bytes.NewReader(wire), d, 1<<20)
			if err != nil || !bytes.Equal(q.Data, p.Data) || !bytes.Equal(q.AHS, p.AHS) {
				t.Errorf("%+v %d: %v", d, n, err)
			}
			for _, bit := range []int{3, len(wire) - 1} {
				if (bit == 3 && !d.Header) || (bit != 3 && (!d.Data || n == 0)) {
					continue
				}
				bad := bytes.Clone(wire)
				bad[bit] ^= 1
				if _, err := ReadPDU(bytes.NewReader(bad), d, 1<<20); !errors.Is(err, ErrDigest) {
					t.Errorf("%+v %d: flipped bit gives %v", d, n, err)
				}
			}
			if _, err := ReadPDU(bytes.NewReader(wire[:len(wire)-1]), d, 1<<20); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("cut PDU gives %v", err)
			}
		}
	}
	p := PDU{Data: make([]byte, 100)}
	if _, err := ReadPDU(bytes.NewReader(AppendPDU(nil, &p, Digests{})), Digests{}, 99); !errors.Is(err, ErrFormat) {
		t.Errorf("too long a data segment gives %v", err)
	}
}

func TestExtent(t *testing.T) {
	for _, c := range []struct {
		cdb []byte
		lba uint64
		n   uint32
		ok  bool
	}{
		{[]byte{Read6, 0x01, 0x02, 0x03, 0, 0}, 0x010203, 256, true},
		{[]byte{Write10, 0, 0, 0, 1, 2, 0, 0, 9, 0}, 0x102, 9, true},
		{[]byte{Write12, 0, 0, 0, 1, 2, 0, 1, 0, 0, 0, 0}, 0x102, 65536, true},
		{CDBReadWrite(Write16, 1<<40, 8), 1 << 40, 8, true},
		{CDBTestUnitReady(), 0, 0, false},
		{[]byte{Write10, 0, 0, 0, 1, 2}, 0, 0, false},
	} {
		lba, n, ok := Extent(c.cdb)
		if lba != c.lba || n != c.n || ok != c.ok {
			t.Errorf("% x: %d %d %v", c.cdb, lba, n, ok)
		}
	}
}

func TestLUN(t *testing.T) {
	for _, n := range []int{0, 1, 255, 256, 16383} {
		if got := NewLUN(n).Number(); got != n {
			t.Errorf("%d becomes %d", n, got)
		}
	}
}

func FuzzReadPDU(f *testing.F) {
	p := PDU{Data: []byte("TargetName=x\x00")}
	f.Add(AppendPDU(nil, &p, Digests{}), false, false)
	f.Add(AppendPDU(nil, &p, Digests{true, true}), true, true)
	f.Fuzz(func(t *testing.T, b []byte, hd, dd bool) {
		r := NewReader(bytes.NewReader(b), 1<<16)
		r.Digests = Digests{hd, dd}
		var p PDU
		for range 100 {
			if err := r.ReadPDU(&p); err != nil {
				return
			}
			if len(p.Data) != p.DataLen() || len(p.Data) > 1<<16 {
				t.Fatalf("data of %d bytes for %d", len(p.Data), p.DataLen())
			}
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("InitiatorName=a\x00TargetName=b\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKeys(b)
		if err != nil {
			return
		}
		again, err := ParseKeys(k.Append(nil))
		if err != nil || len(again) != len(k) {
			t.Fatalf("%q: %v then %v, %v", b, k, again, err)
		}
	})
}

func FuzzSense(f *testing.F) {
	f.Add(Sense{SenseAborted, 0, 0}.Segment())
	f.Fuzz(func(t *testing.T, b []byte) {
		raw := ParseSenseSegment(b)
		if s, ok := ParseSense(raw); ok {
			if again, ok := ParseSense(s.Fixed()); !ok || again != s {
				t.Fatalf("%v becomes %v", s, again)
			}
		}
	})
}

func FuzzExtent(f *testing.F) {
	f.Add(CDBReadWrite(Read16, 5, 6))
	f.Fuzz(func(_ *testing.T, b []byte) { Extent(b) })
}
