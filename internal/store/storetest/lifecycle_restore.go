package storetest

import (
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// testRestoreLifecycle writes down, in a tenant that has the records, what another store
// has of them.
func testRestoreLifecycle(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	l.steps(1, long, 5)
	other.steps(1, long, 5)
	// Its record's time counts, and the policy before it: what came later does not.
	now := evidence.MicrosOf(time.Now())
	early := store.Expiry{LogNo: 1, Table: tableSteps, From: 1, To: 4, Before: now - 91*day, By: l.at(l.head.Size)}
	l.append(l.applied(tableSteps, evidence.ClassLLMRuns, early.Before, recorded(now-day)))
	l.append(l.entry(evidence.KindAudit, text("event_type", "RetentionPolicyChanged"), text("entity_type", "RETENTION"),
		text("entity_id", evidence.ClassLLMRuns), text("limit_value", "365")))
	moved := store.Expiry{LogNo: 1, Table: store.TableLeaves, From: 0, To: 3, Before: long, By: l.at(l.head.Size)}
	l.append(l.applied(store.TableLeaves, "moved", long))
	subject := store.Hold{
		ID: "subject", Scope: store.HoldSubject, Runs: []string{traceID(1), "läuft "}, Records: []store.Position{l.at(0)}, Placed: l.at(l.head.Size),
	}
	l.append(l.placed(&subject))
	period := store.Hold{ID: "time", Scope: store.HoldTime, From: long, Until: long + day, Placed: l.at(l.head.Size)}
	l.append(l.placed(&period))
	period.Released = l.at(l.append(l.entry(evidence.KindAudit, text("event_type", "LegalHoldReleased"),
		text("entity_type", "RETENTION"), text("entity_id", "time"))))
	units := []store.ArchiveUnit{l.unit(0, 3), l.unit(3, 5)}

	for range 2 { // again is nothing new
		if err := s.RestoreLifecycle(ctx, "a", []store.Expiry{early, moved}, []store.Hold{subject, period}, units); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "expiries", expiries(t, s, "a"), []store.Expiry{early, moved})
		wantEqual(t, "holds", holds(t, s, "a"), []store.Hold{listed(subject), listed(period)})
		wantEqual(t, "parts", len(holdParts(t, s, "a", "subject")), 3)
		wantEqual(t, "units", archives(t, s, l.ref), units)
	}
	early.Done = true
	subject.Released = l.at(l.append(l.entry(evidence.KindAudit, text("event_type", "LegalHoldReleased"),
		text("entity_type", "RETENTION"), text("entity_id", "subject"))))
	wantErr(t, "expiry of what is held", func() error {
		n, err := s.Expire(ctx, "a", []store.Expiry{early}, 0, 2, false, nil)
		if n != 0 {
			t.Errorf("%d rows went", n)
		}
		return err
	}(), nil)
	if err := s.RestoreLifecycle(ctx, "a", []store.Expiry{early}, []store.Hold{subject}, nil); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "expiries", expiries(t, s, "a"), []store.Expiry{early, moved})
	wantEqual(t, "holds", holds(t, s, "a"), []store.Hold{listed(subject), listed(period)})
	wantEqual(t, "rows that went", l.expire(0, 100, true, early), 3)
	l.wantSeqs(evidence.KindTraceStep, 4, 5)
	wantEqual(t, "b's expiries", expiries(t, s, "b"), nil)
	wantEqual(t, "b's holds", holds(t, s, "b"), nil)
	other.wantSeqs(evidence.KindTraceStep, 1, 2, 3, 4, 5)
}

// testRestoreRefused sees that all but the clock is asked, and that it is all or none.
func testRestoreRefused(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	l.steps(1, long, 5)
	good := store.Expiry{LogNo: 1, Table: tableSteps, From: 1, To: 4, Before: long, By: l.at(l.head.Size)}
	l.append(l.applied(tableSteps, evidence.ClassLLMRuns, long))
	hold := store.Hold{ID: "all", Scope: store.HoldTenant, Placed: l.at(l.head.Size)}
	l.append(l.placed(&hold))
	young := store.Expiry{LogNo: 1, Table: "aos_traces", From: 1, To: 4, By: l.at(l.head.Size)}
	young.Before = 1_764_000_000_000_001 - 89*day // the record was made too early
	l.append(l.applied("aos_traces", evidence.ClassLLMRuns, young.Before))
	// Nobody makes rows old by a record that lies ahead.
	ahead := store.Expiry{LogNo: 1, Table: tableSteps, From: 1, To: 4, Before: evidence.MicrosOf(time.Now()) + 100*day, By: l.at(l.head.Size)}
	l.append(l.applied(tableSteps, evidence.ClassLLMRuns, ahead.Before, recorded(ahead.Before+90*day)))
	another := good
	another.By = hold.Placed
	wrong := hold
	wrong.Placed = good.By
	for what, err := range map[string]error{
		"an expiry by another record":          s.RestoreLifecycle(ctx, "a", []store.Expiry{good, another}, nil, nil),
		"a hold by another record":             s.RestoreLifecycle(ctx, "a", []store.Expiry{good}, []store.Hold{wrong}, nil),
		"an expiry of the future":              s.RestoreLifecycle(ctx, "a", []store.Expiry{good, ahead}, nil, nil),
		"an expiry that was ordered too early": s.RestoreLifecycle(ctx, "a", []store.Expiry{good, young}, nil, nil),
		"of nobody":                            s.RestoreLifecycle(ctx, "nobody", []store.Expiry{good}, nil, nil),
		"an archive with a gap":                s.RestoreLifecycle(ctx, "a", []store.Expiry{good}, nil, []store.ArchiveUnit{l.unit(1, 3)}),
	} {
		want := evidence.ErrForbidden
		switch what {
		case "of nobody":
			want = evidence.ErrNotFound
		case "an archive with a gap":
			want = evidence.ErrInvalid
		}
		wantErr(t, what, err, want)
	}
	wantEqual(t, "expiries", expiries(t, s, "a"), nil)
	wantEqual(t, "holds", holds(t, s, "a"), nil)
	if err := s.RestoreLifecycle(ctx, "a", nil, nil, nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

func testLifecycleSnapshot(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	l.steps(1, long, 3)
	e := l.expiry(tableSteps, 1, 4, long+100*day)
	h := l.hold(store.Hold{ID: "run", Scope: store.HoldRun, Runs: []string{"run"}})
	if err := s.KeepArchive(ctx, l.unit(0, 2)); err != nil {
		t.Fatal(err)
	}
	snap, err := s.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := snap.Close(); err != nil {
			t.Error(err)
		}
	}()
	old := *l
	old.r = snap
	l.expire(0, 100, true, e)
	l.release("run")
	l.hold(store.Hold{ID: "new", Scope: store.HoldTenant})
	if err := s.KeepArchive(ctx, l.unit(2, 4)); err != nil {
		t.Fatal(err)
	}
	old.wantSeqs(evidence.KindTraceStep, 1, 2, 3)
	wantEqual(t, "expiries", expiries(t, snap, "a"), []store.Expiry{e})
	wantEqual(t, "holds", holds(t, snap, "a"), []store.Hold{listed(h)})
	wantEqual(t, "held runs", must[map[string]string](t)(snap.HeldRuns(ctx, "a", []string{"run"})), map[string]string{"run": "run"})
	wantEqual(t, "units", archives(t, snap, l.ref), []store.ArchiveUnit{l.unit(0, 2)})
	l.wantSeqs(evidence.KindTraceStep)
	wantEqual(t, "units now", len(archives(t, s, l.ref)), 2)
}

func testLifecycleClosed(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	e := l.expiry(tableSteps, 0, 1, long)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, expire := s.Expire(ctx, "a", []store.Expiry{e}, 0, 1, true, nil)
	_, leaves := s.ExpireLeaves(ctx, l.ref, 1)
	_, plan := s.PlanDrop(ctx)
	_, _, planned := s.DropPlanned(ctx)
	_, drop := s.DropExpired(ctx)
	_, runs := s.HeldRuns(ctx, "a", []string{"r"})
	_, records := s.HeldRecords(ctx, "a", []store.Position{e.By})
	for what, err := range map[string]error{
		"Expire": expire, "ExpireLeaves": leaves, "PlanDrop": plan, "DropPlanned": planned, "DropExpired": drop, "HeldRuns": runs, "HeldRecords": records,
		"Remove":           s.Remove(ctx, "a", &store.Removal{By: e.By}),
		"ExtendHold":       s.ExtendHold(ctx, "a", "h", []string{"r"}, nil),
		"KeepArchive":      s.KeepArchive(ctx, l.unit(0, 1)),
		"RestoreLifecycle": s.RestoreLifecycle(ctx, "a", []store.Expiry{e}, nil, nil),
		"Expiries":         s.Expiries(ctx, "a", func(store.Expiry) error { return nil }),
		"Holds":            s.Holds(ctx, "a", func(store.Hold) error { return nil }),
		"Archives":         s.Archives(ctx, l.ref, func(store.ArchiveUnit) error { return nil }),
		"Marks":            s.Marks(ctx, l.ref, evidence.KindAudit, 0, 1, func(*store.RowMark) error { return nil }),
		"SealedUnder":      s.SealedUnder(ctx, "a", store.KeyID{}, store.SegmentRef{}, 1, func(store.SealedSegment) error { return nil }),
	} {
		if err == nil {
			t.Errorf("%s of a closed store succeeds", what)
		}
	}
}
