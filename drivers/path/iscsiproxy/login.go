package iscsiproxy

// This file is what the proxy reads of text: who logs in, which digests are agreed on, and the addresses of the target
// that would lead past the path. Faults of the login phase are here too.

import (
	"bytes"
	"net"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

// loginRedirected is the status class of a Login Response that names another address (RFC 7143 section 11.13.5).
const loginRedirected = 1

// text is the data segment of a PDU, empty when it is not there as a whole.
func (h *half) text(hdr *iscsi.Header, unit []byte) []byte {
	off, n := iscsi.HeaderLen+hdr.AHSLen(), hdr.DataLen()
	if h.pr.hdgst.Load() {
		off += 4
	}
	if off+n > len(unit) {
		return nil
	}
	return unit[off : off+n]
}

// login looks at a Login Request: only the first of a connection has the initiator's name, and can be hit.
func (h *half) login(hdr *iscsi.Header, unit []byte) ([]byte, verdict) {
	pr, p := h.pr, h.pr.p
	if h.met {
		return nil, pass
	}
	h.met = true
	if k, err := iscsi.ParseKeys(h.text(hdr, unit)); err == nil {
		if name := k.Get("InitiatorName"); name != "" {
			pr.initiator.Store(&name)
		}
	}
	at := func(kinds ...Kind) *fault {
		return first(&p.logins, func(r *Rule) bool { return r.Initiator == "" || r.Initiator == pr.name() }, kinds...)
	}
	if f := at(LoginSlow); f != nil {
		pr.told(f, "login", "slow")
		h.linger(f)
	}
	f := at(LoginRefuse, LoginRedirect)
	if f == nil {
		return nil, pass
	}
	m := made{raw: true, last: true}
	m.h[0], m.h[1] = iscsi.OpLoginResp, hdr.Flags()&0x0c // the stage that it was in, no transit
	copy(m.h[8:16], hdr[8:16])                           // ISID, TSIH
	m.h.SetITT(hdr.ITT())
	m.h.SetStatSN(hdr.ExpStatSN())
	m.h.SetExpCmdSN(hdr.CmdSN())
	m.h.SetMaxCmdSN(hdr.CmdSN())
	m.h[36], m.h[37] = byte(f.Rule.Login>>8), byte(f.Rule.Login)
	detail := "refused"
	if f.Kind == LoginRedirect {
		m.data, detail = iscsi.Keys{{Name: "TargetAddress", Value: f.Rule.Address}}.Append(nil), "redirected to "+f.Rule.Address
	}
	pr.told(f, "login", detail)
	h.deaf = true
	pr.mu.Lock()
	pr.push(m)
	pr.mu.Unlock()
	return nil, drop
}

// linger waits as long as a slow login says. The initiator may give it up meanwhile.
func (h *half) linger(f *fault) {
	var late <-chan time.Time
	if d := f.Rule.delay(); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		late = t.C
	}
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	h.pr.lingers.Store(true)
	defer h.pr.lingers.Store(false)
	for {
		select {
		case <-late:
			return
		case <-f.ended:
			return
		case <-h.pr.gone:
			return
		case <-look.C:
			if !h.pr.p.silent.Load() && !established(h.src) {
				h.pr.shut(true)
				return
			}
		}
	}
}

// loginEnd notes what digests the full feature phase will have. Both directions change with the final Login
// Response: the initiator sends nothing between it and its last request.
func (h *half) loginEnd(hdr *iscsi.Header, unit []byte) {
	if k, err := iscsi.ParseKeys(h.text(hdr, unit)); err == nil {
		if v := k.Get("HeaderDigest"); v != "" {
			h.want.Header = v == "CRC32C"
		}
		if v := k.Get("DataDigest"); v != "" {
			h.want.Data = v == "CRC32C"
		}
	}
	if hdr.Flags()&iscsi.LoginTransit != 0 && hdr.Flags()&3 == iscsi.StageFull && hdr[36] == 0 {
		h.pr.hdgst.Store(h.want.Header)
		h.pr.ddgst.Store(h.want.Data)
		h.pr.full.Store(true)
	}
}

// readdress puts the path's own address into an answer to SendTargets, or a redirection, in place of the target's: an
// initiator that discovers through the path shall not leave it. An address of somebody else stays, and is told of.
func (h *half) readdress(hdr *iscsi.Header, unit []byte) ([]byte, verdict) {
	const key = "TargetAddress="
	body := h.text(hdr, unit)
	if !bytes.Contains(body, []byte(key)) {
		return nil, pass
	}
	changed := false
	pairs := strings.Split(string(body), "\x00")
	for i, pair := range pairs {
		v, ok := strings.CutPrefix(pair, key)
		if !ok {
			continue
		}
		addr, group, tagged := strings.Cut(v, ",")
		if !h.pr.ours(addr) {
			h.pr.p.note(h.pr, "leak", "%.200s is not an address of this path's target", addr)
			continue
		}
		if own := h.pr.own(); own != "" {
			changed = true
			pairs[i] = key + own
			if tagged {
				pairs[i] += "," + group
			}
		}
	}
	if !changed {
		return nil, pass
	}
	q := iscsi.PDU{Header: *hdr, Data: []byte(strings.Join(pairs, "\x00"))}
	q.SetStatSN(hdr.StatSN() - uint32(h.pr.delta.Load()))
	return iscsi.AppendPDU(nil, &q, iscsi.Digests{Header: h.pr.hdgst.Load(), Data: h.pr.ddgst.Load()}), replace
}

// own is where the initiator of this connection finds the path.
func (pr *pair) own() string {
	if a := pr.p.cfg.Advertise; a != "" {
		return a
	}
	if pr.up.src == nil {
		return pr.p.addr
	}
	return pr.up.src.LocalAddr().String()
}

// ours tells whether an address is one of the target behind this path. Without a port it is port 3260 (RFC 7143 section 13.8).
func (pr *pair) ours(addr string) bool {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), "3260")
	}
	if addr == pr.p.cfg.Target || pr.isReady() && addr == pr.up.dst.RemoteAddr().String() {
		return true
	}
	for _, a := range pr.p.cfg.Also {
		if a == "*" || a == addr {
			return true
		}
	}
	return false
}
