package overssh

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const uuid = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"

func TestReaders(t *testing.T) {
	g := NewWithT(t)
	g.Expect(ReadBoot(uuid)).To(Equal(uuid))
	g.Expect(ReadBoot("{ sec = 1510000000, usec = 42 } Mon Nov  6 20:26:40 2017")).To(Equal("1510000000"))
	for _, out := range []string{"", "sysctl: unknown oid 'kern.boottime'", "{ sec = , usec = 1 }"} {
		_, err := ReadBoot(out)
		g.Expect(err).To(HaveOccurred(), out)
	}
	g.Expect(sameBoot("1510000000", "1510000003")).To(BeTrue())
	g.Expect(sameBoot("1510000000", "1510000060")).To(BeFalse())
	g.Expect(sameBoot(uuid, uuid)).To(BeTrue())
	g.Expect(sameBoot(uuid, "1510000000")).To(BeFalse())

	g.Expect(ReadRC("istgt is running as pid 12.\nstatus 0")).To(Equal(State{Word: On}))
	g.Expect(ReadRC("istgt is not running.\nstatus 1")).To(Equal(State{Word: Off}))
	for _, out := range []string{"", "istgt is running as pid 12.\nstatus 1", "istgt is not running.\nstatus 0", "/etc/rc.d/iscsi_target: not found\nstatus 127"} {
		_, err := ReadRC(out)
		g.Expect(err).To(HaveOccurred(), out)
	}
	g.Expect(ReadRCVar("# istgt\n#\nistgt_enable=\"YES\"\n#   (default: \"\")")).To(BeTrue())
	g.Expect(ReadRCVar("istgt_enable=\"NO\"")).To(BeFalse())
	_, err := ReadRCVar("usage: iscsi_target [fast|force|one](start|stop)")
	g.Expect(err).To(HaveOccurred())
	g.Expect(ReadEnabled("enabled")).To(BeTrue())
	g.Expect(ReadEnabled("disabled")).To(BeFalse())
	_, err = ReadEnabled("Failed to get unit file state")
	g.Expect(err).To(HaveOccurred())
	g.Expect(ReadNumber(" 12\n")).To(Equal(12))
	for _, out := range []string{"", "-1", "1 2", "cat: no such file"} {
		_, err := ReadNumber(out)
		g.Expect(err).To(HaveOccurred(), out)
	}
	g.Expect(Marked("portal a:1\n  portal b:2\nportals\nx portal c", "portal")).To(Equal([]string{"a:1", "b:2"}))
	g.Expect(sections("Welcome!\napd-part:a\none\n\ntwo\napd-part:b\napd-part:end\n")).To(Equal(map[string]string{"a": "one\n\ntwo", "b": "", "end": ""}))
	g.Expect(State{Word: On, Detail: "a\nb"}.back("b\n")).To(BeTrue())
	g.Expect(State{Word: On, Detail: "a"}.back("a\nb\n")).To(BeFalse())
	g.Expect(State{Word: Off}.back("")).To(BeFalse())
	g.Expect(Quote(`a'b`)).To(Equal(`'a'\''b'`))
}

func FuzzReaders(f *testing.F) {
	for _, s := range []string{uuid, "{ sec = 1510000000, usec = 42 }", "istgt is running as pid 12.\nstatus 0", `istgt_enable="YES"`, "enabled", "12",
		"apd-part:user\n0\napd-part:end", "status ", "="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, out string) {
		if b, err := ReadBoot(out); err == nil && (b == "" || !sameBoot(b, b)) {
			t.Errorf("boot %q of %q", b, out)
		}
		if st, err := ReadRC(out); err == nil && st.Word != On && st.Word != Off {
			t.Errorf("state %q of %q", st.Word, out)
		}
		if n, err := ReadNumber(out); err == nil && n < 0 {
			t.Errorf("%d of %q", n, out)
		}
		_, _ = ReadRCVar(out)
		_, _ = ReadEnabled(out)
		for name := range sections(out) {
			if strings.ContainsAny(name, "\n") {
				t.Errorf("a part is named %q", name)
			}
		}
		_ = State{Word: On, Detail: out}.back(out)
	})
}
