package iscsi

import (
	"fmt"
	"time"
)

// Config describes a session to open. Only Portal, InitiatorName and (for a normal session) TargetName
// are needed; the zero value of every other field takes the default named beside it.
type Config struct {
	Portal        string  // host:port of the target portal
	TargetName    string  // iSCSI name; empty opens a discovery session (RFC 7143 section 4.3)
	InitiatorName string  // iSCSI name
	ISID          [6]byte // zero: a random qualifier of the "random" type (section 11.12.5); keep it to reinstate a session

	LoginTimeout  time.Duration // TCP connect and login phase together; 5 s (ESXi: LoginTimeout)
	NoopInterval  time.Duration // silence after which a NOP-Out is sent; 15 s (ESXi: NoopOutInterval); below 0: never
	NoopTimeout   time.Duration // silence after that NOP-Out which ends the session; 10 s (ESXi: NoopOutTimeout)
	LogoutTimeout time.Duration // wait for the Logout Response; 2 s (ours)

	HeaderDigest, DataDigest bool // offer CRC32C first, None second; otherwise only None

	InitialR2T  bool // offer InitialR2T=Yes; default No (section 13.10)
	NoImmediate bool // offer ImmediateData=No; default Yes (section 13.11)
	MaxBurst    int  // bytes, MaxBurstLength offered; 262144 (section 13.13)
	FirstBurst  int  // bytes, FirstBurstLength offered; 65536, the RFC's default (section 13.14)

	OnAsync func(AsyncEvent) // called on the session's reading goroutine; must not block
}

// AsyncEvent is an Asynchronous Message of the target (RFC 7143 section 11.9).
type AsyncEvent struct {
	Event, VCode           byte // 0 SCSI, 1 logout requested, 2 connection dropped, 3 session dropped, 4 renegotiate
	Param1, Param2, Param3 uint16
	LUN                    LUN
	Sense                  []byte // of event 0
}

// Params are the values that a login phase ended with (RFC 7143 section 13). Sizes are in bytes.
type Params struct {
	Digests       Digests
	InitialR2T    bool
	ImmediateData bool
	MaxBurst      int
	FirstBurst    int
	MaxSendData   int // the target's MaxRecvDataSegmentLength: the most that one of our PDUs may carry
	TSIH          uint16
}

func (c *Config) fill() error {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.LoginTimeout, 5*time.Second)
	def(&c.NoopInterval, 15*time.Second)
	def(&c.NoopTimeout, 10*time.Second)
	def(&c.LogoutTimeout, 2*time.Second)
	if c.MaxBurst == 0 {
		c.MaxBurst = 262144
	}
	if c.FirstBurst == 0 {
		c.FirstBurst = 65536
	}
	if c.ISID == ([6]byte{}) {
		c.ISID = RandomISID()
	}
	if c.Portal == "" || c.InitiatorName == "" {
		return fmt.Errorf("iscsi: Config needs Portal and InitiatorName")
	}
	return nil
}
