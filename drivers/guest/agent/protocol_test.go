package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReaderGoesOnBehindBadLines(t *testing.T) {
	in := "motd of the guest\n" + `{"type":"beat","t":5,"beat":{"rounds":7}}` + "\n" +
		strings.Repeat("x", MaxLine+10) + "\n" + `{"type":"beat","t":6,"beat":{"rounds":8}}` + "\n" + `{"type":"torn`
	r := NewReader(strings.NewReader(in))
	var got []int64
	bad, long := 0, 0
	for {
		var m Message
		err := r.Next(&m)
		var line *LineError
		switch {
		case errors.Is(err, ErrLong):
			long++
		case errors.As(err, &line):
			bad++
		case errors.Is(err, io.EOF):
			if len(got) != 2 || got[0] != 5 || got[1] != 6 || bad != 1 || long != 1 {
				t.Fatalf("got %v, %d bad, %d long", got, bad, long)
			}
			return
		case err != nil:
			t.Fatal(err)
		default:
			got = append(got, m.T)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"type":"hello","t":1,"hello":{"protocol":1,"boot_id":"x"}}` + "\n"))
	f.Add([]byte(`{"type":"load","t":1,"load":{"wanted":2,"writers":[{"writer":1,"acked":3}]}}` + "\nnoise\n{}\n"))
	f.Add([]byte(`{"type":"reply","reply":{"id":"1","files":[{"path":"p","missing":1}]}}` + "\n"))
	f.Add([]byte(`{"type":"busy","busy":{"percent":99.5}}` + "\n" + `{"type":"folder","io":{"phase":"start"}}` + "\n" + `{"type":"busy"}` + "\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in))
		for range len(in) + 1 {
			var m Message
			err := r.Next(&m)
			var bad *LineError
			if errors.As(err, &bad) {
				continue
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				return
			}
			b, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			var again Message
			if err := NewReader(bytes.NewReader(append(b, '\n'))).Next(&again); err != nil || again.Type != m.Type || again.Valid() != m.Valid() {
				t.Fatalf("%+v became %+v: %v", m, again, err)
			}
		}
		t.Fatal("the reader does not end")
	})
}
