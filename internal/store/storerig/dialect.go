package storerig

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// What tests do to a database is written once, for SQLite's tables. PostgreSQL's have
// the contract's names and no numbers for tenants, logs and names, so a statement is
// rewritten where that is all the difference; where it is not, see Pick.

// Log is an argument that stands for a log: compare it with log_key, or with row >> 40.
type Log struct {
	Tenant string
	No     int
}

// Place is an argument that stands for a row: compare it with row. N is the number
// within the log; a tile has its level too.
type Place struct {
	Log
	Level int
	N     int64
}

// Row returns a place of a log.
func (l Log) Row(n int64) Place { return Place{Log: l, N: n} }

// Pick returns the statement of the two that is the backend's.
func Pick(sqlite, postgres string) string {
	if OnPostgres() {
		return postgres
	}
	return sqlite
}

// Table returns the backend's name of a topic table, which the contract knows by name.
func Table(contract string) string {
	if OnPostgres() {
		return contract
	}
	for lite, pg := range topics {
		if pg == contract {
			return lite
		}
	}
	return contract
}

// TenantTables are PostgreSQL's tables that hold rows of tenants; LogTables those of
// them whose rows are a log's own, as in SQLite they are by their number.
var (
	LogTables = []string{
		"logs", "heads", "leaf_segments", "tiles", "checkpoints", "attestations", "sealed_segments", "llm_run_records", "aos_traces",
		"aos_trace_steps", "aos_trace_events", "system_records", "system_metrics", "audit_ledger", "log_exports", "archives", "expiries", "hold_records",
	}
	TenantTables = append([]string{
		"origins", "record_ids", "spans", "run_revisions", "sealed_index", "data_keys", "removals", "run_states", "api_keys", "holds", "hold_runs",
	}, LogTables...)
)

// topics are the tables of records.
var topics = map[string]string{
	"r_llm_run": "llm_run_records", "r_trace": "aos_traces", "r_trace_step": "aos_trace_steps", "r_trace_event": "aos_trace_events",
	"r_system": "system_records", "r_metric": "system_metrics", "r_audit": "audit_ledger", "r_export": "log_exports",
}

// numbers are the columns that count within a log; those of topics are leaf_index.
var numbers = map[string]string{
	"leaf_segments": "first", "tiles": "level, n", "checkpoints": "size", "attestations": "size", "sealed_segments": "no", "run_states": "last_leaf",
}

var (
	topicName = regexp.MustCompile(`\br_[a-z_]+\b`)
	firstName = regexp.MustCompile(`\b(?:FROM|UPDATE|INTO) ([a-z_]+)`)
	byTenant  = regexp.MustCompile(`\btenant_no = \(SELECT tenant_no FROM tenants WHERE tenant_id = ('[a-z0-9-]+'|\?[0-9]+)\)`)
	byName    = regexp.MustCompile(`\bname_no = \(SELECT name_no FROM names WHERE text = ('[a-z_]+'|\?[0-9]+)\)`)
	byRun     = regexp.MustCompile(`\brun_no = \(SELECT spine_no FROM spine WHERE text = (\?[0-9]+) AND tenant_no = \(SELECT tenant_no FROM tenants WHERE tenant_id = ('[a-z0-9-]+')\)\)`)
	blob      = regexp.MustCompile(`\bx'([0-9a-f]*)'`)
	zeroBlob  = regexp.MustCompile(`\bzeroblob\(([0-9]+)\)`)
	someBlob  = regexp.MustCompile(`\brandomblob\(16\)`)
	ofLog     = regexp.MustCompile(`\b(?:row >> 40|log_key)\b`)
	lastRow   = regexp.MustCompile(`\blast_row\b`)
	insert    = regexp.MustCompile(`^INSERT INTO [a-z_]+ \([^)]*\)`)
	wholeRow  = regexp.MustCompile(`\brow\b`)
)

// translate rewrites a statement about one table.
func translate(sql string) string {
	sql = topicName.ReplaceAllStringFunc(sql, func(name string) string {
		if to := topics[name]; to != "" {
			return to
		}
		return name
	})
	sql = byRun.ReplaceAllString(sql, "run_id = $1 AND tenant_id = $2")
	sql = byTenant.ReplaceAllString(sql, "tenant_id = $1")
	sql = byName.ReplaceAllString(sql, "name = $1")
	sql = blob.ReplaceAllString(sql, `'\x$1'::bytea`)
	sql = zeroBlob.ReplaceAllString(sql, `decode(repeat('00', $1), 'hex')`)
	sql = someBlob.ReplaceAllString(sql, `uuid_send(gen_random_uuid())`)
	table := ""
	if m := firstName.FindStringSubmatch(sql); m != nil {
		table = m[1]
	}
	number := numbers[table]
	if number == "" {
		number = "leaf_index"
	}
	log, key := "tenant_id, log_no", "tenant_id, log_no, "+number
	if table == "run_states" {
		log, key = "tenant_id, last_log", "tenant_id, last_log, last_leaf"
	}
	columns := ""
	if m := insert.FindString(sql); m != "" {
		columns, sql = wholeRow.ReplaceAllString(m, key), sql[len(m):]
	}
	sql = lastRow.ReplaceAllString(sql, "row")
	return columns + wholeRow.ReplaceAllString(ofLog.ReplaceAllString(sql, "("+log+")"), "("+key+")")
}

// expand puts the parts of logs and places in the place of their arguments.
func expand(sql string, args []any) (string, []any) {
	tiles := strings.Contains(sql, "tiles")
	open, end := "(", ")"
	if insert.MatchString(sql) && !strings.Contains(sql, " SELECT ") {
		open, end = "", "" // one of several values
	}
	var out []any
	at := make([]string, len(args))
	add := func(v any) string {
		out = append(out, v)
		return "$" + strconv.Itoa(len(out))
	}
	for i, arg := range args {
		switch arg := arg.(type) {
		case Log:
			at[i] = open + add(arg.Tenant) + ", " + add(int64(arg.No)) + end
		case Place:
			at[i] = open + add(arg.Tenant) + ", " + add(int64(arg.No)) + ", "
			if tiles {
				at[i] += add(int64(arg.Level)) + ", "
			}
			at[i] += add(arg.N) + end
		case int:
			at[i] = add(int64(arg))
		default:
			at[i] = add(arg)
		}
	}
	return placeholder.ReplaceAllStringFunc(sql, func(p string) string {
		n, err := strconv.Atoi(p[1:])
		if err != nil || n < 1 || n > len(at) {
			panic(fmt.Sprintf("%s of %d arguments in %s", p, len(at), sql))
		}
		return at[n-1]
	}), out
}

var placeholder = regexp.MustCompile(`\?([0-9]+)`)

// keys are SQLite's numbers of logs.
type keys map[Log]int64

// noLog is the number of a log that is not there.
const noLog = 999

// numbered gives logs and places their numbers.
func (k keys) numbered(args []any) []any {
	out := make([]any, len(args))
	for i, arg := range args {
		var log Log
		shift, low := 0, int64(0)
		switch arg := arg.(type) {
		case Log:
			log = arg
		case Place:
			log, shift, low = arg.Log, 40, int64(arg.Level)<<32|arg.N
		default:
			out[i] = arg
			continue
		}
		key, ok := k[log]
		if !ok {
			key = noLog
		}
		out[i] = key<<shift | low
	}
	return out
}

// place is the other way.
func (k keys) place(v int64, tile bool) (Place, error) {
	for log, key := range k {
		if key == v>>40 {
			p := log.Row(v & (1<<40 - 1))
			if tile {
				p.Level, p.N = int(p.N>>32), p.N&(1<<32-1)
			}
			return p, nil
		}
	}
	return Place{}, fmt.Errorf("row %d is of no log", v)
}
