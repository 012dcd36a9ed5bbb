package producers

import (
	"slices"
	"time"

	"github.com/runledger/runledger/evidence"
)

const (
	// enough heartbeats make a producer one that is expected to go on.
	enough = 3
	// maxBeats bounds the heartbeats whose gaps give the interval.
	maxBeats = 10
	// sameBeat is how close heartbeats are that came in one batch.
	sameBeat = time.Second
	// intervals is how many of them may pass without a word, and leastSilence the
	// least time that must.
	intervals    = 3
	leastSilence = time.Minute
)

// heartbeat is what is known of a producer that sends HEALTH_CHECK.
type heartbeat struct {
	Count int64 `json:"n"`
	// Beats are when the last ones were recorded, oldest first.
	Beats []evidence.Micros `json:"b"`
	// Happened is the latest time at which something shows it running: see happenedAt.
	Happened evidence.Micros `json:"h"`
	// Stopped is when it stopped in order; 0: it has not, or runs again.
	Stopped evidence.Micros `json:"s,omitempty"`
	// Told is when it was last heard of before the silence that was recorded last; 0:
	// none was.
	Told evidence.Micros `json:"t,omitempty"`

	// asked is Told of a record that this process has appended, and not read yet.
	asked evidence.Micros
}

// beat takes a heartbeat.
func (h *heartbeat) beat(l *evidence.Leaf) {
	h.Count++
	h.runs(happenedAt(l))
	if n := len(h.Beats); n > 0 && duration(h.Beats[n-1], l.RecordedAt) < sameBeat {
		return
	}
	if len(h.Beats) == maxBeats {
		h.Beats = slices.Delete(h.Beats, 0, 1)
	}
	h.Beats = append(h.Beats, l.RecordedAt)
}

// runs takes a sign that it was running at a time.
func (h *heartbeat) runs(at evidence.Micros) {
	h.Happened = max(h.Happened, at)
	if at > h.Stopped {
		h.Stopped = 0
	}
}

// stops takes a SHUTDOWN. One that was overtaken by a later sign of life is of the past.
func (h *heartbeat) stops(at evidence.Micros) {
	if at >= h.Happened {
		h.Stopped = at
	}
}

// expected reports whether there is to be more from it.
func (h *heartbeat) expected() bool { return h != nil && len(h.Beats) >= enough && h.Stopped == 0 }

// interval is the median of the gaps, the larger of two; 0 where there is none.
func (h *heartbeat) interval() time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(h.Beats); i++ {
		gaps = append(gaps, duration(h.Beats[i-1], h.Beats[i]))
	}
	if len(gaps) == 0 {
		return 0
	}
	slices.Sort(gaps)
	return gaps[len(gaps)/2]
}

// patience is how long nothing may come before it is silent.
func (h *heartbeat) patience() time.Duration { return max(intervals*h.interval(), leastSilence) }

func duration(from, to evidence.Micros) time.Duration {
	return time.Duration(to-from) * time.Microsecond
}
