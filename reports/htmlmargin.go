package reports

import (
	"math"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

var compare func(a, b *record.Record) Comparison

func marginOf(v record.Verdict) *float64 {
	if v.Measured == nil || v.Window == nil {
		return nil
	}
	var left, width float64
	switch lo, hi := v.Window.Min, v.Window.Max; {
	case lo == nil && hi == nil:
		return nil
	case hi == nil:
		left, width = v.Measured.Lo-*lo, math.Abs(*lo)
	case lo == nil:
		left, width = *hi-v.Measured.Hi, math.Abs(*hi)
	default:
		left, width = math.Min(v.Measured.Lo-*lo, *hi-v.Measured.Hi), *hi-*lo
	}
	x := left / width
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}
