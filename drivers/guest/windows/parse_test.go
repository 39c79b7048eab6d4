package windows

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	. "github.com/onsi/gomega"
)

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// unpacked is what scriptPush makes of its input.
func unpacked(stdin string) []byte {
	var packed []byte
	for line := range strings.Lines(stdin) {
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		if err != nil {
			return nil
		}
		packed = append(packed, b...)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil
	}
	b, _ := io.ReadAll(z)
	return b
}

func TestClixml(t *testing.T) {
	g := NewWithT(t)
	g.Expect(clixml([]byte("plain\r\n"))).To(Equal("plain"))
	g.Expect(clixml([]byte("#< CLIXML\r\n<Objs><S S=\"progress\">x</S><S S=\"Error\">a &lt;b&gt;_x000D__x000A_</S><S S=\"Error\">c</S></Objs>"))).To(Equal("a <b> c"))
}

func TestLines(t *testing.T) {
	g := NewWithT(t)
	for _, n := range []int{0, 1, 45 << 10, 45<<10 + 1, 200000} {
		want := bytes.Repeat([]byte{7, 0, 255}, n)[:n]
		text, err := io.ReadAll(lines(bytes.NewReader(want)))
		g.Expect(err).NotTo(HaveOccurred())
		var got []byte
		for line := range strings.Lines(string(text)) {
			g.Expect(len(line)).To(BeNumerically("<", 64<<10))
			b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
			g.Expect(err).NotTo(HaveOccurred())
			got = append(got, b...)
		}
		g.Expect(bytes.Equal(got, want)).To(BeTrue())
	}
	broken := errors.New("broken")
	_, err := io.ReadAll(lines(io.MultiReader(strings.NewReader("x"), failing{broken})))
	g.Expect(err).To(MatchError(broken))
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestLogs(t *testing.T) {
	g := NewWithT(t)
	_, out, err := parseLogs([]byte(`{"now":"2026-01-02T03:04:05Z","events":[
		{"log":"System","provider":"Microsoft-Windows-WER-SystemErrorReporting","id":1001,"record":9,"at":"2026-01-02T03:00:00.1234567Z","data":{"param1":"0x000000ef (0x1, 0x2)"}},
		{"log":"System","provider":"Microsoft-Windows-Kernel-Power","id":41,"record":8,"at":"2026-01-02T02:59:00Z","data":{"BugcheckCode":"239"}},
		{"log":"System","provider":"Other","id":1,"record":7,"at":"2026-01-02T02:59:00Z","data":{}}]}`))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out).To(HaveLen(2))
	g.Expect(out[0].topic).To(Equal("kernel-power"))
	g.Expect(out[0].name).To(Equal("CRITICAL_PROCESS_DIED"))
	g.Expect(out[1].value).To(Equal("0x000000EF"))
	for _, bad := range []string{``, `{}`, `{"now":"x"}`,
		`{"now":"2026-01-02T03:04:05Z","events":[{"provider":"Microsoft-Windows-WER-SystemErrorReporting","id":1001,"at":"2026-01-02T03:04:05Z"}]}`,
		`{"now":"2026-01-02T03:04:05Z","events":[{"provider":"Chkdsk","at":"yesterday"}]}`, `{"now":"2026-01-02T03:04:05Z","trail":{"at":""}}`} {
		_, _, err := parseLogs([]byte(bad))
		g.Expect(err).To(HaveOccurred(), bad)
	}
}

func TestFacts(t *testing.T) {
	g := NewWithT(t)
	for _, bad := range []string{``, `{}`, `{"build":"XP"}`, `{"build":"15063.296","boot":"2026-01-02T03:04:05Z"}`,
		`{"build":"15063.296","boot":"2026-01-02T03:04:05Z","now":"2026-01-01T03:04:05Z"}`,
		`{"build":"15063.296","boot":"2026-01-02T03:04:05Z","now":"2026-01-02T03:04:05Z","disk_timeout":-1}`} {
		_, err := parseFacts([]byte(bad))
		g.Expect(err).To(HaveOccurred(), bad)
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(`<s:Envelope xmlns:s="x"><s:Header><Action>a</Action></s:Header><s:Body><Shell><ShellId>1</ShellId></Shell></s:Body></s:Envelope>`))
	f.Add([]byte(`<Envelope><Fault><Code><Subcode><Value>w:TimedOut</Value></Subcode></Code><Reason><Text>t</Text></Reason><WSManFault Code="2150858793"/></Fault></Envelope>`))
	f.Add([]byte(`<Envelope><Stream Name="stdout">YQ==</Stream><CommandState State="` + doneState + `"><ExitCode>1</ExitCode></CommandState></Envelope>`))
	f.Add([]byte("<?xml version=\"1.0\" encoding=\"utf-16\"?><Envelope/>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEnvelope(b)
		if err != nil && !errors.Is(err, errNotSOAP) {
			t.Fatal(err)
		}
		if err == nil && e.fault != nil {
			_, _ = e.fault.Error(), e.fault.timedOut()
		}
	})
}

func FuzzReply(f *testing.F) {
	f.Add([]byte("apd-reply e30=\r\n"))
	f.Add([]byte("x\napd-reply *"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, err := parseReply(b); err == nil && len(out) > len(b) {
			t.Fatal("it has more than there was")
		}
		_ = clixml(b)
		_, _, _ = decodeCommandLine(string(b))
	})
}

func FuzzFacts(f *testing.F) {
	f.Add([]byte(`{"os":"Windows","build":"15063.296","boot":"2026-01-02T03:04:05.1234567Z","now":"2026-01-02T03:04:05.2Z","sleep":0,"page_file":["C:\\p"],"crash_dump":7}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		fa, err := parseFacts(b)
		if err != nil {
			return
		}
		for k, v := range fa.settings() {
			if v == "" && k != "caption" && k != "page_file" {
				t.Fatal(k, " is empty")
			}
		}
	})
}

func FuzzLogs(f *testing.F) {
	f.Add([]byte(`{"now":"2026-01-02T03:04:05Z","events":[{"log":"System","provider":"Microsoft-Windows-WER-SystemErrorReporting","id":1001,"record":9,"at":"2026-01-02T03:00:00Z","data":{"param1":"0x000000ef (0x1)"}}],"trail":{"at":"2026-01-02T03:00:00Z","text":"t"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, out, err := parseLogs(b)
		if err != nil {
			return
		}
		for _, o := range out {
			if o.topic == "" || o.value == "" || len(o.text) > maxText || !utf8.ValidString(o.text) {
				t.Fatalf("%+v", o)
			}
		}
	})
}

func FuzzAgentReplies(f *testing.F) {
	f.Add([]byte(`{"path":"C:\\x","sha256":"AB"}`))
	f.Add([]byte(`{"running":false,"pid":4,"result":0}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parsePlace(b); err == nil && p.Path == "" {
			t.Fatal("no path")
		}
		if s, err := parseStart(b); err == nil && !s.Running && s.Result == 0 && s.PID == 0 {
			t.Fatal("no process")
		}
	})
}

func FuzzSealed(f *testing.F) {
	f.Add(sealType, append(append([]byte("x\r\n\t"+sealedPart+"\x10\x00\x00\x00"), make([]byte, 20)...), sealBoundary+"--\r\n"...))
	f.Add("text/html", []byte("<html>"))
	f.Fuzz(func(t *testing.T, kind string, b []byte) {
		signature, data, err := sealedParts(kind, b)
		if err == nil && (len(signature) != signatureLen || len(data) > len(b)) {
			t.Fatal(len(signature), len(data))
		}
	})
}
