package istgtconf

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const conf = `[Global]
  NodeBase "iqn.2007-09.jp.ne.peach.istgt"
[LogicalUnit1]
  TargetName disk1
  LUN0 Storage /tank/iscsi/istgt-disk1 10GB
  LUN2 Storage "/tank/my disk" Auto
[LogicalUnit2]
  TargetName "iqn.1994-04.org.netbsd.iscsi-target:target11"
  LUN0 Removable "rw,extend" /tank/tape 1GB
read`

func TestRead(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Read(conf, "iqn.2007-09.jp.ne.peach.istgt:disk1")).To(Equal(map[int]string{0: "/tank/iscsi/istgt-disk1", 2: "/tank/my disk"}))
	g.Expect(Read(conf, "iqn.1994-04.org.netbsd.iscsi-target:TARGET11")).To(Equal(map[int]string{0: "/tank/tape"}))
	for _, bad := range []string{"", strings.TrimSuffix(conf, "read"), "read", "[LogicalUnit1]\nTargetName iqn.x:a\nLUNx Storage /a Auto\nread", "[LogicalUnit1]\nTargetName iqn.x:a\nLUN0 Removable /a\nread"} {
		_, err := Read(bad, "iqn.x:a")
		g.Expect(err).To(HaveOccurred(), bad)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(conf, "iqn.2007-09.jp.ne.peach.istgt:disk1")
	f.Add("[LogicalUnit1]\nTargetName \"a b\nLUN0 Storage\nread", ":a b")
	f.Fuzz(func(t *testing.T, out, target string) {
		luns, err := Read(out, target)
		for n := range luns {
			if n < 0 || err != nil {
				t.Errorf("LUN %d of %q, %v", n, out, err)
			}
		}
	})
}
