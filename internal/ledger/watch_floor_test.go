package ledger_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// sick is a store of a process that cannot read the rows of a tenant.
type sick struct {
	store.Store
	ill   atomic.Bool
	tries atomic.Int64
}

func (s *sick) Rows(ctx context.Context, log store.LogRef, kind evidence.Kind, from, to int64, fn func(*store.Row) error) error {
	if log.Tenant == "acme" && s.ill.Load() {
		s.tries.Add(1)
		return errors.New("sick")
	}
	return s.Store.Rows(ctx, log, kind, from, to, fn)
}

func (h *house) watchingEvery(t *testing.T, every time.Duration) (*peer, *sick) {
	t.Helper()
	s := &sick{}
	cfg := ledger.WatchConfig{ScrubEvery: every, Lease: 300 * time.Millisecond}
	return h.watchingAs(t, cfg, func(db store.Store) store.Store { s.Store = db; return s }), s
}

// acme has the process make a tenant that is verified.
func (p *peer) acme(t *testing.T) {
	t.Helper()
	if _, err := p.CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	p.put(t, "acme", step(1, 1, ""))
	await(t, "verified", p.is(ledger.StatusVerified))
}

func (p *peer) is(status string) func() bool {
	return func() bool { return p.Integrity("acme").Status == status }
}

// TestSharedStolen: who writes to the database cannot keep all from verifying by a lease,
// neither new leaves nor all of them. The lease is one that a process could have, renewed.
func TestSharedStolen(t *testing.T) {
	for _, tc := range []struct {
		name  string
		every time.Duration
	}{{"new leaves", time.Hour}, {"all", time.Second}} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHouse(t)
			// While somebody else has it, nobody gets it.
			a, _ := h.watchingEvery(t, tc.every)
			a.acme(t)
			h.exec(t, `CREATE FUNCTION steal() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
				`CREATE TRIGGER steal BEFORE INSERT OR UPDATE ON leases FOR EACH ROW EXECUTE FUNCTION steal()`)
			time.Sleep(300 * time.Millisecond)
			if tc.every < time.Hour {
				// Rows of leaves that were looked at: none but a full verification finds that.
				h.exec(t, `ALTER TABLE aos_trace_steps DISABLE TRIGGER USER`, `UPDATE aos_trace_steps SET duration_us = 99`)
			} else {
				h.alter(t)
				a.put(t, "acme", step(1, 2, ""))
			}
			await(t, "found", a.is(ledger.StatusCompromised))
		})
	}
}

// TestSharedSick: a process that cannot verify does not keep the turn, nor tries all the time.
func TestSharedSick(t *testing.T) {
	h := newHouse(t)
	a, ill := h.watchingEvery(t, time.Hour)
	a.acme(t)
	ill.ill.Store(true)
	h.alter(t)
	a.put(t, "acme", step(1, 2, ""))
	await(t, "tried", func() bool { return ill.tries.Load() > 0 })
	b, _ := h.watchingEvery(t, time.Hour) // it comes for the turn that the other one has
	for _, p := range []*peer{a, b} {
		await(t, "found by who can", p.is(ledger.StatusCompromised))
	}
}

// TestSharedSpoiled: what was found is told again where it was spoiled or is gone, also by
// who only heard of it, and that it was spoiled is a finding.
func TestSharedSpoiled(t *testing.T) {
	h := newHouse(t)
	a, _ := h.watchingEvery(t, time.Hour)
	a.acme(t)
	h.alter(t)
	a.put(t, "acme", step(1, 2, ""))
	told := func(what string) func() bool {
		return func() bool {
			text, err := a.db.Setting(t.Context(), "verified/acme")
			return err == nil && strings.Contains(text, what)
		}
	}
	await(t, "told", told("duration_us"))
	h.exec(t, `DELETE FROM settings WHERE name = 'verified/acme'`)
	await(t, "told after it was deleted", told("duration_us"))
	h.exec(t, `UPDATE settings SET value = 'x' WHERE name = 'verified/acme'`)
	await(t, "told after it was spoiled", told("duration_us"))
	await(t, "told that it was spoiled", told("was altered"))
}

// asked is a store that counts who reads all settings.
type asked struct {
	store.Store
	all atomic.Int64
}

func (s *asked) Settings(ctx context.Context, fn func(name, value string) error) error {
	s.all.Add(1)
	return s.Store.Settings(ctx, fn)
}

// TestSharedHear: a process hears of the tenants that there are, also of one that has just come,
// and keeps nothing of what is written in the names of others; it reads no other settings.
func TestSharedHear(t *testing.T) {
	h := newHouse(t)
	a, _ := h.watchingEvery(t, time.Hour)
	s := &asked{}
	b, err := h.open(t, func(db store.Store) store.Store { s.Store = db; return s })
	if err != nil {
		t.Fatal(err)
	}
	h.exec(t, `INSERT INTO settings SELECT 'verified/nobody-' || i, 'x' FROM generate_series(1, 20) AS i`)
	hear := func() {
		t.Helper()
		if err := b.Hear(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	hear()
	a.acme(t)
	await(t, "heard", func() bool { hear(); return b.Integrity("acme").LastVerified != nil })
	if n := b.Met(); n != 2 { // system, acme
		t.Errorf("something is kept of %d tenants", n)
	}
	if n := s.all.Load(); n != 0 {
		t.Errorf("all settings were read %d times", n)
	}
}

// TestSharedStop: a log that must not be signed any more takes no writes in a process that came
// later, either: it heard of that before it opened the log.
func TestSharedStop(t *testing.T) {
	h := newHouse(t)
	a, _, kill := h.watching(t)
	a.acme(t)
	var lines []string
	for i := range 600 { // those of one piece of leaves are not at the edge of the tree
		lines = append(lines, step(1, i+2, ""))
	}
	a.put(t, "acme", lines...)
	h.exec(t, `ALTER TABLE leaf_segments DISABLE TRIGGER USER`,
		`DELETE FROM leaf_segments WHERE tenant_id = 'acme' AND first = (SELECT min(first) FROM leaf_segments WHERE tenant_id = 'acme' AND first > 0)`)
	kill()
	b, _ := h.watchingEvery(t, time.Hour)
	await(t, "found", b.is(ledger.StatusCompromised))
	c, err := h.open(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "heard", func() bool {
		if err := c.Hear(t.Context()); err != nil {
			t.Fatal(err)
		}
		return c.is(ledger.StatusCompromised)()
	})
	_, err = c.Append(t.Context(), "acme", native(t, step(7, 1, "")), ledger.AppendOptions{Producer: "test"})
	if err == nil || !strings.Contains(err.Error(), "takes no writes") {
		t.Errorf("append: %v", err)
	}
}

// TestSharedLeftRollover: so is what it wrote to a log that it had just begun, of which nothing
// was told, and to the one before.
func TestSharedLeftRollover(t *testing.T) {
	h := newHouse(t)
	a, _, kill := h.watching(t)
	a.acme(t)
	b := h.newcomer(t)
	kill()
	c, err := h.open(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Hear(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Rollover(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	h.alter(t)
	a.put(t, "acme", step(1, 2, ""))
	left, err := c.Left(t.Context(), "acme")
	if want := []store.LogRef{{Tenant: "acme", No: 2}, {Tenant: "acme", No: 1}}; err != nil || !slices.Equal(left, want) {
		t.Errorf("left: %v, %v", left, err)
	}
	b.tells(t, "duration_us")
}

// newcomer opens a process that has made its full verification of the tenant, has given up its
// turn, and has opened no log of it.
func (h *house) newcomer(t *testing.T) *peer {
	t.Helper()
	p, _ := h.watchingEvery(t, time.Hour)
	await(t, "verified", func() bool { return p.Verified("acme") })
	return p
}

// tells waits until something of the tenant is told. To ask a process for it would have it open
// the log.
func (p *peer) tells(t *testing.T, what string) {
	t.Helper()
	await(t, "told: "+what, func() bool {
		text, err := p.db.Setting(t.Context(), "verified/acme")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(text, what)
	})
}

// TestSharedLeft: what a process wrote that was killed is looked at by another one, which
// neither wrote nor opened the tenant.
func TestSharedLeft(t *testing.T) {
	h := newHouse(t)
	a, _, kill := h.watching(t)
	a.acme(t)
	b := h.newcomer(t)
	h.alter(t)
	kill()
	a.put(t, "acme", step(1, 2, ""))
	b.tells(t, "duration_us")
}
