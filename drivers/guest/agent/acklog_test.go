package agent

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func logOf(n int) []byte {
	var b []byte
	buf := make([]byte, RecordSize)
	for i := 1; i <= n; i++ {
		Record{Instance: "run-1", Writer: 3, Seq: uint64(i), T: int64(i) * 1e9}.Encode(buf)
		b = append(b, buf...)
	}
	return b
}

func TestCheckLog(t *testing.T) {
	at := func(place int) int { return (place - 1) * RecordSize }
	for _, c := range []struct {
		name  string
		acked uint64
		spoil func(b []byte) []byte
		want  FileResult
	}{
		{"whole", 10, nil, FileResult{Found: 10, Last: 10}},
		{"more than acknowledged", 8, nil, FileResult{Found: 8, Last: 10}},
		{"nothing acknowledged", 0, func([]byte) []byte { return nil }, FileResult{}},
		{"missing tail", 10, func(b []byte) []byte { return b[:at(8)] }, FileResult{Found: 7, Last: 7, Missing: 3}},
		{"empty", 10, func([]byte) []byte { return nil }, FileResult{Missing: 10}},
		{"torn acknowledged record", 10, func(b []byte) []byte { return b[:at(10)+100] }, FileResult{Found: 9, Last: 9, Missing: 1, Corrupt: 1}},
		{"torn tail behind the acknowledged", 9, func(b []byte) []byte { return b[:at(10)+100] }, FileResult{Found: 9, Last: 9}},
		{"one bit", 10, func(b []byte) []byte { b[at(4)+300] ^= 1; return b }, FileResult{Found: 9, Last: 10, Missing: 7, Corrupt: 1}},
		{"zeros", 10, func(b []byte) []byte { clear(b[at(3):at(5)]); return b }, FileResult{Found: 8, Last: 10, Missing: 8, Corrupt: 2}},
		{"swapped", 10, func(b []byte) []byte {
			x := bytes.Clone(b[at(4):at(5)])
			copy(b[at(4):], b[at(5):at(6)])
			copy(b[at(5):], x)
			return b
		}, FileResult{Found: 8, Last: 10, Missing: 7, Disorder: 2}},
		{"another writer's", 10, func(b []byte) []byte {
			Record{Instance: "run-1", Writer: 4, Seq: 4}.Encode(b[at(4):at(5)])
			return b
		}, FileResult{Found: 9, Last: 10, Missing: 7, Corrupt: 1}},
		{"corrupt behind the acknowledged", 5, func(b []byte) []byte { clear(b[at(7):]); return b }, FileResult{Found: 5, Last: 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := logOf(10)
			if c.spoil != nil {
				b = c.spoil(b)
			}
			got, err := CheckLog(bytes.NewReader(b), LogFile{Path: "p", Instance: "run-1", Writer: 3, Acked: c.acked})
			c.want.Path, c.want.Acked = "p", c.acked
			if err != nil || got != c.want {
				t.Fatalf("got %+v (%v), want %+v", got, err, c.want)
			}
		})
	}
}

func TestCheckLogPassesOnReadErrors(t *testing.T) {
	eio := errors.New("input/output error")
	_, err := CheckLog(&brokenReader{bytes.NewReader(logOf(3)), eio}, LogFile{Instance: "run-1", Writer: 3, Acked: 10})
	if !errors.Is(err, eio) {
		t.Fatalf("got %v", err)
	}
}

type brokenReader struct {
	r   *bytes.Reader
	err error
}

func (b *brokenReader) Read(p []byte) (int, error) {
	if b.r.Len() == 0 {
		return 0, b.err
	}
	return b.r.Read(p)
}

func TestRecordEveryBitCounts(t *testing.T) {
	b := logOf(1)
	if r, err := DecodeRecord(b); err != nil || r != (Record{"run-1", 3, 1, 1e9}) {
		t.Fatalf("got %+v, %v", r, err)
	}
	for i := range RecordSize * 8 {
		b[i/8] ^= 1 << (i % 8)
		if _, err := DecodeRecord(b); err == nil {
			t.Fatalf("bit %d can change unseen", i)
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

func FuzzCheckLog(f *testing.F) {
	f.Add(logOf(3), uint64(3))
	f.Add(logOf(5)[:1000], uint64(5))
	f.Add([]byte(strings.Repeat("\x00", 2*RecordSize)), uint64(1)<<63)
	f.Fuzz(func(t *testing.T, b []byte, acked uint64) {
		r, err := CheckLog(bytes.NewReader(b), LogFile{Instance: "run-1", Writer: 3, Acked: acked})
		if err != nil {
			t.Fatal(err)
		}
		places := uint64(len(b)+RecordSize-1) / RecordSize
		if r.Found > acked || r.Missing > acked || r.Found+r.Corrupt+r.Disorder > min(places, acked) {
			t.Fatalf("impossible: %+v", r)
		}
		if r.Missing == 0 && r.Found != acked {
			t.Fatalf("nothing is missing, yet not all was found: %+v", r)
		}
	})
}

func TestLogName(t *testing.T) {
	if got := LogName("/d", "r-1", 2, 0) + " " + LogName("/d", "r-1", 2, 3); got != "/d/acklog-r-1-2 /d/acklog-r-1-2.3" {
		t.Fatal(got)
	}
}
