package runs

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// audits is what the governance entries of a run say about its course.
type audits struct {
	near     bool // a limit was observed near its value
	breached bool
	blocked  bool // something was blocked
	denied   bool // a policy rule denied something
	denial   verdict
	breach   verdict
}

// verdict is the first entry of its sort.
type verdict struct {
	order
	set    bool
	reason string
}

func (v *verdict) offer(at order, reason string) {
	if !v.set || at.before(v.order) {
		*v = verdict{at, true, reason}
	}
}

// takeAudit reads a governance entry. An explicit decision is believed; where
// there is none, what was observed above its limit breaches it. A breach that
// was blocked is both.
func (a *run) takeAudit(r *evidence.Record, at order) {
	d := &a.audits
	decision := r.Text("decision")
	limit, observed := number(r.Text("limit_value")), number(r.Text("observed_value"))
	measured := limit != nil && observed != nil && limit.Sign() > 0
	if decision == "BREACHED" || r.Text("event_type") == "LimitBreached" || (decision == "" && measured && observed.Cmp(limit) > 0) {
		d.breached = true
		d.breach.offer(at, reasonOf(r))
	}
	switch decision {
	case "BLOCKED":
		d.blocked = true
		d.denial.offer(at, reasonOf(r))
	case "DENIED":
		d.denied = d.denied || r.Text("entity_type") == "POLICY_RULE"
		d.denial.offer(at, reasonOf(r))
	}
	if measured {
		share := new(big.Rat).Mul(limit, big.NewRat(int64(a.nearThreshold), 100))
		d.near = d.near || observed.Cmp(share) >= 0
	}
}

// number reads a decimal number; the field table bounds its length.
func number(s string) *big.Rat {
	if s == "" {
		return nil
	}
	n, ok := new(big.Rat).SetString(s)
	if !ok {
		return nil
	}
	return n
}

// reasonOf returns why an entry decided as it did, as far as it says.
func reasonOf(r *evidence.Record) string {
	if text := textOf(r.SealedJSON("/action_reason")); text != "" {
		return text
	}
	if l, o := r.Text("limit_value"), r.Text("observed_value"); l != "" && o != "" {
		text := fmt.Sprintf("limit %s: observed %s of %s %s", named(r, "limit_id"), o, l, named(r, "limit_unit"))
		return strings.TrimSpace(text)
	}
	for _, name := range []string{"policy_id", "rule_id", "limit_id", "entity_id"} {
		if id := named(r, name); id != "" {
			return strings.ToLower(strings.TrimSuffix(name, "_id")) + " " + id + ": " + r.Text("decision")
		}
	}
	return r.Text("decision")
}

// maxGovernance is how many governance facts of a span are looked for by id.
const maxGovernance = 16

// isOf reports whether a governance entry was made of a span. The entry does not
// name it, but its id follows from it.
func (a *run) isOf(v *verdict, s span) bool {
	if s.trace < 0 {
		return false
	}
	key := evidence.SpanKey(a.traces[s.trace], fmt.Sprintf("%016x", s.id))
	for i := range maxGovernance {
		if evidence.NaturalID(a.tenant, evidence.KindAudit, fmt.Sprintf("%s:g%d", key, i)) == v.id {
			return true
		}
	}
	return false
}

// maxSearch bounds the steps among which that of a verdict is searched.
const maxSearch = 1000

// stepOf returns the index of the step that a verdict is about.
func (a *run) stepOf(v *verdict) (int64, bool) {
	for i := range a.steps[:min(len(a.steps), maxSearch)] {
		if s := &a.steps[i]; s.hasSpan && a.isOf(v, s.span) {
			return s.index, true
		}
	}
	return 0, false
}
