package iscsiproxy

// This file is how a fault chooses what it hits.

import (
	"slices"
	"sync/atomic"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

// hit is the first active fault whose rule chooses this command, nil if none.
func (p *Proxy) hit(h *iscsi.Header, initiator string) *fault {
	lun := h.LUN().Number()
	for _, f := range *p.rules.Load() {
		// The LUN first, without a call: a fault of one LUN is to cost the others nothing.
		if (f.Rule.LUN == nil || *f.Rule.LUN == lun) && f.Rule.matches(h, initiator) && !f.spares(h) && f.counts() {
			return f
		}
	}
	return nil
}

// spares tells whether a command gets through a UNIT ATTENTION: these three report none (SPC-5 section 5.14, SAM-5
// section 5.14), and an initiator that met one there would be right to call the target broken. A rule with an Opcode
// decides for itself.
func (f *fault) spares(h *iscsi.Header) bool {
	if len(f.sense) == 0 || f.Kind != Status || f.Rule.Opcode != nil {
		return false
	}
	s, _ := iscsi.ParseSense(f.sense)
	op := h.CDB()[0]
	return s.Key == iscsi.SenseUnitAttention && (op == iscsi.Inquiry || op == iscsi.ReportLUNs || op == iscsi.RequestSense)
}

// counts counts a match and tells whether it is one from Nth to Nth+Count-1.
func (f *fault) counts() bool {
	n, nth := f.matched.Add(1), int64(max(1, f.Rule.Nth))
	return n >= nth && (f.Rule.Count == 0 || n < nth+int64(f.Rule.Count))
}

// first is the first active fault of a set, of these kinds if there are any, that fits and whose turn it is.
func first(set *atomic.Pointer[[]*fault], fits func(*Rule) bool, of ...Kind) *fault {
	l := set.Load()
	if l == nil {
		return nil
	}
	for _, f := range *l {
		if (len(of) == 0 || slices.Contains(of, f.Kind)) && fits(f.Rule) && f.counts() {
			return f
		}
	}
	return nil
}

// matches tells whether the rule, whose LUN is right, chooses this SCSI Command.
func (r *Rule) matches(h *iscsi.Header, initiator string) bool {
	if r.Initiator != "" && r.Initiator != initiator {
		return false
	}
	op := h.CDB()[0]
	if r.Opcode != nil && int(op) != *r.Opcode {
		return false
	}
	class := iscsi.OpClass(op)
	switch r.Class {
	case "read", "write", "sync":
		if class.String() != r.Class {
			return false
		}
	case "io":
		if class == iscsi.ClassOther {
			return false
		}
	}
	if r.FirstLBA == 0 && r.LastLBA == 0 {
		return true
	}
	lba, n, ok := iscsi.Extent(h.CDB())
	if !ok {
		return false
	}
	last := lba + uint64(max(1, n)) - 1
	return last >= r.FirstLBA && (r.LastLBA == 0 || lba <= r.LastLBA)
}

// managed tells whether the rule chooses this Task Management Function Request.
func (r *Rule) managed(hdr *iscsi.Header, initiator string) bool {
	return (r.LUN == nil || hdr.LUN().Number() == *r.LUN) && (r.Initiator == "" || r.Initiator == initiator) &&
		(r.Function == 0 || hdr.Flags()&0x7f == r.Function)
}
