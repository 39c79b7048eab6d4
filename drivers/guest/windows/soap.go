// This file reads what a WinRM service answers. Requests are built by package winrm; answers are read here, leniently as to
// namespaces and strictly as to faults, so that no answer of whatever server can do more than be an error.

package windows

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxAnswer bounds one answer, in bytes: the envelopes that are asked for have at most envelopeSize.
const maxAnswer = 4 << 20

// envelope is what matters of an answer.
type envelope struct {
	action    string
	shell     string // the ShellId, from the shell itself or a selector
	command   string // the CommandId
	stdout    []byte
	stderr    []byte
	done      bool // the command has ended
	exit      int
	fault     *fault
	anything  bool // it was an envelope at all
	faultCode string
}

// fault is a SOAP fault.
type fault struct {
	code string // WSManFault's Code, else the subcode
	text string
}

func (f *fault) Error() string {
	if f.text == "" {
		return "the WinRM service answers with the fault " + f.code
	}
	return fmt.Sprintf("the WinRM service answers with the fault %s: %.300s", f.code, f.text)
}

// operationTimeout is the code of WSManFault for an operation that gave nothing in the time that was asked for: there is no
// output yet. It is 0x80338029 (from memory).
const operationTimeout = "2150858793"

// timedOut tells a fault that only says that nothing has come yet.
func (f *fault) timedOut() bool {
	return f.code == operationTimeout || strings.HasSuffix(f.code, "TimedOut")
}

var errNotSOAP = errors.New("the answer is not one of WS-Management")

const doneState = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/CommandState/Done"

// parseEnvelope reads an answer. A fault is in the envelope, not the error.
func parseEnvelope(b []byte) (envelope, error) {
	var e envelope
	d := xml.NewDecoder(bytes.NewReader(b))
	d.CharsetReader = func(label string, in io.Reader) (io.Reader, error) { // the decoder itself knows UTF-8 only
		return nil, fmt.Errorf("an answer in %.20q", label)
	}
	var path []string
	var text strings.Builder
	stream, selector := "", ""
	reason := ""
	inside := func(name string) bool {
		for _, p := range path {
			if p == name {
				return true
			}
		}
		return false
	}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return e, fmt.Errorf("%w: %w", errNotSOAP, err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if len(path) > 64 {
				return e, fmt.Errorf("%w: it is nested too deeply", errNotSOAP)
			}
			path = append(path, t.Name.Local)
			text.Reset()
			switch t.Name.Local {
			case "Envelope":
				e.anything = e.anything || len(path) == 1
			case "Fault":
				if e.fault == nil {
					e.fault = &fault{}
				}
			case "WSManFault":
				if e.fault != nil {
					e.fault.code = attr(t, "Code")
				}
			case "Stream":
				stream = attr(t, "Name")
			case "Selector":
				selector = attr(t, "Name")
			case "CommandState":
				e.done = e.done || attr(t, "State") == doneState
			}
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			value := strings.TrimSpace(text.String())
			switch name := t.Name.Local; {
			case name == "Action":
				e.action = value
			case name == "ShellId", name == "Selector" && selector == "ShellId":
				if e.shell == "" {
					e.shell = value
				}
			case name == "CommandId":
				e.command = value
			case name == "ExitCode":
				n, err := strconv.ParseInt(value, 10, 64)
				if err != nil {
					return e, fmt.Errorf("%w: the exit code is %.20q", errNotSOAP, value)
				}
				e.exit = int(n)
			case name == "Stream":
				data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(value), ""))
				if err != nil {
					return e, fmt.Errorf("%w: its output is not in base64", errNotSOAP)
				}
				if stream == "stderr" {
					e.stderr = append(e.stderr, data...)
				} else {
					e.stdout = append(e.stdout, data...)
				}
			case name == "Value" && inside("Subcode"):
				e.faultCode = value
			case name == "Text" && inside("Fault"), name == "Message" && inside("Fault") && reason == "":
				reason = value
			}
			path = path[:len(path)-1]
			text.Reset()
		}
	}
	if !e.anything {
		return e, errNotSOAP
	}
	if e.fault != nil {
		e.fault.text = reason
		if e.fault.code == "" {
			e.fault.code = e.faultCode
		}
	}
	return e, nil
}

func attr(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
