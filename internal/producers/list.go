package producers

import (
	"maps"

	"github.com/runledger/runledger/evidence"
)

// States of a producer.
const (
	StateServer  = "server"  // the server itself
	StateSeen    = "seen"    // sends no heartbeats, or not enough yet: nothing is expected
	StateActive  = "active"  // more is expected, and nothing is missed
	StateSilent  = "silent"  // its silence is on record, and nothing has come since
	StateStopped = "stopped" // it said that it stops, and nothing is expected
)

// List is what is known of a tenant's producers: all that its logs held when it was
// made.
type List struct {
	Tenant string          `json:"tenant_id"`
	At     evidence.Micros `json:"at"`
	LogNo  int             `json:"log_no"`
	Size   int64           `json:"tree_size"` // leaves of that log, all of them counted
	// Producers are sorted by credential and source_component, the server's first.
	Producers []Producer `json:"producers"`
	// More counts producers that are not listed any more, since a tenant may have 10,000:
	// those that have not been heard of for longest. One that comes back is new. 0: all
	// are known. MoreRecords are theirs.
	More        int64 `json:"more"`
	MoreRecords int64 `json:"more_records"`
}

// Producer is one of them.
type Producer struct {
	Credential *string `json:"credential"` // its id; null for the server itself
	Component  string  `json:"source_component"`
	State      string  `json:"state"`
	// Records counts them by kind.
	Records   map[string]int64 `json:"records"`
	Total     int64            `json:"total"`
	Synthetic int64            `json:"synthetic"` // of Total
	// When its records were recorded, and when they happened as it says.
	FirstRecorded evidence.Micros `json:"first_recorded_at"`
	LastRecorded  evidence.Micros `json:"last_recorded_at"`
	FirstOccurred evidence.Micros `json:"first_occurred_at"` // the earliest
	LastOccurred  evidence.Micros `json:"last_occurred_at"`  // the latest
	Sequence      *Sequence       `json:"sequence"`          // null: it numbers no records
	Heartbeat     *Heartbeat      `json:"heartbeat"`         // null: it sends none
}

// Sequence is what its numbers say.
type Sequence struct {
	First   int64 `json:"first"`   // the lowest since the last restart
	Highest int64 `json:"highest"` // since the last restart
	Last    int64 `json:"last"`    // came last
	// Missing are the ranges of numbers that have not come, oldest first, at most 100.
	Missing      []Range `json:"missing"`
	MissingCount int64   `json:"missing_count"` // numbers in them
	// More counts numbers of ranges that are not kept, since there were too many. Some
	// may have come later. 0: Missing is all.
	More     int64 `json:"more"`
	Late     int64 `json:"late"`     // came after a higher one, and closed a gap
	Repeated int64 `json:"repeated"` // came again in another record
	Restarts int64 `json:"restarts"` // how often the count began anew
}

// Range is a range of numbers, both ends included.
type Range struct {
	From    int64 `json:"from"`
	To      int64 `json:"to"`
	Restart int64 `json:"restart"` // how many restarts came before
}

// Heartbeat is what is known of its HEALTH_CHECK records.
type Heartbeat struct {
	Count int64 `json:"count"`
	// Interval is the median between the last ones, Patience how long nothing may come
	// before it is silent, in seconds; both null before three have come.
	Interval *float64         `json:"interval_seconds"`
	Patience *float64         `json:"patience_seconds"`
	Stopped  *evidence.Micros `json:"stopped_at"` // as it says; null: it has not
}

// shown is the list of a book.
func (b *book) shown(now evidence.Micros, silentOnly bool) *List {
	out := &List{
		Tenant: b.tenant, At: now, LogNo: b.at.LogNo, Size: b.at.Seq, Producers: []Producer{},
		More: b.goneProducers, MoreRecords: b.goneRecords,
	}
	for _, p := range b.sorted() {
		if !silentOnly || p.silent() {
			out.Producers = append(out.Producers, p.shown())
		}
	}
	return out
}

func (p *producer) shown() Producer {
	out := Producer{
		Component: p.Component, State: p.state(), Records: maps.Clone(p.Kinds), Total: p.total(), Synthetic: p.Synthetic,
		FirstRecorded: p.FirstRecorded, LastRecorded: p.LastRecorded, FirstOccurred: p.FirstOccurred, LastOccurred: p.LastOccurred,
	}
	if p.Credential != "" {
		credential := p.Credential
		out.Credential = &credential
	}
	if p.Seq != nil {
		out.Sequence = p.Seq.shown()
	}
	if p.Heart != nil {
		out.Heartbeat = p.Heart.shown()
	}
	return out
}

func (p *producer) state() string {
	switch {
	case p.Credential == "":
		return StateServer
	case p.Heart != nil && p.Heart.Stopped != 0:
		return StateStopped
	case !p.Heart.expected():
		return StateSeen
	case p.silent():
		return StateSilent
	}
	return StateActive
}

func (s *sequence) shown() *Sequence {
	out := &Sequence{
		First: s.Now.First, Highest: s.Now.High, Last: s.Last, Missing: []Range{},
		More: s.More, Late: s.Late, Repeated: s.Repeated, Restarts: s.Restarts,
	}
	for _, m := range s.missing() {
		out.Missing = append(out.Missing, Range{m.From, m.To, m.Restart})
		out.MissingCount = min(out.MissingCount+m.size(), evidence.MaxInt)
	}
	return out
}

func (h *heartbeat) shown() *Heartbeat {
	out := &Heartbeat{Count: h.Count}
	if len(h.Beats) >= enough {
		interval, patience := h.interval().Seconds(), h.patience().Seconds()
		out.Interval, out.Patience = &interval, &patience
	}
	if h.Stopped != 0 {
		stopped := h.Stopped
		out.Stopped = &stopped
	}
	return out
}
