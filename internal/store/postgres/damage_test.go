package postgres_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/store/postgres"
)

// TestDamage has indexes that miss rows, as after a fault of the disk or of the
// server: made by telling it for a while that they are not to be kept up.
func TestDamage(t *testing.T) {
	dsns := migrated(t)
	db := open(t, dsns)
	l := newFindLoad("t-1", 300)
	l.total = 100
	l.fill(t, db)
	if list, err := db.Damage(t.Context()); err != nil || len(list) != 0 {
		t.Fatalf("damage of a sound database: %q, %v", list, err)
	}
	super, err := pgx.Connect(t.Context(), dsns.Super)
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(t.Context())
	exec := func(sql string) {
		t.Helper()
		if _, err := super.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`SET search_path = runledger`)
	const missed = `indexrelid IN ('record_ids_pkey'::regclass, 'run_revisions_later'::regclass)
		OR indexrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'audit_ledger_event'::regclass)`
	exec(`UPDATE pg_index SET indisready = false WHERE ` + missed)
	l.total = 300
	l.fill(t, open(t, dsns)) // a new connection, which knows of it
	list, err := db.Damage(t.Context())
	if err != nil || len(list) < 3 || !strings.Contains(list[0], "is not valid") {
		t.Errorf("damage with indexes that are not kept up: %q, %v", list, err)
	}
	exec(`UPDATE pg_index SET indisready = true WHERE ` + missed)

	snap, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, snap)
	for range 2 { // of a snapshot it leaves the settings as they are
		list, err = snap.Damage(t.Context())
		if err != nil || len(list) != 2 || !strings.Contains(list[0], "audit_ledger_event") || !strings.Contains(list[1], "record_ids_pkey") {
			t.Errorf("damage: %q, %v", list, err)
		}
	}
	own, err := db.Damage(t.Context())
	if err != nil || !slices.Equal(own, list) {
		t.Errorf("damage outside of a snapshot: %q, %v", own, err)
	}
}

// TestDamagePlans sees that each index is read through itself: a check of one by
// another would find nothing.
func TestDamagePlans(t *testing.T) {
	db := open(t, migrated(t))
	n := 0
	if err := db.ExplainDamage(t.Context(), func(index string, nodes []postgres.Node) {
		n++
		if !slices.ContainsFunc(nodes, func(n postgres.Node) bool { return n.Index == index }) {
			t.Errorf("%s is read by %+v", index, nodes)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if n < 60 {
		t.Errorf("%d indexes", n)
	}
}
