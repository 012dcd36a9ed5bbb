package witness_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	sqlite3 "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/witness"
)

// cutLog takes the leaves from size on out of a database, as somebody would who may
// alter its schema.
func cutLog(dir, tenant string, size int64, root, note []byte) (err error) {
	conn, err := sqlite3.OpenConn(filepath.Join(dir, "runledger.db"), sqlite3.OpenReadWrite)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	end := sqlitex.Save(conn)
	defer end(&err)
	var triggers, tables []string
	err = sqlitex.ExecuteTransient(conn, `SELECT name FROM sqlite_schema WHERE type = 'trigger'`, &sqlitex.ExecOptions{
		ResultFunc: func(s *sqlite3.Stmt) error { triggers = append(triggers, s.ColumnText(0)); return nil },
	})
	if err != nil {
		return err
	}
	for _, name := range triggers {
		if err := sqlitex.ExecuteTransient(conn, "DROP TRIGGER "+name, nil); err != nil {
			return err
		}
	}
	err = sqlitex.ExecuteTransient(conn, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'r_*'`, &sqlitex.ExecOptions{
		ResultFunc: func(s *sqlite3.Stmt) error { tables = append(tables, s.ColumnText(0)); return nil },
	})
	if err != nil {
		return err
	}
	key := int64(0)
	err = sqlitex.ExecuteTransient(conn, `SELECT log_key FROM logs JOIN tenants USING (tenant_no) WHERE tenant_id = ?`, &sqlitex.ExecOptions{
		Args: []any{tenant}, ResultFunc: func(s *sqlite3.Stmt) error { key = s.ColumnInt64(0); return nil },
	})
	if err != nil || key == 0 {
		return errors.Join(err, fmt.Errorf("no log of %s", tenant))
	}
	first, last := key<<40|size, (key+1)<<40
	for _, table := range append(tables, "leaf_segments", "record_ids") {
		if err := sqlitex.ExecuteTransient(conn, "DELETE FROM "+table+" WHERE row >= ? AND row < ?", &sqlitex.ExecOptions{Args: []any{first, last}}); err != nil {
			return err
		}
	}
	for _, table := range []string{"checkpoints", "attestations"} {
		if err := sqlitex.ExecuteTransient(conn, "DELETE FROM "+table+" WHERE row > ? AND row < ?", &sqlitex.ExecOptions{Args: []any{first, last}}); err != nil {
			return err
		}
	}
	return sqlitex.ExecuteTransient(conn, `UPDATE heads SET size = ?, root = ?, note = ? WHERE log_key = ?`, &sqlitex.ExecOptions{Args: []any{size, root, note, key}})
}

// anomalies returns the severities of the records of anomalies in the system log.
func anomalies(t *testing.T, r *rig) (list []string) {
	t.Helper()
	err := r.db.Rows(ctx, store.LogRef{Tenant: evidence.SystemTenant, No: 1}, evidence.KindSystem, 0, 1<<40, func(row *store.Row) error {
		found, severity := false, ""
		for _, f := range row.Facts {
			found = found || f.Field.Name == "event_type" && f.Str == "INTEGRITY_ANOMALY"
			if f.Field.Name == "severity" {
				severity = f.Str
			}
		}
		if found {
			list = append(list, severity)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestAttestationsAltered: what others said cannot be put in another place, or changed,
// without live verification seeing it.
func TestAttestationsAltered(t *testing.T) {
	w, a := serveWitness(t, "w.example"), newAuthority(t)
	dir := filepath.Join(t.TempDir(), "data")
	r := mustRig(t, dir, policyOf(t, "all", w))
	r.tenant("acme", w)
	r.mustAdd(2)
	r.mustCosign()
	if _, _, err := r.stamper(witness.StampConfig{URL: a.URL}).Stamp(ctx, "acme", 1); err != nil {
		t.Fatal(err)
	}
	r.close()
	for what, sql := range map[string]string{
		"another witness":  `UPDATE attestations SET by_name = 'x.example' WHERE kind = 'cosignature'`,
		"another key":      `UPDATE attestations SET key_id = '00000000' WHERE kind = 'cosignature'`,
		"no signature":     `UPDATE attestations SET data = x'00' WHERE kind = 'cosignature'`,
		"another size":     `UPDATE attestations SET row = row - 1 WHERE kind = 'timestamp'`,
		"a stamp's note":   `UPDATE attestations SET note = x'00' WHERE kind = 'timestamp'`,
		"a stamp's no one": `UPDATE attestations SET note = NULL WHERE kind = 'timestamp'`,
	} {
		t.Run(what, func(t *testing.T) {
			copied := filepath.Join(t.TempDir(), "data")
			copyDeployment(t, copied, dir)
			conn, err := sqlite3.OpenConn(filepath.Join(copied, "runledger.db"), sqlite3.OpenReadWrite)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(
				sqlitex.ExecuteTransient(conn, "DROP TRIGGER guard_attestations_update", nil),
				sqlitex.ExecuteTransient(conn, sql, nil), conn.Close(),
			); err != nil {
				t.Fatal(err)
			}
			r := mustRig(t, copied, nil)
			report, err := ledger.Verify(ctx, ledger.LiveConfig{Reader: r.db, Sealer: r.sealer, Anchor: r.anchor, Tenant: "acme"})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range report.Findings {
				if f.Table == "attestations" && f.Code == ledger.CodeHead {
					return
				}
			}
			t.Errorf("not found: %v", report.Findings)
		})
	}
}
