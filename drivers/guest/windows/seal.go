// This file seals messages for plain HTTP: a multipart form around what NTLM sealed, as package winrm's own encryption makes it.

package windows

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/bodgit/ntlmssp"
)

const (
	sealBoundary = "--Encrypted Boundary"
	sealProtocol = "application/HTTP-SPNEGO-session-encrypted"
	sealType     = `multipart/encrypted;protocol="` + sealProtocol + `";boundary="Encrypted Boundary"`
	sealedPart   = "Content-Type: application/octet-stream\r\n"
	signatureLen = 16
)

// sealed makes the body of a request of a message.
func sealed(s *ntlmssp.SecuritySession, message string) ([]byte, error) {
	data, signature, err := s.Wrap([]byte(message))
	if err != nil {
		return nil, fmt.Errorf("sealing a message: %w", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\r\n\tContent-Type: %s\r\n\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=%d\r\n%s\r\n\t%s",
		sealBoundary, sealProtocol, len(message), sealBoundary, sealedPart)
	b.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(signature))))
	b.Write(signature)
	b.Write(data)
	b.WriteString(sealBoundary + "--\r\n")
	return b.Bytes(), nil
}

// opened is the message in the body of an answer. One that is not sealed is refused: it could be anybody's.
func opened(s *ntlmssp.SecuritySession, contentType string, body []byte) ([]byte, error) {
	signature, data, err := sealedParts(contentType, body)
	if err != nil {
		return nil, err
	}
	plain, err := s.Unwrap(data, signature)
	if err != nil {
		return nil, fmt.Errorf("%w: opening its seal: %w", errNotSOAP, err)
	}
	return plain, nil
}

// sealedParts finds the signature and the sealed data.
func sealedParts(contentType string, body []byte) (signature, data []byte, err error) {
	if !strings.Contains(contentType, sealProtocol) {
		return nil, nil, fmt.Errorf("%w: it is not sealed", errNotSOAP)
	}
	_, rest, ok := bytes.Cut(body, []byte(sealedPart))
	end := bytes.LastIndex(rest, []byte(sealBoundary))
	if !ok || end < 4+signatureLen || binary.LittleEndian.Uint32(rest) != signatureLen {
		return nil, nil, fmt.Errorf("%w: its sealed part is damaged", errNotSOAP)
	}
	return rest[4 : 4+signatureLen], rest[4+signatureLen : end], nil
}
