package ledger_test

import (
	"context"
	"errors"
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

// TestSharedLeft: what a process wrote that was killed is looked at by another one, which
// neither wrote nor opened the tenant.
func TestSharedLeft(t *testing.T) {
	h := newHouse(t)
	a, _, kill := h.watching(t)
	a.acme(t)
	b, _ := h.watchingEvery(t, time.Hour)
	await(t, "verified", b.is(ledger.StatusVerified))
	h.alter(t)
	a.put(t, "acme", step(1, 2, ""))
	kill()
	await(t, "found", b.is(ledger.StatusCompromised))
}
