package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
)

// followed is a primary with a standby, and a store on both.
type followed struct {
	server  *pgtest.Server
	standby *pgtest.Standby
	dsns    pgtest.DSNs
	db      *postgres.DB
	metrics *prometheus.Registry
	log     *testLog
}

func follow(t *testing.T, lag time.Duration) *followed {
	t.Helper()
	f := &followed{server: pgtest.Start(t), metrics: prometheus.NewRegistry(), log: newLog("a")}
	f.dsns = f.server.Database(t)
	if _, err := postgres.Migrate(t.Context(), config(f.dsns)); err != nil {
		t.Fatal(err)
	}
	f.standby = f.server.Standby(t)
	db, err := postgres.Open(t.Context(), postgres.Config{
		DSN: f.dsns.App, Replicas: []string{f.standby.Of(t, f.dsns).App}, ReplicaLag: lag, Metrics: f.metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIt(t, db) })
	f.db = db
	f.append(t)
	return f
}

func (f *followed) append(t *testing.T) {
	t.Helper()
	f.log.append(t, f.db, record(evidence.KindAudit))
}

// caughtUp waits until the standby has what the primary has.
func (f *followed) caughtUp(t *testing.T) {
	t.Helper()
	at := texts(t, shell(t, f.dsns.Super), `SELECT pg_current_wal_lsn()::text`)[0]
	super := shell(t, f.standby.Of(t, f.dsns).Super)
	for range 500 {
		if texts(t, super, `SELECT (pg_last_wal_replay_lsn() >= '`+at+`')::text`)[0] == "true" {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the standby does not follow")
}

// size is the size of the log as reads under ctx see it.
func (f *followed) size(ctx context.Context, t *testing.T) int64 {
	t.Helper()
	head, err := f.db.Head(ctx, f.log.ref)
	if err != nil {
		t.Fatal(err)
	}
	return head.Size
}

// choices is how often who was chosen.
func (f *followed) choices(t *testing.T, choice string) (n float64) {
	t.Helper()
	return metricOf(t, f.metrics, "runledger_postgres_replica_choices_total", "choice", choice)
}

func metricOf(t *testing.T, from prometheus.Gatherer, name, label, value string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if family.GetName() == name && l.GetName() == label && l.GetValue() == value {
					return m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
	}
	return 0
}

// TestReplica sees who answers which read: what may lag a replica that has come far
// enough, all else the primary; and within one context always the same.
func TestReplica(t *testing.T) {
	t.Parallel()
	f := follow(t, -1)
	f.caughtUp(t)
	super := shell(t, f.standby.Of(t, f.dsns).Super)
	run(t, super, `SELECT pg_wal_replay_pause()`)
	old := f.log.head.Size
	f.append(t)
	f.log.hold(t, f.db, store.Hold{ID: "hold-1", Scope: store.HoldRun, Runs: []string{"run"}})
	now := f.log.head.Size

	may := func(lag store.Lag) context.Context { return store.MayLag(t.Context(), lag) }
	for what, test := range map[string]struct {
		ctx  context.Context
		want int64
	}{
		"no word of lag":            {t.Context(), now},
		"any lag":                   {may(store.Lag{}), old},
		"what the replica has":      {may(store.Lag{Log: f.log.ref, Size: old}), old},
		"what it has not":           {may(store.Lag{Log: f.log.ref, Size: now}), now},
		"a log that it has not":     {may(store.Lag{Log: store.LogRef{Tenant: "b", No: 1}, Size: 1}), now},
		"lag that was taken back":   {store.NoLag(may(store.Lag{})), now},
		"nothing of an unknown log": {may(store.Lag{Log: store.LogRef{Tenant: "b", No: 1}}), now},
	} {
		if got := f.size(test.ctx, t); got != test.want {
			t.Errorf("%s: size %d, want %d", what, got, test.want)
		}
	}
	if f.choices(t, "replica") != 2 || f.choices(t, "behind") != 3 {
		t.Errorf("chosen: %v times the replica, %v times behind", f.choices(t, "replica"), f.choices(t, "behind"))
	}

	// What decides whether something goes is the primary's.
	if held, err := f.db.HeldRuns(may(store.Lag{}), "a", []string{"run"}); err != nil || held["run"] != "hold-1" {
		t.Errorf("held: %v, %v", held, err)
	}

	// A snapshot is the primary's.
	snap, err := f.db.Snapshot(may(store.Lag{}))
	if err != nil {
		t.Fatal(err)
	}
	if head, err := snap.Head(may(store.Lag{}), f.log.ref); err != nil || head.Size != now {
		t.Errorf("a snapshot: size %d, %v", head.Size, err)
	}
	closeIt(t, snap)

	// The choice of a context stays as it was made.
	stale := may(store.Lag{Log: f.log.ref, Size: now})
	fresh := may(store.Lag{})
	if f.size(stale, t) != now || f.size(fresh, t) != old {
		t.Error("the first reads")
	}
	run(t, super, `SELECT pg_wal_replay_resume()`)
	f.caughtUp(t)
	run(t, super, `SELECT pg_wal_replay_pause()`)
	f.append(t)
	if f.size(stale, t) != now+1 || f.size(fresh, t) != now {
		t.Error("the choice of a context has changed")
	}
	run(t, super, `SELECT pg_wal_replay_resume()`)
	f.caughtUp(t)
	if got := f.size(may(store.Lag{Log: f.log.ref, Size: now + 1}), t); got != now+1 {
		t.Errorf("caught up: size %d", got)
	}
}

// TestReplicaAge sees that a replica whose last transaction is too old is not asked.
func TestReplicaAge(t *testing.T) {
	t.Parallel()
	f := follow(t, 300*time.Millisecond)
	f.append(t)
	f.caughtUp(t)
	run(t, shell(t, f.standby.Of(t, f.dsns).Super), `SELECT pg_wal_replay_pause()`)
	time.Sleep(400 * time.Millisecond)
	f.append(t)
	if got := f.size(store.MayLag(t.Context(), store.Lag{}), t); got != f.log.head.Size {
		t.Errorf("a stale replica answers: size %d, want %d", got, f.log.head.Size)
	}
	if f.choices(t, "behind") != 1 {
		t.Errorf("chosen behind %v times", f.choices(t, "behind"))
	}
}

// TestReplicaFails stops the standby: reads go to the primary, but for those of
// a context that has been answered already.
func TestReplicaFails(t *testing.T) {
	t.Parallel()
	f := follow(t, -1)
	f.caughtUp(t)
	answered, chosen := store.MayLag(t.Context(), store.Lag{}), store.MayLag(t.Context(), store.Lag{})
	f.size(answered, t)
	postgres.Choose(chosen, f.db)
	if f.choices(t, "replica") != 2 {
		t.Fatalf("the replica was chosen %v times", f.choices(t, "replica"))
	}
	if err := f.standby.Kill(); err != nil {
		t.Fatal(err)
	}
	f.append(t)
	if _, err := f.db.Head(answered, f.log.ref); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("behind an answer of the replica: %v", err)
	}
	if _, err := f.db.Head(answered, f.log.ref); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("once more: %v", err)
	}
	for range 2 {
		if got := f.size(chosen, t); got != f.log.head.Size {
			t.Errorf("chosen, but not asked yet: size %d, want %d", got, f.log.head.Size)
		}
	}
	for range 3 {
		if got := f.size(store.MayLag(t.Context(), store.Lag{}), t); got != f.log.head.Size {
			t.Errorf("without the replica: size %d, want %d", got, f.log.head.Size)
		}
	}
	if f.choices(t, "down") != 4 {
		t.Errorf("chosen down %v times", f.choices(t, "down"))
	}

	if err := f.standby.Restart(); err != nil {
		t.Fatal(err)
	}
	f.caughtUp(t)
	before := f.choices(t, "replica")
	f.size(store.MayLag(t.Context(), store.Lag{}), t)
	if f.choices(t, "replica") != before {
		t.Error("a replica that failed was not left alone")
	}
	postgres.Rested(f.db)
	f.size(store.MayLag(t.Context(), store.Lag{}), t)
	if f.choices(t, "replica") != before+1 {
		t.Error("a replica that has rested is not asked")
	}

	// One that goes its own way is none.
	if err := f.standby.Promote(); err != nil {
		t.Fatal(err)
	}
	f.append(t)
	if got := f.size(store.MayLag(t.Context(), store.Lag{}), t); got != f.log.head.Size {
		t.Errorf("a promoted replica answers: size %d, want %d", got, f.log.head.Size)
	}
}

// TestReplicaInTheMiddle ends a replica's session while rows come: what has begun
// to be answered is not begun again.
func TestReplicaInTheMiddle(t *testing.T) {
	t.Parallel()
	f := follow(t, -1)
	for range 40 { // more than the first page of so long a range
		f.append(t)
	}
	f.caughtUp(t)
	ctx := store.MayLag(t.Context(), store.Lag{})
	calls := 0
	err := f.db.Rows(ctx, f.log.ref, evidence.KindAudit, 0, 5000, func(r *store.Row) error {
		if calls++; r.Seq != int64(calls-1) {
			t.Errorf("row %d comes as number %d", r.Seq, calls)
		}
		if calls == 5 {
			return f.standby.Kill()
		}
		return nil
	})
	if !errors.Is(err, evidence.ErrUnavailable) || calls > 40 {
		t.Errorf("%d rows, then %v", calls, err)
	}
}

// TestFailover has a store whose DSN names two servers go on with the second when
// the first has gone and the second was promoted.
func TestFailover(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	dsns := server.Database(t)
	if _, err := postgres.Migrate(t.Context(), config(dsns)); err != nil {
		t.Fatal(err)
	}
	standby := server.Standby(t)
	second := standby.Of(t, dsns)
	_, err := postgres.Open(t.Context(), postgres.Config{DSN: second.App})
	if !errors.Is(err, evidence.ErrUnavailable) || !strings.Contains(err.Error(), "standby") {
		t.Errorf("a standby was opened for writing: %v", err)
	}
	db := open(t, pgtest.DSNs{App: both(t, second.App, dsns.App)})
	l := newLog("a")
	l.append(t, db, record(evidence.KindAudit))
	waitFor(t, func() bool {
		return texts(t, shell(t, second.Super), `SELECT coalesce(max(size), 0)::text FROM runledger.heads`)[0] == "1"
	})
	if err := server.Cluster().Kill(); err != nil {
		t.Fatal(err)
	}
	c := l.next(record(evidence.KindAudit))
	if err := l.commit(t.Context(), db, c); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("without a primary: %v", err)
	}
	if err := standby.Promote(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return l.commit(t.Context(), db, c) == nil })
	// A connection for reading that was of use within the last second is not asked whether it still is one.
	waitFor(t, func() bool { _, err := db.Head(t.Context(), l.ref); return err == nil })
	wantHead(t, db, l, l.head)
	if err := server.Cluster().Restart(); err != nil { // for what its end does
		t.Fatal(err)
	}
}

// both names two servers in one DSN.
func both(t *testing.T, first, second string) string {
	t.Helper()
	u, err := url.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	v, err := url.Parse(second)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("host", q.Get("host")+","+v.Query().Get("host"))
	q.Set("port", q.Get("port")+","+v.Query().Get("port"))
	u.RawQuery = q.Encode()
	return u.String()
}

func waitFor(t *testing.T, there func() bool) {
	t.Helper()
	for range 500 {
		if there() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("it does not come")
}
