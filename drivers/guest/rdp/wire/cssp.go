// This file has the first round trip of CredSSP: the client offers NTLM, and whatever checks credentials in the guest (LSASS)
// answers with a challenge. No name and no password is in it.

package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// TSRequest is the one message of CredSSP, [MS-CSSP] 2.2.1, as far as the first round trip needs it.
type TSRequest struct {
	Version   int
	Token     []byte // the first of negoTokens
	ErrorCode uint32 // an NTSTATUS; 0 for none
}

// credSSPVersion is what the probe says it speaks: the first that every server in use understands ([MS-CSSP] 2.2.1: 2 to 6).
const credSSPVersion = 6

// maxTSRequest bounds a message in bytes: a challenge is a few hundred.
const maxTSRequest = 16 << 10

// context is the tag of the n-th element.
func context(n uint8) asn1.Tag { return asn1.Tag(n).ContextSpecific().Constructed() }

// Bytes is the message as DER.
func (t TSRequest) Bytes() []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(context(0), func(b *cryptobyte.Builder) { b.AddASN1Int64(int64(t.Version)) })
		if t.Token != nil {
			b.AddASN1(context(1), func(b *cryptobyte.Builder) { // NegoData, 2.2.1.1
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1(context(0), func(b *cryptobyte.Builder) { b.AddASN1OctetString(t.Token) })
					})
				})
			})
		}
		if t.ErrorCode != 0 {
			b.AddASN1(context(4), func(b *cryptobyte.Builder) { b.AddASN1Int64(int64(int32(t.ErrorCode))) })
		}
	})
	return b.BytesOrPanic() // fails only for what is too long to encode
}

// ParseTSRequest takes a message apart.
func ParseTSRequest(der []byte) (TSRequest, error) {
	var t TSRequest
	in := cryptobyte.String(der)
	var seq, field cryptobyte.String
	bad := func(what string) (TSRequest, error) {
		return TSRequest{}, fmt.Errorf("%w: a TSRequest with a wrong %s", errNotRDP, what)
	}
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !in.Empty() {
		return bad("frame")
	}
	if !seq.ReadASN1(&field, context(0)) || !field.ReadASN1Integer(&t.Version) || !field.Empty() {
		return bad("version")
	}
	var there bool
	if !seq.ReadOptionalASN1(&field, &there, context(1)) {
		return bad("negoTokens")
	}
	if there {
		var list, item, token cryptobyte.String
		if !field.ReadASN1(&list, asn1.SEQUENCE) || !list.ReadASN1(&item, asn1.SEQUENCE) ||
			!item.ReadASN1(&field, context(0)) || !field.ReadASN1(&token, asn1.OCTET_STRING) {
			return bad("negoTokens")
		}
		t.Token = append([]byte{}, token...)
	}
	for _, n := range []uint8{2, 3} { // authInfo, pubKeyAuth: later rounds
		if !seq.SkipOptionalASN1(context(n)) {
			return bad("element")
		}
	}
	if !seq.ReadOptionalASN1(&field, &there, context(4)) {
		return bad("errorCode")
	}
	if there {
		var code int64
		if !field.ReadASN1Integer(&code) {
			return bad("errorCode")
		}
		t.ErrorCode = uint32(code)
	}
	if !seq.SkipOptionalASN1(context(5)) || !seq.Empty() { // clientNonce
		return bad("element")
	}
	return t, nil
}

// ReadTSRequest reads one message from a connection, which has no other frame than DER's own length.
func ReadTSRequest(r io.Reader) (TSRequest, error) {
	b := make([]byte, 2, 512)
	if _, err := io.ReadFull(r, b); err != nil {
		return TSRequest{}, fmt.Errorf("reading a TSRequest: %w", err)
	}
	n := int(b[1])
	if n >= 0x80 {
		more := n & 0x7f
		if more == 0 || more > 2 {
			return TSRequest{}, fmt.Errorf("%w: a TSRequest that begins with % x", errNotRDP, b)
		}
		b = b[:2+more]
		if _, err := io.ReadFull(r, b[2:]); err != nil {
			return TSRequest{}, fmt.Errorf("reading a TSRequest: %w", err)
		}
		n = 0
		for _, c := range b[2:] {
			n = n<<8 | int(c)
		}
	}
	if n > maxTSRequest {
		return TSRequest{}, fmt.Errorf("%w: a TSRequest of %d bytes", errNotRDP, n)
	}
	at := len(b)
	b = append(b, make([]byte, n)...)
	if _, err := io.ReadFull(r, b[at:]); err != nil {
		return TSRequest{}, fmt.Errorf("reading a TSRequest: %w", err)
	}
	return ParseTSRequest(b)
}

// The beginning of every NTLM message and the two types that matter here: [MS-NLMP] 2.2.1.1 and 2.2.1.2.
var ntlmSignature = []byte("NTLMSSP\x00")

const (
	ntlmNegotiate = 1
	ntlmChallenge = 2
)

// ntlmFlags is what the client says it can do, [MS-NLMP] 2.2.2.5: what 3.1.5.1.1 prescribes (REQUEST_TARGET, NTLM, ALWAYS_SIGN,
// UNICODE, EXTENDED_SESSIONSECURITY), and the sealing that CredSSP wants (SIGN, SEAL, KEY_EXCH, 128, 56).
const ntlmFlags = 0x4 | 0x200 | 0x8000 | 0x1 | 0x80000 | 0x10 | 0x20 | 0x40000000 | 0x20000000 | 0x80000000

// Offer is the client's first message: a TSRequest with an NTLM NEGOTIATE_MESSAGE without names.
func Offer() []byte {
	token := binary.LittleEndian.AppendUint32(bytes.Clone(ntlmSignature), ntlmNegotiate)
	token = binary.LittleEndian.AppendUint32(token, ntlmFlags)
	token = append(token, make([]byte, 8+8+8)...) // domain, workstation, version
	return TSRequest{Version: credSSPVersion, Token: token}.Bytes()
}

// Challenge is a server's answer to an Offer, with a server challenge of 8 bytes and no target; for stand-ins.
func Challenge(nonce [8]byte) []byte {
	token := binary.LittleEndian.AppendUint32(bytes.Clone(ntlmSignature), ntlmChallenge)
	token = append(token, make([]byte, 8)...) // target name
	token = binary.LittleEndian.AppendUint32(token, ntlmFlags)
	token = append(token, nonce[:]...)
	token = append(token, make([]byte, 8+8+8)...) // reserved, target info, version
	return TSRequest{Version: credSSPVersion, Token: token}.Bytes()
}

// IsOffer and IsChallenge tell what kind of NTLM message a token has. It may be wrapped in SPNEGO ([MS-CSSP] 2.2.1).
func (t TSRequest) IsOffer() bool     { return t.ntlm() == ntlmNegotiate }
func (t TSRequest) IsChallenge() bool { return t.ntlm() == ntlmChallenge }

func (t TSRequest) ntlm() uint32 {
	i := bytes.Index(t.Token, ntlmSignature)
	if i < 0 || len(t.Token) < i+len(ntlmSignature)+4 {
		return 0
	}
	return binary.LittleEndian.Uint32(t.Token[i+len(ntlmSignature):])
}
