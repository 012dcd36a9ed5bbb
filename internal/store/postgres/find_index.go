package postgres

import "github.com/runledger/runledger/evidence"

// sorting is the order in which an index yields what it finds of one value.
type sorting uint8

const (
	unsorted sorting = iota
	byRow            // by position
	byTime           // by occurred_at, then position; a range of time bounds the search
	few              // in no order that is asked for, but so few that sorting them is nothing
)

// part is an index, and what it finds.
type part struct {
	index string
	// columns are those of the index behind tenant_id: first those that a value is
	// looked for in, then the tail.
	columns []string
	tail    int    // how many of columns are the tail
	where   string // what else must hold: what the index is partial by, what it does not tell
	sorted  sorting
	// conflicts: it finds conflict records alone.
	conflicts bool
}

// Tails of indexes: the order in which they hold what has one value.
var (
	position = []string{"log_no", "leaf_index"}
	moments  = []string{"occurred_at", "log_no", "leaf_index"}
)

// key finds the records that have given values in its columns. Its parts
// exclude one another.
type key struct {
	columns []string
	parts   []part
	// narrow: records with one value here belong together (a run, a case), so
	// reading all of them beats walking through a log.
	narrow bool
}

// finding says what finds the records of a kind.
type finding struct {
	// keys are in order of preference, for where a search shows no difference.
	keys     []key
	occurred string // index on (tenant_id, occurred_at, log_no, leaf_index), where there is one
	stretch  string // index on (tenant_id, log_no, leaf_index >> 14, occurred_at), where there is one
}

// stretchBits is how many bits of a leaf index are within a stretch.
const stretchBits = 14

// valued is a key whose index is (tenant_id, column, log_no, leaf_index).
func valued(column, index string) key {
	p := part{index: index, columns: append([]string{column}, position...), tail: 2, sorted: byRow}
	return key{columns: []string{column}, parts: []part{p}}
}

// present is a valued key of an index without the records that lack the value.
func present(column, index string) key {
	k := valued(column, index)
	k.parts[0].where = `t."` + column + `" IS NOT NULL`
	return k
}

// together is a key of records that belong together.
func together(k key) key {
	k.narrow = true
	return k
}

// parted is a key of records that belong together, which several indexes find.
func parted(column string, parts ...part) key {
	return key{columns: []string{column}, narrow: true, parts: parts}
}

// plain is a part of an index on (tenant_id, column).
func plain(index, column, where string) part {
	return part{index: index, columns: []string{column}, where: where}
}

// traced is a part of an index on (tenant_id, trace_id, occurred_at).
func traced(index, where string) part {
	return part{index: index, columns: []string{"trace_id", "occurred_at"}, tail: 1, where: where, sorted: byTime}
}

// timed is a key whose index is (tenant_id, columns, occurred_at, log_no, leaf_index).
func timed(index string, columns ...string) key {
	p := part{index: index, columns: append(columns[:len(columns):len(columns)], moments...), tail: 3, sorted: byTime}
	return key{columns: columns, parts: []part{p}}
}

// findings say what finds the records of each kind, by kind.
var findings = [...]finding{
	evidence.KindLLMRun: {
		occurred: "llm_run_records_occurred", stretch: "llm_run_records_stretch",
		keys: []key{
			parted("run_id",
				part{
					index: "llm_run_records_revision", columns: []string{"run_id", "revision"}, tail: 1,
					where: "t.conflict_of IS NULL", sorted: few,
				},
				part{
					index: "llm_run_records_conflict", columns: []string{"run_id"},
					where: "t.conflict_of IS NOT NULL", conflicts: true,
				}),
			together(present("trace_id", "llm_run_records_trace")),
			together(present("run_alias", "llm_run_records_alias")),
			together(present("correlation_id", "llm_run_records_correlation")),
			present("conversation_id", "llm_run_records_conversation"),
			present("agent_id", "llm_run_records_agent"),
			present("model", "llm_run_records_model"),
			valued("execution_status", "llm_run_records_status"),
			valued("outcome", "llm_run_records_outcome"),
			present("provider", "llm_run_records_provider"),
			valued("is_synthetic", "llm_run_records_synthetic"),
		},
	},
	evidence.KindTrace: {keys: []key{
		parted("run_id", plain("idx_aos_traces_run_id", "run_id", "")),
		parted("trace_id",
			plain("idx_aos_traces_run_id", "run_id", "t.run_id = t.trace_id"),
			plain("aos_traces_other_run", "trace_id", "t.run_id <> t.trace_id")),
		together(present("run_alias", "aos_traces_alias")),
	}},
	// The terms of runs are those of runRecordTerms.
	evidence.KindTraceStep: {keys: []key{
		parted("run_id",
			traced("idx_aos_trace_steps_trace_timestamp", "t.run_id = t.trace_id"),
			plain("aos_trace_steps_run", "run_id", "t.run_id <> t.trace_id")),
		parted("trace_id", traced("idx_aos_trace_steps_trace_timestamp", "")),
	}},
	evidence.KindTraceEvent: {keys: []key{
		parted("run_id",
			traced("aos_trace_events_trace", "t.trace_id IS NOT NULL AND t.run_id = t.trace_id"),
			plain("aos_trace_events_other_run", "run_id", "t.run_id <> t.trace_id"),
			plain("aos_trace_events_run", "run_id", "t.run_id IS NOT NULL AND t.trace_id IS NULL")),
		parted("trace_id", traced("aos_trace_events_trace", "t.trace_id IS NOT NULL")),
	}},
	evidence.KindSystem: {
		occurred: "system_records_occurred", stretch: "system_records_stretch",
		keys: []key{
			together(present("run_id", "system_records_run")),
			together(present("correlation_id", "system_records_correlation")),
			timed("system_records_baseline", "component", "event_type"),
			valued("component", "system_records_component"),
			valued("event_type", "system_records_event"),
			present("caused_by", "system_records_cause"),
			valued("severity", "system_records_severity"),
			valued("visibility", "system_records_visibility"),
			valued("is_synthetic", "system_records_synthetic"),
		},
	},
	evidence.KindMetric: {
		occurred: "system_metrics_occurred",
		keys:     []key{together(present("run_id", "system_metrics_run"))},
	},
	evidence.KindAudit: {
		occurred: "audit_ledger_occurred", stretch: "audit_ledger_stretch",
		keys: []key{
			together(present("run_id", "audit_ledger_run")),
			together(present("about_run", "audit_ledger_about_run")),
			together(present("correlation_id", "audit_ledger_correlation")),
			valued("entity_id", "audit_ledger_entity"),
			present("agent_id", "audit_ledger_agent"),
			present("system_id", "audit_ledger_system"),
			valued("event_type", "audit_ledger_event"),
			timed("audit_ledger_window", "entity_type"),
			valued("entity_type", "audit_ledger_entity_type"),
			valued("actor_type", "audit_ledger_actor_type"),
			valued("is_synthetic", "audit_ledger_synthetic"),
		},
	},
	evidence.KindExport: {keys: []key{
		together(valued("export_id", "log_exports_id")),
		together(present("about_run", "log_exports_about_run")),
	}},
}
