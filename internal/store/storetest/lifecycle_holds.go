package storetest

import (
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// placed is a LegalHoldPlaced record.
func (l *testLog) placed(h *store.Hold) store.Entry {
	e := l.entry(evidence.KindAudit, text("event_type", "LegalHoldPlaced"), text("entity_type", "RETENTION"),
		text("entity_id", h.ID), text("rule_id", h.Scope))
	if h.Scope == store.HoldTime {
		integer("valid_from", int64(h.From))(e.Leaf)
		integer("valid_until", int64(h.Until))(e.Leaf)
	}
	if h.Scope == store.HoldRun && len(h.Runs) > 0 {
		text("about_run", h.Runs[0])(e.Leaf)
	}
	return e
}

// tryHold commits a hold with its record, which spoil may change both.
func (l *testLog) tryHold(h store.Hold, spoil ...func(*store.Entry, *store.Hold)) (store.Hold, error) {
	h.Placed = l.at(l.head.Size)
	record := l.placed(&h)
	for _, f := range spoil {
		f(&record, &h)
	}
	c := l.extend(record)
	c.Holds = []store.Hold{h}
	return h, l.commit(c)
}

func (l *testLog) hold(h store.Hold) store.Hold {
	l.t.Helper()
	h, err := l.tryHold(h)
	if err != nil {
		l.t.Fatalf("hold %s: %v", h.ID, err)
	}
	return h
}

// tryRelease commits the release of a hold with its record.
func (l *testLog) tryRelease(id string, spoil ...func(*store.Entry, *store.Hold)) (store.Position, error) {
	record := l.entry(evidence.KindAudit, text("event_type", "LegalHoldReleased"), text("entity_type", "RETENTION"), text("entity_id", id))
	h := store.Hold{ID: id, Released: l.at(l.head.Size)}
	for _, f := range spoil {
		f(&record, &h)
	}
	c := l.extend(record)
	c.Releases = []store.Hold{h}
	return h.Released, l.commit(c)
}

func (l *testLog) release(id string) store.Position {
	l.t.Helper()
	at, err := l.tryRelease(id)
	if err != nil {
		l.t.Fatalf("release %s: %v", id, err)
	}
	return at
}

func holds(t *testing.T, r store.Reader, tenant string) []store.Hold {
	t.Helper()
	return collect(t, func(fn func(store.Hold) error) error { return r.Holds(ctx, tenant, fn) })
}

// listed is a hold as Holds yields it.
func listed(h store.Hold) store.Hold {
	h.NRuns, h.NRecord = int64(len(h.Runs)), int64(len(h.Records))
	h.Runs, h.Records = nil, nil
	return h
}

// holdPart is what HoldParts yields.
type holdPart struct {
	Run string
	At  store.Position
}

func holdParts(t *testing.T, r store.Reader, tenant, id string) []holdPart {
	t.Helper()
	return collect(t, func(fn func(holdPart) error) error {
		return r.HoldParts(ctx, tenant, id, func(run string, at store.Position) error { return fn(holdPart{run, at}) })
	})
}

func testHolds(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	wantEqual(t, "none", holds(t, s, "a"), nil)
	wantEqual(t, "nobody's", holds(t, s, "nobody"), nil)
	l.mixed()
	other.mixed()
	run := l.hold(store.Hold{ID: "hold-3", Scope: store.HoldRun, Runs: []string{traceID(1)}})
	subject := l.hold(store.Hold{ID: "hold-1", Scope: store.HoldSubject, Runs: []string{traceID(1), traceID(2)}, Records: []store.Position{l.at(5)}})
	period := l.hold(store.Hold{ID: "hold-2", Scope: store.HoldTime, From: long, Until: long + day})
	all := l.hold(store.Hold{ID: "hold-0", Scope: store.HoldTenant})
	theirs := other.hold(store.Hold{ID: "hold-3", Scope: store.HoldRun, Runs: []string{"läuft "}}) // an id of another tenant's
	want := []store.Hold{listed(run), listed(subject), listed(period), listed(all)}
	wantEqual(t, "holds", holds(t, s, "a"), want)
	wantEqual(t, "b's", holds(t, s, "b"), []store.Hold{listed(theirs)})

	held := func(tenant string, want map[string]string, runs ...string) {
		t.Helper()
		wantEqual(t, "held runs of "+tenant, must[map[string]string](t)(s.HeldRuns(ctx, tenant, runs)), want)
	}
	records := func(tenant string, want map[store.Position]string, at ...store.Position) {
		t.Helper()
		wantEqual(t, "held records of "+tenant, must[map[store.Position]string](t)(s.HeldRecords(ctx, tenant, at)), want)
	}
	held("a", map[string]string{traceID(2): "hold-1"}, traceID(2), traceID(3), "unknown")
	held("b", map[string]string{"läuft ": "hold-3"}, traceID(1), "läuft ", "läuft")
	held("nobody", map[string]string{}, traceID(1))
	records("a", map[store.Position]string{l.at(5): "hold-1"}, l.at(4), l.at(5), l.at(500), store.Position{LogNo: 7, Seq: 5})
	records("b", map[store.Position]string{}, l.at(5))
	both := must[map[string]string](t)(s.HeldRuns(ctx, "a", []string{traceID(1)}))[traceID(1)]
	if both != "hold-1" && both != "hold-3" {
		t.Errorf("a run that two hold is held by %q", both)
	}

	// A subject's grows, and again is nothing new.
	for range 2 {
		if err := s.ExtendHold(ctx, "a", "hold-1", []string{traceID(3), traceID(2)}, []store.Position{l.at(0), l.at(5)}); err != nil {
			t.Fatal(err)
		}
	}
	want[1].NRuns, want[1].NRecord = 3, 2
	wantEqual(t, "holds", holds(t, s, "a"), want)
	held("a", map[string]string{traceID(2): "hold-1", traceID(3): "hold-1"}, traceID(2), traceID(3))
	records("a", map[store.Position]string{l.at(0): "hold-1", l.at(5): "hold-1"}, l.at(0), l.at(5), l.at(6))
	wantEqual(t, "parts", holdParts(t, s, "a", "hold-1"), []holdPart{
		{traceID(1), store.Position{}}, {traceID(2), store.Position{}}, {traceID(3), store.Position{}}, {"", l.at(0)}, {"", l.at(5)},
	})
	wantEqual(t, "parts of b's", holdParts(t, s, "b", "hold-3"), []holdPart{{"läuft ", store.Position{}}})
	wantEqual(t, "parts of none", holdParts(t, s, "a", "hold-9"), nil)

	// Released, it is listed still and holds nothing.
	want[1].Released = l.release("hold-1")
	wantEqual(t, "holds", holds(t, s, "a"), want)
	held("a", map[string]string{traceID(1): "hold-3"}, traceID(1), traceID(2), traceID(3))
	records("a", map[store.Position]string{}, l.at(5))
	wantEqual(t, "parts of a released one", len(holdParts(t, s, "a", "hold-1")), 5)
	want[3].Released, want[2].Released = l.release("hold-0"), l.release("hold-2")
	wantEqual(t, "holds", holds(t, s, "a"), want)
	wantEqual(t, "b's", holds(t, s, "b"), []store.Hold{listed(theirs)})
}

func testHoldsRefused(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	other.hold(store.Hold{ID: "hold-b", Scope: store.HoldSubject})
	good := func() store.Hold { return store.Hold{ID: "hold-1", Scope: store.HoldRun, Runs: []string{"run"}} }
	for what, spoil := range map[string]func(*store.Entry, *store.Hold){
		"by a record of another event": func(r *store.Entry, _ *store.Hold) { text("event_type", "LOG_VIEW")(r.Leaf) },
		"by a record of another hold":  func(_ *store.Entry, h *store.Hold) { h.ID = "hold-2" },
		"of another scope":             func(_ *store.Entry, h *store.Hold) { h.Scope = store.HoldSubject },
		"by no record":                 func(_ *store.Entry, h *store.Hold) { h.Placed.Seq += 1000 },
		"by a record before":           func(_ *store.Entry, h *store.Hold) { h.Placed.Seq-- },
	} {
		_, err := l.tryHold(good(), spoil)
		wantErr(t, "a hold "+what, err, evidence.ErrForbidden)
		l.wantHead()
	}
	_, err := l.tryHold(store.Hold{ID: "hold-1", Scope: "log"})
	wantErr(t, "a hold of no scope", err, evidence.ErrInvalid)
	wantEqual(t, "holds", holds(t, s, "a"), nil)
	l.hold(good())
	_, err = l.tryHold(good())
	wantErr(t, "the same hold again", err, evidence.ErrConflict)

	for what, spoil := range map[string]func(*store.Entry, *store.Hold){
		"by a record of another event": func(r *store.Entry, _ *store.Hold) { text("event_type", "LegalHoldPlaced")(r.Leaf) },
		"by a record of another hold":  func(r *store.Entry, _ *store.Hold) { text("entity_id", "hold-2")(r.Leaf) },
		"by no record":                 func(_ *store.Entry, h *store.Hold) { h.Released.Seq += 1000 },
		"by a record before":           func(_ *store.Entry, h *store.Hold) { h.Released.Seq-- },
	} {
		_, err := l.tryRelease("hold-1", spoil)
		wantErr(t, "a release "+what, err, evidence.ErrForbidden)
		l.wantHead()
	}
	_, err = l.tryRelease("hold-b")
	wantErr(t, "the release of another tenant's", err, evidence.ErrNotFound)
	wantErr(t, "extending one of a run", s.ExtendHold(ctx, "a", "hold-1", []string{"other"}, nil), evidence.ErrInvalid)
	wantErr(t, "extending another tenant's", s.ExtendHold(ctx, "a", "hold-b", []string{"other"}, nil), evidence.ErrNotFound)
	wantErr(t, "extending nobody's", s.ExtendHold(ctx, "nobody", "hold-b", []string{"other"}, nil), evidence.ErrNotFound)
	wantEqual(t, "held", must[map[string]string](t)(s.HeldRuns(ctx, "a", []string{"run", "other"})), map[string]string{"run": "hold-1"})

	l.release("hold-1")
	_, err = l.tryRelease("hold-1")
	wantErr(t, "a second release", err, evidence.ErrConflict)
	_, err = l.tryHold(good())
	wantErr(t, "placing a released hold again", err, evidence.ErrConflict)
	l.hold(store.Hold{ID: "hold-2", Scope: store.HoldSubject})
	l.release("hold-2")
	wantErr(t, "extending a released one", s.ExtendHold(ctx, "a", "hold-2", []string{"other"}, nil), evidence.ErrConflict)
	wantEqual(t, "held", must[map[string]string](t)(s.HeldRuns(ctx, "a", []string{"run", "other"})), map[string]string{})
}

// testHoldsKeep sees that expiry leaves out what is held, until it is released.
func testHoldsKeep(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	at := l.steps(1, long, 5)                                                                                  // 1 to 5, a day apart
	l.steps(2, long+10*day, 3)                                                                                 // 6 to 8
	l.append(l.entry(evidence.KindSystem, recorded(long)), l.entry(evidence.KindSystem, recorded(long+2*day))) // 9, 10
	other.steps(1, long, 4)
	if at != 1 {
		t.Fatalf("the first stands at %d", at)
	}
	end := l.head.Size
	steps, system := l.expiry(tableSteps, 1, end, long+100*day), l.expiry("system_records", 1, end, long+100*day)
	theirs := other.expiry(tableSteps, 1, 5, long+100*day)

	// Held is what was recorded in it (2, which occurred before) or occurred in it (4,
	// which was recorded behind).
	period := l.hold(store.Hold{ID: "time", Scope: store.HoldTime, From: long + day, Until: long + 3*day - 999_999})
	run := l.hold(store.Hold{ID: "run", Scope: store.HoldRun, Runs: []string{traceID(2)}})
	subject := l.hold(store.Hold{ID: "subject", Scope: store.HoldSubject, Records: []store.Position{l.at(9)}})
	wantEqual(t, "steps that went", l.expire(0, end, false, steps), 2)
	l.wantSeqs(evidence.KindTraceStep, 2, 3, 4, 6, 7, 8)
	wantEqual(t, "system records that went", l.expire(0, end, false, system), 0)
	l.wantSeqs(evidence.KindSystem, 0, 9, 10)
	wantEqual(t, "b's that went", other.expire(0, 100, true, theirs), 4)

	all := l.hold(store.Hold{ID: "all", Scope: store.HoldTenant})
	l.release(run.ID)
	_, err := s.Expire(ctx, "a", []store.Expiry{steps}, 0, end, true, nil)
	wantErr(t, "expiry under a hold of the tenant", err, store.ErrHeld)
	wantEqual(t, "b's that went", other.expire(0, 100, true, theirs), 0)
	l.wantSeqs(evidence.KindTraceStep, 2, 3, 4, 6, 7, 8)
	l.release(all.ID)
	wantEqual(t, "steps that went", l.expire(0, end, false, steps), 3)
	l.wantSeqs(evidence.KindTraceStep, 2, 3, 4)
	l.release(subject.ID)
	wantEqual(t, "system records that went", l.expire(0, end, false, system), 1)
	l.wantSeqs(evidence.KindSystem, 0, 10)
	l.release(period.ID)
	wantEqual(t, "rows that went", l.expire(0, end, true, steps, system), 4)
	l.wantSeqs(evidence.KindTraceStep)
	l.wantSeqs(evidence.KindSystem, 0)
}

// testHoldsForbid sees that what orders removals is refused under a hold.
func testHoldsForbid(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	l.steps(1, long, 2)
	erased := func(l *testLog, set ...func(*evidence.Leaf)) error {
		return l.commit(l.extend(l.entry(evidence.KindAudit, append([]func(*evidence.Leaf){text("event_type", "ErasureExecuted")}, set...)...)))
	}
	none := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	run := l.hold(store.Hold{ID: "run", Scope: store.HoldRun, Runs: []string{"held"}})
	subject := l.hold(store.Hold{ID: "subject", Scope: store.HoldSubject, Runs: []string{"theirs"}})
	for i, name := range []string{"held", "theirs"} {
		err := erased(l, inRun(name, int64(i)))
		wantErr(t, "erasure of a run that is held", err, store.ErrHeld)
		wantErr(t, "the same", err, evidence.ErrConflict)
	}
	l.wantHead()
	none("erasure of another run", erased(l, inRun("free", 0)))
	none("erasure without a run", erased(l))
	none("erasure at b", erased(other, inRun("held", 0)))
	none("another event of the run", l.commit(l.extend(l.entry(evidence.KindAudit, inRun("held", 5), text("event_type", "LOG_VIEW")))))
	l.release(run.ID)
	none("erasure of a run that is released", erased(l, inRun("held", 1)))
	wantErr(t, "erasure of the other", erased(l, inRun("theirs", 1)), store.ErrHeld)
	l.release(subject.ID)

	all := l.hold(store.Hold{ID: "all", Scope: store.HoldTenant})
	wantErr(t, "erasure under a hold of the tenant", erased(l, inRun("free", 2)), store.ErrHeld)
	_, err := l.tryExpiry(store.Expiry{Table: tableSteps, From: 1, To: 3, Before: long + day})
	wantErr(t, "an expiry under a hold of the tenant", err, store.ErrHeld)
	l.wantHead()
	wantEqual(t, "expiries", expiries(t, s, "a"), nil)
	none("erasure at b", erased(other, inRun("free", 1)))
	other.expiry(tableSteps, 0, 1, long)
	l.release(all.ID)
	none("erasure behind it", erased(l, inRun("free", 3)))
	l.expiry(tableSteps, 1, 3, long+day)
	if n := len(holds(t, s, "a")); n != 3 {
		t.Errorf("%d holds are listed", n)
	}
}
