package ledger_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// hooked is a store that calls a function behind a read of a head, before the reader
// learns of it: what other processes do at that moment.
type hooked struct {
	store.Store
	behind atomic.Pointer[func(store.LogRef)]
	lost   atomic.Bool
	commit func(c *store.Commit, err func() error) error // nil: none
	claim  func()                                        // called before a claim; nil: none
}

func (s *hooked) Commit(ctx context.Context, c *store.Commit) error {
	if s.commit == nil {
		return s.Store.Commit(ctx, c)
	}
	return s.commit(c, func() error { return s.Store.Commit(ctx, c) })
}

func (s *hooked) Claim(ctx context.Context, log store.LogRef) (store.Claim, error) {
	if s.claim != nil {
		s.claim()
	}
	c, err := s.Store.Claim(ctx, log)
	if err == nil && s.commit != nil {
		c = hookedClaim{c, s}
	}
	return c, err
}

type hookedClaim struct {
	store.Claim
	s *hooked
}

func (c hookedClaim) Commit(ctx context.Context, commit *store.Commit) error {
	return c.s.commit(commit, func() error { return c.Claim.Commit(ctx, commit) })
}

func (s *hooked) Head(ctx context.Context, log store.LogRef) (store.Head, error) {
	head, err := s.Store.Head(ctx, log)
	if f := s.behind.Load(); f != nil {
		(*f)(log)
	}
	return head, err
}

// nth arms the hook: f is called once, behind the n-th read of the head of acme's log.
func (s *hooked) nth(n int32, f func()) {
	var count atomic.Int32
	hook := func(log store.LogRef) {
		if log.Tenant == "acme" && count.Add(1) == n {
			f()
		}
	}
	s.behind.Store(&hook)
}

func hookedPair(t *testing.T) (other, p *peer, s *hooked) {
	t.Helper()
	h := newHouse(t)
	other = h.peers(t, 1)[0]
	if _, err := other.CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	p, err := h.open(t, func(db store.Store) store.Store {
		s = &hooked{Store: db}
		return s
	})
	if err != nil {
		t.Fatal(err)
	}
	return other, p, s
}

// TestSharedNumbersBeyondRollover: what a process knows of a run is of the past once
// another one has written to it and closed the log, also where a reader was the first
// to see the new log.
func TestSharedNumbersBeyondRollover(t *testing.T) {
	h := newHouse(t)
	peers := h.peers(t, 2)
	if _, err := peers[0].CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	peers[0].put(t, "acme", step(1, 1, ""))
	b := peers[1].put(t, "acme", step(1, 2, ""))[0]
	if _, err := peers[1].Rollover(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if _, err := peers[0].End(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if a := peers[0].put(t, "acme", step(1, 3, ""))[0]; a.N != b.N+1 || a.StepIndex != b.StepIndex+1 {
		t.Errorf("receipts %+v and %+v of one run", b, a)
	}
	peers[1].clean(t, 5)
}

// TestSharedReloadIsNoRollback: while a committer reads what another process wrote, a
// reader learns of more. That is no rollback.
func TestSharedReloadIsNoRollback(t *testing.T) {
	other, p, s := hookedPair(t)
	p.put(t, "acme", step(0, 1, ""))
	other.put(t, "acme", step(0, 2, ""))
	if _, err := p.End(t.Context(), "acme"); err != nil { // the committer is behind now
		t.Fatal(err)
	}
	s.nth(1, func() {
		other.put(t, "acme", step(0, 3, ""))
		if _, err := p.End(t.Context(), "acme"); err != nil {
			t.Error(err)
		}
	})
	if _, err := p.Append(t.Context(), "acme", native(t, step(0, 4, "")), ledger.AppendOptions{}); err != nil {
		t.Error(err)
	}
	s.behind.Store(nil)
	if _, err := p.Append(t.Context(), "acme", native(t, step(0, 5, "")), ledger.AppendOptions{}); err != nil {
		t.Error(err)
	}
	p.clean(t, 5)
}

// TestSharedLearnIsNoRollback: this process commits whenever a reader of it has asked
// for the head.
func TestSharedLearnIsNoRollback(t *testing.T) {
	other, p, s := hookedPair(t)
	p.put(t, "acme", step(0, 1, ""))
	n := 1
	for _, reads := range []int32{1, 2} { // of latest, and of learn
		n++
		other.put(t, "acme", step(0, n, ""))
		n++
		put := make(chan error, 1)
		var count atomic.Int32
		hook := func(log store.LogRef) {
			if log.Tenant != "acme" || count.Add(1) < reads {
				return
			}
			s.behind.Store(nil)
			records := native(t, step(0, n, ""))
			go func() {
				_, err := p.Append(t.Context(), "acme", records, ledger.AppendOptions{Producer: "test"})
				put <- err
			}()
			select {
			case err := <-put:
				put <- err
			case <-time.After(2 * time.Second): // it found the anchor ahead, and waits for this read
			}
		}
		s.behind.Store(&hook)
		if _, err := p.End(t.Context(), "acme"); err != nil {
			t.Error(err)
		}
		if s.behind.Load() != nil {
			t.Fatalf("the head was read %d times", count.Load())
		}
		if err := <-put; err != nil {
			t.Fatal(err)
		}
	}
	p.clean(t, 5)
}

// TestSharedMaking: while a process finds out that another one was faster to make a
// tenant, nothing is sealed for that under keys that are not its own.
func TestSharedMaking(t *testing.T) {
	h := newHouse(t)
	other := h.peers(t, 1)[0]
	var s *hooked
	p, err := h.open(t, func(db store.Store) store.Store {
		s = &hooked{Store: db}
		return s
	})
	if err != nil {
		t.Fatal(err)
	}
	const ada = `,"human_actor_id":"ada"`
	s.commit = func(_ *store.Commit, commit func() error) error {
		s.commit = nil
		if _, err := other.CreateTenant(t.Context(), "acme"); err != nil {
			t.Error(err)
		}
		// Its place in the queue is behind what is going on; it is sealed before.
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := p.Append(ctx, "acme", native(t, step(0, 1, ada)), ledger.AppendOptions{Producer: "test"})
		if err == nil {
			t.Error("a record was stored while the tenant was made")
		}
		return commit()
	}
	if _, err := p.CreateTenant(t.Context(), "acme"); !errors.Is(err, evidence.ErrConflict) {
		t.Errorf("create a tenant that another process made: %v", err)
	}
	p.put(t, "acme", step(0, 2, ada))
	erased, err := other.Erase(t.Context(), "acme", ledger.Erasure{Person: "ada", Reason: "asked"})
	if err != nil || erased.Records < 1 {
		t.Errorf("erased %+v (%v)", erased, err)
	}
	p.clean(t, 3)
}

// TestSharedCommitBetweenHeads: a rollover whose answer is lost becomes visible after the
// one head was read back and before the other. It is stored, and not in part.
func TestSharedCommitBetweenHeads(t *testing.T) {
	_, p, s := hookedPair(t)
	release, stored := make(chan struct{}), make(chan error, 1)
	s.commit = func(c *store.Commit, commit func() error) error {
		if len(c.Logs) != 2 {
			return commit()
		}
		go func() {
			<-release
			stored <- commit()
		}()
		s.lost.Store(true)
		return errors.New("connection lost")
	}
	var once atomic.Bool
	hook := func(log store.LogRef) {
		select {
		case <-release:
			return
		default:
		}
		if log.Tenant == "acme" && s.lost.Load() && once.CompareAndSwap(false, true) {
			close(release)
			if err := <-stored; err != nil {
				t.Error(err)
			}
		}
	}
	s.behind.Store(&hook)
	if _, err := p.Rollover(t.Context(), "acme"); err != nil {
		t.Error(err)
	}
	s.behind.Store(nil)
	p.put(t, "acme", step(0, 1, ""))
	p.clean(t, 4)
}
