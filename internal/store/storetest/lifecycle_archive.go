package storetest

import (
	"fmt"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

func (l *testLog) unit(from, to int64) store.ArchiveUnit {
	return store.ArchiveUnit{
		LogRef: l.ref, From: from, To: to, FirstAt: long, LastAt: long + day, Archive: "dir /archive", Name: fmt.Sprintf("ü/%d-%d", from, to),
		Manifest: hashOf(from), Bytes: 1 << 40, At: long + 2*day,
	}
}

func archives(t *testing.T, r store.Reader, log store.LogRef) []store.ArchiveUnit {
	t.Helper()
	return collect(t, func(fn func(store.ArchiveUnit) error) error { return r.Archives(ctx, log, fn) })
}

func testArchives(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	l.steps(1, long, 9)
	wantEqual(t, "none", archives(t, s, l.ref), nil)
	wantEqual(t, "of no log", archives(t, s, store.LogRef{Tenant: "a", No: 2}), nil)
	wantEqual(t, "of nobody", archives(t, s, store.LogRef{Tenant: "nobody", No: 1}), nil)
	want := []store.ArchiveUnit{l.unit(0, 3), l.unit(3, 4), l.unit(4, 10)}
	for range 2 {
		for _, u := range want {
			if err := s.KeepArchive(ctx, u); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.KeepArchive(ctx, other.unit(0, 1)); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(*store.ArchiveUnit){
		"end": func(u *store.ArchiveUnit) { u.To++ }, "first time": func(u *store.ArchiveUnit) { u.FirstAt++ },
		"last time": func(u *store.ArchiveUnit) { u.LastAt++ }, "archive": func(u *store.ArchiveUnit) { u.Archive = "other" },
		"name": func(u *store.ArchiveUnit) { u.Name = "other" }, "manifest": func(u *store.ArchiveUnit) { u.Manifest[0]++ },
		"size": func(u *store.ArchiveUnit) { u.Bytes-- },
	} {
		u := want[1]
		spoil(&u)
		wantErr(t, "a unit with another "+what, s.KeepArchive(ctx, u), evidence.ErrConflict)
	}
	for _, r := range [][2]int64{{11, 12}, {5, 6}, {2, 3}, {10, 10}, {10, 9}, {-1, 0}, {10, 11}} {
		wantErr(t, fmt.Sprintf("a unit %d to %d", r[0], r[1]), s.KeepArchive(ctx, l.unit(r[0], r[1])), evidence.ErrInvalid)
	}
	u := l.unit(0, 1)
	u.No = 2
	wantErr(t, "a unit of no log", s.KeepArchive(ctx, u), evidence.ErrNotFound)
	later := want[1]
	later.At++ // the same, written down later: what stands there stays
	if err := s.KeepArchive(ctx, later); err != nil {
		t.Error(err)
	}
	wantEqual(t, "units", archives(t, s, l.ref), want)
	wantEqual(t, "b's", archives(t, s, other.ref), []store.ArchiveUnit{other.unit(0, 1)})
}

// firsts are where the leaf segments of a log begin.
func (l *testLog) firsts() []int64 {
	l.t.Helper()
	var list []int64
	err := l.r.Segments(ctx, l.ref, 0, 1<<30, func(s store.LeafSegment) error {
		list = append(list, s.First)
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return list
}

func testExpireLeaves(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	for range 3 {
		l.steps(1, long, 3)
		other.steps(1, long, 3)
	}
	keep := func(from, to int64) {
		t.Helper()
		for _, l := range []*testLog{l, other} {
			if err := s.KeepArchive(ctx, l.unit(from, to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	leave := func(limit int, left int64, firsts ...int64) {
		t.Helper()
		wantEqual(t, "left to go", must[int64](t)(s.ExpireLeaves(ctx, l.ref, limit)), left)
		wantEqual(t, "leaf segments", l.firsts(), firsts)
	}
	moved := func(from, to int64, set ...func(*store.Expiry)) error {
		e := store.Expiry{Table: store.TableLeaves, From: from, To: to, Before: long + 100*day}
		for _, f := range set {
			f(&e)
		}
		_, err := l.tryExpiry(e)
		return err
	}
	leave(10, 0, 0, 1, 4, 7)
	keep(0, 4)
	leave(10, 0, 0, 1, 4, 7)
	for what, err := range map[string]error{
		"that begin later": moved(1, 4), "of part of a unit": moved(0, 3), "of more than a unit": moved(0, 5),
		"that are synthetic": moved(0, 4, onlySynthetic), "of another log": other.tryMoved(l, 4),
	} {
		wantErr(t, "leaves "+what, err, evidence.ErrForbidden)
	}
	if err := moved(0, 4); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "the first leaves twice", moved(4, 8), evidence.ErrForbidden)
	wantEqual(t, "rows of leaves", l.expire(0, 100, true, expiries(t, s, "a")...), 0) // which says nothing of them
	wantEqual(t, "done", expiries(t, s, "a")[0].Done, false)
	leave(1, 1, 1, 4, 7, 10)
	wantEqual(t, "done", expiries(t, s, "a")[0].Done, false)
	leave(10, 0, 4, 7, 10)
	wantEqual(t, "done", expiries(t, s, "a")[0].Done, true)
	keep(4, 6) // it ends within a segment, which stays
	if err := moved(4, 6); err != nil {
		t.Fatal(err)
	}
	leave(10, 0, 4, 7, 10, 11)
	keep(6, 8)
	if err := moved(6, 8); err != nil {
		t.Fatal(err)
	}
	leave(10, 0, 7, 10, 11, 12)
	for _, e := range expiries(t, s, "a") {
		wantEqual(t, "done", e.Done, true)
	}

	// Tiles, ids, rows and heads stay, and what another tenant has.
	l.wantHead()
	wantEqual(t, "rows", len(l.seqs(evidence.KindTraceStep)), 9)
	wantEqual(t, "b's leaf segments", other.firsts(), []int64{0, 1, 4, 7})
	_, err := s.ExpireLeaves(ctx, store.LogRef{Tenant: "a", No: 2}, 1)
	wantErr(t, "of no log", err, evidence.ErrNotFound)
}

// tryMoved orders, by a record of l, that leaves of that place leave its own log, but
// names them as another's.
func (l *testLog) tryMoved(of *testLog, to int64) error {
	e := store.Expiry{By: of.at(of.head.Size - 1), LogNo: 1, Table: store.TableLeaves, From: 0, To: to, Before: long}
	c := l.extend(l.entry(evidence.KindAudit))
	c.Expiries = []store.Expiry{e}
	return l.commit(c)
}

func testSealedUnder(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	mine, theirs := store.KeyID{1}, store.KeyID{2}
	under := func(seg store.SealedSegment, k store.KeyID) store.SealedSegment {
		seg.Key = k
		return seg
	}
	l.seal(under(l.segment(16, 1, "one"), mine), under(l.segment(32, 2, "two"), theirs), under(l.segment(48, 3, "three"), mine))
	l.seal(under(l.segment(8, 4, "four"), mine)) // behind, by number before
	other.seal(under(other.segment(16, 9, "other"), mine))
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	second.seal(under(second.segment(3, 5, "five"), mine))
	want := []store.SealedSegment{
		under(l.segment(8, 4, "four"), mine), under(l.segment(16, 1, "one"), mine), under(l.segment(48, 3, "three"), mine),
		under(second.segment(3, 5, "five"), mine),
	}
	get := func(tenant string, k store.KeyID, after store.SegmentRef, limit int) []store.SealedSegment {
		t.Helper()
		return collect(t, func(fn func(store.SealedSegment) error) error { return s.SealedUnder(ctx, tenant, k, after, limit, fn) })
	}
	wantEqual(t, "all", get("a", mine, store.SegmentRef{}, 100), want)
	wantEqual(t, "two", get("a", mine, store.SegmentRef{}, 2), want[:2])
	wantEqual(t, "none", get("a", mine, store.SegmentRef{}, 0), nil)
	for i, seg := range want {
		wantEqual(t, fmt.Sprint("behind ", seg.SegmentRef), get("a", mine, seg.SegmentRef, 100), append([]store.SealedSegment(nil), want[i+1:]...))
	}
	wantEqual(t, "behind what is not there", get("a", mine, store.SegmentRef{LogNo: 1, No: 20}, 1), want[2:3])
	wantEqual(t, "under another key", len(get("a", theirs, store.SegmentRef{}, 100)), 1)
	wantEqual(t, "under no key", get("a", store.KeyID{3}, store.SegmentRef{}, 100), nil)
	wantEqual(t, "b's", get("b", mine, store.SegmentRef{}, 100), []store.SealedSegment{under(other.segment(16, 9, "other"), mine)})
	wantEqual(t, "nobody's", get("nobody", mine, store.SegmentRef{}, 100), nil)
}

func testMarks(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	other.mixed()
	l.mixed()
	bare := l.step(traceID(4), "", recorded(-5))
	bare.Segment, bare.ActorSegment = 7, 0
	l.append(bare)
	mark := func(seq int64, at evidence.Micros, run int64, synthetic bool) store.RowMark {
		return store.RowMark{
			Seq: seq, RecordedAt: at, OccurredAt: at - 1_000_000, Run: traceID(run), Synthetic: synthetic,
			Segment: store.NoSegment, ActorSegment: store.NoSegment,
		}
	}
	want := []store.RowMark{
		mark(1, long, 1, false), mark(2, long, 1, false), mark(4, long, 2, true), mark(6, long, 2, false),
		mark(7, long+10*day, 2, false), mark(8, long, 3, false),
		{Seq: 9, RecordedAt: -5, OccurredAt: -1_000_005, Run: traceID(4), Segment: 7, ActorSegment: 0},
	}
	marks := func(kind evidence.Kind, from, to int64) []store.RowMark {
		t.Helper()
		return collect(t, func(fn func(store.RowMark) error) error {
			return s.Marks(ctx, l.ref, kind, from, to, func(m *store.RowMark) error { return fn(*m) })
		})
	}
	wantEqual(t, "all", marks(evidence.KindTraceStep, 0, 100), want)
	wantEqual(t, "beyond", marks(evidence.KindTraceStep, -9, 1<<60), want)
	wantEqual(t, "a part", marks(evidence.KindTraceStep, 2, 7), want[1:4])
	wantEqual(t, "none", marks(evidence.KindTraceStep, 5, 5), nil)
	wantEqual(t, "traces", len(marks(evidence.KindTrace, 0, 100)), 1)
	wantEqual(t, "exports", marks(evidence.KindExport, 0, 100), nil)
	for _, kind := range evidence.Kinds() {
		l.append(l.full(kind, 4))
		m := marks(kind, l.head.Size-1, l.head.Size)
		wantEqual(t, kind.String(), m, []store.RowMark{{
			Seq: l.head.Size - 1, RecordedAt: 1_764_000_000_000_001, OccurredAt: 1_763_999_999_999_999, Run: "run 4", Segment: 4, ActorSegment: 5,
		}})
	}
}
