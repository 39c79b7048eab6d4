package iscsi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Login stages (RFC 7143 section 11.12.3).
const (
	StageSecurity    byte = 0
	StageOperational byte = 1
	StageFull        byte = 3
)

// RandomISID makes an ISID of type "random" (RFC 7143 section 11.12.5: T = 10b) that is all but surely unique.
func RandomISID() (id [6]byte) {
	_, _ = rand.Read(id[1:])
	id[0] = 0x80
	return id
}

// login runs the login phase on nc with plain, blocking reads and writes. It returns the negotiated
// parameters, the StatSN that the target will use next, and its first command window.
func login(nc net.Conn, rd *Reader, cfg *Config) (p Params, expStatSN, maxCmdSN uint32, err error) {
	p = Params{InitialR2T: cfg.InitialR2T, ImmediateData: !cfg.NoImmediate, MaxBurst: cfg.MaxBurst,
		FirstBurst: min(cfg.FirstBurst, cfg.MaxBurst), MaxSendData: 8192} // 8192: section 13.12's default
	stage, offered := StageSecurity, false
	keys := Keys{{"InitiatorName", cfg.InitiatorName}, {"AuthMethod", "None"}}
	if cfg.TargetName == "" {
		keys = append(keys, Key{"SessionType", "Discovery"})
	} else {
		keys = append(keys, Key{"SessionType", "Normal"}, Key{"TargetName", cfg.TargetName})
	}
	var answer []byte
	for round := 0; ; round++ {
		if round > 20 {
			return p, 0, 0, fmt.Errorf("login did not end after %d rounds: %w", round, ErrFormat)
		}
		var q PDU
		q.Header[0] = OpLoginReq | ImmediateBit
		next := StageOperational
		if stage == StageOperational {
			next = StageFull
			if !offered {
				keys, offered = append(keys, cfg.offer()...), true
			}
		}
		q.Header[1] = LoginTransit | stage<<2 | next
		copy(q.Header[8:14], cfg.ISID[:])
		q.SetCmdSN(1)
		q.SetExpStatSN(expStatSN)
		q.Data = keys.Append(nil)
		if err := WritePDU(nc, &q, Digests{}); err != nil {
			return p, 0, 0, err
		}

		var r PDU
		if err := rd.ReadPDU(&r); err != nil {
			return p, 0, 0, fmt.Errorf("reading login response: %w", err)
		}
		if r.Opcode() != OpLoginResp {
			return p, 0, 0, fmt.Errorf("opcode 0x%02x in answer to a login request: %w", r.Opcode(), ErrFormat)
		}
		expStatSN = r.StatSN() + 1
		answer = append(answer, r.Data...)
		if class, detail := r.Header[36], r.Header[37]; class != 0 {
			k, _ := ParseKeys(answer)
			return p, 0, 0, &LoginError{class, detail, k.Get("TargetAddress")}
		}
		keys = nil
		if r.Flags()&LoginContinue != 0 {
			continue // an empty request asks for the rest of the text (section 6.2)
		}
		got, err := ParseKeys(answer)
		if err != nil {
			return p, 0, 0, fmt.Errorf("login response: %w", err)
		}
		answer = answer[:0]
		p.take(got)
		if r.Flags()&LoginTransit == 0 {
			continue
		}
		if stage = r.Flags() & 3; stage == StageFull {
			p.TSIH = uint16(r.Header[14])<<8 | uint16(r.Header[15])
			p.FirstBurst = min(p.FirstBurst, p.MaxBurst)
			return p, expStatSN, max(1, r.MaxCmdSN()), nil
		}
	}
}

func (c *Config) offer() Keys {
	digest := func(want bool) string {
		if want {
			return "CRC32C,None"
		}
		return "None"
	}
	k := Keys{
		{"HeaderDigest", digest(c.HeaderDigest)}, {"DataDigest", digest(c.DataDigest)},
		{"MaxRecvDataSegmentLength", strconv.Itoa(MaxDataSegment)},
		{"DefaultTime2Wait", "2"}, {"DefaultTime2Retain", "0"}, {"ErrorRecoveryLevel", "0"},
	}
	if c.TargetName != "" {
		k = append(k, Keys{
			{"InitialR2T", yesNo(c.InitialR2T)}, {"ImmediateData", yesNo(!c.NoImmediate)},
			{"MaxBurstLength", strconv.Itoa(c.MaxBurst)}, {"FirstBurstLength", strconv.Itoa(min(c.FirstBurst, c.MaxBurst))},
			{"MaxOutstandingR2T", "1"}, {"MaxConnections", "1"},
			{"DataPDUInOrder", "Yes"}, {"DataSequenceInOrder", "Yes"},
		}...)
	}
	return k
}

// take applies the target's answers, by the result function of each key (RFC 7143 section 13).
// Every key was offered by us, except declarations, so nothing needs a reply.
func (p *Params) take(k Keys) {
	for _, e := range k {
		one := Keys{e}
		switch e.Name {
		case "HeaderDigest":
			p.Digests.Header = e.Value == "CRC32C"
		case "DataDigest":
			p.Digests.Data = e.Value == "CRC32C"
		case "InitialR2T":
			p.InitialR2T = one.Bool(e.Name, true) // OR was applied by the target
		case "ImmediateData":
			p.ImmediateData = p.ImmediateData && one.Bool(e.Name, false)
		case "MaxBurstLength":
			p.MaxBurst = min(p.MaxBurst, max(512, one.Int(e.Name, p.MaxBurst)))
		case "FirstBurstLength":
			p.FirstBurst = min(p.FirstBurst, max(512, one.Int(e.Name, p.FirstBurst)))
		case "MaxRecvDataSegmentLength":
			p.MaxSendData = min(1<<24-1, max(512, one.Int(e.Name, p.MaxSendData)))
		}
	}
}

// dial connects and logs in within the login timeout and ctx, whichever ends first.
func dial(ctx context.Context, cfg *Config) (nc net.Conn, rd *Reader, p Params, statSN, maxCmdSN uint32, err error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.LoginTimeout)
	defer cancel()
	var d net.Dialer
	nc, err = d.DialContext(ctx, "tcp", cfg.Portal)
	if err != nil {
		return nil, nil, p, 0, 0, lost("connecting to portal %s: %w", cfg.Portal, err)
	}
	// The context ends the login by a deadline in the past; the connection itself stays ours to close.
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	rd = NewReader(nc, MaxDataSegment)
	p, statSN, maxCmdSN, err = login(nc, rd, cfg)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if t, ok := nc.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
		_ = nc.Close()
		if ctx.Err() != nil && !errors.As(err, new(*LoginError)) {
			err = fmt.Errorf("no login within %v: %w", cfg.LoginTimeout, ctx.Err())
		}
		if errors.As(err, new(*LoginError)) {
			return nil, nil, p, 0, 0, fmt.Errorf("logging in to %q at %s: %w", cfg.TargetName, cfg.Portal, err)
		}
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("portal closed the connection: %w", io.ErrUnexpectedEOF)
		}
		return nil, nil, p, 0, 0, lost("logging in to %q at %s: %w", cfg.TargetName, cfg.Portal, err)
	}
	return nc, rd, p, statSN, maxCmdSN, nil
}
