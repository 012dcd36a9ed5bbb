package storetest

import (
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// remove commits a removal, together with a record.
func (l *testLog) remove(r store.Removal) error {
	c := l.extend(l.entry(evidence.KindAudit))
	c.Removal = &r
	return l.commit(c)
}

func (l *testLog) mustRemove(r store.Removal) {
	l.t.Helper()
	if err := l.remove(r); err != nil {
		l.t.Fatalf("removal: %v", err)
	}
}

func testRemoveSegments(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	l.seal(l.segment(0, 1, "zero"), l.segment(1, 2, "one"), l.segment(2, 3, "two"))
	other.seal(other.segment(0, 1, "other"))
	by := l.order()

	ref := func(no int64) store.SegmentRef { return store.SegmentRef{LogNo: 1, No: no} }
	l.mustRemove(store.Removal{
		By: by, Segments: []store.SegmentRef{ref(0), ref(2), ref(99)}, // what is gone is no error
		Replace: []store.SealedSegment{l.segment(2, 30, "two again")},
	})
	wantEqual(t, "what is left", l.sealedSegments(), []store.SealedSegment{l.segment(1, 2, "one"), l.segment(2, 30, "two again")})
	wantEqual(t, "the other's", other.sealedSegments(), []store.SealedSegment{other.segment(0, 1, "other")})

	// A replaced segment can be replaced again, and removed, by another order.
	l.mustRemove(store.Removal{By: l.order(), Segments: []store.SegmentRef{ref(2)}, Replace: []store.SealedSegment{l.segment(2, 31, "third")}})
	l.mustRemove(store.Removal{By: l.order(), Segments: []store.SegmentRef{ref(2)}})
	wantEqual(t, "what is left", l.sealedSegments(), []store.SealedSegment{l.segment(1, 2, "one")})

	// A removed segment does not come back either.
	c := l.extend(l.entry(evidence.KindAudit))
	c.Sealed = []store.SealedSegment{l.segment(2, 30, "two again")}
	wantErr(t, "a removed segment", l.commit(c), evidence.ErrConflict)

	// Nothing is put where nothing is taken away.
	wantErr(t, "a replacement of nothing", l.remove(store.Removal{
		By: by, Segments: []store.SegmentRef{ref(0)}, Replace: []store.SealedSegment{l.segment(0, 9, "x")},
	}), evidence.ErrNotFound)
	wantErr(t, "a replacement of what stays", l.remove(store.Removal{
		By: by, Replace: []store.SealedSegment{l.segment(1, 9, "x")},
	}), evidence.ErrNotFound)
	wantEqual(t, "what is left", l.sealedSegments(), []store.SealedSegment{l.segment(1, 2, "one")})
	l.wantHead()

	// A segment of the tenant's other log, and new content in the same commit.
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	c = second.extend(second.entry(evidence.KindAudit, text("event_type", "RetentionApplied")))
	c.Sealed = []store.SealedSegment{second.segment(0, 40, "new")}
	c.Removal = &store.Removal{By: second.at(second.head.Size), Segments: []store.SegmentRef{ref(1)}}
	second.mustCommit(c)
	wantEqual(t, "what is left of the first log", l.sealedSegments(), nil)
	wantEqual(t, "the second log's", second.sealedSegments(), []store.SealedSegment{second.segment(0, 40, "new")})
}

func testRemoveKeysAndIndex(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	keys := []store.DataKey{key(1, store.ScopePerson, "x"), key(2, store.ScopePerson, "x")}
	l.appendKeys(keys...)
	other.appendKeys(keys[0])
	gone := []store.IndexEntry{l.indexed(0, "subject", 1, ""), l.indexed(1, "subject", 1, traceID(1))}
	kept := []store.IndexEntry{l.indexed(0, "subject", 2, ""), l.indexed(0, "agent_id", 1, ""), l.indexed(1, "subject", 1, traceID(2))}
	kept[2].Seq = 2
	l.appendIndex(append(gone, kept...)...)
	other.appendIndex(other.indexed(0, "subject", 1, ""))

	by := l.order()
	for range 2 { // the second time there is nothing left to remove
		l.mustRemove(store.Removal{By: by, Keys: []store.KeyID{keys[0].ID}, Index: gone})
		wantEqual(t, "keys", must[[]store.DataKey](t)(s.DataKeys(ctx, "a", "", "")), keys[1:])
		all := collect(t, func(fn func(store.IndexEntry) error) error { return s.Index(ctx, "a", fn) })
		wantEqual(t, "index", all, kept, anyOrder)
	}
	wantEqual(t, "b's keys", must[[]store.DataKey](t)(s.DataKeys(ctx, "b", "", "")), keys[:1])
	wantEqual(t, "b's index", other.find("subject", 1, 9), []store.IndexEntry{other.indexed(0, "subject", 1, "")})

	// A destroyed key does not come back, whoever still has it.
	c := l.extend(l.entry(evidence.KindAudit))
	c.Keys = keys[:1]
	wantErr(t, "a destroyed key", l.commit(c), evidence.ErrConflict)
	wantEqual(t, "keys", must[[]store.DataKey](t)(s.DataKeys(ctx, "a", "", "")), keys[1:])

	// The trace can be indexed again: nothing of it is left.
	l.appendIndex(gone[1])
	wantEqual(t, "indexed again", l.find("subject", 1, 9), []store.IndexEntry{kept[2], gone[1]})
}

func testRemoveWithoutOrder(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	l.seal(l.segment(0, 1, "zero"))
	l.appendKeys(key(1, store.ScopePerson, "x"))
	l.appendIndex(l.indexed(0, "subject", 1, ""))
	view := l.at(l.append(l.entry(evidence.KindAudit, text("event_type", "LOG_VIEW"))))
	step := l.at(l.append(l.entry(evidence.KindSystem, text("event_type", "ErasureExecuted"))))
	theirs := other.order()
	for what, by := range map[string]store.Position{
		"a record of another event": view, "a record of another kind": step, "another tenant's order": theirs,
		"no record": {LogNo: 1, Seq: 1000},
	} {
		for _, r := range []store.Removal{
			{By: by, Segments: []store.SegmentRef{{LogNo: 1, No: 0}}},
			{By: by, Keys: []store.KeyID{key(1, "", "").ID}},
			{By: by, Index: []store.IndexEntry{l.indexed(0, "subject", 1, "")}},
		} {
			wantErr(t, "a removal ordered by "+what, l.remove(r), evidence.ErrForbidden)
		}
	}
	// The key of the index stays by whatever order.
	l.appendKeys(key(9, store.ScopeIndex, ""))
	wantErr(t, "the key of the index", l.remove(store.Removal{By: l.order(), Keys: []store.KeyID{key(9, "", "").ID}}), evidence.ErrForbidden)
	wantEqual(t, "the key of the index", must[store.DataKey](t)(s.DataKey(ctx, "a", key(9, "", "").ID)), key(9, store.ScopeIndex, ""))
	wantEqual(t, "segments", len(l.sealedSegments()), 1)
	wantEqual(t, "key", must[store.DataKey](t)(s.DataKey(ctx, "a", key(1, "", "").ID)), key(1, store.ScopePerson, "x"))
	wantEqual(t, "index", len(l.find("subject", 1, 9)), 1)
	l.wantHead()
}
