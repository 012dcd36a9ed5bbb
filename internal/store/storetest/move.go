package storetest

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// anyRemoved sorts removals.
var anyRemoved = cmpopts.SortSlices(func(a, b store.Removed) bool { return fmt.Sprint(a) < fmt.Sprint(b) })

func removals(t *testing.T, s store.Store, tenant string) []store.Removed {
	t.Helper()
	return collect(t, func(fn func(store.Removed) error) error { return s.Removals(ctx, tenant, fn) })
}

func testSealedRange(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	var all []store.SealedSegment
	for no := range int64(40) {
		all = append(all, l.segment(no*3, byte(no+1), fmt.Sprint("content ", no)))
	}
	l.seal(all[:25]...)
	l.seal(all[25:]...)
	other.seal(other.segment(3, 1, "other"))
	for _, c := range []struct {
		from, to int64
		want     []store.SealedSegment
	}{
		{0, 1 << 40, all},
		{-5, 1 << 62, all},
		{0, 0, nil},
		{9, 3, nil},
		{1000, 2000, nil},
		{0, 1, all[:1]},
		{0, 3, all[:1]},
		{0, 4, all[:2]},
		{1, 3, nil},
		{3, 4, all[1:2]},
		{60, 118, all[20:]},
		{60, 117, all[20:39]},
	} {
		got := collect(t, func(fn func(store.SealedSegment) error) error { return s.SealedRange(ctx, l.ref, c.from, c.to, fn) })
		wantEqual(t, fmt.Sprintf("segments %d to %d", c.from, c.to), got, c.want)
	}
	err := s.SealedRange(ctx, store.LogRef{Tenant: "a", No: 2}, 0, 9, func(store.SealedSegment) error { return nil })
	wantErr(t, "of a log that is not there", err, evidence.ErrNotFound)
}

// testRemovals sees that what a removal writes down can be read, and be written
// down in a store that never had what was removed.
func testRemovals(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	wantEqual(t, "nothing", removals(t, s, "a"), nil)
	wantEqual(t, "nobody's", removals(t, s, "nobody"), nil)
	l.seal(l.segment(0, 1, "zero"), l.segment(1, 2, "one"))
	l.appendKeys(key(1, store.ScopePerson, "x"))
	indexed := l.indexed(0, "subject", 1, "")
	l.appendIndex(indexed)
	by := l.order()
	l.mustRemove(store.Removal{
		By: by, Segments: []store.SegmentRef{{LogNo: 1, No: 0}, {LogNo: 1, No: 7}}, Replace: []store.SealedSegment{l.segment(0, 3, "again")},
		Keys: []store.KeyID{key(1, "", "").ID, key(9, "", "").ID}, Index: []store.IndexEntry{indexed},
	})
	second := l.order()
	l.mustRemove(store.Removal{By: second, Segments: []store.SegmentRef{{LogNo: 1, No: 0}}})
	segment := func(id byte, by store.Position) store.Removed {
		return store.Removed{What: store.RemovedSegment, LogNo: 1, No: 0, ID: l.segment(0, id, "").ID, By: by}
	}
	aKey := func(n byte, by store.Position) store.Removed {
		return store.Removed{What: store.RemovedKey, ID: key(n, "", "").ID, By: by}
	}
	index := store.Removed{What: store.RemovedIndex, LogNo: 1, No: indexed.Seq, Name: "subject", By: by}
	want := []store.Removed{segment(1, by), segment(3, second), aKey(1, by), aKey(9, by), index}
	wantEqual(t, "removals", removals(t, s, "a"), want, anyRemoved)
	wantEqual(t, "b's", removals(t, s, "b"), nil)

	// The same in a tenant that has nothing of it. Its order stands elsewhere.
	theirs := other.order()
	list := []store.Removed{segment(1, theirs), segment(3, theirs), aKey(1, theirs), index}
	list[3].By = theirs
	for range 2 { // again is nothing new
		if err := s.KeepRemovals(ctx, "b", list); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "b's", removals(t, s, "b"), list, anyRemoved)
	}
	wantEqual(t, "a's", removals(t, s, "a"), want, anyRemoved)
	if err := s.KeepRemovals(ctx, "b", nil); err != nil {
		t.Errorf("none: %v", err)
	}
	c := other.extend(other.entry(evidence.KindAudit))
	c.Sealed = []store.SealedSegment{other.segment(0, 3, "again")}
	wantErr(t, "a removed segment", other.commit(c), evidence.ErrConflict)
	c = other.extend(other.entry(evidence.KindAudit))
	c.Keys = []store.DataKey{key(1, store.ScopePerson, "x")}
	wantErr(t, "a removed key", other.commit(c), evidence.ErrConflict)
	other.seal(other.segment(0, 2, "another"))
	other.appendKeys(key(2, store.ScopePerson, "x"))
	other.wantHead()
}

func testRemovalsRefused(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	good := l.order()
	other.append(other.entry(evidence.KindAudit), other.entry(evidence.KindAudit))
	theirs := other.order()
	view := l.at(l.append(l.entry(evidence.KindAudit, text("event_type", "LOG_VIEW"))))
	one := func(what string, by store.Position) store.Removed {
		return store.Removed{What: what, LogNo: 1, ID: [16]byte{1}, By: by}
	}
	for what, by := range map[string]store.Position{"a record of another event": view, "no record": {LogNo: 1, Seq: 1000}, "another tenant's": theirs} {
		if by == good {
			t.Fatal("the orders stand at the same place: that shows nothing")
		}
		err := s.KeepRemovals(ctx, "a", []store.Removed{one(store.RemovedKey, good), one(store.RemovedSegment, by)})
		wantErr(t, "a removal ordered by "+what, err, evidence.ErrForbidden)
	}
	wantErr(t, "of something else", s.KeepRemovals(ctx, "a", []store.Removed{one(store.RemovedKey, good), one("row", good)}), evidence.ErrInvalid)
	wantErr(t, "of nobody", s.KeepRemovals(ctx, "nobody", []store.Removed{one(store.RemovedKey, good)}), evidence.ErrNotFound)
	wantEqual(t, "removals", removals(t, s, "a"), nil) // all or none
}

func testKeepCheckpoints(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	want := []store.Checkpoint{{Size: 0, Note: []byte("zero\n")}, {Size: 7, Note: []byte("seven\x00\xff\n")}, {Size: 9, Note: []byte("nine\n")}}
	keep := func(list ...store.Checkpoint) {
		t.Helper()
		if err := s.KeepCheckpoints(ctx, l.ref, list); err != nil {
			t.Fatal(err)
		}
	}
	keep()
	keep(want[2], want[0])
	keep(want...)
	have := func() []store.Checkpoint {
		return collect(t, func(fn func(store.Checkpoint) error) error { return s.Checkpoints(ctx, l.ref, 0, fn) })
	}
	wantEqual(t, "checkpoints", have(), want)
	wantErr(t, "another one of that size", s.KeepCheckpoints(ctx, l.ref, []store.Checkpoint{
		{Size: 8, Note: []byte("eight\n")}, {Size: 7, Note: []byte("another seven\n")},
	}), store.ErrHeadMoved)
	wantErr(t, "of no log", s.KeepCheckpoints(ctx, store.LogRef{Tenant: "a", No: 2}, want), evidence.ErrNotFound)
	wantErr(t, "below nothing", s.KeepCheckpoints(ctx, l.ref, []store.Checkpoint{{Size: -1, Note: []byte("x")}}), evidence.ErrInvalid)
	wantEqual(t, "checkpoints", have(), want)
	theirs := collect(t, func(fn func(store.Checkpoint) error) error { return s.Checkpoints(ctx, other.ref, 0, fn) })
	if cmp.Equal(theirs, want) {
		t.Error("the other log has them too")
	}
	others := must[[]string](t)(s.Others(ctx))
	wantEqual(t, "other programs", others, nil)
}
