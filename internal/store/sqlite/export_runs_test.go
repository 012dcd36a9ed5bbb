package sqlite

// Queries of runs, whose plans are looked at.
var (
	RunRecordsQuery = sqlRunRecords
	OpenRunsQuery   = sqlOpenRuns
)
