package otlp

import (
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/runledger/runledger/evidence"
)

// micros truncates nanoseconds. Every uint64 fits: the greatest is in 2554.
func micros(t pcommon.Timestamp) evidence.Micros { return evidence.Micros(uint64(t) / 1000) }

// interval is when a span was.
type interval struct {
	at       evidence.Micros
	duration int64 // microseconds
	missing  bool
	reversed bool
	skewed   bool
}

func (m *Mapper) interval(start, end pcommon.Timestamp) interval {
	iv := interval{missing: start == 0 || end == 0}
	switch {
	case iv.missing:
		start = max(start, end) // the one that is there
		end = start
	case end < start:
		iv.reversed = true
	default:
		// A duration of centuries is over the greatest integer of a leaf. Its
		// times are flagged anyway.
		iv.duration = min(int64(uint64(end-start)/1000), evidence.MaxInt)
	}
	iv.at = micros(start)
	now := m.cfg.Now()
	iv.skewed = m.far(iv.at, now) || m.far(micros(end), now)
	return iv
}

func (m *Mapper) far(t, now evidence.Micros) bool {
	d := int64(t - now)
	return d > m.cfg.MaxSkew || d < -m.cfg.MaxSkew
}
