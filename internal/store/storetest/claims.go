package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// commitUnder commits under a claim of the log.
func (l *testLog) commitUnder(claim store.Claim, c store.LogCommit) error {
	err := claim.Commit(ctx, &store.Commit{Logs: []store.LogCommit{l.bring(c)}})
	if err == nil {
		l.head = c.Next
	}
	return err
}

func (l *testLog) claim() store.Claim {
	l.t.Helper()
	return must[store.Claim](l.t)(l.s.Claim(ctx, l.ref))
}

func testClaims(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	_, err := s.Claim(ctx, store.LogRef{Tenant: "a", No: 2})
	wantErr(t, "a claim of a log that is not open", err, evidence.ErrNotFound)
	_, err = s.Claim(ctx, store.LogRef{Tenant: "nobody", No: 1})
	wantErr(t, "a claim of nobody's log", err, evidence.ErrNotFound)

	for range 3 {
		claim := l.claim()
		l.wantHead() // can be read meanwhile
		if err := l.commitUnder(claim, l.rich(evidence.ID{}, false)); err != nil {
			t.Fatal(err)
		}
		l.wantHead()
		if err := l.commitUnder(claim, l.extend(l.entry(evidence.KindAudit))); err == nil {
			t.Error("a claim was used twice")
		}
		claim.Release()
		l.wantHead()
	}

	claim := l.claim()
	claim.Release()
	claim.Release()
	if err := l.commitUnder(claim, l.extend(l.entry(evidence.KindAudit))); err == nil {
		t.Error("a claim was used that had ended")
	}
	l.append(l.entry(evidence.KindAudit))
	l.wantHead()

	// A commit that fails ends the claim too, and leaves nothing.
	taken := l.entry(evidence.KindAudit)
	l.append(taken)
	n := l.head.Size
	claim = l.claim()
	wantErr(t, "a duplicate under a claim", l.commitUnder(claim, l.rich(taken.Leaf.ID, true)), store.ErrDuplicate)
	claim.Release()
	l.wantNothingAt(n)
	claim = l.claim()
	wantErr(t, "a commit to another log than claimed", other.commitUnder(claim, other.extend(other.entry(evidence.KindAudit))), evidence.ErrInvalid)
	claim.Release()
	other.wantHead()
	l.append(l.entry(evidence.KindAudit))

	wide, cancel := context.WithCancel(ctx)
	claim = must[store.Claim](t)(s.Claim(wide, l.ref)) // its context is that of waiting
	cancel()
	if err := l.commitUnder(claim, l.extend(l.entry(evidence.KindAudit))); err != nil {
		t.Errorf("the context of a claim ended behind it: %v", err)
	}
}

// testSuccessor sees that a log with a successor takes no commits, and that the
// last one may come with it.
func testSuccessor(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	next := newLog(t, s, store.LogRef{Tenant: "a", No: 2})
	last, first := l.extend(l.entry(evidence.KindSystem)), next.extend(next.entry(evidence.KindSystem))
	first.Open = &next.info
	claim := l.claim()
	if err := claim.Commit(ctx, &store.Commit{Logs: []store.LogCommit{last, first}}); err != nil {
		t.Fatal(err)
	}
	l.head, next.head = last.Next, first.Next
	l.wantHead()
	next.wantHead()
	n := l.head.Size
	wantErr(t, "a commit to a log with a successor", l.commit(l.rich(evidence.ID{}, false)), store.ErrHeadMoved)
	l.wantNothingAt(n)
	wantErr(t, "a head alone", l.commit(l.extend()), store.ErrHeadMoved)
	claim = l.claim()
	wantErr(t, "under a claim", l.commitUnder(claim, l.extend(l.entry(evidence.KindAudit))), store.ErrHeadMoved)
	l.wantHead()
	next.append(next.entry(evidence.KindAudit))
	next.wantHead()
	// What is said about its tree can still come.
	if err := s.KeepCheckpoint(ctx, l.ref, store.Checkpoint{Size: n, Note: l.head.Note}); err != nil {
		t.Error(err)
	}

	third := newLog(t, s, store.LogRef{Tenant: "a", No: 3}) // alone, without a word in the one before
	c := third.extend(third.entry(evidence.KindSystem))
	c.Open = &third.info
	third.mustCommit(c)
	wantErr(t, "a commit to the second log", next.commit(next.extend(next.entry(evidence.KindAudit))), store.ErrHeadMoved)
	next.wantHead()
}

// testKeyGone sees that nothing is stored that is sealed under a key that is not.
// Where one process alone writes it knows its keys, and the store need not look.
func testKeyGone(t *testing.T, s store.Store) {
	if s.SingleWriter() {
		t.Skip("one process writes, which knows what keys there are")
	}
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	l.appendKeys(key(1, store.ScopeDay, "x"), key(2, store.ScopeDay, "x"), key(3, store.ScopePerson, "y"))
	other.appendKeys(key(4, store.ScopeDay, "x"))
	sealed := func(l *testLog, keys ...byte) *store.Commit {
		c := l.extend(l.entry(evidence.KindAudit))
		for _, k := range keys {
			seg := l.segment(unique(), byte(unique()), "content")
			seg.Key = key(k, "", "").ID
			c.Sealed = append(c.Sealed, seg)
		}
		return &store.Commit{Logs: []store.LogCommit{c}}
	}
	commit := func(what string, c *store.Commit, want error) {
		t.Helper()
		err := s.Commit(ctx, c)
		if want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if err == nil {
			l.head = c.Logs[0].Next
		}
		l.wantHead()
	}
	stored := sealed(l, 1, 2, 1, 3)
	commit("stored keys", stored, nil)
	commit("another tenant's key", sealed(l, 1, 4), store.ErrKeyGone)
	commit("a key nobody has", sealed(l, 9), store.ErrKeyGone)
	c := sealed(l, 9, 1)
	c.Logs[0].Keys = []store.DataKey{key(9, store.ScopeDay, "z")}
	commit("a key that it brings", c, nil)

	by := l.order()
	l.mustRemove(store.Removal{By: by, Segments: []store.SegmentRef{stored.Logs[0].Sealed[3].SegmentRef}, Keys: []store.KeyID{key(3, "", "").ID}})
	commit("a destroyed key", sealed(l, 1, 3), store.ErrKeyGone)
	c = sealed(l, 3)
	c.Logs[0].Keys = []store.DataKey{key(3, store.ScopePerson, "y")}
	commit("a destroyed key that it brings", c, store.ErrKeyGone)
	c = sealed(l, 1)
	no := c.Logs[0].Sealed[0].SegmentRef
	commit("content", c, nil)
	again := l.segment(no.No, byte(unique()), "again")
	again.Key = key(3, "", "").ID
	c = sealed(l)
	c.Logs[0].Removal = &store.Removal{By: by, Segments: []store.SegmentRef{no}, Replace: []store.SealedSegment{again}}
	commit("a replacement under a destroyed key", c, store.ErrKeyGone)

	// In the first commit of a log.
	next := newLog(t, s, store.LogRef{Tenant: "a", No: 2})
	c = sealed(next, 3)
	c.Logs[0].Open = &next.info
	commit("a log opened with content under a destroyed key", c, store.ErrKeyGone)
	claim := l.claim()
	wantErr(t, "under a claim", claim.Commit(ctx, sealed(l, 3)), store.ErrKeyGone)
	l.wantHead()
	commit("stored keys", sealed(l, 2), nil)
}

func testLeases(t *testing.T, s store.Store) {
	ask := func(name, holder string, ttl time.Duration, want bool) {
		t.Helper()
		if got := must[bool](t)(s.Lease(ctx, name, holder, ttl)); got != want {
			t.Errorf("lease %s of %s for %s: %t", name, holder, ttl, got)
		}
	}
	ask("x", "one", time.Hour, true)
	ask("x", "two", time.Hour, false)
	ask("x", "One", time.Hour, false)
	ask("X", "two", time.Hour, true) // another name
	ask("x", "one", time.Hour, true)
	ask("x", "two", 0, false) // gives up nothing
	ask("x", "two", time.Hour, false)
	ask("x", "one", 0, false)
	ask("x", "one", 0, false)
	ask("x", "two", 20*time.Millisecond, true)
	time.Sleep(40 * time.Millisecond)
	ask("x", "one", time.Hour, true)
	ask("x", "two", time.Hour, false)
	ask("never", "one", -1, false)
	for _, names := range [][2]string{{"", "one"}, {"x", ""}} {
		_, err := s.Lease(ctx, names[0], names[1], time.Hour)
		wantErr(t, fmt.Sprintf("lease %q of %q", names[0], names[1]), err, evidence.ErrInvalid)
	}
}

// testLeaseRace has many ask at once: one gets it.
func testLeaseRace(t *testing.T, s store.Store) {
	for round := range 5 {
		var wg sync.WaitGroup
		held := make([]bool, 8)
		for i := range held {
			wg.Go(func() {
				var err error
				if held[i], err = s.Lease(ctx, fmt.Sprint("race ", round), fmt.Sprint("holder ", i), time.Hour); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		n := 0
		for _, h := range held {
			if h {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d holders", n)
		}
	}
}
