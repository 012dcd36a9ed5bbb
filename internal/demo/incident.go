package demo

import (
	"math"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/runledger/runledger/client"
)

// What the incident is about.
const (
	Run      = "refund-7Q4" // the run
	Case     = "case-A-17"  // its correlation id
	Incident = "INC-1042"
	Policy   = "refunds"

	traceID = "5c1e7a90b2d348f6a1047e93c86df215"
	agent   = "refund-bot"
	limit   = "refund-amount"
	human   = "operator@acme.example"

	runTime = 31 * time.Second
)

// Entry is a record of the incident, and what it is about; "" where a record beside
// it says so.
type Entry struct {
	At     time.Time
	Story  string
	Record client.Record
}

// script puts the incident together.
type script struct {
	start time.Time // of the run
	list  []Entry
}

func (s *script) at(sec float64) time.Time {
	return s.start.Add(time.Duration(math.Round(sec*1e6)) * time.Microsecond)
}

func (s *script) add(sec float64, story string, r client.Record) {
	s.list = append(s.list, Entry{s.at(sec), story, r})
}

// Story is the incident: a refund that a guardrail stops, a person lets through, and
// a dying worker delays. The run ends at end. Entries are in the order in which they
// are sent: by time, but for the run's own record, which comes when it has ended.
func Story(end time.Time) []Entry {
	s := &script{start: end.Add(-runTime)}
	s.environment()
	s.plan()
	s.denial()
	s.override()
	s.outage()
	s.end()
	return s.list
}

// environment is what was deployed before the run.
func (s *script) environment() {
	add := func(sec float64, story, component, event, cause, version, summary string, details map[string]any) {
		s.add(sec, story, client.System{
			Common:    client.Common{OccurredAt: s.at(sec), SystemID: component, SourceComponent: "SystemRecordWriter"},
			Component: component, EventType: event, Severity: "INFO", CausedBy: cause, Version: version, Summary: summary, Details: details,
		})
	}
	add(-5400, "worker 2.14.0 is deployed", "worker", "DEPLOY", "AUTOMATION", "2.14.0", "Worker 2.14.0 was deployed to 4 machines.",
		map[string]any{"image": "refunds/worker:2.14.0", "machines": 4, "memory_limit": "2 GiB"})
	add(-5390, "the api starts", "api", "STARTUP", "AUTOMATION", "5.2.1", "The API started.", map[string]any{"image": "refunds/api:5.2.1"})
	add(-5100, "the database is migrated", "db", "MIGRATION", "AUTOMATION", "87", "Schema 87: orders have a state of delivery.", nil)
	const summary = "The limit refund-amount is 250.00 EUR."
	add(-900, "the refund limit is set to 250.00", "policy-engine", "CONFIG_CHANGE", "HUMAN", "31", summary, nil)
	s.add(-900, "", client.Audit{
		Common: client.Common{
			OccurredAt: s.at(-900), HumanActorID: "policy-owner@acme.example", PolicyIDs: []string{Policy}, SourceComponent: "PolicyEngine",
		},
		EventType: "LimitUpdated", EntityType: "LIMIT", EntityID: limit, PolicyID: Policy, LimitID: limit, LimitValue: "250.00", LimitUnit: "EUR",
		ActionReason: "Refunds over 250.00 are to be seen by a person until the end of the quarter.",
		BeforeState:  map[string]any{"limit_value": "500.00"}, AfterState: map[string]any{"limit_value": "250.00"},
	})
}

func (s *script) common(sec float64) client.Common {
	return client.Common{OccurredAt: s.at(sec), RunID: Run, CorrelationID: Case, AgentID: agent, SourceComponent: "TraceStore"}
}

// step adds a step below the agent's own.
func (s *script) step(sec float64, story string, st client.Step) {
	st.Common, st.TraceID, st.ParentSpanID = s.common(sec), traceID, rootSpan
	if st.Kind == "guardrail" {
		st.PolicyIDs = []string{Policy}
	}
	s.add(sec, story, st)
}

// govern adds an entry of the policy engine, or of a person.
func (s *script) govern(sec float64, story, person string, a client.Audit) {
	a.Common = client.Common{
		OccurredAt: s.at(sec), RunID: Run, CorrelationID: Case, PolicyIDs: []string{Policy}, SourceComponent: "PolicyEngine",
	}
	if a.HumanActorID = person; person == "" {
		a.SystemID = "policy-engine"
	}
	if a.EntityType != "POLICY_RULE" && a.Decision != "PASSED" {
		a.IncidentIDs = []string{Incident}
	}
	s.add(sec, story, a)
}

func (s *script) end() {
	s.add(runTime.Seconds(), "the run ends: success", client.Run{
		Common: client.Common{
			OccurredAt: s.start, RunID: Run, CorrelationID: Case, AgentID: agent, SourceComponent: "TraceStore",
			PolicyIDs: []string{Policy}, IncidentIDs: []string{Incident},
		},
		Tokens:  tokens(1722, 244, 12_350_000),
		TraceID: traceID, Status: "SUCCEEDED", Outcome: "success", ExecutorType: "agent", Models: []string{model}, Source: "WORKER",
		CompletedAt: s.start.Add(runTime), ConversationID: "ticket-88213", AgentName: agent,
		InflectionAt: s.at(denied), InflectionKind: "denial", InflectionCause: "The rule refund-limit blocked a refund of 480.00 EUR.",
		Prompt: question, Response: reply,
	})
}

// Metrics is what the worker measured around the run, as an OTLP request: memory
// grows until the worker is killed.
func Metrics(end time.Time) ([]byte, error) {
	start := end.Add(-runTime)
	req := pmetricotlp.NewExportRequest()
	rm := req.Metrics().ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "worker")
	rm.Resource().Attributes().PutStr("service.instance.id", "worker-3")
	scope := rm.ScopeMetrics().AppendEmpty()
	scope.Scope().SetName("hostmetrics")
	gauge := func(name, unit string, value func(sec int) float64) {
		m := scope.Metrics().AppendEmpty()
		m.SetName(name)
		m.SetUnit(unit)
		dps := m.SetEmptyGauge().DataPoints()
		for sec := 0; sec <= int(runTime/time.Second); sec += 5 {
			p := dps.AppendEmpty()
			p.SetTimestamp(pcommon.NewTimestampFromTime(start.Add(time.Duration(sec) * time.Second)))
			p.SetDoubleValue(value(sec))
		}
	}
	const gib = 1 << 30
	gauge("process.memory.usage", "By", func(sec int) float64 {
		if sec > killed {
			return 0.3 * gib
		}
		return (1.2 + 0.035*float64(sec)) * gib
	})
	gauge("process.cpu.utilization", "1", func(sec int) float64 { return 0.42 + 0.01*float64(sec%15) })
	gauge("jobs.waiting", "{job}", func(sec int) float64 { return float64(12 + sec*2) })
	return req.MarshalProto()
}
