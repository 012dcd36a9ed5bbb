package storetest

import (
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// expire removes rows and returns how many.
func (l *testLog) expire(from, to int64, done bool, list ...store.Expiry) int64 {
	l.t.Helper()
	n, err := l.s.Expire(ctx, l.ref.Tenant, list, from, to, done, nil)
	if err != nil {
		l.t.Fatalf("expire %d to %d: %v", from, to, err)
	}
	return n
}

// mixed appends one record of each sort that an expiry of steps must tell apart: old
// steps at 1, 2, 6 and 8, of two runs; of other kinds at 3 and 5, a synthetic one at 4,
// and one that is younger at 7.
func (l *testLog) mixed() {
	l.t.Helper()
	old := recorded(long)
	at := l.append(
		l.step(traceID(1), spanID(1), old), l.step(traceID(1), spanID(2), old),
		l.entry(evidence.KindTrace, old, inRun(traceID(1), 0), text("trace_id", traceID(1))),
		l.step(traceID(2), spanID(3), old, synthetic),
		l.entry(evidence.KindSystem, old),
		l.step(traceID(2), "", old), l.step(traceID(2), spanID(5), recorded(long+10*day)), l.step(traceID(3), spanID(6), old),
	)
	if at != 1 {
		l.t.Fatalf("the first stands at %d", at)
	}
}

func testExpire(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	l.mixed()
	other.mixed()
	entries := []store.IndexEntry{
		l.indexed(1, "subject", 1, traceID(1)), l.indexed(3, "subject", 1, ""), l.indexed(6, "subject", 1, traceID(2)),
		l.indexed(6, "agent_id", 2, traceID(2)), l.indexed(7, "subject", 3, traceID(2)),
	}
	l.appendIndex(entries...)
	other.appendIndex(other.indexed(1, "subject", 1, traceID(1)))
	e := l.expiry(tableSteps, 1, 9, long+5*day)
	theirs := other.expiry(tableSteps, 1, 9, long+5*day)
	leaves := collect(t, func(fn func(store.LeafSegment) error) error { return s.Segments(ctx, l.ref, 0, 100, fn) })

	wantEqual(t, "rows that went", l.expire(0, 2, false, e), 1)
	l.wantSeqs(evidence.KindTraceStep, 2, 4, 6, 7, 8)
	wantEqual(t, "expiries", expiries(t, s, "a"), []store.Expiry{e})
	wantEqual(t, "rows that went again", l.expire(0, 2, false, e), 0)
	wantEqual(t, "rows of nothing", l.expire(5, 5, false, e), 0)
	wantEqual(t, "rows beyond", l.expire(9, 1<<30, false, e), 0)
	wantEqual(t, "the rest", l.expire(2, 100, true, e), 4)
	l.wantSeqs(evidence.KindTraceStep, 7)
	l.wantSeqs(evidence.KindTrace, 3)
	l.wantSeqs(evidence.KindSystem, 0, 5)
	e.Done = true
	wantEqual(t, "expiries", expiries(t, s, "a"), []store.Expiry{e})
	_, err := s.Row(ctx, l.ref, evidence.KindTraceStep, 1)
	wantErr(t, "a row that went", err, evidence.ErrNotFound)
	all := collect(t, func(fn func(store.IndexEntry) error) error { return s.Index(ctx, "a", fn) })
	wantEqual(t, "index", all, []store.IndexEntry{entries[1], entries[4]}, anyOrder)

	// Leaves, ids and heads stay, and another tenant has all.
	left := collect(t, func(fn func(store.LeafSegment) error) error { return s.Segments(ctx, l.ref, 0, 100, fn) })
	wantEqual(t, "leaves", left, leaves)
	l.wantHead()
	other.wantSeqs(evidence.KindTraceStep, 1, 2, 4, 6, 7, 8)
	wantEqual(t, "b's index", other.find("subject", 1, 9), []store.IndexEntry{other.indexed(1, "subject", 1, traceID(1))})
	wantEqual(t, "b's expiries", expiries(t, s, "b"), []store.Expiry{theirs})

	// Several at once, and the trace can be indexed again.
	l.appendIndex(entries[0])
	system := l.expiry("system_records", 1, 6, long+day)
	traces := l.expiry("aos_traces", 0, 6, long+day)
	wantEqual(t, "rows of two tables", l.expire(0, 100, true, system, traces), 2)
	l.wantSeqs(evidence.KindTrace)
	l.wantSeqs(evidence.KindSystem, 0)
	l.wantHead()
	if list := must[[]string](t)(s.Damage(ctx)); len(list) != 0 {
		t.Errorf("damage: %q", list)
	}
}

func testExpireRefused(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	l.mixed()
	other.mixed()
	e := l.expiry(tableSteps, 1, 6, long+5*day)
	for what, spoil := range map[string]func(*store.Expiry){
		"record": func(e *store.Expiry) { e.By.Seq-- }, "table": func(e *store.Expiry) { e.Table = "aos_traces" },
		"start": func(e *store.Expiry) { e.From-- }, "end": func(e *store.Expiry) { e.To++ },
		"time": func(e *store.Expiry) { e.Before++ }, "flag": onlySynthetic,
	} {
		bad := e
		spoil(&bad)
		_, err := s.Expire(ctx, "a", []store.Expiry{e, bad}, 0, 100, true, nil)
		wantErr(t, "an expiry with another "+what, err, evidence.ErrForbidden)
	}
	_, err := l.tryExpiry(store.Expiry{Table: tableSteps, From: 1, To: 6, Before: long + 5*day, Done: true})
	wantErr(t, "an expiry that is done from the start", err, evidence.ErrForbidden)
	_, err = s.Expire(ctx, "b", []store.Expiry{e}, 0, 100, true, nil)
	wantErr(t, "another tenant's expiry", err, evidence.ErrForbidden)
	_, err = s.Expire(ctx, "nobody", []store.Expiry{e}, 0, 100, true, nil)
	wantErr(t, "nobody's expiry", err, evidence.ErrNotFound)
	_, err = s.Expire(ctx, "a", nil, 0, 100, true, nil)
	wantErr(t, "no expiry", err, evidence.ErrInvalid)
	r := &store.Removal{By: l.order()}
	_, err = s.Expire(ctx, "a", []store.Expiry{e}, 0, 100, true, r)
	wantErr(t, "a removal by another record", err, evidence.ErrForbidden)
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	_, err = s.Expire(ctx, "a", []store.Expiry{e, second.expiry(tableSteps, 0, 1, long)}, 0, 100, true, nil)
	wantErr(t, "expiries of two logs", err, evidence.ErrInvalid)
	l.wantSeqs(evidence.KindTraceStep, 1, 2, 4, 6, 7, 8)
	other.wantSeqs(evidence.KindTraceStep, 1, 2, 4, 6, 7, 8)
	wantEqual(t, "expiries", expiries(t, s, "a")[0], e)
}

func testExpireSynthetic(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	old := recorded(long)
	for _, kind := range evidence.Kinds() {
		l.append(l.entry(kind, old, inRun(kind.String(), 0)), l.entry(kind, old, inRun(kind.String(), 1), synthetic, distinct(kind)),
			l.entry(kind, old, inRun(kind.String(), 2), integer("is_synthetic", 0), distinct(kind)))
	}
	end := l.head.Size
	var list []store.Expiry
	for _, kind := range evidence.Kinds() {
		list = append(list, l.expiry(kind.Table(), 0, end, long+day, onlySynthetic))
	}
	wantEqual(t, "rows that went", l.expire(0, end, true, list...), int64(len(evidence.Kinds())))
	for i, kind := range evidence.Kinds() {
		at := int64(1 + 3*i)
		var old []int64
		for _, seq := range l.seqs(kind) {
			if 1 <= seq && seq < end {
				old = append(old, seq)
			}
		}
		wantEqual(t, kind.String(), old, []int64{at, at + 2})
	}
}

// distinct gives each record of a kind its own key where kinds have one.
func distinct(kind evidence.Kind) func(*evidence.Leaf) {
	if kind == evidence.KindLLMRun {
		return integer("revision", unique()+1)
	}
	return func(*evidence.Leaf) {}
}

func testExpireRemoval(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	l.mixed()
	l.seal(l.segment(16, 1, "one"), l.segment(32, 2, "two"), l.segment(48, 3, "three"))
	ref := func(no int64) store.SegmentRef { return store.SegmentRef{LogNo: 1, No: no} }
	e := l.expiry(tableSteps, 1, 9, long+5*day)
	fresh := key(77, store.ScopeDay, "kept")
	again := l.segment(32, 9, "two again")
	again.Key = fresh.ID
	removal := func() *store.Removal {
		return &store.Removal{
			By: e.By, Segments: []store.SegmentRef{ref(16), ref(32)}, IDs: [][16]byte{l.segment(0, 1, "").ID, l.segment(0, 2, "").ID},
			Replace: []store.SealedSegment{again}, NewKeys: []store.DataKey{fresh}, Keys: []store.KeyID{l.segment(0, 1, "").Key},
		}
	}
	for what, spoil := range map[string]func(*store.Removal){
		"another id": func(r *store.Removal) { r.IDs[1] = [16]byte{9} },
		"a segment that is gone": func(r *store.Removal) {
			r.Segments, r.IDs = append(r.Segments, ref(64)), append(r.IDs, l.segment(0, 1, "").ID)
		},
	} {
		r := removal()
		spoil(r)
		_, err := s.Expire(ctx, "a", []store.Expiry{e}, 0, 100, true, r)
		wantErr(t, what, err, evidence.ErrConflict)
		wantErr(t, what+", without rows", s.Remove(ctx, "a", r), evidence.ErrConflict)
	}
	r := removal()
	r.IDs = r.IDs[:1]
	_, err := s.Expire(ctx, "a", []store.Expiry{e}, 0, 100, true, r)
	wantErr(t, "too few ids", err, evidence.ErrInvalid)
	wantEqual(t, "steps", len(l.seqs(evidence.KindTraceStep)), 6)
	wantEqual(t, "segments", len(l.sealedSegments()), 3)
	wantEqual(t, "expiries", expiries(t, s, "a"), []store.Expiry{e})
	_, err = s.DataKey(ctx, "a", fresh.ID)
	wantErr(t, "a new key of what was refused", err, evidence.ErrNotFound)

	n, err := s.Expire(ctx, "a", []store.Expiry{e}, 0, 100, true, removal())
	if err != nil || n != 5 {
		t.Fatalf("%d rows, %v", n, err)
	}
	wantEqual(t, "segments", l.sealedSegments(), []store.SealedSegment{again, l.segment(48, 3, "three")})
	wantEqual(t, "the new key", must[store.DataKey](t)(s.DataKey(ctx, "a", fresh.ID)), fresh)
	_, err = s.DataKey(ctx, "a", l.segment(0, 1, "").Key)
	wantErr(t, "the old key", err, evidence.ErrNotFound)
	l.wantSeqs(evidence.KindTraceStep, 7)
}

// testExpiredSpans sees that what has gone is not taken a second time.
func testExpiredSpans(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	first := l.step(traceID(1), spanID(-1), recorded(long))
	conflict := l.step(traceID(1), spanID(-1), recorded(long), text("conflict_of", newID().String()))
	bare := l.step(traceID(1), "", recorded(long))
	l.append(first, conflict, bare, l.step(traceID(1), spanID(2), recorded(long+9*day)))
	e := l.expiry(tableSteps, 1, 5, long+day)
	wantEqual(t, "rows that went", l.expire(0, 100, true, e), 3)

	span := store.Span{TraceID: traceID(1), SpanID: spanID(-1)}
	stays := store.Span{TraceID: traceID(1), SpanID: spanID(2)}
	never := store.Span{TraceID: traceID(1), SpanID: spanID(3)}
	found := must[map[store.Span]store.Position](t)(s.FindSpans(ctx, "a", []store.Span{span, stays, never}))
	wantEqual(t, "spans", found, map[store.Span]store.Position{span: l.at(1), stays: l.at(4)})
	found = must[map[store.Span]store.Position](t)(s.FindSpans(ctx, "b", []store.Span{span}))
	wantEqual(t, "b's spans", len(found), 0)
	ids := must[map[evidence.ID]store.Position](t)(s.FindIDs(ctx, "a", []evidence.ID{bare.Leaf.ID, conflict.Leaf.ID}))
	wantEqual(t, "ids", ids, map[evidence.ID]store.Position{bare.Leaf.ID: l.at(3), conflict.Leaf.ID: l.at(2)})

	for range 2 {
		wantErr(t, "the span again", l.commit(l.extend(l.step(traceID(1), spanID(-1)))), store.ErrDuplicate)
		wantErr(t, "the id again", l.commit(l.extend(l.entry(evidence.KindAudit, func(r *evidence.Leaf) { r.ID = bare.Leaf.ID }))), store.ErrDuplicate)
		l.wantHead()
	}
	l.append(l.step(traceID(1), spanID(-1), text("conflict_of", newID().String())))
	other.append(other.step(traceID(1), spanID(-1)))
}

func testRemove(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	l.seal(l.segment(0, 1, "zero"), l.segment(1, 2, "one"))
	l.appendIndex(l.indexed(0, "subject", 1, ""))
	other.seal(other.segment(0, 1, "other"))
	by := l.order()
	ref := func(no int64) store.SegmentRef { return store.SegmentRef{LogNo: 1, No: no} }
	fresh := key(70, store.ScopeDay, "kept")
	again := l.segment(1, 9, "one again")
	again.Key = fresh.ID
	r := &store.Removal{
		By: by, Segments: []store.SegmentRef{ref(0), ref(1)}, IDs: [][16]byte{l.segment(0, 1, "").ID, l.segment(0, 2, "").ID},
		Replace: []store.SealedSegment{again}, NewKeys: []store.DataKey{fresh}, Index: []store.IndexEntry{l.indexed(0, "subject", 1, "")},
	}
	wantErr(t, "by another tenant", s.Remove(ctx, "nobody", r), evidence.ErrNotFound)
	wrong := *r
	wrong.By.Seq--
	wantErr(t, "by a record that orders nothing", s.Remove(ctx, "a", &wrong), evidence.ErrForbidden)
	wantEqual(t, "segments", len(l.sealedSegments()), 2)
	if err := s.Remove(ctx, "a", r); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "the same again", s.Remove(ctx, "a", r), evidence.ErrConflict) // what it expects is gone
	wantEqual(t, "segments", l.sealedSegments(), []store.SealedSegment{again})
	wantEqual(t, "index", l.find("subject", 1, 9), nil)
	wantEqual(t, "the new key", must[store.DataKey](t)(s.DataKey(ctx, "a", fresh.ID)), fresh)
	wantEqual(t, "b's segments", len(other.sealedSegments()), 1)
	l.wantHead()
	// A removal that expects nothing takes what there is, and again is no error.
	for range 2 {
		if err := s.Remove(ctx, "a", &store.Removal{By: by, Segments: []store.SegmentRef{ref(1)}}); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "segments", l.sealedSegments(), nil)
	}
}
