package sqlite

import "github.com/runledger/runledger/evidence"

// sorting is the order in which an index yields what it finds.
type sorting uint8

const (
	byRow  sorting = iota // by row
	byTime                // by occurred_at, then row; a range of time bounds the search
	few                   // in no order that is asked for, but so few that sorting them is nothing
)

// part is an index, and what it finds.
type part struct {
	index  string
	where  string // :1, :2 stand for the values of the key's columns
	sorted sorting
	inLog  bool // the index begins with row >> 40
}

// key finds the records that have given values in its columns. Its parts
// exclude one another.
type key struct {
	columns []string
	parts   []part
	// narrow: records with one value here belong together (a run, a case), so
	// reading all of them beats walking through a log.
	narrow bool
	// spine: the values are numbers of spine, each of which is of one tenant.
	spine bool
}

// finding says what finds the records of a kind.
type finding struct {
	// keys are in order of preference, for where a search shows no difference.
	keys     []key
	occurred string // index on (row >> 40, occurred_at), where there is one
	stretch  string // index on (row >> 14, occurred_at), where there is one
}

// stretchBits is how many bits of a row are within a stretch.
const stretchBits = 14

// valued is a key whose index is (row >> 40, column).
func valued(column, index string) key {
	return key{columns: []string{column}, parts: []part{{index: index, where: `t."` + column + `" = :1`, inLog: true}}}
}

// texted is a key whose index is (column), of all tenants.
func texted(column, index string) key {
	return key{columns: []string{column}, narrow: true, parts: []part{{index: index, where: `t."` + column + `" = :1`}}}
}

// spined is a key of a run or trace id.
func spined(column string, parts ...part) key {
	return key{columns: []string{column}, narrow: true, spine: true, parts: parts}
}

// timed is a key whose index is (row >> 40, column, occurred_at).
func timed(index, where string, columns ...string) key {
	return key{columns: columns, parts: []part{{index: index, where: where, sorted: byTime, inLog: true}}}
}

// findings say what finds the records of each kind, by kind.
var findings = [...]finding{
	evidence.KindLLMRun: {
		occurred: "r_llm_run_occurred", stretch: "r_llm_run_stretch",
		keys: []key{
			spined("run_no",
				part{index: "r_llm_run_revision", where: "t.run_no = :1 AND t.conflict_of IS NULL", sorted: few},
				part{index: "r_llm_run_conflict", where: "t.run_no = :1 AND t.conflict_of IS NOT NULL"}),
			spined("trace_id", part{index: "r_llm_run_trace", where: "t.trace_id = :1"}),
			texted("run_alias", "r_llm_run_alias"),
			texted("correlation_id", "r_llm_run_correlation"),
			valued("conversation_id", "r_llm_run_conversation"),
			valued("agent_id", "r_llm_run_agent"),
			valued("model", "r_llm_run_model"),
			valued("execution_status", "r_llm_run_status"),
			valued("outcome", "r_llm_run_outcome"),
			valued("provider", "r_llm_run_provider"),
			valued("is_synthetic", "r_llm_run_synthetic"),
		},
	},
	evidence.KindTrace: {keys: []key{
		spined("run_no", part{index: "idx_aos_traces_run_id", where: "t.run_no = :1"}),
		spined("trace_id",
			part{index: "idx_aos_traces_run_id", where: "t.run_no = :1 AND t.trace_id = :1"},
			part{index: "r_trace_other_run", where: "t.trace_id = :1 AND t.run_no <> t.trace_id"}),
		texted("run_alias", "r_trace_alias"),
	}},
	// The terms of runs are those of runRecordTerms.
	evidence.KindTraceStep: {keys: []key{
		spined("run_no",
			part{index: "idx_aos_trace_steps_trace_timestamp", where: "t.trace_id = :1 AND t.run_no = :1", sorted: byTime},
			part{index: "r_trace_step_run", where: "t.run_no = :1 AND t.run_no <> t.trace_id"}),
		spined("trace_id", part{index: "idx_aos_trace_steps_trace_timestamp", where: "t.trace_id = :1", sorted: byTime}),
	}},
	evidence.KindTraceEvent: {keys: []key{
		spined("run_no",
			part{index: "r_trace_event_trace", where: "t.trace_id = :1 AND t.run_no = :1", sorted: byTime},
			part{index: "r_trace_event_other_run", where: "t.run_no = :1 AND t.run_no <> t.trace_id"},
			part{index: "r_trace_event_run", where: "t.run_no = :1 AND t.trace_id IS NULL"}),
		spined("trace_id", part{index: "r_trace_event_trace", where: "t.trace_id = :1", sorted: byTime}),
	}},
	evidence.KindSystem: {
		occurred: "r_system_occurred", stretch: "r_system_stretch",
		keys: []key{
			spined("run_no", part{index: "r_system_run", where: "t.run_no = :1"}),
			texted("correlation_id", "r_system_correlation"),
			timed("r_system_baseline", "t.component = :1 AND t.event_type = :2", "component", "event_type"),
			valued("component", "r_system_component"),
			valued("event_type", "r_system_event"),
			valued("caused_by", "r_system_cause"),
			valued("severity", "r_system_severity"),
			valued("visibility", "r_system_visibility"),
			valued("is_synthetic", "r_system_synthetic"),
		},
	},
	evidence.KindMetric: {
		occurred: "r_metric_occurred",
		keys:     []key{spined("run_no", part{index: "r_metric_run", where: "t.run_no = :1"})},
	},
	evidence.KindAudit: {
		occurred: "r_audit_occurred", stretch: "r_audit_stretch",
		keys: []key{
			spined("run_no", part{index: "r_audit_run", where: "t.run_no = :1"}),
			spined("about_run", part{index: "r_audit_about_run", where: "t.about_run = :1"}),
			texted("correlation_id", "r_audit_correlation"),
			valued("entity_id", "r_audit_entity"),
			valued("agent_id", "r_audit_agent"),
			valued("system_id", "r_audit_system"),
			valued("event_type", "r_audit_event"),
			timed("r_audit_window", "t.entity_type = :1", "entity_type"),
			valued("entity_type", "r_audit_entity_type"),
			valued("actor_type", "r_audit_actor_type"),
			valued("is_synthetic", "r_audit_synthetic"),
		},
	},
	evidence.KindExport: {keys: []key{
		texted("export_id", "r_export_id"),
		spined("about_run", part{index: "r_export_about_run", where: "t.about_run = :1"}),
	}},
}
