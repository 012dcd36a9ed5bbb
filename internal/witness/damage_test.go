package witness_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
	"github.com/runledger/runledger/internal/witness"
)

// cutLog takes the leaves from size on out of a database, as somebody would who may
// alter its schema.
func cutLog(dir, tenant string, size int64, root, note []byte) error {
	return storerig.Attack(dir, func(a *storerig.Attacker) error {
		log := storerig.Log{Tenant: tenant, No: 1}
		tables := []string{"leaf_segments", "record_ids"}
		for _, k := range evidence.Kinds() {
			tables = append(tables, storerig.Table(k.Table()))
		}
		for _, table := range tables {
			if err := a.Exec("DELETE FROM "+table+" WHERE row BETWEEN ?1 AND ?2", log.Row(size), log.Row(1<<40-1)); err != nil {
				return err
			}
		}
		for _, table := range []string{"checkpoints", "attestations"} {
			if err := a.Exec("DELETE FROM "+table+" WHERE row BETWEEN ?1 AND ?2", log.Row(size+1), log.Row(1<<40-1)); err != nil {
				return err
			}
		}
		n, err := a.Change(`UPDATE heads SET size = ?2, root = ?3, note = ?4 WHERE log_key = ?1`, log, size, root, note)
		if err == nil && n != 1 {
			err = fmt.Errorf("%d heads of %s", n, tenant)
		}
		return err
	})
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
		"another size":     storerig.Pick(`UPDATE attestations SET row = row - 1`, `UPDATE attestations SET size = size - 1`) + ` WHERE kind = 'timestamp'`,
		"a stamp's note":   `UPDATE attestations SET note = x'00' WHERE kind = 'timestamp'`,
		"a stamp's no one": `UPDATE attestations SET note = NULL WHERE kind = 'timestamp'`,
	} {
		t.Run(what, func(t *testing.T) {
			copied := filepath.Join(t.TempDir(), "data")
			copyDeployment(t, copied, dir)
			if err := storerig.Attack(copied, func(a *storerig.Attacker) error { return a.Exec(sql) }); err != nil {
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
