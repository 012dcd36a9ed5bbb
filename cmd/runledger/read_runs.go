package main

import (
	"fmt"
	"strings"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
)

func (s *screen) runs(list []answer.RunEnvelope) {
	cols := []column{
		{title: "RUN"},
		{title: "STARTED (UTC)"},
		{title: "TOOK", right: true},
		{title: "STATUS", state: true},
		{title: "OUTCOME", state: true},
		{title: "AGENT", free: true},
		{title: "MODEL", free: true},
		{title: "STEPS", right: true},
		{title: "IN", right: true},
		{title: "OUT", right: true},
		{title: "COST", right: true},
		{title: "NOTES"},
	}
	rows := make([][]string, len(list))
	for i := range list {
		r := &list[i]
		var notes []string
		if r.IsSynthetic {
			notes = append(notes, "synthetic")
		}
		if r.Revision > 1 {
			notes = append(notes, fmt.Sprintf("revision %d", r.Revision))
		}
		rows[i] = []string{
			r.RunID, moment(r.StartedAt), took(r.StartedAt, r.CompletedAt), r.Status, text(r.Outcome), text(r.AgentName), text(r.Model),
			fmt.Sprint(r.StepCount), number(r.InputTokens), number(r.OutputTokens), dollars(r.CostUSDNanos), strings.Join(notes, ", "),
		}
	}
	if len(rows) > 0 {
		s.table(cols, rows)
	}
}

// run shows an envelope.
func (s *screen) run(r *answer.RunEnvelope) {
	p := pairs{s, 12}
	p.put("run", r.RunID)
	p.put("alias", text(r.RunAlias))
	p.put("status", joined(", ", r.Status, text(r.Outcome)))
	p.put("agent", joined(", ", text(r.AgentName), "executor "+r.ExecutorType, "source "+r.Source))
	model := joined(" ", text(r.Provider), text(r.Model))
	if len(r.Models) > 1 {
		model += " (all: " + strings.Join(r.Models, ", ") + ")"
	}
	p.put("model", model)
	p.put("started", r.StartedAt.String())
	if r.CompletedAt != nil {
		p.put("completed", exactly(r.CompletedAt)+", after "+took(r.StartedAt, r.CompletedAt))
	}
	p.put("tokens", tokens(r))
	p.put("cost", dollars(r.CostUSDNanos))
	if r.IsSynthetic {
		p.put("synthetic", joined(" ", "yes, scenario", text(r.SyntheticScenarioID)))
	}
	p.put("trace", text(r.TraceID))
	p.put("conversation", text(r.ConversationID))
	if r.InflectionAt != nil {
		turning := joined(", ", text(r.InflectionKind), exactly(r.InflectionAt))
		if r.InflectionStepIndex != nil {
			turning += fmt.Sprintf(", step %d", *r.InflectionStepIndex)
		}
		p.put("turning", turning+": "+brief(r.InflectionReason))
	}
	s.sealed(p, "prompt", r.Prompt)
	s.sealed(p, "response", r.Response)
	p.put("steps", fmt.Sprintf("%d, in %d records", r.StepCount, r.RecordCount))
	p.put("flags", strings.Join(r.Completeness, ", "))
	s.revisions(p, r)
	s.evidence(p, &r.Metadata)
}

func (s *screen) revisions(p pairs, r *answer.RunEnvelope) {
	if r.Revision == 0 {
		p.put("revision", "none yet: its end has not been seen")
		return
	}
	lines := []string{joined(", ", fmt.Sprintf("%d of %d", r.Revision, len(r.Revisions)), "sealed by "+text(r.SealedBy))}
	for i := range r.Revisions {
		v := &r.Revisions[i]
		if v.Revision == r.Revision && !v.Conflict {
			continue
		}
		line := joined(", ", fmt.Sprintf("%d: %s", v.Revision, v.Status), text(v.Outcome), "recorded "+v.Metadata.RecordedAt.String())
		if v.Conflict {
			line += ", contradicts another record"
		}
		lines = append(lines, clean(line))
	}
	p.lines("revision", lines)
}

// evidence says where a record stands.
func (s *screen) evidence(p pairs, m *evidence.Metadata) {
	p.put("tenant", m.TenantID)
	p.put("actor", joined(", ", text(m.HumanActorID), text(m.AgentID), text(m.SystemID)))
	p.put("producer", joined(", ", m.SourceComponent, m.SourceDomain, "origin "+m.Origin))
	p.put("policies", strings.Join(m.PolicyIDs, ", "))
	p.put("incidents", strings.Join(m.IncidentIDs, ", "))
	p.put("recorded", m.RecordedAt.String())
	if m.Log != nil {
		p.put("log", fmt.Sprintf("%s, leaf %s", *m.Log, number(m.LeafIndex)))
	}
	p.put("checksum", text(m.Checksum))
}

func tokens(r *answer.RunEnvelope) string {
	part := func(n *int64, what string) string {
		if n == nil {
			return ""
		}
		return fmt.Sprintf("%d %s", *n, what)
	}
	of := func(s, detail string) string {
		if s == "" || detail == "" {
			return s
		}
		return s + " (" + detail + ")"
	}
	return joined(", ",
		of(part(r.InputTokens, "in"), joined(", ", part(r.CachedInputTokens, "cached"), part(r.CacheWriteInputTokens, "written to the cache"))),
		of(part(r.OutputTokens, "out"), part(r.ReasoningTokens, "reasoning")))
}

// sealed shows sealed content in one line, or in full.
func (s *screen) sealed(p pairs, name string, c answer.Content) {
	if s.content {
		p.lines(name, full(c))
		return
	}
	p.lines(name, []string{cut(brief(c), s.width-p.name-gap)})
}

// joined joins what is there.
func joined(sep string, parts ...string) string {
	var there []string
	for _, part := range parts {
		if part != "" {
			there = append(there, part)
		}
	}
	return strings.Join(there, sep)
}

// governance shows what acted on a run.
func (s *screen) governance(g *answer.RunGovernance) {
	s.printf("run %s\n", clean(g.RunID))
	var rows [][]string
	for i := range g.ThresholdChecks {
		c := &g.ThresholdChecks[i]
		rows = append(rows, []string{
			moment(c.Timestamp), c.EventType, text(c.LimitID), text(c.LimitValue), text(c.ObservedValue), text(c.LimitUnit),
			text(c.Decision), reason(c.Reason), fmt.Sprint(c.LeafIndex),
		})
	}
	s.section("Threshold checks", []column{
		{title: "TIME (UTC)"},
		{title: "EVENT"},
		{title: "LIMIT", free: true},
		{title: "VALUE", right: true},
		{title: "OBSERVED", right: true},
		{title: "UNIT"},
		{title: "DECISION", state: true},
		{title: "REASON", free: true},
		{title: "LEAF", right: true},
	}, rows)
	rows = nil
	for i := range g.PolicyEvaluations {
		p := &g.PolicyEvaluations[i]
		rows = append(rows, []string{
			moment(p.Timestamp), p.EventType, text(p.PolicyID), text(p.RuleID), p.EntityType + " " + p.EntityID,
			text(p.Decision), reason(p.Reason), fmt.Sprint(p.LeafIndex),
		})
	}
	s.section("Policy evaluations", []column{
		{title: "TIME (UTC)"},
		{title: "EVENT"},
		{title: "POLICY", free: true},
		{title: "RULE", free: true},
		{title: "ABOUT", free: true},
		{title: "DECISION", state: true},
		{title: "REASON", free: true},
		{title: "LEAF", right: true},
	}, rows)
	rows = nil
	for i := range g.Overrides {
		o := &g.Overrides[i]
		rows = append(rows, []string{
			moment(o.Timestamp), o.EventType, o.EntityType + " " + o.EntityID, who(o.ActorType, o.Who), momentOf(o.From), momentOf(o.Until),
			reason(o.Why), fmt.Sprint(o.LeafIndex),
		})
	}
	s.section("Overrides", []column{
		{title: "TIME (UTC)"},
		{title: "EVENT"},
		{title: "ABOUT", free: true},
		{title: "WHO", free: true},
		{title: "FROM"},
		{title: "UNTIL"},
		{title: "WHY", free: true},
		{title: "LEAF", right: true},
	}, rows)
}

// section prints a table under a heading, also where it is empty.
func (s *screen) section(title string, cols []column, rows [][]string) {
	if len(rows) == 0 {
		s.printf("\n%s: none\n", title)
		return
	}
	s.printf("\n%s\n", s.paint(bold, title))
	s.table(cols, rows)
}

// reason is sealed text in a table: empty where there is none.
func reason(c answer.Content) string {
	if !captured(c) {
		return ""
	}
	return brief(c)
}

// who is an actor, who may not be shown.
func who(kind string, id *string) string {
	if id == nil {
		if kind == "HUMAN" {
			return kind + " " + nobodyShown
		}
		return kind
	}
	return kind + " " + *id
}
