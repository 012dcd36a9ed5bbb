package ledger

import (
	"context"
	"errors"
	"slices"
	"sort"

	"github.com/runledger/runledger/evidence"
)

// microsOfDay is how long a day is.
const microsOfDay = evidence.Micros(24 * 60 * 60 * 1_000_000)

// firstOfDay is the first leaf that a log has of a UTC day.
type firstOfDay struct {
	at  evidence.Micros
	seq int64
}

// dayOf takes the leaves of the log in order. The time of a leaf never decreases; where it does,
// the rules of the log say so.
func (f *logFold) dayOf(l *evidence.Leaf) {
	if n := len(f.days); n == 0 || l.RecordedAt >= f.days[n-1].at && startOfDay(l.RecordedAt) != startOfDay(f.days[n-1].at) {
		f.days = append(f.days, firstOfDay{l.RecordedAt, l.Seq})
	}
}

func startOfDay(t evidence.Micros) evidence.Micros {
	return t - ((t%microsOfDay)+microsOfDay)%microsOfDay
}

// recordedFrom returns the first leaf that was recorded at a time or later. Expiries end at
// midnight, of which nothing has to be read.
func (f *logFold) recordedFrom(ctx context.Context, at evidence.Micros) (int64, error) {
	i, _ := slices.BinarySearchFunc(f.days, at, func(d firstOfDay, at evidence.Micros) int { return int(min(max(d.at-at, -1), 1)) })
	to := f.done
	if i < len(f.days) {
		to = f.days[i].seq
	}
	if i == 0 || startOfDay(at) == at {
		return to, nil
	}
	from := f.days[i-1].seq
	var failed error
	n := sort.Search(int(to-from), func(n int) bool {
		_, leaf, err := readLeaf(ctx, f.t.read, f.lg, from+int64(n))
		if errors.Is(err, evidence.ErrTampered) {
			return true // said already
		}
		if err != nil {
			failed = err
			return true
		}
		return leaf.RecordedAt >= at
	})
	return from + int64(n), failed
}
