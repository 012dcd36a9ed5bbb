package otlp

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// builder puts a record together. It does what evidence.Record's own setters
// do, but places the facts by the index of their field instead of searching
// and inserting by name, which is a third of the time that a span takes.
type builder struct {
	facts  [64]evidence.Fact
	have   uint64 // bit i: facts[i] is set
	sealed []evidence.SealedValue
	arena  *arena
}

func (b *builder) put(f evidence.Fact) {
	i := f.Field.Index()
	b.facts[i] = f
	b.have |= 1 << i
}

// text sets a text fact; a name that is unfit is sealed too.
func (b *builder) text(f *evidence.Field, s string) {
	if s == "" {
		return
	}
	if f.Type == evidence.TypeName && unfit(s) {
		b.seal("/"+f.Name, evidence.QuoteJSON(s))
	}
	b.put(evidence.Fact{Field: f, Str: s})
}

func unfit(s string) bool { return !evidence.FitName(s) || evidence.IsReplacement(s) }

func (b *builder) int(f *evidence.Field, n int64) { b.put(evidence.Fact{Field: f, Int: n}) }

func (b *builder) bool(f *evidence.Field, v bool) {
	n := int64(0)
	if v {
		n = 1
	}
	b.int(f, n)
}

// noNames is shared: nobody appends to a list of capacity 0 in place.
var noNames = []string{}

func (b *builder) names(f *evidence.Field, list []string) {
	if len(list) == 0 {
		list = noNames
	}
	if slices.ContainsFunc(list, unfit) {
		b.seal("/"+f.Name, quoteNames(list))
	}
	b.put(evidence.Fact{Field: f, List: list})
}

func quoteNames(list []string) []byte {
	text := []byte{'['}
	for i, s := range list {
		if i > 0 {
			text = append(text, ',')
		}
		text = appendQuoted(text, s)
	}
	return append(text, ']')
}

func (b *builder) seal(path string, text []byte) {
	if b.sealed == nil {
		b.sealed = b.arena.roomForSealed(8)
	}
	b.sealed = append(b.sealed, evidence.SealedValue{Path: path, JSON: text})
}

// arena hands out pieces of larger slices to the records of a request, which live and
// die together: one allocation for many. From a nil arena each has its own.
type arena struct {
	facts  []evidence.Fact
	sealed []evidence.SealedValue
	bytes  []byte
}

// arenaSlice is how large the slices of an arena are, in pieces of the usual size.
const arenaSlice = 16

func (m *arena) roomForFacts(n int) []evidence.Fact {
	if m == nil {
		return make([]evidence.Fact, 0, n)
	}
	return piece(&m.facts, n, 32)
}

func (m *arena) roomForSealed(n int) []evidence.SealedValue {
	if m == nil {
		return make([]evidence.SealedValue, 0, n)
	}
	return piece(&m.sealed, n, 8)
}

func (m *arena) roomForBytes(n int) []byte {
	if m == nil {
		return make([]byte, 0, n)
	}
	return piece(&m.bytes, n, 2<<10)
}

// piece cuts an empty slice of capacity n off rest. One far beyond the usual is made apart.
func piece[T any](rest *[]T, n, usual int) []T {
	if n > 2*usual {
		return make([]T, 0, n)
	}
	if len(*rest) < n {
		*rest = make([]T, arenaSlice*usual)
	}
	out := (*rest)[:0:n]
	*rest = (*rest)[n:]
	return out
}

// into moves what was built into the record.
func (b *builder) into(r *evidence.Record) {
	// Room for what the ledger adds: producer, step_index, late.
	r.Pub = b.arena.roomForFacts(bits.OnesCount64(b.have) + 3)
	for have := b.have; have != 0; have &= have - 1 {
		r.Pub = append(r.Pub, b.facts[bits.TrailingZeros64(have)])
	}
	slices.SortFunc(b.sealed, func(x, y evidence.SealedValue) int { return strings.Compare(x.Path, y.Path) })
	r.Sealed = b.sealed
}

// who is the actor and the context that all records of a span or log share.
type who struct {
	human, subject, agent, service, component string
	correlation, scenario                     string
	synthetic                                 bool
	policies, incidents                       []string
}

// maxIDs bounds policy_ids and incident_ids each: 2 * 32 names of 128 bytes
// are half of the 16 KiB of a leaf, and all else in it is less than that.
const maxIDs = 32

func bounded(ids []string) ([]string, bool) {
	if len(ids) <= maxIDs {
		return ids, false
	}
	return ids[:maxIDs:maxIDs], true
}

func (b *builder) context(c *common, w *who, domain string) {
	actor := evidence.ActingType(w.human, w.agent)
	b.text(c.actorType, actor)
	b.text(c.origin, actor)
	b.text(c.agentID, w.agent)
	b.text(c.systemID, w.service)
	b.text(c.correlation, w.correlation)
	b.names(c.policyIDs, w.policies)
	b.names(c.incidentIDs, w.incidents)
	b.text(c.domain, domain)
	b.text(c.component, w.component)
	b.bool(c.synthetic, w.synthetic)
	b.text(c.scenario, w.scenario)
	b.seal("/actor", actorJSON(w.human))
	if w.subject != "" {
		b.seal("/subject", appendQuoted(nil, w.subject))
	}
}

func actorJSON(human string) []byte {
	if human == "" {
		return []byte("{}")
	}
	return append(appendQuoted([]byte(`{"human_actor_id":`), human), '}')
}
