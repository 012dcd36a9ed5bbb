package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// OpenTwo returns two stores on one database, as two processes have them. It
// closes and removes them when the test ends.
type OpenTwo func(t *testing.T) (a, b store.Store)

// RunShared runs what a backend must pass besides [Run] whose SingleWriter is
// false.
func RunShared(t *testing.T, open OpenTwo) {
	tests := []struct {
		name string
		run  func(t *testing.T, a, b store.Store)
	}{
		{"SeeEachOther", sharedView},
		{"Race", sharedRace},
		{"Turns", sharedTurns},
		{"ClaimKeepsOut", sharedClaimKeepsOut},
		{"OpenRace", sharedOpenRace},
		{"SuccessorRace", sharedSuccessorRace},
		{"KeyDestroyed", sharedKeyDestroyed},
		{"Leases", sharedLeases},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, b := open(t)
			if a.SingleWriter() || b.SingleWriter() {
				t.Fatal("the stores are for one writer")
			}
			test.run(t, a, b)
		})
	}
}

// by is the log as another store has it.
func (l *testLog) by(s store.Store) *testLog {
	other := *l
	other.s, other.r = s, s
	return &other
}

// reload reads the head.
func (l *testLog) reload() error {
	head, err := l.s.Head(ctx, l.ref)
	if err == nil {
		l.head = head
	}
	return err
}

// sharedView sees that what one commits the other reads at once, whatever it has
// remembered.
func sharedView(t *testing.T, a, b store.Store) {
	la := openLog(t, a, "a")
	lb := la.by(b)
	for range 5 {
		for _, pair := range [][2]*testLog{{la, lb}, {lb, la}} {
			from, to := pair[0], pair[1]
			c := from.rich(evidence.ID{}, false)
			from.mustCommit(c)
			to.head = from.head
			to.wantHead()
			for _, e := range c.Entries {
				wantEqual(t, "row", to.row(e.Leaf.Kind, e.Leaf.Seq), rowOf(e), equalFacts)
			}
			runs := must[map[string]store.RunState](t)(to.s.Runs(ctx, "a", []string{c.Runs[0].Run}))
			wantEqual(t, "run state", runs[c.Runs[0].Run], c.Runs[0])
			wantEqual(t, "key", must[store.DataKey](t)(to.s.DataKey(ctx, "a", c.Keys[0].ID)), c.Keys[0])
		}
	}
}

// sharedRace has both extend one log from what they last saw. One wins each time,
// and nothing is lost or written twice.
func sharedRace(t *testing.T, a, b store.Store) {
	first := openLog(t, a, "a")
	var wg sync.WaitGroup
	var won, lost atomic.Int64
	for _, s := range []store.Store{a, b, a, b} {
		wg.Go(func() {
			l := first.by(s)
			for range 15 {
				if err := l.reload(); err != nil {
					t.Error(err)
					return
				}
				switch err := l.commit(l.rich(evidence.ID{}, false)); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, store.ErrHeadMoved):
					lost.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := first.reload(); err != nil || first.head.Size != 1+3*won.Load() || won.Load()+lost.Load() != 60 {
		t.Errorf("size %d, %v after %d commits won and %d lost", first.head.Size, err, won.Load(), lost.Load())
	}
	if err := checkWhole(b, first.ref); err != nil {
		t.Error(err)
	}
}

// sharedTurns has four writers claim one log: each commit succeeds at the first
// try, and none starves.
func sharedTurns(t *testing.T, a, b store.Store) {
	first := openLog(t, a, "a")
	var wg sync.WaitGroup
	const each = 10
	for _, s := range []store.Store{a, b, a, b} {
		wg.Go(func() {
			l := first.by(s)
			for range each {
				claim, err := s.Claim(ctx, l.ref)
				if err != nil {
					t.Error(err)
					return
				}
				if err := l.reload(); err != nil {
					t.Error(err)
				}
				if err := l.commitUnder(claim, l.rich(evidence.ID{}, false)); err != nil {
					t.Error(err)
				}
				claim.Release()
			}
		})
	}
	wg.Wait()
	if err := first.reload(); err != nil || first.head.Size != 1+4*each*3 {
		t.Errorf("size %d, %v", first.head.Size, err)
	}
}

// sharedClaimKeepsOut sees that a claim holds off commits and claims of the other,
// to its log alone, until it ends.
func sharedClaimKeepsOut(t *testing.T, a, b store.Store) {
	la, free := openLog(t, a, "a"), openLog(t, a, "free").by(b)
	lb := la.by(b)
	claim := la.claim()
	defer func() { claim.Release() }()
	done := make(chan error, 2)
	late := lb.extend(lb.entry(evidence.KindAudit)) // from the head that is claimed
	go func() { done <- lb.commit(late) }()
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	stray, err := b.Claim(short, la.ref)
	if err == nil {
		stray.Release()
	}
	wantErr(t, "a claim that gives up", err, evidence.ErrUnavailable)
	free.append(free.entry(evidence.KindAudit))
	select {
	case err := <-done:
		t.Fatalf("a commit went by a claim: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := la.commitUnder(claim, la.extend(la.entry(evidence.KindAudit))); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "the commit that waited", <-done, store.ErrHeadMoved)

	claim = la.claim()
	late = la.by(b).extend(la.entry(evidence.KindAudit))
	lb.head = la.head
	go func() { done <- lb.commit(late) }()
	time.Sleep(50 * time.Millisecond)
	claim.Release() // without a commit: the other goes on
	if err := <-done; err != nil {
		t.Errorf("the commit that waited for a claim without a commit: %v", err)
	}
	lb.wantHead()
}

// sharedOpenRace has both open the same logs.
func sharedOpenRace(t *testing.T, a, b store.Store) {
	for no := 1; no <= 5; no++ {
		var wg sync.WaitGroup
		var won atomic.Int64
		for _, s := range []store.Store{a, b} {
			wg.Go(func() {
				l := newLog(t, s, store.LogRef{Tenant: "a", No: no})
				c := l.extend(l.entry(evidence.KindSystem))
				c.Open = &l.info
				switch err := l.commit(c); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, store.ErrHeadMoved):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("log %d was opened %d times", no, won.Load())
		}
	}
}

// sharedSuccessorRace has one extend a log while the other opens its successor: the
// log ends where the successor begins.
func sharedSuccessorRace(t *testing.T, a, b store.Store) {
	for i := range 10 {
		la := openLog(t, a, fmt.Sprint("tenant-", i))
		lb := la.by(b)
		started, opened := make(chan struct{}), make(chan int64, 1)
		go func() {
			defer close(opened)
			<-started
			next := newLog(t, b, store.LogRef{Tenant: la.ref.Tenant, No: 2})
			c := next.extend(next.entry(evidence.KindSystem))
			c.Open = &next.info
			if err := next.commit(c); err != nil {
				t.Error(err)
			}
			if err := lb.reload(); err != nil {
				t.Error(err)
			}
			opened <- lb.head.Size
		}()
		for n := range 200 {
			err := la.commit(la.extend(la.entry(evidence.KindAudit)))
			if n == i {
				close(started)
			}
			if errors.Is(err, store.ErrHeadMoved) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if size := <-opened; size != la.head.Size {
			t.Errorf("the log had %d records when its successor was there, and has %d", size, la.head.Size)
		}
		la.wantHead()
	}
}

// sharedKeyDestroyed has one destroy a key while the other seals under it.
func sharedKeyDestroyed(t *testing.T, a, b store.Store) {
	la := openLog(t, a, "a")
	for i := range byte(10) {
		k := key(100+i, store.ScopePerson, "x")
		la.appendKeys(k)
		by := la.order()
		lb := la.by(b)
		done := make(chan error, 1)
		go func() {
			for {
				// With all that is under it: a key is not destroyed before.
				r := store.Removal{By: by, Keys: []store.KeyID{k.ID}}
				err := b.SealedUnder(context.Background(), "a", k.ID, store.SegmentRef{}, 1000, func(s store.SealedSegment) error {
					r.Segments = append(r.Segments, s.SegmentRef)
					return nil
				})
				if err == nil {
					err = lb.remove(r)
				}
				if !errors.Is(err, store.ErrHeadMoved) {
					done <- err
					return
				}
				if err := lb.reload(); err != nil {
					done <- err
					return
				}
			}
		}()
		for n := range int64(200) {
			c := la.extend(la.entry(evidence.KindAudit))
			seg := la.segment(int64(i)*1000+n, 1, "content")
			seg.Key = k.ID
			c.Sealed = []store.SealedSegment{seg}
			err := a.Commit(ctx, &store.Commit{Logs: []store.LogCommit{c}})
			if err == nil {
				la.head = c.Next
				continue
			}
			if errors.Is(err, store.ErrKeyGone) {
				break
			}
			if !errors.Is(err, store.ErrHeadMoved) {
				t.Fatal(err)
			}
			if err := la.reload(); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		_, err := a.DataKey(ctx, "a", k.ID)
		wantErr(t, "the key", err, evidence.ErrNotFound)
		if err := la.reload(); err != nil {
			t.Fatal(err)
		}
	}
}

func sharedLeases(t *testing.T, a, b store.Store) {
	held := func(s store.Store, holder string, ttl time.Duration) bool {
		t.Helper()
		return must[bool](t)(s.Lease(ctx, "x", holder, ttl))
	}
	if !held(a, "a", time.Hour) || held(b, "b", time.Hour) || !held(a, "a", 300*time.Millisecond) || held(b, "b", time.Hour) {
		t.Error("a lease is not one's alone")
	}
	for end := time.Now().Add(10 * time.Second); !held(b, "b", time.Hour); {
		if time.Now().After(end) {
			t.Fatal("a lease does not end")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if held(a, "a", time.Hour) {
		t.Error("two have the lease")
	}
}
