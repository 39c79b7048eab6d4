// This file finds the port and reads it.

package switchport

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gosnmp/gosnmp"
)

// Objects of IF-MIB (RFC 2863 section 6) and, of IP-MIB (RFC 4293), the table that says which interface has an address.
const (
	ifDescr        = ".1.3.6.1.2.1.2.2.1.2"
	ifAdminStatus  = ".1.3.6.1.2.1.2.2.1.7"
	ifOperStatus   = ".1.3.6.1.2.1.2.2.1.8"
	ifInOctets     = ".1.3.6.1.2.1.2.2.1.10"
	ifOutOctets    = ".1.3.6.1.2.1.2.2.1.16"
	ifName         = ".1.3.6.1.2.1.31.1.1.1.1"
	ifHCInOctets   = ".1.3.6.1.2.1.31.1.1.1.6"
	ifHCOutOctets  = ".1.3.6.1.2.1.31.1.1.1.10"
	ifAlias        = ".1.3.6.1.2.1.31.1.1.1.18"
	ipAdEntIfIndex = ".1.3.6.1.2.1.4.20.1.2"
)

// Values of ifAdminStatus.
const (
	adminUp      = 1
	adminDown    = 2
	adminTesting = 3
)

// statusName is a status in RFC 2863's words.
func statusName(n int) string {
	names := []string{"up", "down", "testing", "unknown", "dormant", "notPresent", "lowerLayerDown"}
	if n < 1 || n > len(names) {
		return "unknown"
	}
	return names[n-1]
}

// port is one interface of the switch.
type port struct {
	index       int
	name, alias string
	admin, oper int
	in, out     uint64 // octets
}

func (p port) String() string {
	s := strconv.Itoa(p.index)
	if p.name != "" {
		s = p.name + " (" + s + ")"
	}
	if p.alias != "" {
		s += " " + strconv.Quote(p.alias)
	}
	return s
}

// notOne says that a name does not mean one port.
type notOne struct {
	what string
	all  []int
}

func (e *notOne) Error() string {
	if len(e.all) == 0 {
		return "the switch has no port " + strconv.Quote(e.what)
	}
	return fmt.Sprintf("%d ports are meant by %q: ifIndex %s", len(e.all), e.what, strings.Trim(fmt.Sprint(e.all), "[]"))
}

// find looks a port up by ifIndex, ifName, ifDescr or ifAlias. A number is an index, unless another port has it for a name.
func (d *Driver) find(ctx context.Context, what string) (port, error) {
	what = strings.TrimSpace(what)
	var found []int
	err := d.with(ctx, d.pace.walk, func(g *gosnmp.GoSNMP) error {
		for _, table := range []string{ifName, ifDescr, ifAlias} {
			err := g.BulkWalk(table, func(v gosnmp.SnmpPDU) error {
				index, err := strconv.Atoi(strings.TrimPrefix(v.Name, table+"."))
				if err != nil || index < 1 || slices.Contains(found, index) {
					return nil
				}
				if textOf(v) == what || strconv.Itoa(index) == what {
					found = append(found, index)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return port{}, err
	case len(found) != 1:
		slices.Sort(found)
		return port{}, &notOne{what, found}
	}
	return d.read(ctx, found[0])
}

// read reads one port. Counters of 64 bits are taken where there are any.
func (d *Driver) read(ctx context.Context, index int) (port, error) {
	p := port{index: index}
	at := "." + strconv.Itoa(index)
	var low [2]uint64
	var high [2]*uint64
	err := d.with(ctx, d.pace.answer, func(g *gosnmp.GoSNMP) error {
		answer, err := check(g.Get([]string{ifAdminStatus + at, ifOperStatus + at, ifName + at, ifAlias + at, ifInOctets + at, ifOutOctets + at,
			ifHCInOctets + at, ifHCOutOctets + at}))
		if err != nil {
			return err
		}
		for _, v := range answer.Variables {
			number, isNumber := numberOf(v)
			switch strings.TrimSuffix(v.Name, at) {
			case ifAdminStatus:
				p.admin = int(number)
			case ifOperStatus:
				p.oper = int(number)
			case ifName:
				p.name = textOf(v)
			case ifAlias:
				p.alias = textOf(v)
			case ifInOctets:
				low[0] = number
			case ifOutOctets:
				low[1] = number
			case ifHCInOctets:
				if isNumber {
					high[0] = &number
				}
			case ifHCOutOctets:
				if isNumber {
					high[1] = &number
				}
			}
		}
		return nil
	})
	p.in, p.out = low[0], low[1]
	if high[0] != nil && high[1] != nil {
		p.in, p.out = *high[0], *high[1]
	}
	if err == nil && (p.admin < adminUp || p.admin > adminTesting) {
		return p, &notOne{strconv.Itoa(index), nil} // it has gone
	}
	return p, err
}

// textOf returns a variable's text; an agent may pad it with zeros.
func textOf(v gosnmp.SnmpPDU) string {
	b, _ := v.Value.([]byte)
	return strings.TrimSpace(strings.ToValidUTF8(strings.TrimRight(string(b), "\x00"), "?"))
}

// numberOf returns a variable's number, and whether it has one that makes sense here.
func numberOf(v gosnmp.SnmpPDU) (uint64, bool) {
	switch v.Type {
	case gosnmp.Integer, gosnmp.Counter32, gosnmp.Gauge32, gosnmp.Counter64, gosnmp.TimeTicks, gosnmp.Uinteger32:
		n := gosnmp.ToBigInt(v.Value)
		return n.Uint64(), n.IsUint64()
	}
	return 0, false
}

// managedBy returns the ifIndex of the interface that has the address under which the switch is asked; 0: it does not say.
func (d *Driver) managedBy(ctx context.Context) (int, string) {
	host, _, _ := net.SplitHostPort(d.c.Address)
	in, cancel := context.WithTimeout(ctx, d.pace.answer)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(in, "ip4", host)
	if err != nil {
		return 0, ""
	}
	for _, a := range all {
		index := 0
		_ = d.with(ctx, d.pace.answer, func(g *gosnmp.GoSNMP) error { // a switch that does not tell is not one that says no
			answer, err := check(g.Get([]string{ipAdEntIfIndex + "." + a.Unmap().String()}))
			if err == nil && len(answer.Variables) == 1 {
				n, _ := numberOf(answer.Variables[0])
				index = int(n)
			}
			return err
		})
		if index > 0 {
			return index, netip.Addr.String(a.Unmap())
		}
	}
	return 0, ""
}
