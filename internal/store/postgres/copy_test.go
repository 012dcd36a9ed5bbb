package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// TestRowsSwallowed: a commit whose rows a trigger of somebody else's makes disappear fails,
// be they few, which are inserted, or many, which are copied.
func TestRowsSwallowed(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 20} {
		dsns := migrated(t)
		db, l := open(t, dsns), newLog("a")
		l.append(t, db, record(evidence.KindAudit))
		super := shell(t, dsns.Super)
		for _, sql := range []string{
			`CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
			`CREATE TRIGGER swallow BEFORE INSERT ON audit_ledger FOR EACH ROW EXECUTE FUNCTION swallow()`,
		} {
			if _, err := super.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		var records []store.Entry
		for range n {
			records = append(records, record(evidence.KindAudit))
		}
		err := db.Commit(t.Context(), l.next(records...))
		if err == nil || !strings.Contains(err.Error(), "rows were copied to audit_ledger") {
			t.Errorf("%d rows: %v", n, err)
		}
		wantHead(t, db, l, l.head)
	}
}

// TestLeaseForever: a row that says that a lease never ends is not waited for.
func TestLeaseForever(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db, super := open(t, dsns), shell(t, dsns.Super)
	if _, err := super.Exec(t.Context(), `INSERT INTO leases VALUES ('verify/acme', 'evil', 0, 9000000000000000000)`); err != nil {
		t.Fatal(err)
	}
	if held, err := db.Lease(t.Context(), "verify/acme", "one", 15*time.Second); err != nil || !held {
		t.Errorf("%t, %v", held, err)
	}
	if held, err := db.Lease(t.Context(), "verify/acme", "two", 15*time.Second); err != nil || held {
		t.Errorf("another one: %t, %v", held, err)
	}
}
