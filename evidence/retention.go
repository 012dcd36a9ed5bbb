package evidence

// Classes of evidence, by which policies of retention are stated (contract section 6).
const (
	ClassLLMRuns    = "llm_runs"
	ClassSystemLogs = "system_logs"
	ClassAudit      = "audit"
	ClassLogExports = "log_exports"
	// ClassSynthetic is that of synthetic records of any kind.
	ClassSynthetic = "synthetic"
)

// RetentionClasses lists the classes in the order of the contract.
func RetentionClasses() []string {
	return []string{ClassLLMRuns, ClassSystemLogs, ClassAudit, ClassLogExports, ClassSynthetic}
}

// RetentionDays are the days that records of a class are kept where no policy says
// otherwise; 0 for what is no class. Seven years are 2557 days, with two leap days. The
// databases' guards have the same numbers.
func RetentionDays(class string) int {
	switch class {
	case ClassLLMRuns:
		return 90
	case ClassSystemLogs:
		return 30
	case ClassAudit:
		return 2557
	case ClassLogExports:
		return 365
	case ClassSynthetic:
		return 7
	}
	return 0
}

// Class returns the retention class of a kind's records that are not synthetic.
func (k Kind) Class() string {
	switch k {
	case KindLLMRun, KindTrace, KindTraceStep, KindTraceEvent:
		return ClassLLMRuns
	case KindSystem, KindMetric:
		return ClassSystemLogs
	case KindAudit:
		return ClassAudit
	case KindExport:
		return ClassLogExports
	}
	return ""
}

// KindOfTable returns the kind whose records a table has, or 0.
func KindOfTable(table string) Kind {
	for k, t := range kindTables {
		if t == table && t != "" {
			return Kind(k)
		}
	}
	return 0
}
