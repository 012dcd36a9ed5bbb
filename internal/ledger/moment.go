package ledger

import (
	"time"

	"github.com/runledger/runledger/evidence"
)

// moment is when something was in this process: as the clock said then, and by the time that
// has passed since. The clock may be set; never is zero.
type moment struct {
	said evidence.Micros
	was  time.Time // of time.Now, which nobody sets
}

func (l *Ledger) moment() moment {
	return moment{evidence.MicrosOf(l.clock.Now()), time.Now()}
}

// by is when that was by a clock that says now; 0 where it never was. What the clock said is
// of no use if it was set back since: that would be in the future for as long.
func (m moment) by(now time.Time) evidence.Micros {
	if m.was.IsZero() {
		return 0
	}
	if at := evidence.MicrosOf(now.Add(-time.Since(m.was))); m.said > at+fromAhead {
		return at
	}
	return m.said
}
