package switchport

import (
	"context"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gosnmp/gosnmp"

	"github.com/allpathsdown/allpathsdown/drivers/path/internal/boxtest"
)

const community = "writer-7f3a"

// agent is an SNMPv2c agent whose ifAdminStatus can be written (RFC 3416).
type agent struct {
	addr string
	conn net.PacketConn

	mu     sync.Mutex
	vars   map[string]gosnmp.SnmpPDU
	hung   bool
	fail   bool
	refuse gosnmp.SNMPError // what a Set is answered with
	stuck  bool             // a Set is granted and changes nothing
}

func newAgent(t testing.TB) *agent {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{addr: conn.LocalAddr().String(), conn: conn, vars: map[string]gosnmp.SnmpPDU{}}
	var wg sync.WaitGroup
	wg.Go(a.serve)
	t.Cleanup(func() {
		_ = conn.Close()
		wg.Wait()
	})
	return a
}

func (a *agent) set(do func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	do()
}

func (a *agent) put(oid string, kind gosnmp.Asn1BER, value any) {
	a.set(func() { a.vars[oid] = gosnmp.SnmpPDU{Name: oid, Type: kind, Value: value} })
}

// port adds an interface that is up.
func (a *agent) port(index int, name, alias string) {
	at := "." + strconv.Itoa(index)
	a.put(ifDescr+at, gosnmp.OctetString, "Port "+name)
	a.put(ifName+at, gosnmp.OctetString, name)
	a.put(ifAlias+at, gosnmp.OctetString, alias)
	a.put(ifAdminStatus+at, gosnmp.Integer, 1)
	a.put(ifOperStatus+at, gosnmp.Integer, 1)
	a.put(ifHCInOctets+at, gosnmp.Counter64, uint64(1<<40))
	a.put(ifHCOutOctets+at, gosnmp.Counter64, uint64(7))
}

func (a *agent) admin(index int) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return statusName(a.vars[ifAdminStatus+"."+strconv.Itoa(index)].Value.(int))
}

func (a *agent) serve() {
	buf := make([]byte, 65536)
	for {
		n, from, err := a.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		g := &gosnmp.GoSNMP{Version: gosnmp.Version2c}
		in, err := g.SnmpDecodePacket(slices.Clone(buf[:n]))
		if err != nil || in.Community != community {
			continue
		}
		a.mu.Lock()
		silent := a.hung
		out := a.answer(in)
		a.mu.Unlock()
		if b, err := out.MarshalMsg(); err == nil && !silent {
			_, _ = a.conn.WriteTo(b, from)
		}
	}
}

func (a *agent) answer(in *gosnmp.SnmpPacket) *gosnmp.SnmpPacket {
	out := &gosnmp.SnmpPacket{Version: in.Version, Community: in.Community, PDUType: gosnmp.GetResponse, RequestID: in.RequestID, Variables: in.Variables}
	if a.fail {
		out.Error = gosnmp.GenErr
		return out
	}
	var got []gosnmp.SnmpPDU
	switch in.PDUType {
	case gosnmp.GetRequest:
		for _, v := range in.Variables {
			if x, ok := a.vars[v.Name]; ok {
				got = append(got, x)
			} else {
				got = append(got, gosnmp.SnmpPDU{Name: v.Name, Type: gosnmp.NoSuchInstance})
			}
		}
	case gosnmp.GetBulkRequest:
		next := in.Variables[0].Name
		for range in.MaxRepetitions {
			x := a.after(next)
			got = append(got, x)
			if next = x.Name; x.Type == gosnmp.EndOfMibView {
				break
			}
		}
	case gosnmp.SetRequest:
		if out.Error = a.refuse; out.Error != gosnmp.NoError {
			out.ErrorIndex = 1
			return out
		}
		for _, v := range in.Variables {
			if !a.stuck {
				a.vars[v.Name] = v
				oper := strings.Replace(v.Name, ifAdminStatus, ifOperStatus, 1)
				a.vars[oper] = gosnmp.SnmpPDU{Name: oper, Type: gosnmp.Integer, Value: v.Value}
			}
			got = append(got, v)
		}
	}
	out.Variables = got
	return out
}

// after returns the variable that follows an object identifier in their order, which is that of numbers.
func (a *agent) after(oid string) gosnmp.SnmpPDU {
	best := ""
	for name := range a.vars {
		if compare(name, oid) > 0 && (best == "" || compare(name, best) < 0) {
			best = name
		}
	}
	if best == "" {
		return gosnmp.SnmpPDU{Name: oid, Type: gosnmp.EndOfMibView}
	}
	return a.vars[best]
}

func compare(a, b string) int {
	numbers := func(s string) []int {
		var out []int
		for w := range strings.SplitSeq(strings.Trim(s, "."), ".") {
			n, _ := strconv.Atoi(w)
			out = append(out, n)
		}
		return out
	}
	return slices.Compare(numbers(a), numbers(b))
}

// daemon starts Debian's snmpd in a box, where it may really shut an interface, and returns its address.
func daemon(t *testing.T, b *boxtest.Box) string {
	t.Helper()
	if _, err := exec.LookPath("snmpd"); err != nil {
		t.Skip("the test needs snmpd (Debian: snmpd)")
	}
	b.Sh(`mkdir -p /run/snmp
cat >/run/snmp/conf <<'E'
rwcommunity ` + community + `
rocommunity reader
createUser signer SHA authpassword-1 AES privpassword-1
rwuser signer priv
createUser plain SHA-256 authpassword-2
rwuser plain auth
E`)
	cmd := b.Command(t.Context(), "snmpd", "-f", "-Lf", "/run/snmp/log", "-C", "-c", "/run/snmp/conf", "-p", "/run/snmp/pid", "udp:127.0.0.1:161")
	cmd.Env = append(cmd.Env, "SNMP_PERSISTENT_DIR=/run/snmp", "MIBS=")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr := relay(t, b, "127.0.0.1:161")
	t.Cleanup(func() { _ = cmd.Wait() }) // the test's context ends it before
	return addr
}

// relay carries datagrams between a loopback address here and one in a box.
func relay(t *testing.T, b *boxtest.Box, to string) string {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	backs := map[string]net.Conn{}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := front.ReadFrom(buf)
			if err != nil {
				for _, c := range backs {
					_ = c.Close()
				}
				return
			}
			back := backs[from.String()]
			if back == nil {
				if back, err = b.Dial(context.Background(), "udp", to); err != nil {
					continue
				}
				backs[from.String()] = back
				wg.Go(func() {
					buf := make([]byte, 65536)
					for {
						n, err := back.Read(buf)
						if err != nil {
							return
						}
						_, _ = front.WriteTo(buf[:n], from)
					}
				})
			}
			_, _ = back.Write(buf[:n])
		}
	})
	t.Cleanup(func() {
		_ = front.Close()
		wg.Wait()
	})
	return front.LocalAddr().String()
}
