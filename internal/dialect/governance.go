package dialect

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Canonical events and entity types of the contract that facts here have.
const (
	eventPolicy     = "PolicyEvaluated"
	eventLimit      = "LimitChecked"
	eventBreach     = "LimitBreached"
	eventOverride   = "LimitOverrideGranted"
	eventIncident   = "IncidentReported"
	eventEvaluation = "EvaluationRecorded"

	entityRule     = "POLICY_RULE"
	entityLimit    = "LIMIT"
	entityIncident = "INCIDENT"
	entitySignal   = "SIGNAL"
)

// facts adds the governance facts of one carrier; what names it if nothing
// else does.
func (t *Table) facts(list []Governance, o *own, what string) []Governance {
	if !o.present {
		return list
	}
	base := Governance{
		Event: o.event, EntityType: entityType(o.entityType), EntityID: o.entity, Decision: t.decision(o.decision),
		PolicyID: first(o.policies), RuleID: o.rule, LimitID: o.limit,
		LimitValue: o.limitValue, ObservedValue: o.observed, LimitUnit: o.unit,
		IncidentID: first(o.incidents), Reason: o.reason,
	}
	n := len(list)
	limits := o.limit != "" || o.limitValue != "" || o.observed != ""
	switch {
	case limits && (o.decision != "" || o.observed != "" || !o.overrides):
		list = append(list, limitFact(base, what))
	case !limits && (o.rule != "" || o.decision != "" || len(o.policies) > 0) && (o.decision != "" || !o.overrides):
		list = append(list, policyFact(base, what))
	}
	if o.overrides {
		list = append(list, overrideFact(base, o, what))
	}
	if len(list) == n && (o.event != "" || len(o.incidents) > 0) {
		list = append(list, otherFact(base, what))
	}
	return list
}

func policyFact(g Governance, what string) Governance {
	g.Event = or(g.Event, eventPolicy)
	g.EntityType = or(g.EntityType, entityRule)
	g.EntityID = or(g.EntityID, g.RuleID, g.PolicyID, what)
	return g
}

// limitFact says breach only where the decision or the numbers do.
func limitFact(g Governance, what string) Governance {
	above, known := exceeds(g.ObservedValue, g.LimitValue)
	if g.Decision == "" && known {
		if g.Decision = "PASSED"; above {
			g.Decision = "BREACHED"
		}
	}
	event := eventLimit
	switch g.Decision {
	case "BREACHED", "BLOCKED", "DENIED":
		event = eventBreach
	}
	g.Event = or(g.Event, event)
	g.EntityType = or(g.EntityType, entityLimit)
	g.EntityID = or(g.EntityID, g.LimitID, g.RuleID, g.PolicyID, what)
	return g
}

func overrideFact(g Governance, o *own, what string) Governance {
	g.Event, g.Decision, g.ObservedValue = eventOverride, "ALLOWED", ""
	g.EntityType, g.EntityID = entityLimit, or(g.LimitID, o.entity, what)
	if g.LimitID == "" && (g.RuleID != "" || g.PolicyID != "") {
		g.EntityType, g.EntityID = entityRule, or(g.RuleID, g.PolicyID)
	}
	g.Reason = or(o.overReason, g.Reason)
	g.ValidFrom, g.ValidUntil = o.from, o.until
	return g
}

func otherFact(g Governance, what string) Governance {
	if g.IncidentID != "" {
		g.Event = or(g.Event, eventIncident)
		g.EntityType = or(g.EntityType, entityIncident)
		g.EntityID = or(g.EntityID, g.IncidentID)
		return g
	}
	if g.EntityType == "" {
		g.EntityType = entitySignal
		for prefix, entity := range map[string]string{"Policy": entityRule, "Limit": entityLimit, "Incident": entityIncident} {
			if strings.HasPrefix(g.Event, prefix) {
				g.EntityType = entity
			}
		}
	}
	g.EntityID = or(g.EntityID, what)
	return g
}

// guardrail returns what a guardrail's span says in its dialect's words. The
// project's own attributes on the same span say it better and replace it.
func (v *view) guardrail(name string) Governance {
	g := Governance{Event: eventPolicy, EntityType: entityRule, EntityID: name}
	g.Decision = v.t.decision(v.text(fGuardDecision))
	if g.Decision == "" {
		switch strings.ToLower(v.text(fGuardTriggered)) {
		case "true", "1":
			g.Decision = "BLOCKED"
		case "false", "0":
			g.Decision = "PASSED"
		}
	}
	g.PolicyID, g.RuleID = v.text(fGuardPolicy), or(v.text(fGuardRule), name)
	g.Reason = v.text(fGuardReason)
	if d, ok := parseDecimal(v.text(fGuardScore)); ok {
		g.ObservedValue = d.String()
	}
	return g
}

// evaluation reads an event gen_ai.evaluation.result, or a span that carries
// its attributes.
func (t *Table) evaluation(attrs pcommon.Map) (Governance, bool) {
	name := attrText(attrs, "gen_ai.evaluation.name")
	if name == "" {
		return Governance{}, false
	}
	g := Governance{Event: eventEvaluation, EntityType: entitySignal, EntityID: name, RuleID: name}
	if v, ok := attrs.Get("gen_ai.evaluation.score.value"); ok {
		g.ObservedValue = decimalText(v)
	}
	switch g.Decision = t.decision(attrText(attrs, "gen_ai.evaluation.score.label")); g.Decision {
	case "DENIED", "BLOCKED", "BREACHED":
		g.Decision = "WARNED" // an evaluation judges, it does not stop anything
	case "ALLOWED":
		g.Decision = "PASSED"
	}
	g.Reason = attrText(attrs, "gen_ai.evaluation.explanation")
	return g, true
}

// decision returns the contract's word, "" for words that we do not know.
func (t *Table) decision(theirs string) string {
	if theirs == "" {
		return ""
	}
	return t.decisions[strings.ToLower(theirs)]
}

func entityType(s string) string {
	switch up := strings.ToUpper(s); up {
	case entityRule, entityLimit, entityIncident, entitySignal, "POLICY_PROPOSAL":
		return up
	}
	return "" // LOG, IDENTITY, EXPORT, RETENTION, RBAC are the server's to say
}

func attrText(attrs pcommon.Map, key string) string {
	if v, ok := attrs.Get(key); ok {
		return valueText(v)
	}
	return ""
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// or returns the first text that is not empty.
func or(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}
