package wire

import (
	"bytes"
	"encoding/hex"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	. "github.com/onsi/gomega"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The annotated dump of [MS-RDPBCGR] 4.1.1.
const specRequest = "03 00 00 2c 27 e0 00 00 00 00 00 43 6f 6f 6b 69 65 3a 20 6d 73 74 73 68 61 73 68 3d 65 6c 74 6f 6e 73 0d 0a 01 00 08 00 00 00 00 00"

func TestRequest(t *testing.T) {
	g := NewWithT(t)
	g.Expect(ReadRequest(bytes.NewReader(unhex(t, specRequest)))).To(Equal(RDP))
	g.Expect(ConnectionRequest(SSL | Hybrid)).To(Equal(unhex(t, "03 00 00 13 0e e0 00 00 00 00 00 01 00 08 00 03 00 00 00")))
	g.Expect(ReadRequest(bytes.NewReader(ConnectionRequest(SSL | Hybrid)))).To(Equal(SSL | Hybrid))
	g.Expect(ReadRequest(bytes.NewReader(unhex(t, "03 00 00 0b 06 e0 00 00 00 00 00")))).To(Equal(RDP), "a client that does not negotiate")
}

func TestConfirm(t *testing.T) {
	g := NewWithT(t)
	// [MS-RDPBCGR] 2.2.1.2 and 2.2.1.2.1: the references are the server's own business, and so are the flags.
	g.Expect(ReadConfirm(bytes.NewReader(unhex(t, "03 00 00 13 0e d0 00 00 12 34 00 02 1f 08 00 02 00 00 00")))).To(Equal(Hybrid))
	g.Expect(ReadConfirm(iotest.OneByteReader(bytes.NewReader(ConnectionConfirm(SSL))))).To(Equal(SSL))
	g.Expect(ReadConfirm(bytes.NewReader(unhex(t, "03 00 00 0b 06 d0 00 00 12 34 00")))).To(Equal(RDP), "an old server")
	_, err := ReadConfirm(bytes.NewReader(ConnectionFailure(5)))
	g.Expect(err).To(Equal(Failure(5)))
	g.Expect(err).To(MatchError("HYBRID_REQUIRED_BY_SERVER"))
	g.Expect(Failure(99)).To(MatchError("the failure 0x00000063"))
	for p, name := range map[Protocol]string{RDP: "rdp", SSL: "tls", Hybrid: "credssp", HybridEx: "credssp-ex", 4: "0x00000004"} {
		g.Expect(p.String()).To(Equal(name))
	}
}

func TestWrongConfirms(t *testing.T) {
	for name, s := range map[string]string{
		"HTTP":                    "48 54 54 50 2f 31 2e 31",
		"a frame of nothing":      "03 00 00 04",
		"a huge frame":            "03 00 ff ff 00",
		"a request":               "03 00 00 0b 06 e0 00 00 00 00 00",
		"a wrong length":          "03 00 00 0b 07 d0 00 00 12 34 00",
		"a short TPDU":            "03 00 00 06 01 d0",
		"half a negotiation":      "03 00 00 0f 0a d0 00 00 12 34 00 02 00 08 00",
		"a negotiation's length":  "03 00 00 13 0e d0 00 00 12 34 00 02 00 09 00 02 00 00 00",
		"an unknown negotiation":  "03 00 00 13 0e d0 00 00 12 34 00 07 00 08 00 02 00 00 00",
		"the echo of our request": hex.EncodeToString(ConnectionRequest(SSL)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadConfirm(bytes.NewReader(unhex(t, s)))
			NewWithT(t).Expect(err).To(MatchError(errNotRDP))
		})
	}
	_, err := ReadConfirm(bytes.NewReader(ConnectionConfirm(SSL)[:9]))
	NewWithT(t).Expect(err).To(MatchError(io.ErrUnexpectedEOF))
}

func TestTSRequest(t *testing.T) {
	g := NewWithT(t)
	// The layout of [MS-CSSP] 2.2.1, written by hand: version 2, a token of three bytes.
	byHand := unhex(t, "30 12 a0 03 02 01 02 a1 0b 30 09 30 07 a0 05 04 03 00 01 02")
	g.Expect(TSRequest{Version: 2, Token: []byte{0, 1, 2}}.Bytes()).To(Equal(byHand))
	g.Expect(ParseTSRequest(byHand)).To(Equal(TSRequest{Version: 2, Token: []byte{0, 1, 2}}))
	for _, r := range []TSRequest{{Version: 6}, {Version: 6, ErrorCode: 0xc000006d}, {Version: 3, Token: bytes.Repeat([]byte{7}, 3000)}} {
		g.Expect(ReadTSRequest(iotest.OneByteReader(bytes.NewReader(r.Bytes())))).To(Equal(r))
	}
	all := unhex(t, "30 19 a0 03 02 01 06 a2 03 04 01 01 a3 03 04 01 02 a4 03 02 01 05 a5 03 04 01 09")
	g.Expect(ParseTSRequest(all)).To(Equal(TSRequest{Version: 6, ErrorCode: 5}), "what later rounds carry is passed over")
	for _, bad := range []string{"", "30 00", "30 05 a0 03 02 01", "31 05 a0 03 02 01 02", "30 05 a0 03 02 01 02 00", "30 07 a0 03 02 01 02 a7 00"} {
		_, err := ParseTSRequest(unhex(t, bad))
		g.Expect(err).To(MatchError(errNotRDP), bad)
	}
	for _, bad := range []string{"30 80", "30 83 01 00 00", "30 82 ff ff"} {
		_, err := ReadTSRequest(bytes.NewReader(unhex(t, bad)))
		g.Expect(err).To(MatchError(errNotRDP), bad)
	}
	_, err := ReadTSRequest(bytes.NewReader(byHand[:5]))
	g.Expect(err).To(MatchError(io.ErrUnexpectedEOF))
}

func TestNTLM(t *testing.T) {
	g := NewWithT(t)
	offer, err := ParseTSRequest(Offer())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(offer.Token).To(HaveLen(40)) // [MS-NLMP] 2.2.1.1 with a Version and no payload
	g.Expect(offer.IsOffer()).To(BeTrue())
	g.Expect(offer.IsChallenge()).To(BeFalse())
	challenge, err := ParseTSRequest(Challenge([8]byte{1}))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(challenge.IsChallenge()).To(BeTrue())
	challenge.Token = append([]byte("\xa1\x30 SPNEGO around it"), challenge.Token...)
	g.Expect(challenge.IsChallenge()).To(BeTrue())
	challenge.Token = challenge.Token[:20]
	g.Expect(challenge.IsChallenge()).To(BeFalse())
	g.Expect(TSRequest{}.IsOffer()).To(BeFalse())
}

func FuzzConfirm(f *testing.F) {
	f.Add(ConnectionConfirm(Hybrid))
	f.Add(ConnectionFailure(5))
	f.Add(ConnectionRequest(SSL))
	f.Add(unhex(f, specRequest))
	f.Add(unhex(f, "03 00 00 0b 06 d0 00 00 12 34 00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ReadConfirm(bytes.NewReader(b)); err == nil && p != RDP {
			again, err := ReadConfirm(bytes.NewReader(ConnectionConfirm(p)))
			if err != nil || again != p {
				t.Errorf("%v became %v, %v", p, again, err)
			}
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add(ConnectionRequest(SSL | Hybrid))
	f.Add(unhex(f, specRequest))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ReadRequest(bytes.NewReader(b)); err == nil {
			again, err := ReadRequest(bytes.NewReader(ConnectionRequest(p)))
			if err != nil || again != p {
				t.Errorf("%v became %v, %v", p, again, err)
			}
		}
	})
}

func FuzzTPKT(f *testing.F) {
	f.Add(ConnectionConfirm(Hybrid), 260)
	f.Add([]byte{3, 0, 0xff, 0xff, 0}, 100)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		p, err := readTPKT(bytes.NewReader(b), limit)
		if err == nil && (len(p) == 0 || len(p)+tpktHeader > limit || !bytes.HasPrefix(b[tpktHeader:], p)) {
			t.Errorf("% x with a limit of %d became % x", b, limit, p)
		}
	})
}

func FuzzTSRequest(f *testing.F) {
	f.Add(Offer())
	f.Add(Challenge([8]byte{1, 2, 3}))
	f.Add(TSRequest{Version: 6, ErrorCode: 0xc000006d}.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = ReadTSRequest(bytes.NewReader(b))
		r, err := ParseTSRequest(b)
		if err != nil {
			return
		}
		again, err := ParseTSRequest(r.Bytes())
		if err != nil || again.Version != r.Version || again.ErrorCode != r.ErrorCode || !bytes.Equal(again.Token, r.Token) {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
	})
}
