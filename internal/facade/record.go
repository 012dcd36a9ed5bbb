package facade

import (
	"encoding/json"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// record is a record with who looks at it.
type record struct {
	*ledger.Fetched
	reader Reader
}

// content returns a sealed field as the reader may see it.
func (r record) content(path string) answer.Content {
	c, committed := r.Leaf.Commitment(path)
	if !committed {
		return answer.WithheldFor(answer.NotCaptured, "")
	}
	commitment := evidence.EncodeCommitment(c)
	if !r.reader.Content {
		return answer.WithheldFor(answer.NotPermitted, commitment)
	}
	v, open := r.Open[path]
	switch {
	case !open && r.Expired:
		return answer.WithheldFor(answer.Expired, commitment)
	case !open:
		return answer.WithheldFor(answer.Erased, commitment)
	}
	return answer.Shown([]byte(v.JSON))
}

// text returns a public text, or "". Where a name was not fit to be public and
// the reader may see it, it is the name itself.
func (r record) text(field string) string {
	s := r.Leaf.Text(field)
	if !evidence.IsReplacement(s) || !r.reader.Content {
		return s
	}
	if v, ok := r.Open["/"+field]; ok {
		var name string
		if json.Unmarshal([]byte(v.JSON), &name) == nil {
			return name
		}
	}
	return s
}

// maybe is text as a pointer, nil where there is none.
func (r record) maybe(field string) *string { return optional(r.text(field)) }

// list returns an array of names, never nil.
func (r record) list(field string) []string {
	if v, ok := r.Open["/"+field]; ok && r.reader.Content {
		if names := evidence.NamesIn([]byte(v.JSON)); names != nil {
			return names
		}
	}
	if f, ok := r.Leaf.Fact(field); ok {
		return append([]string{}, f.List...)
	}
	return []string{}
}

// number returns an integer fact, or 0; maybeNumber nil where there is none.
func (r record) number(field string) int64 {
	n, _ := r.Leaf.Int(field)
	return n
}

func (r record) maybeNumber(field string) *int64 {
	if n, ok := r.Leaf.Int(field); ok {
		return &n
	}
	return nil
}

func (r record) maybeTime(field string) *evidence.Micros {
	if n, ok := r.Leaf.Int(field); ok {
		m := evidence.Micros(n)
		return &m
	}
	return nil
}

func (r record) flag(field string) bool { return r.number(field) != 0 }

// conflictOf returns the id of the record that this one contradicts, or nil.
func (r record) conflictOf() *string { return optional(r.Leaf.Text("conflict_of")) }

// human returns the person who acted, or "" where none did or the reader may
// not know.
func (r record) human() string {
	if v, ok := r.Open["/actor"]; ok && r.reader.Content {
		return evidence.ActorOf([]byte(v.JSON))
	}
	return ""
}

// actor returns who acted, by the contract's precedence; nil where that is a
// person whom the reader may not see, or who is erased.
func (r record) actor() *string {
	switch r.text("actor_type") {
	case "HUMAN":
		return optional(r.human())
	case "AGENT":
		return r.maybe("agent_id")
	}
	return r.maybe("system_id")
}

// metadata returns the record's own.
func (r record) metadata() evidence.Metadata {
	m := evidence.MetadataOf(r.Tenant, r.Leaf, r.human(), r.Hash)
	m.AgentID, m.SystemID, m.CorrelationID = r.maybe("agent_id"), r.maybe("system_id"), r.maybe("correlation_id")
	m.PolicyIDs, m.IncidentIDs = r.list("policy_ids"), r.list("incident_ids")
	return m
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// union returns the metadata of a composed answer.
func (f *Facade) union(rd Reader, run string, parts []evidence.Metadata) evidence.Metadata {
	return evidence.Union(evidence.Metadata{TenantID: rd.Tenant, RunID: optional(run)}, f.now(), parts...)
}

// milliseconds shows microseconds.
func milliseconds(us int64) float64 { return float64(us) / 1000 }

const nanosPerCent = 10_000_000

// cents shows a cost, rounded half up.
func cents(nanos int64) int64 {
	return (nanos + nanosPerCent/2) / nanosPerCent
}
