package ledger_test

import (
	"bytes"
	"testing"

	"github.com/runledger/runledger/internal/store/storerig"
)

// postgresCases alter the tables that PostgreSQL has and SQLite does not: what is
// unique there by an index of the topic tables has a table here, because those are
// partitioned.
func postgresCases() []tamperCase {
	if !storerig.OnPostgres() {
		return nil
	}
	const aSpan = ` WHERE (tenant_id, trace_id, span_id) = (SELECT tenant_id, trace_id, span_id FROM spans WHERE tenant_id = 'acme' AND log_no = 2 ORDER BY leaf_index LIMIT 1)`
	const aRevision = ` WHERE (tenant_id, run_id, revision) = (SELECT tenant_id, run_id, revision FROM run_revisions WHERE tenant_id = 'acme' AND log_no = 2 ORDER BY leaf_index LIMIT 1)`
	hole := func(name, sql, why string) tamperCase {
		return tamperCase{name: name, alter: func(e *evil) { e.change(1, sql) }, hole: why}
	}
	const (
		span = "spans is not compared with the steps that it is made of: one that is missing lets the span be stored again, one that " +
			"points elsewhere answers a producer with the receipt of another record"
		revision = "run_revisions is not compared with the runs that it is made of: one that is missing lets a revision be stored again"
		months   = "log_months is not compared with the rows: what is read by position may be looked for in another partition"
		origin   = "origins only keeps an origin from being given twice, and logs, which is verified, has what it says"
	)
	return []tamperCase{
		hole("spans: another place", `UPDATE spans SET leaf_index = leaf_index + 1`+aSpan, span),
		hole("spans: removed", `DELETE FROM spans`+aSpan, span),
		hole("spans: another span", `UPDATE spans SET span_id = x'00000000000000ff'`+aSpan, span),
		hole("run_revisions: another place", `UPDATE run_revisions SET leaf_index = leaf_index + 1`+aRevision, revision),
		hole("run_revisions: removed", `DELETE FROM run_revisions`+aRevision, revision),
		hole("log_months: another beginning", `UPDATE log_months SET first = first + 100 WHERE tenant_id = 'acme' AND log_no = 2`, months),
		hole("log_months: another month", `UPDATE log_months SET month = month + 1 WHERE tenant_id = 'acme' AND log_no = 2`, months),
		hole("origins: another tenant", `UPDATE origins SET tenant_id = 'globex' WHERE tenant_id = 'acme' AND log_no = 2`, origin),
	}
}

// TestTamperBytes flips single bits of what rows hold, where signed, hashed or
// encrypted bytes stand. Whatever the place, verification must not call the
// deployment sound. TestTamperFlips does the same below the level of rows.
func TestTamperBytes(t *testing.T) {
	t.Parallel()
	d := copyOf(t)
	l := d.main()
	for _, c := range []struct{ name, table, column, where string }{
		{"leaf segment", "leaf_segments", "data", `row >= ?1 ORDER BY row`},
		{"tile", "tiles", "data", `row >= ?1 ORDER BY row`},
		{"head root", "heads", "root", `log_key = ?1`},
		{"head note", "heads", "note", `log_key = ?1`},
		{"checkpoint", "checkpoints", "note", `row > ?1 ORDER BY row`},
		{"sealed content", "sealed_segments", "data", `row > ?1 ORDER BY row`},
		{"sealed id", "sealed_segments", "id", `row > ?1 ORDER BY row`},
		{"wrapped key", "data_keys", "wrapped", `scope = 'person' ORDER BY key_no`},
		{"signing key", "logs", "wrapped_key", `log_key = ?1`},
		{"index MAC", "sealed_index", "mac", `row > ?1 ORDER BY row`},
		{"record id", "record_ids", "id", `row > ?1 ORDER BY row`},
	} {
		set := func(to, from []byte) {
			d.tamper(t, func(e *evil) { e.exec(`UPDATE `+c.table+` SET `+c.column+` = ?1 WHERE `+c.column+` = ?2`, to, from) })
		}
		var good []byte
		d.tamper(t, func(e *evil) {
			var args []any
			switch c.table {
			case "heads", "logs":
				args = []any{l.key}
			case "data_keys":
			default:
				args = []any{row(l, 0)}
			}
			good = e.blob(`SELECT `+c.column+` FROM `+c.table+` WHERE `+c.where+` LIMIT 1`, args...)
		})
		for _, at := range []int{0, len(good) / 2, len(good) - 1} {
			bad := bytes.Clone(good)
			bad[at] ^= 0x04
			set(bad, good)
			switch r, err := tryVerify(t, d.dir); {
			case err != nil:
				t.Logf("%s: verification ends: %v", c.name, err)
			case r.OK():
				t.Errorf("%s, byte %d: OK", c.name, at)
			}
			set(good, bad)
		}
	}
	if r := verifyDir(t, d.dir); len(r.Findings) != 0 {
		t.Errorf("put back: %s", listFindings(r))
	}
}
