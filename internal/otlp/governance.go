package otlp

import (
	"slices"
	"strconv"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

// fact says where governance facts come from: a span, which has a key, or a
// log record, which has its content.
type fact struct {
	who     *who
	at      evidence.Micros
	run     string
	key     string
	content []byte
}

// governance appends an audit entry for each fact. One that is not valid is
// left out with a message: the span or log record that states it is kept.
func (q *request) governance(from *fact, facts []dialect.Governance) {
	for i := range facts {
		g := &facts[i]
		where := "policy fact " + strconv.Itoa(i) + " of " + firstText(from.key, "a log record")
		if evidence.ServerOnly(evidence.KindAudit, g.Event) {
			q.batch.note(where + ": event_type: is a fact that only the server may state")
			continue
		}
		if fault := q.spend(recordSize + from.who.size() + len(from.content)); fault != "" {
			q.batch.note(where + ": " + fault)
			continue
		}
		rec := audit(from, g)
		if from.key != "" {
			rec.NaturalKey = from.key + ":g" + strconv.Itoa(i)
		} else {
			content := append(slices.Clone(from.content), ":g"...)
			q.content(rec, strconv.AppendInt(content, int64(i), 10))
			rec.Said = saidNothing
		}
		if err := complete(rec); err != nil {
			q.batch.note(where + ": " + err.Error())
			continue
		}
		q.add(rec, dialect.Hints{})
	}
}

func audit(from *fact, g *dialect.Governance) *evidence.Record {
	w := from.who
	r := &evidence.Record{Kind: evidence.KindAudit, OccurredAt: from.at, Run: from.run}
	r.SetHumanActor(w.human)
	if w.subject != "" {
		r.SetSealed("/subject", appendQuoted(nil, w.subject))
	}
	r.SetText("agent_id", w.agent)
	r.SetText("system_id", w.service)
	r.SetText("correlation_id", w.correlation)
	r.SetText("source_component", w.component)
	r.SetText("synthetic_scenario_id", w.scenario)
	r.SetBool("is_synthetic", w.synthetic)
	r.SetNames("policy_ids", with(w.policies, g.PolicyID))
	r.SetNames("incident_ids", with(w.incidents, g.IncidentID))

	entity := g.EntityType
	if !slices.Contains(evidence.PublicField(r.Kind, "entity_type").Enum, entity) {
		entity = entityOf(g)
	}
	r.SetText("source_domain", domainOf(entity))
	r.SetText("event_type", firstText(g.Event, "PolicyEvaluated"))
	r.SetText("entity_type", entity)
	r.SetText("entity_id", firstText(g.EntityID, g.LimitID, g.RuleID, g.PolicyID, g.IncidentID, "unknown"))
	r.SetText("rule_id", g.RuleID)
	r.SetText("policy_id", g.PolicyID)
	r.SetText("limit_id", g.LimitID)
	r.SetText("limit_unit", g.LimitUnit)
	// What does not fit stays in /attrs of the span.
	if slices.Contains(evidence.PublicField(r.Kind, "decision").Enum, g.Decision) {
		r.SetText("decision", g.Decision)
	}
	setDecimal(r, "limit_value", g.LimitValue)
	setDecimal(r, "observed_value", g.ObservedValue)
	setTime(r, "valid_from", g.ValidFrom)
	setTime(r, "valid_until", g.ValidUntil)
	if g.Reason != "" {
		r.SetSealed("/action_reason", appendQuoted(nil, g.Reason))
	}
	return r
}

func with(ids []string, id string) []string {
	if id == "" || slices.Contains(ids, id) {
		return ids
	}
	ids, _ = bounded(append([]string{id}, ids...))
	return ids
}

func entityOf(g *dialect.Governance) string {
	switch {
	case g.LimitID != "":
		return "LIMIT"
	case g.PolicyID == "" && g.RuleID == "" && g.IncidentID != "":
		return "INCIDENT"
	default:
		return "POLICY_RULE"
	}
}

func domainOf(entity string) string {
	switch entity {
	case "INCIDENT", "SIGNAL":
		return "INCIDENTS"
	default:
		return "POLICY"
	}
}

func setDecimal(r *evidence.Record, name, text string) {
	if isDecimal(text) {
		r.SetText(name, text)
	}
}

// isDecimal accepts what evidence.TypeDecimal does: -?(0|[1-9][0-9]*)(\.[0-9]+)?
// in at most 128 bytes.
func isDecimal(s string) bool {
	if len(s) > evidence.MaxName {
		return false
	}
	if s != "" && s[0] == '-' {
		s = s[1:]
	}
	whole := digits(s)
	if whole == 0 || whole > 1 && s[0] == '0' {
		return false
	}
	rest := s[whole:]
	return rest == "" || rest[0] == '.' && len(rest) > 1 && digits(rest[1:]) == len(rest)-1
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

func setTime(r *evidence.Record, name string, t int64) {
	if t != 0 && evidence.Micros(t).InRange() {
		r.SetInt(name, t)
	}
}
