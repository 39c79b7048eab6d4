package ceph

import (
	"bytes"
	"context"
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers/localproc"
)

// realDisk is a disk of the test's own, gone when the test ends.
func realDisk(t *testing.T) Disk {
	t.Helper()
	for _, bin := range []string{"nbdkit", "nbdfuse", "fusermount3"} {
		if _, err := localproc.LookPath(bin); err != nil {
			t.Skipf("%v (Debian packages nbdkit, libnbd-bin, fuse3)", err)
		}
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "disk") // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	d := NewDisk("d", dir, dir)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := d.Remove(ctx); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(d.Image, bytes.Repeat([]byte("disk"), 1<<18), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestADiskThatReallyHangs has a real disk hang, fail and go, and come back each time.
func TestADiskThatReallyHangs(t *testing.T) {
	g := NewWithT(t)
	d := realDisk(t)
	is := func() string { v, _ := d.medium(t.Context()); return v }
	g.Expect(is()).To(Equal("serves"))
	read := func() error {
		f, err := os.Open(d.Block)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.ReadAt(make([]byte, 4096), 4096)
		return err
	}
	g.Expect(read()).To(Succeed())

	g.Expect(d.pause(t.Context(), 'p')).To(Succeed())
	g.Expect(is()).To(Equal("hangs"))
	done := make(chan error, 1)
	go func() { // not from this process's page cache: the next block
		f, err := os.Open(d.Block)
		if err == nil {
			_, err = f.ReadAt(make([]byte, 4096), 512<<10)
			f.Close()
		}
		done <- err
	}()
	g.Consistently(done, "300ms").ShouldNot(Receive(), "who reads from it waits")
	g.Expect(d.pause(t.Context(), 'r')).To(Succeed())
	g.Eventually(done, "5s").Should(Receive(BeNil()), "and goes on when it does")
	g.Expect(is()).To(Equal("serves"))

	g.Expect(os.WriteFile(d.Fail, nil, 0o600)).To(Succeed())
	g.Expect(is()).To(Equal("fails"))
	g.Expect(os.Remove(d.Fail)).To(Succeed())
	g.Expect(is()).To(Equal("serves"))

	g.Expect(d.Server.Kill(t.Context())).To(Succeed())
	g.Expect(is()).To(Equal("gone"))
	g.Expect(d.there()).To(BeFalse())
	g.Expect(d.Attach(t.Context())).To(Succeed())
	g.Expect(is()).To(Equal("serves"))
	g.Expect(read()).To(Succeed())
}

// TestMediumOfWhatIsNoDisk has something else listen where the disk should.
func TestMediumOfWhatIsNoDisk(t *testing.T) {
	g := NewWithT(t)
	dir, err := os.MkdirTemp("", "disk")
	g.Expect(err).NotTo(HaveOccurred())
	defer os.RemoveAll(dir)
	d := NewDisk("d", dir, dir)
	v, _ := d.medium(t.Context())
	g.Expect(v).To(Equal("gone"))
	l, err := net.Listen("unix", d.Socket)
	g.Expect(err).NotTo(HaveOccurred())
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	v, text := d.medium(ctx)
	g.Expect(v).To(Equal("hangs"), "it is accepted and not greeted: %s", text)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write(make([]byte, 64))
			c.Close()
		}
	}()
	_, err = d.read(t.Context(), 0, 512)
	g.Expect(err).To(HaveOccurred())
}

func TestFindAndPatch(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.Truncate(256 << 20)).To(Succeed())
	want := make([]byte, 64)
	rand.Read(want)
	const at = 77<<20 + 3*4096
	_, err = f.WriteAt(want, at)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = f.WriteAt(want, 5<<20+100) // not at a block: no object begins there
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.Close()).To(Succeed())
	g.Expect(find(file, want)).To(BeEquivalentTo(at))
	g.Expect(patch(file, at, []byte("rot"))).To(Succeed())
	_, err = find(file, want)
	g.Expect(err).To(MatchError(ContainSubstring("is not found")))
}
