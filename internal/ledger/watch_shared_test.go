package ledger_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
)

// mortal is a store of a process that may die: from then on it asks for no lease and gives
// none up. It counts how often the rows of a tenant are read, as only verification does.
type mortal struct {
	store.Store
	dead atomic.Bool
	rows atomic.Int64
}

func (s *mortal) Lease(ctx context.Context, name, holder string, ttl time.Duration) (bool, error) {
	if s.dead.Load() {
		return false, errors.New("it is dead")
	}
	return s.Store.Lease(ctx, name, holder, ttl)
}

func (s *mortal) Rows(ctx context.Context, log store.LogRef, kind evidence.Kind, from, to int64, fn func(*store.Row) error) error {
	if log.Tenant == "acme" {
		s.rows.Add(1)
	}
	return s.Store.Rows(ctx, log, kind, from, to, fn)
}

const testLease = 900 * time.Millisecond

// watching opens a process that verifies, and returns how it is killed.
func (h *house) watching(t *testing.T) (p *peer, s *mortal, kill func()) {
	t.Helper()
	s = &mortal{}
	p, end := h.watchingUntil(t, ledger.WatchConfig{Lease: testLease}, func(db store.Store) store.Store { s.Store = db; return s })
	return p, s, func() { s.dead.Store(true); end() }
}

// watchingAs opens a process that verifies as fast as it can, until the test ends.
func (h *house) watchingAs(t *testing.T, cfg ledger.WatchConfig, wrap func(store.Store) store.Store) *peer {
	t.Helper()
	p, _ := h.watchingUntil(t, cfg, wrap)
	return p
}

// watchingUntil does so until end is called.
func (h *house) watchingUntil(t *testing.T, cfg ledger.WatchConfig, wrap func(store.Store) store.Store) (p *peer, end func()) {
	t.Helper()
	p, err := h.open(t, wrap)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ScrubRate = -1
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Watch(ctx, cfg)
	}()
	end = func() { cancel(); <-done }
	t.Cleanup(end)
	return p, end
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// TestSharedWatch: of three processes one verifies what is written, and all say so; where
// it dies another goes on, and what that finds is known to the one that has done nothing.
func TestSharedWatch(t *testing.T) {
	h := newHouse(t)
	a, storeA, kill := h.watching(t)
	if _, err := a.CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	a.put(t, "acme", step(1, 1, ""))
	b, storeB, _ := h.watching(t)
	c, storeC, _ := h.watching(t)
	peers, stores := []*peer{a, b, c}, []*mortal{storeA, storeB, storeC}
	await(t, "verified", func() bool {
		for _, p := range peers {
			for _, tenant := range []string{"acme", evidence.SystemTenant} {
				if p.Integrity(tenant).Status != ledger.StatusVerified {
					return false
				}
			}
		}
		return true
	})
	through := func(n int64) {
		t.Helper()
		await(t, "verified by one, and told to all", func() bool {
			for _, p := range peers {
				if in := p.Integrity("acme"); in.TreeSize != n || in.VerifiedThrough != n {
					return false
				}
			}
			return true
		})
	}
	through(2)
	time.Sleep(2 * testLease) // full verifications that began late have ended, and turns are given up
	var before [3]int64
	for i, s := range stores {
		before[i] = s.rows.Load()
	}
	a.put(t, "acme", step(1, 2, ""), step(1, 3, ""), step(1, 4, ""))
	through(5)
	verified := 0
	for i, s := range stores {
		if s.rows.Load() > before[i] {
			verified++
		}
	}
	if verified != 1 {
		t.Errorf("%d processes verified what one wrote", verified)
	}

	// Rows are altered as they come. Who would see it has just died.
	a.put(t, "acme", step(1, 5, ""))
	kill()
	h.alter(t)
	b.put(t, "acme", step(2, 1, ""))
	for _, p := range []*peer{b, c} {
		await(t, "found", func() bool { return p.Integrity("acme").Status == ledger.StatusCompromised })
		if list := p.Integrity("acme").Anomalies; len(list) != 1 || list[0].Code != ledger.CodeColumn || list[0].From != 6 || list[0].FirstSeen == 0 {
			t.Errorf("%+v", list)
		}
	}
	if n := anomalyRecords(t, b); n != 1 {
		t.Errorf("%d records say that it was found", n)
	}
}

// alter has a trigger of somebody else's change each step as it comes.
func (h *house) alter(t *testing.T) {
	t.Helper()
	h.exec(t, `CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.duration_us := 99; RETURN NEW; END'`,
		`CREATE TRIGGER evil BEFORE INSERT ON aos_trace_steps FOR EACH ROW EXECUTE FUNCTION evil()`)
}

func (h *house) exec(t *testing.T, statements ...string) {
	t.Helper()
	conn, err := pgtest.As(t.Context(), h.dsns.Super, postgres.DefaultSchema)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

func anomalyRecords(t *testing.T, p *peer) (n int) {
	t.Helper()
	err := p.db.Rows(t.Context(), store.LogRef{Tenant: evidence.SystemTenant, No: 1}, evidence.KindSystem, 0, 1<<40, func(r *store.Row) error {
		for i := range r.Facts {
			if f := &r.Facts[i]; f.Field.Name == "event_type" && f.Str == "INTEGRITY_ANOMALY" {
				n++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSharedVerdict: who can write to the database cannot say in the name of a process
// that all is verified, nor make forgotten what was found.
func TestSharedVerdict(t *testing.T) {
	h := newHouse(t)
	a, _, _ := h.watching(t)
	if _, err := a.CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	h.alter(t)
	a.put(t, "acme", step(1, 1, ""))
	await(t, "found", func() bool { return a.Integrity("acme").Status == ledger.StatusCompromised })
	var text string
	told := func() string {
		conn, err := pgx.Connect(t.Context(), h.dsns.Super)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		text = ""
		err = conn.QueryRow(t.Context(), `SELECT value FROM `+postgres.DefaultSchema+`.settings WHERE name = 'verified/acme'`).Scan(&text)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			t.Fatal(err)
		}
		return text
	}
	await(t, "told", func() bool { return strings.Contains(told(), "duration_us") })
	b, _, _ := h.watching(t)
	await(t, "heard", func() bool { return b.Integrity("acme").Status == ledger.StatusCompromised })
	h.exec(t, `UPDATE settings SET value = replace(value, 'duration_us', 'nothing') WHERE name = 'verified/acme'`)
	await(t, "told again, by who found it", func() bool { return strings.Contains(told(), "duration_us") })
	if got := b.Integrity("acme"); got.Status != ledger.StatusCompromised || len(got.Anomalies) == 0 || strings.Contains(got.Anomalies[0].Message+got.Anomalies[0].Column, "nothing") {
		t.Errorf("%+v", got)
	}
}

// TestSharedGuards: a guard that is dropped is seen without a restart, in every process,
// the log goes on, and all is well when it is mended. It is recorded once each time, whoever
// sees it, and also where the turn to record it is not to be had.
func TestSharedGuards(t *testing.T) {
	h := newHouse(t)
	var all []*peer
	for range 3 {
		all = append(all, h.watchingAs(t, ledger.WatchConfig{GuardsEvery: 50 * time.Millisecond, Lease: 300 * time.Millisecond}, nil))
	}
	p := all[0]
	each := func(what string, ok func(p *peer) bool) {
		t.Helper()
		await(t, what, func() bool { return !slices.ContainsFunc(all, func(p *peer) bool { return !ok(p) }) })
	}
	whole := func(p *peer) bool {
		return p.Unguarded() == "" && p.Integrity(evidence.SystemTenant).Status == ledger.StatusVerified
	}
	records := func(want int) {
		t.Helper()
		if n := anomalyRecords(t, p); n != want {
			t.Errorf("%d records, want %d", n, want)
		}
	}
	const drop = `DROP TRIGGER guard_change ON tiles`
	seen := func(p *peer) bool { return strings.Contains(p.Unguarded(), "guard_change") }
	mend := func() {
		h.exec(t, `CREATE TRIGGER guard_change BEFORE UPDATE OR DELETE ON tiles FOR EACH ROW EXECUTE FUNCTION runledger_refuse();
			ALTER TABLE tiles ENABLE ALWAYS TRIGGER guard_change`) // together: one alone is another finding
		each("mended", whole)
	}
	each("verified", whole)
	h.exec(t, drop)
	each("seen", seen)
	if in := p.Integrity(evidence.SystemTenant); in.Status != ledger.StatusCompromised || in.Anomalies[0].Code != ledger.CodeGuard {
		t.Errorf("%+v", in)
	}
	if _, err := p.CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	p.put(t, "acme", step(1, 1, ""))
	if in := p.Integrity("acme"); in.Status != ledger.StatusDegraded || !strings.Contains(in.Why, "guard_change") {
		t.Errorf("%+v", in)
	}
	mend()
	records(1)
	h.exec(t, drop)
	each("seen again", seen)
	mend()
	records(2)
	// Somebody else has the turn, and keeps it.
	if held, err := p.db.Lease(t.Context(), "record/findings", "x", time.Hour); !held || err != nil {
		t.Fatal(held, err)
	}
	h.exec(t, drop)
	await(t, "recorded without the turn", func() bool { return anomalyRecords(t, p) > 2 })
}
