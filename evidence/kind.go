package evidence

import "fmt"

// Kind is one of the eight kinds of record. The zero value is no kind.
type Kind uint8

// The kinds. The numbers are internal and may change; the names are what
// leaves hold.
const (
	KindLLMRun Kind = iota + 1
	KindTrace
	KindTraceStep
	KindTraceEvent
	KindSystem
	KindMetric
	KindAudit
	KindExport
)

// Kinds lists all kinds in the order of the contract's tables.
func Kinds() []Kind {
	return []Kind{KindLLMRun, KindTrace, KindTraceStep, KindTraceEvent, KindSystem, KindMetric, KindAudit, KindExport}
}

var kindNames = [...]string{
	KindLLMRun: "llm_run", KindTrace: "trace", KindTraceStep: "trace_step", KindTraceEvent: "trace_event",
	KindSystem: "system", KindMetric: "metric", KindAudit: "audit", KindExport: "export",
}

var kindTables = [...]string{
	KindLLMRun: "llm_run_records", KindTrace: "aos_traces", KindTraceStep: "aos_trace_steps",
	KindTraceEvent: "aos_trace_events", KindSystem: "system_records", KindMetric: "system_metrics",
	KindAudit: "audit_ledger", KindExport: "log_exports",
}

// String returns the name that leaves and native records use.
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// Table returns the name of the kind's evidence table.
func (k Kind) Table() string { return kindTables[k] }

// needsRun reports whether every record of the kind belongs to a run.
func (k Kind) needsRun() bool { return k == KindLLMRun || k == KindTrace || k == KindTraceStep }

// ParseKind returns the kind of that name, or 0.
func ParseKind(name string) Kind {
	for k, n := range kindNames {
		if n == name && n != "" {
			return Kind(k)
		}
	}
	return 0
}
