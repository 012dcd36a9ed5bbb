package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

func key(n byte, scope, label string) store.DataKey {
	return store.DataKey{ID: store.KeyID{n, 0xff}, Scope: scope, Label: label, Wrapped: []byte{n, 0, 'w'}}
}

func (l *testLog) appendKeys(keys ...store.DataKey) {
	l.t.Helper()
	c := l.extend()
	c.Keys = keys
	l.mustCommit(c)
}

func testDataKeys(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	// Ids in falling order, so that the order of making shows.
	keys := []store.DataKey{
		key(9, store.ScopeDay, "2026-11-24"), key(8, store.ScopeIndex, ""), key(7, store.ScopeDay, "2026-11-24"),
		key(6, store.ScopeDay, "2026-11-25"), key(5, store.ScopePerson, "ab"), key(4, store.ScopePerson, "AB"),
	}
	l.appendKeys(keys[:2]...)
	other.appendKeys(key(3, store.ScopeDay, "2026-11-24"))
	l.appendKeys(keys[2:]...)

	wantEqual(t, "all", must[[]store.DataKey](t)(s.DataKeys(ctx, "a", "", "")), keys)
	wantEqual(t, "of a day", must[[]store.DataKey](t)(s.DataKeys(ctx, "a", store.ScopeDay, "2026-11-24")), []store.DataKey{keys[0], keys[2]})
	wantEqual(t, "of a person", must[[]store.DataKey](t)(s.DataKeys(ctx, "a", store.ScopePerson, "AB")), []store.DataKey{keys[5]})
	wantEqual(t, "of the index", must[[]store.DataKey](t)(s.DataKeys(ctx, "a", store.ScopeIndex, "")), []store.DataKey{keys[1]})
	wantEqual(t, "of nothing", must[[]store.DataKey](t)(s.DataKeys(ctx, "a", store.ScopeDay, "2026-11-26")), nil)
	wantEqual(t, "one", must[store.DataKey](t)(s.DataKey(ctx, "a", keys[3].ID)), keys[3])
	_, err := s.DataKey(ctx, "b", keys[3].ID)
	wantErr(t, "another tenant's key", err, evidence.ErrNotFound)

	l.appendKeys(keys[0], keys[0]) // again is nothing new
	wantEqual(t, "all", must[[]store.DataKey](t)(s.DataKeys(ctx, "a", "", "")), keys)
	for what, spoil := range map[string]func(*store.DataKey){
		"scope":       func(k *store.DataKey) { k.Scope = store.ScopePerson },
		"label":       func(k *store.DataKey) { k.Label += " " },
		"wrapped key": func(k *store.DataKey) { k.Wrapped = []byte("other") },
	} {
		other := keys[0]
		spoil(&other)
		c := l.extend(l.entry(evidence.KindAudit))
		c.Keys = []store.DataKey{other}
		wantErr(t, "a key's id with another "+what, l.commit(c), evidence.ErrConflict)
		l.wantHead()
	}
}

func (l *testLog) segment(no int64, id byte, data string) store.SealedSegment {
	return store.SealedSegment{
		SegmentRef: store.SegmentRef{LogNo: l.ref.No, No: no},
		ID:         [16]byte{id, 1, 0xff}, Key: store.KeyID{id, 2, 0xff}, Data: []byte(data),
	}
}

func (l *testLog) seal(segments ...store.SealedSegment) {
	l.t.Helper()
	c := l.extend(l.entry(evidence.KindAudit))
	c.Sealed = segments
	l.mustCommit(c)
}

func (l *testLog) sealedSegments() []store.SealedSegment {
	l.t.Helper()
	return collect(l.t, func(fn func(store.SealedSegment) error) error { return l.r.SealedSegments(ctx, l.ref, fn) })
}

func testSealedSegments(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	big := string(bytes.Repeat([]byte{0, 1, 255, '\''}, 100_000))
	l.seal(l.segment(0, 1, "zero"), l.segment(2, 3, big))
	l.seal(l.segment(1, 2, "one"))
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	second.seal(second.segment(0, 4, "second"))
	other.seal(other.segment(0, 5, "other"))

	wantEqual(t, "all", l.sealedSegments(), []store.SealedSegment{l.segment(0, 1, "zero"), l.segment(1, 2, "one"), l.segment(2, 3, big)})
	wantEqual(t, "of the second log", second.sealedSegments(), []store.SealedSegment{second.segment(0, 4, "second")})
	wantEqual(t, "one", must[store.SealedSegment](t)(s.SealedSegment(ctx, "a", store.SegmentRef{LogNo: 1, No: 2})), l.segment(2, 3, big))
	wantEqual(t, "the other's", must[store.SealedSegment](t)(s.SealedSegment(ctx, "b", store.SegmentRef{LogNo: 1, No: 0})), other.segment(0, 5, "other"))
	of := func(log store.LogRef, numbers ...int64) []store.SealedSegment {
		return collect(t, func(fn func(store.SealedSegment) error) error { return s.SealedSegmentsOf(ctx, log, numbers, fn) })
	}
	wantEqual(t, "some", of(l.ref, 0, 2, 7), []store.SealedSegment{l.segment(0, 1, "zero"), l.segment(2, 3, big)})
	wantEqual(t, "some of the second log", of(second.ref, store.NoSegment, 0, 1), []store.SealedSegment{second.segment(0, 4, "second")})
	wantEqual(t, "none", of(l.ref, 7), nil)
	wantErr(t, "of no log", s.SealedSegmentsOf(ctx, store.LogRef{Tenant: "a", No: 3}, []int64{0}, func(store.SealedSegment) error { return nil }), evidence.ErrNotFound)
	enough := errors.New("enough")
	wantErr(t, "one that is enough", s.SealedSegmentsOf(ctx, l.ref, []int64{0, 1}, func(store.SealedSegment) error { return enough }), enough)
	for _, ref := range []store.SegmentRef{{LogNo: 1, No: 3}, {LogNo: 2, No: 1}, {LogNo: 3, No: 0}, {LogNo: 1, No: store.NoSegment}} {
		_, err := s.SealedSegment(ctx, "a", ref)
		wantErr(t, fmt.Sprint("segment ", ref), err, evidence.ErrNotFound)
	}
}

func testSealedTwice(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	l.seal(l.segment(0, 1, "zero"))
	c := l.extend(l.entry(evidence.KindAudit))
	c.Sealed = []store.SealedSegment{l.segment(0, 9, "again")}
	wantErr(t, "a number again", l.commit(c), evidence.ErrConflict)
	c = l.extend(l.entry(evidence.KindAudit))
	c.Sealed = []store.SealedSegment{{SegmentRef: store.SegmentRef{LogNo: 2, No: 1}}}
	wantErr(t, "a segment of another log", l.commit(c), evidence.ErrInvalid)
	c = l.extend()
	c.Sealed = []store.SealedSegment{l.segment(1, 9, "without a record")}
	wantErr(t, "a segment without a record", l.commit(c), evidence.ErrInvalid)
	wantEqual(t, "all", l.sealedSegments(), []store.SealedSegment{l.segment(0, 1, "zero")})
	l.wantHead()
}

func mac(n byte) [16]byte { return [16]byte{n, 0, 0xff, '\''} }

func (l *testLog) indexed(seq int64, name string, m byte, trace string) store.IndexEntry {
	return store.IndexEntry{Name: name, MAC: mac(m), Position: l.at(seq), Trace: trace}
}

func (l *testLog) appendIndex(entries ...store.IndexEntry) {
	l.t.Helper()
	c := l.extend(l.entry(evidence.KindAudit))
	c.Index = entries
	l.mustCommit(c)
}

func (l *testLog) find(name string, m byte, limit int) []store.IndexEntry {
	l.t.Helper()
	list, err := l.r.FindIndex(ctx, l.ref.Tenant, name, mac(m), limit)
	if err != nil {
		l.t.Fatal(err)
	}
	return list
}

func testIndex(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	entries := []store.IndexEntry{
		l.indexed(0, "subject", 1, ""), l.indexed(0, "subject", 2, ""), l.indexed(0, "Subject", 1, ""),
		l.indexed(1, "subject", 1, ""), l.indexed(1, "root_hash", 1, ""),
	}
	l.appendIndex(entries...)
	l.appendIndex(entries[0]) // again changes nothing
	other.appendIndex(other.indexed(0, "subject", 1, ""))

	wantEqual(t, "subject", l.find("subject", 1, 10), []store.IndexEntry{entries[3], entries[0]})
	wantEqual(t, "Subject", l.find("Subject", 1, 10), []store.IndexEntry{entries[2]})
	wantEqual(t, "subject of b", other.find("subject", 1, 10), []store.IndexEntry{other.indexed(0, "subject", 1, "")})
	wantEqual(t, "an unknown MAC", l.find("subject", 3, 10), nil)
	wantEqual(t, "an unknown name", l.find("nothing", 1, 10), nil)
	all := collect(t, func(fn func(store.IndexEntry) error) error { return s.Index(ctx, "a", fn) })
	wantEqual(t, "all", all, entries, anyOrder)
}

// anyOrder sorts index entries.
var anyOrder = cmpopts.SortSlices(func(a, b store.IndexEntry) bool { return fmt.Sprint(a) < fmt.Sprint(b) })

func testIndexOnceATrace(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	first := l.indexed(0, "subject", 1, traceID(1))
	l.appendIndex(first, l.indexed(1, "subject", 1, traceID(1)))
	l.appendIndex(
		l.indexed(2, "subject", 1, traceID(1)),                                          // the same trace
		l.indexed(2, "subject", 1, traceID(2)),                                          // another trace
		l.indexed(2, "agent_id", 1, traceID(1)), l.indexed(2, "subject", 2, traceID(1)), // another name, another MAC
	)
	l.appendIndex(l.indexed(3, "subject", 1, "")) // no trace
	wantEqual(t, "subject", l.find("subject", 1, 10), []store.IndexEntry{
		l.indexed(3, "subject", 1, ""), l.indexed(2, "subject", 1, traceID(2)), first,
	})
	other := openLog(t, s, "b")
	other.appendIndex(other.indexed(0, "subject", 1, traceID(1))) // another tenant's trace of that id
	wantEqual(t, "subject of b", other.find("subject", 1, 10), []store.IndexEntry{other.indexed(0, "subject", 1, traceID(1))})
}

func testIndexNewestFirst(t *testing.T, s store.Store) {
	l, between := openLog(t, s, "a"), openLog(t, s, "b")
	var want []store.IndexEntry
	for i := range int64(5) {
		trace := ""
		if i%2 == 0 { // traces first seen in another order than they are indexed
			trace = traceID(10 - i)
		}
		e := l.indexed(l.head.Size, "subject", 1, trace)
		l.appendIndex(e)
		want = append([]store.IndexEntry{e}, want...)
		between.appendIndex(between.indexed(i, "subject", 1, ""))
	}
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	e := second.indexed(0, "subject", 1, "")
	second.appendIndex(e)
	want = append([]store.IndexEntry{e}, want...)
	wantEqual(t, "all", l.find("subject", 1, 100), want)
	wantEqual(t, "three", l.find("subject", 1, 3), want[:3])
	wantEqual(t, "none", l.find("subject", 1, 0), nil)
}
