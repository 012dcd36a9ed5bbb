package producers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	// maxProducers bounds the producers that are told apart in a tenant. Where there are
	// more, those are let go of which nothing is expected, or whose silence is on record,
	// and nothing has come for longest: keys that were changed long ago, and names that
	// are made up for each run.
	maxProducers = 10_000
	// maxLetGo is how many at a time.
	maxLetGo = 1000
)

// Events of producers that say whether they run, and the server's own about them.
const (
	eventHealth  = "HEALTH_CHECK"
	eventStart   = "STARTUP"
	eventRestart = "RESTART"
	eventStop    = "SHUTDOWN"
	eventSilent  = "PRODUCER_SILENT"
)

// key tells the producers of a tenant apart.
type key struct{ credential, component string }

// producer is what is known of one.
type producer struct {
	Credential string           `json:"c,omitempty"` // "" for the server itself
	Component  string           `json:"s"`
	Kinds      map[string]int64 `json:"k"`
	Synthetic  int64            `json:"sy,omitempty"`
	// Times of records: first and last by the order of the log, and by the producer's
	// own word the earliest and the latest.
	FirstRecorded evidence.Micros `json:"fr"`
	LastRecorded  evidence.Micros `json:"lr"`
	FirstOccurred evidence.Micros `json:"fo"`
	LastOccurred  evidence.Micros `json:"lo"`
	Seq           *sequence       `json:"q,omitempty"`
	Heart         *heartbeat      `json:"h,omitempty"`
}

// book is what is known of a tenant's producers at a position of its logs. It is for
// one goroutine at a time.
type book struct {
	tenant string
	at     store.Position // behind the last leaf that was counted
	last   evidence.ID    // of that leaf; zero at the start of a log
	list   map[key]*producer
	// How many producers were let go, and their records.
	goneProducers, goneRecords int64
}

func newBook(tenant string) *book {
	return &book{tenant: tenant, at: store.Position{LogNo: 1}, list: map[key]*producer{}}
}

// apply counts the leaf at the position, whose texts may not be kept.
func (b *book) apply(l *evidence.Leaf) {
	b.at.Seq, b.last = l.Seq+1, l.ID
	k := key{l.Text("producer"), l.Text("source_component")}
	if k.credential == "" && l.Kind == evidence.KindSystem && l.Text("event_type") == eventSilent {
		b.told(l)
	}
	p := b.list[k]
	if p == nil {
		if len(b.list) >= maxProducers {
			b.letGo()
		}
		k = key{strings.Clone(k.credential), strings.Clone(k.component)}
		p = &producer{
			Credential: k.credential, Component: k.component, Kinds: map[string]int64{},
			FirstRecorded: l.RecordedAt, FirstOccurred: l.OccurredAt, LastOccurred: l.OccurredAt,
		}
		b.list[k] = p
	}
	p.count(l, b.tenant == evidence.SyntheticTenant)
}

// letGo makes room. What it lets go follows from the leaves, like all else.
func (b *book) letGo() {
	all := b.sorted()
	slices.SortStableFunc(all, func(x, y *producer) int {
		if x.awaited() != y.awaited() {
			return map[bool]int{true: 1, false: -1}[x.awaited()]
		}
		return cmp.Compare(x.LastRecorded, y.LastRecorded)
	})
	for _, p := range all[:maxLetGo] {
		delete(b.list, key{p.Credential, p.Component})
		b.goneProducers++
		b.goneRecords += p.total()
	}
}

// awaited reports whether there is to be more, and it is not on record that it did not
// come.
func (p *producer) awaited() bool { return p.Heart.expected() && p.Heart.Told != p.LastRecorded }

func (p *producer) total() (n int64) {
	for _, k := range p.Kinds {
		n += k
	}
	return n
}

// count takes a record of the producer. synthetic says that all of the tenant is.
func (p *producer) count(l *evidence.Leaf, synthetic bool) {
	p.Kinds[l.Kind.String()]++
	p.LastRecorded = l.RecordedAt
	p.FirstOccurred, p.LastOccurred = min(p.FirstOccurred, l.OccurredAt), max(p.LastOccurred, l.OccurredAt)
	made, _ := l.Int("is_synthetic")
	if made != 0 {
		p.Synthetic++
	}
	if p.Credential == "" {
		return
	}
	if n, ok := l.Int("producer_seq"); ok {
		p.number(n, l)
	}
	if l.Kind == evidence.KindSystem && (made == 0 || synthetic) {
		p.live(l)
	}
}

// number takes the record's number. A record that contradicts one of the same number
// is no step of the count.
func (p *producer) number(n int64, l *evidence.Leaf) {
	_, conflict := l.Fact("conflict_of")
	switch {
	case p.Seq == nil:
		p.Seq = newSequence(n)
	case conflict:
		p.Seq.Last = n
		p.Seq.Repeated++
	default:
		p.Seq.add(n)
	}
}

// live takes what a system record says about whether the producer runs.
func (p *producer) live(l *evidence.Leaf) {
	event := l.Text("event_type")
	if p.Heart == nil {
		if event == eventHealth {
			p.Heart = &heartbeat{}
			p.Heart.beat(l)
		}
		return
	}
	switch event {
	case eventHealth:
		p.Heart.beat(l)
	case eventStart, eventRestart:
		p.Heart.runs(happenedAt(l))
	case eventStop:
		p.Heart.stops(happenedAt(l))
	}
}

// happenedAt is when it happened, by the producer's own word, but not after it was
// recorded: else one whose clock is ahead could end what is expected of it for good.
func happenedAt(l *evidence.Leaf) evidence.Micros { return min(l.OccurredAt, l.RecordedAt) }

// told notes a silence that is on record. The record names the credential in public;
// the component too, where that is fit.
func (b *book) told(l *evidence.Leaf) {
	credential, component := l.Text("correlation_id"), l.Text("component")
	if p := b.list[key{credential, component}]; p != nil && p.toldBy(b.tenant, l.ID) {
		return
	}
	if component != componentOther {
		return
	}
	for k, p := range b.list {
		if k.credential == credential && componentOf(p) == component && p.toldBy(b.tenant, l.ID) {
			return
		}
	}
}

// toldBy reports whether the record of that id says that the producer is silent now,
// and notes it.
func (p *producer) toldBy(tenant string, id evidence.ID) bool {
	if p.Heart == nil || id != evidence.NaturalID(tenant, evidence.KindSystem, p.silence()) {
		return false
	}
	p.Heart.Told = p.LastRecorded
	return true
}

// silence is the natural key of the record of a silence that began when the producer
// was last heard of.
func (p *producer) silence() string {
	return fmt.Sprintf("producer_silent:%q:%q:%s", p.Credential, p.Component, p.LastRecorded)
}

// silent reports whether there is a record that says so, and nothing came since.
func (p *producer) silent() bool {
	return p.Heart.expected() && max(p.Heart.Told, p.Heart.asked) == p.LastRecorded
}

// componentOther stands in records for a source_component that is not fit to be public.
const componentOther = "producers"

// componentOf is the component of a record about the producer.
func componentOf(p *producer) string {
	if evidence.FitName(p.Component) && !evidence.IsReplacement(p.Component) {
		return p.Component
	}
	return componentOther
}
