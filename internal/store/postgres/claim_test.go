package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/postgres"
)

func openWith(t testing.TB, cfg postgres.Config) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIt(t, db) })
	return db
}

func claimOf(t testing.TB, db *postgres.DB, l *testLog) store.Claim {
	t.Helper()
	c, err := db.Claim(t.Context(), l.ref)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestClaimLost ends the session of a claim: what is committed under it then is not
// stored, and says so; the log is free for others.
func TestClaimLost(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db, other := open(t, dsns), open(t, dsns)
	l := newLog("a")
	l.append(t, db, record(evidence.KindAudit))
	claim := claimOf(t, db, l)
	super := shell(t, dsns.Super)
	ended := texts(t, super, `SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity
		WHERE datname = current_database() AND state = 'idle in transaction'`)
	if len(ended) != 1 {
		t.Fatalf("%d sessions hold a claim", len(ended))
	}
	l.append(t, other, record(evidence.KindAudit))
	late := l.next(record(evidence.KindAudit))
	if err := claim.Commit(t.Context(), late); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("under a claim that was lost: %v", err)
	}
	wantHead(t, db, l, l.head)
	l.append(t, db, record(evidence.KindAudit))
}

// TestClaimKept holds a claim for longer than a transaction may rest: whoever is alive
// keeps it.
func TestClaimKept(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	cfg := postgres.Config{DSN: dsns.App}
	cfg.SetStandstill(600 * time.Millisecond)
	db := openWith(t, cfg)
	if got, err := db.WriterSetting(t.Context(), "idle_in_transaction_session_timeout"); err != nil || got != "600ms" {
		t.Fatalf("a transaction may rest for %s (%v)", got, err)
	}
	l := newLog("a")
	l.append(t, db, record(evidence.KindAudit))
	claim := claimOf(t, db, l)
	time.Sleep(2 * time.Second)
	if err := claim.Commit(t.Context(), l.next(record(evidence.KindAudit))); err != nil {
		t.Errorf("a claim that was held for 2 s: %v", err)
	}
	claim = claimOf(t, db, l)
	time.Sleep(time.Second)
	claim.Release()
	claim.Release()
}

// TestClaimTimeout sees that nobody waits for a claim for longer than LockTimeout.
func TestClaimTimeout(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db, other := open(t, dsns), openWith(t, postgres.Config{DSN: dsns.App, LockTimeout: 200 * time.Millisecond})
	l := newLog("a")
	l.append(t, db, record(evidence.KindAudit))
	claim := claimOf(t, db, l)
	defer claim.Release()
	if _, err := other.Claim(t.Context(), l.ref); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("a claim of what is claimed: %v", err)
	}
	if err := other.Commit(t.Context(), l.next(record(evidence.KindAudit))); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("a commit to what is claimed: %v", err)
	}
	if err := claim.Commit(t.Context(), l.next(record(evidence.KindAudit))); err != nil {
		t.Error(err)
	}
}

// TestClaimsLeaveAConnection has as many claims as there may be, and commits to a
// month that has no partitions yet under the last of them.
func TestClaimsLeaveAConnection(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db := openWith(t, postgres.Config{DSN: dsns.App, Writers: 3})
	logs := []*testLog{newLog("a"), newLog("b"), newLog("c")}
	for _, l := range logs {
		l.append(t, db, record(evidence.KindAudit))
	}
	first, last := claimOf(t, db, logs[0]), claimOf(t, db, logs[1])
	defer first.Release()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := db.Claim(ctx, logs[2].ref); !errors.Is(err, evidence.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one claim more than there may be: %v", err)
	}
	e := record(evidence.KindAudit)
	e.Leaf.RecordedAt = evidence.Micros(time.Date(2033, 5, 1, 0, 0, 0, 0, time.UTC).UnixMicro())
	if err := last.Commit(t.Context(), logs[1].next(e)); err != nil {
		t.Fatal(err)
	}
	claimOf(t, db, logs[2]).Release() // there is a place again
}

// TestClaimReadOnly sees that a store that is open for reading gives no claims.
func TestClaimReadOnly(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	l := newLog("a")
	l.append(t, open(t, dsns), record(evidence.KindAudit))
	db := openWith(t, postgres.Config{DSN: dsns.App, ReadOnly: true})
	_, claim := db.Claim(t.Context(), l.ref)
	_, lease := db.Lease(t.Context(), "x", "one", time.Hour)
	for what, err := range map[string]error{"claim": claim, "lease": lease} {
		if !errors.Is(err, evidence.ErrForbidden) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestWriterSettings sees that sessions that write have the settings that evidence
// depends on, whatever the role has.
func TestWriterSettings(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	owner := shell(t, dsns.Super)
	for _, s := range []string{"synchronous_commit = off", "default_transaction_read_only = on", "statement_timeout = 1", "lock_timeout = 1", "idle_in_transaction_session_timeout = 0"} {
		run(t, owner, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET `+s+`', current_database()); END $$`)
	}
	db := openWith(t, postgres.Config{DSN: dsns.App, StatementTimeout: 90 * time.Second, LockTimeout: 1500 * time.Millisecond})
	for name, want := range map[string]string{
		"synchronous_commit": "on", "default_transaction_read_only": "off", "statement_timeout": "90s", "lock_timeout": "1500ms",
		"idle_in_transaction_session_timeout": "30s", "timezone": "UTC",
	} {
		if got, err := db.WriterSetting(t.Context(), name); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
	newLog("a").append(t, db, record(evidence.KindAudit))
}

// TestMetrics sees what the store counts.
func TestMetrics(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	reg := prometheus.NewPedanticRegistry()
	db := openWith(t, postgres.Config{DSN: dsns.App, Writers: 3, Metrics: reg})
	l := newLog("a")
	l.append(t, db, record(evidence.KindAudit))
	stale := *l
	l.append(t, db, record(evidence.KindAudit))
	if err := stale.commit(t.Context(), db, stale.next(record(evidence.KindAudit))); !errors.Is(err, store.ErrHeadMoved) {
		t.Fatal(err)
	}
	claim := claimOf(t, db, l)
	for _, want := range []struct {
		name, label, value string
		n                  float64
	}{
		{"runledger_postgres_commits_total", "outcome", "ok", 2},
		{"runledger_postgres_commits_total", "outcome", "head_moved", 1},
		{"runledger_postgres_connections_in_use", "pool", "write", 1},
		{"runledger_postgres_connections_limit", "pool", "write", 3},
		{"runledger_postgres_connections_limit", "pool", "read", postgres.DefaultReaders},
		{"runledger_postgres_connections_limit", "pool", "replica", 0},
	} {
		if got := metricOf(t, reg, want.name, want.label, want.value); got != want.n {
			t.Errorf("%s{%s=%q} is %v, want %v", want.name, want.label, want.value, got, want.n)
		}
	}
	claim.Release()
	again, err := postgres.Open(t.Context(), postgres.Config{DSN: dsns.App, Metrics: reg})
	if err == nil {
		closeIt(t, again)
		t.Error("two stores share their metrics")
	}
	closeIt(t, db)
	closeIt(t, openWith(t, postgres.Config{DSN: dsns.App, Metrics: reg}))
}
