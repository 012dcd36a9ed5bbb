package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/postgres"
)

// load is a log that grows.
type load struct {
	head store.Head
	log  store.Log
	rand *rand.Rand
	at   evidence.Micros
}

func newLoad(tenant string) *load {
	return &load{
		log:  store.Log{LogRef: store.LogRef{Tenant: tenant, No: 1}, Origin: tenant + ".example/0123456789ab", VKey: "v", WrappedKey: []byte("k")},
		rand: rand.New(rand.NewPCG(1, 2)),
		at:   1_764_000_000_000_000,
	}
}

func (l *load) random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(l.rand.Uint32())
	}
	return b
}

func bareFact(k evidence.Kind, name string) evidence.Fact {
	f := evidence.PublicField(k, name)
	if f == nil {
		panic(name)
	}
	return evidence.Fact{Field: f}
}

// A log as lists see it after 90 days: of 50 records 16 are runs, one is a
// system record, one is about policy and the rest are looks at the log. What
// is rare ("old", TIMEOUT, CRITICAL, HUMAN, …) has not come since the first
// hundredth.
type findLoad struct {
	*load
	n, total int64
	step     evidence.Micros // between two records
	start    evidence.Micros
}

const findDays = 90 * 24 * 3600 * 1_000_000 // in microseconds

func newFindLoad(tenant string, total int64) *findLoad {
	l := &findLoad{load: newLoad(tenant), total: total, step: evidence.Micros(findDays / total)}
	l.start = l.at
	return l
}

// ago is a time before the end of the load.
func (l *findLoad) ago(hundredths int64) *evidence.Micros {
	at := l.start + findDays - evidence.Micros(findDays/100*hundredths)
	return &at
}

func (l *load) set(leaf *evidence.Leaf, names map[string]string) {
	for name, v := range names {
		f := bareFact(leaf.Kind, name)
		f.Str = v
		leaf.SetFact(f)
	}
}

// pick returns a rare value for some of the first records, else a frequent one.
func (l *findLoad) pick(rare string, frequent ...string) string {
	if l.n < l.total/100 && l.n%7 == 0 {
		return rare
	}
	return frequent[l.rand.IntN(len(frequent))]
}

func (l *findLoad) next() *evidence.Leaf {
	k := evidence.KindAudit
	switch i := l.n % 50; {
	case i%3 == 0 && i < 48:
		k = evidence.KindLLMRun
	case i == 1:
		k = evidence.KindSystem
	}
	l.at += l.step
	leaf := &evidence.Leaf{
		ID: evidence.ID(l.random(16)), Kind: k, RecordedAt: l.at, OccurredAt: l.at - evidence.Micros(l.rand.Int64N(60_000_000)), N: 20,
	}
	for _, name := range []string{"policy_ids", "incident_ids"} {
		f := bareFact(k, name)
		f.List = []string{}
		leaf.SetFact(f)
	}
	synthetic := bareFact(k, "is_synthetic")
	if l.n < l.total/100 && l.n%7 == 0 {
		synthetic.Int = 1
	}
	leaf.SetFact(synthetic)
	l.set(leaf, map[string]string{
		"actor_type": l.pick("HUMAN", "AGENT", "SYSTEM"), "agent_id": l.pick("old", "agent-1", "agent-2", "agent-3"),
		"source_domain": "ACTIVITY", "source_component": "TraceStore", "origin": "AGENT", "producer": "key_01HZX4",
	})
	switch k {
	case evidence.KindLLMRun:
		leaf.Run = fmt.Sprintf("%x", l.random(16))
		l.set(leaf, map[string]string{
			"trace_id": leaf.Run, "provider": l.pick("old", "openai", "anthropic"), "model": l.pick("old", "gpt-4o", "o3", "claude"),
			"execution_status": l.pick("TIMEOUT", "SUCCEEDED", "SUCCEEDED", "FAILED"), "outcome": l.pick("terminated", "success", "failure"),
			"conversation_id": fmt.Sprintf("conversation-%d", l.n/20), "correlation_id": fmt.Sprintf("order-%d", l.n/50),
			"executor_type": "agent", "source": "SDK", "sealed_by": "root_span",
		})
		for name, v := range map[string]int64{"revision": 1, "started_at": int64(leaf.OccurredAt), "input_tokens": 5000, "step_count": 20} {
			f := bareFact(k, name)
			f.Int = v
			leaf.SetFact(f)
		}
	case evidence.KindSystem:
		l.set(leaf, map[string]string{
			"component": l.pick("old", "api", "worker"), "event_type": l.pick("DEPLOY", "HEALTH_CHECK"), "severity": l.pick("CRITICAL", "INFO"),
			"visibility": l.pick("shared", "tenant"), "caused_by": l.pick("HUMAN", "SYSTEM"), "correlation_id": fmt.Sprintf("order-%d", l.n/50),
		})
	default:
		event, entity, id := l.pick("LOGIN", "LOG_VIEW"), "LOG", "LLM_RUNS"
		if l.n%50 == 2 {
			event, entity, id = "PolicyEvaluated", "POLICY_RULE", fmt.Sprintf("rule-%d", l.n/1000)
		}
		l.set(leaf, map[string]string{
			"event_type": event, "entity_type": entity, "entity_id": l.pick("old", id), "decision": "ALLOWED", "system_id": l.pick("old", "api"),
			"route": "/api/v1/logs/llm-runs/:run_id/envelope", "about_run": fmt.Sprintf("run-%d", l.n/100), "correlation_id": fmt.Sprintf("order-%d", l.n/50),
		})
	}
	l.n++
	return leaf
}

// commit is of at most n records.
func (l *findLoad) commit(n int64) *store.Commit {
	c := store.LogCommit{Log: l.log.LogRef, Prev: l.head}
	if l.head.Size == 0 {
		c.Open = &l.log
	}
	for range min(n, l.total-l.n) {
		leaf := l.next()
		leaf.Seq = l.head.Size + int64(len(c.Entries))
		c.Entries = append(c.Entries, store.Entry{Leaf: leaf, Segment: l.n / 1000, ActorSegment: store.NoSegment})
		if leaf.Seq < l.total/100 && leaf.Seq%7 == 0 {
			c.Index = append(c.Index, store.IndexEntry{Name: "actor", MAC: [16]byte{7}, Position: store.Position{LogNo: 1, Seq: leaf.Seq}})
		}
	}
	c.Next = store.Head{Size: l.head.Size + int64(len(c.Entries)), Root: evidence.Hash(l.random(32)), Note: l.random(200)}
	l.head = c.Next
	return &store.Commit{Logs: []store.LogCommit{c}}
}

func (l *findLoad) fill(tb testing.TB, db *postgres.DB) {
	tb.Helper()
	for l.n < l.total {
		if err := db.Commit(tb.Context(), l.commit(4000)); err != nil {
			tb.Fatal(err)
		}
	}
}

func where(field string, values ...string) store.Condition {
	return store.Condition{Field: field, Values: values}
}

// listCase is a query of the contract.
type listCase struct {
	name string
	store.Query
	index string // what it is to follow where nothing shows a better way
}

// listCases are the lists and views of the contract, as the facade asks for
// them in production: a page of 50, the last week, no synthetic records.
func (l *findLoad) listCases() []listCase {
	var list []listCase
	add := func(k evidence.Kind, name, index string, where ...store.Condition) *store.Query {
		q := store.Query{
			Tenant: l.log.Tenant, Kind: k, Where: append(where, store.Condition{Field: "is_synthetic", Values: []string{"false"}}),
			From: l.ago(8), Until: l.ago(0), Below: store.Position{LogNo: 1, Seq: l.head.Size}, Limit: 51, NewestRevision: k == evidence.KindLLMRun,
		}
		list = append(list, listCase{name: k.String() + " " + name, Query: q, index: index})
		return &list[len(list)-1].Query
	}
	term := store.Condition{Index: &store.IndexTerm{Name: "actor", MAC: [16]byte{7}}}
	const run, system, audit = evidence.KindLLMRun, evidence.KindSystem, evidence.KindAudit
	add(run, "all", "llm_run_records_synthetic")
	add(run, "run", "llm_run_records_revision", where("run", "run-1"))
	add(run, "trace", "llm_run_records_trace", where("trace_id", "run-1"))
	add(run, "provider", "llm_run_records_provider", where("provider", "openai"))
	add(run, "provider, old", "llm_run_records_provider", where("provider", "old"))
	add(run, "model", "llm_run_records_model", where("model", "o3"))
	add(run, "model, old", "llm_run_records_model", where("model", "old"))
	add(run, "status", "llm_run_records_status", where("execution_status", "FAILED"))
	add(run, "status TIMEOUT", "llm_run_records_status", where("execution_status", "TIMEOUT"))
	add(run, "outcome", "llm_run_records_outcome", where("outcome", "terminated"))
	add(run, "agent", "llm_run_records_agent", where("agent_id", "agent-1"))
	add(run, "human", "sealed_index", term)
	add(run, "correlation", "llm_run_records_correlation", where("correlation_id", "order-3"))
	add(run, "conversation", "llm_run_records_conversation", where("conversation_id", "conversation-3"))
	add(run, "model and status", "llm_run_records_model", where("model", "o3"), where("execution_status", "FAILED"))
	q := add(run, "a week long ago", "llm_run_records_synthetic")
	q.From, q.Until = l.ago(90), l.ago(82)
	q = add(run, "a model, long ago", "llm_run_records_model", where("model", "o3"))
	q.From, q.Until = l.ago(90), l.ago(82)
	q = add(run, "a minute long ago", "llm_run_records_synthetic")
	until := *l.ago(85) + 60_000_000
	q.From, q.Until = l.ago(85), &until
	q = add(run, "all times", "llm_run_records_synthetic")
	q.From, q.Until = nil, nil
	q = add(run, "synthetic, all times", "llm_run_records_synthetic")
	q.From, q.Until, q.Where = nil, nil, []store.Condition{where("is_synthetic", "true")}

	add(system, "all", "system_records_synthetic")
	add(system, "component", "system_records_component", where("component", "api"))
	add(system, "event", "system_records_event", where("event_type", "DEPLOY"))
	add(system, "severity", "system_records_severity", where("severity", "CRITICAL"))
	add(system, "cause", "system_records_cause", where("caused_by", "HUMAN"))
	add(system, "correlation", "system_records_correlation", where("correlation_id", "order-3"))
	add(system, "shared", "system_records_visibility", where("visibility", "shared"))
	add(system, "run", "system_records_run", where("run", "run-1"))
	q = add(system, "baseline", "system_records_baseline", where("component", "api"), where("event_type", "STARTUP", "DEPLOY", "CONFIG_CHANGE", "MIGRATION"))
	q.Order, q.From, q.Limit = store.ByTimeDown, nil, 1
	q = add(system, "window", "system_records_occurred")
	q.Order, q.From, q.Until = store.ByTime, l.ago(85), &until

	add(audit, "all", "audit_ledger_synthetic")
	add(audit, "identity", "audit_ledger_event", where("event_type", "LOGIN", "LOGOUT", "LOGIN_FAILED", "API_KEY_CREATED"))
	add(audit, "access", "audit_ledger_event", where("event_type", "LOG_VIEW", "LOG_EXPORT"))
	add(audit, "entity type", "audit_ledger_entity_type", where("entity_type", "POLICY_RULE"))
	add(audit, "entity", "audit_ledger_entity", where("entity_id", "old"))
	add(audit, "actor type", "audit_ledger_actor_type", where("actor_type", "HUMAN"))
	add(audit, "actor", "audit_ledger_agent", store.Condition{Any: []store.Condition{where("agent_id", "old"), where("system_id", "old"), term}})
	add(audit, "run", "audit_ledger_about_run", store.Condition{Any: []store.Condition{where("run", "run-1"), where("about_run", "run-1")}})
	add(audit, "correlation", "audit_ledger_correlation", where("correlation_id", "order-3"))
	q = add(audit, "governance", "audit_ledger_occurred", store.Condition{Any: []store.Condition{where("run", "run-1"), where("correlation_id", "order-3", "order-9")}})
	q.From, q.Until, q.Order = nil, nil, store.ByTime
	q = add(audit, "window", "audit_ledger_window", where("entity_type", "POLICY_RULE", "LIMIT"))
	q.Order, q.From, q.Until = store.ByTime, l.ago(85), &until
	q = add(audit, "a week long ago", "audit_ledger_synthetic")
	q.From, q.Until = l.ago(90), l.ago(82)
	return list
}
