package resident

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/windows"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// A disk of sectors of 4 KiB takes eight records each: the sector is written anew with every one of them.
func TestLogOnLargeSectors(t *testing.T) {
	g := NewWithT(t)
	for _, sector := range []int64{agent.RecordSize, blockSize} {
		path := filepath.Join(tempDir(t), "log", "acklog-t-0")
		f, err := openLog(path)
		g.Expect(err).NotTo(HaveOccurred())
		release(f.buf)
		f.sector = sector
		f.buf, err = aligned(int(sector))
		g.Expect(err).NotTo(HaveOccurred())
		const n = 19
		for seq := uint64(1); seq <= n; seq++ {
			b := make([]byte, agent.RecordSize)
			for range 2 { // a record that failed is written again at its own place
				agent.Record{Instance: "t", Seq: seq, T: 1}.Encode(b)
				g.Expect(f.append(b, int64(seq-1)*agent.RecordSize)).To(Succeed())
			}
		}
		f.close()
		res, err := verifyOne(agent.LogFile{Path: path, Instance: "t", Acked: n})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res).To(Equal(agent.FileResult{Path: path, Acked: n, Found: n, Last: n}))
		st, err := os.Stat(path)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(st.Size()).To(Equal((n*agent.RecordSize + sector - 1) / sector * sector))
		b, err := os.ReadFile(path)
		g.Expect(err).NotTo(HaveOccurred())
		b[5*agent.RecordSize+100] ^= 1
		g.Expect(os.WriteFile(path, b, 0o600)).To(Succeed())
		res, err = verifyOne(agent.LogFile{Path: path, Instance: "t", Acked: n})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Corrupt).To(BeEquivalentTo(1), "a damaged record was not seen")
	}
}

func TestUncachedReadsTheWholeFile(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(tempDir(t), "f")
	for _, n := range []int{0, 1, blockSize, chunkSize, chunkSize + 1, 2*chunkSize + 777} {
		want := bytes.Repeat([]byte("seed!"), n/5+1)[:n]
		g.Expect(os.WriteFile(path, want, 0o600)).To(Succeed())
		r, err := openUncached(path)
		g.Expect(err).NotTo(HaveOccurred())
		got, err := io.ReadAll(r)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(bytes.Equal(got, want)).To(BeTrue(), "%d bytes", n)
		g.Expect(r.Close()).To(Succeed())
	}
	_, err := openUncached(path + "x")
	g.Expect(err).To(MatchError(fs.ErrNotExist))
}

func TestSeedOnWindows(t *testing.T) {
	g := NewWithT(t)
	dir := tempDir(t)
	result := func() string {
		r, text, err := checkSeed(dir)
		g.Expect(err).NotTo(HaveOccurred(), text)
		return r
	}
	g.Expect(result()).To(Equal(agent.SeedAbsent))
	data := bytes.Repeat([]byte("seed"), 100000)
	g.Expect(os.WriteFile(filepath.Join(dir, "a"), data, 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "SHA256SUMS"), fmt.Appendf(nil, "%x  a\n", sha256.Sum256(data)), 0o600)).To(Succeed())
	g.Expect(result()).To(Equal(agent.SeedOK))
	data[1000] ^= 1
	g.Expect(os.WriteFile(filepath.Join(dir, "a"), data, 0o600)).To(Succeed())
	g.Expect(result()).To(Equal(agent.SeedDamaged))
}

// Windows is never asked for its own words: they may lie on the disk that hangs.
func TestErrorsAreNamedWithoutWindows(t *testing.T) {
	g := NewWithT(t)
	g.Expect(errText(nil)).To(BeEmpty())
	g.Expect(failed("x", nil)).To(Succeed())
	err := fmt.Errorf("bounded: %w", failed("reading", &fs.PathError{Op: "read", Path: "p", Err: windows.ERROR_IO_DEVICE}))
	g.Expect(errText(err)).To(Equal("I/O device error (ERROR_IO_DEVICE)"))
	g.Expect(err).To(MatchError("bounded: reading: I/O device error (ERROR_IO_DEVICE)"))
	g.Expect(errText(windows.Errno(54321))).To(Equal("Windows error 54321"))
	g.Expect(errText(windows.STATUS_NOT_IMPLEMENTED)).To(Equal("status 0xc0000002 of Windows"))
	g.Expect(errText(errors.New("other"))).To(Equal("other"))
	for no, text := range names {
		g.Expect(text).To(MatchRegexp(`^[a-zI/O ,-]+ \(ERROR_[A-Z_]+\)$`), "%d", uint32(no))
	}
}

func TestFolders(t *testing.T) {
	g := NewWithT(t)
	dir := tempDir(t)
	g.Expect(foldersIn(dir)).To(Equal([]string{dir}))
	for i := range namesRead + 9 {
		g.Expect(os.Mkdir(filepath.Join(dir, fmt.Sprint("d", i)), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), nil, 0o600)).To(Succeed())
	}
	g.Expect(foldersIn(dir)).To(HaveLen(namesRead + 9))
	g.Expect(list(dir)).To(Succeed())
	g.Expect(list(filepath.Join(dir, "gone"))).To(Succeed())
	g.Expect(list(filepath.Join(dir, "f1"))).NotTo(Succeed(), "a file was listed")
	_, err := foldersIn(filepath.Join(dir, "gone"))
	g.Expect(err).To(HaveOccurred())
}

func TestClockAndBoot(t *testing.T) {
	g := NewWithT(t)
	a, err := bootTime()
	g.Expect(err).NotTo(HaveOccurred())
	at, err := time.Parse(time.RFC3339Nano, a)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(at.Before(time.Now())).To(BeTrue())
	before := monotonic()
	for monotonic() == before { // it moves in steps below a microsecond, not in those of the system clock
	}
	g.Expect(bootTime()).To(Equal(a), "another boot within one")
	g.Expect(systemVolume()).To(Equal("C:"))
}
