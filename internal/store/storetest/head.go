package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

var ctx = context.Background()

func testEmpty(t *testing.T, s store.Store) {
	ref := store.LogRef{Tenant: "nobody", No: 1}
	if logs := must[[]store.Log](t)(s.Logs(ctx, "")); len(logs) != 0 {
		t.Errorf("an empty store has logs: %v", logs)
	}
	if logs := must[[]store.Log](t)(s.Logs(ctx, "nobody")); len(logs) != 0 {
		t.Errorf("an unknown tenant has logs: %v", logs)
	}
	_, err := s.Head(ctx, ref)
	wantErr(t, "Head", err, evidence.ErrNotFound)
	_, err = s.Tile(ctx, ref, 0, 0)
	wantErr(t, "Tile", err, evidence.ErrNotFound)
	_, err = s.Row(ctx, ref, evidence.KindAudit, 0)
	wantErr(t, "Row", err, evidence.ErrNotFound)
	_, err = s.DataKey(ctx, "nobody", store.KeyID{1})
	wantErr(t, "DataKey", err, evidence.ErrNotFound)
	_, err = s.SealedSegment(ctx, "nobody", store.SegmentRef{LogNo: 1})
	wantErr(t, "SealedSegment", err, evidence.ErrNotFound)
	_, err = s.Setting(ctx, "x")
	wantErr(t, "Setting", err, evidence.ErrNotFound)
	wantErr(t, "KeepCheckpoint", s.KeepCheckpoint(ctx, ref, store.Checkpoint{Size: 1}), evidence.ErrNotFound)

	if m := must[map[evidence.ID]store.Position](t)(s.FindIDs(ctx, "nobody", []evidence.ID{newID()})); len(m) != 0 {
		t.Errorf("FindIDs: %v", m)
	}
	if m := must[map[store.Span]store.Position](t)(s.FindSpans(ctx, "nobody", []store.Span{{TraceID: traceID(1), SpanID: spanID(1)}})); len(m) != 0 {
		t.Errorf("FindSpans: %v", m)
	}
	if m := must[map[string]store.RunState](t)(s.Runs(ctx, "nobody", []string{"r"})); len(m) != 0 {
		t.Errorf("Runs: %v", m)
	}
	if l := must[[]store.DataKey](t)(s.DataKeys(ctx, "nobody", "", "")); len(l) != 0 {
		t.Errorf("DataKeys: %v", l)
	}
	if l := must[[]store.IndexEntry](t)(s.FindIndex(ctx, "nobody", "subject", [16]byte{}, 10)); len(l) != 0 {
		t.Errorf("FindIndex: %v", l)
	}
	for what, err := range map[string]error{
		"AllRuns":    s.AllRuns(ctx, "nobody", func(store.RunState) error { return errStop }),
		"OpenRuns":   s.OpenRuns(ctx, func(string, store.RunState) error { return errStop }),
		"RunRecords": s.RunRecords(ctx, "nobody", "r", func(store.RunRecord) error { return errStop }),
		"SettleRuns": s.SettleRuns(ctx, "nobody", map[string]int64{"r": 1}),
		"RecordIDs":  s.RecordIDs(ctx, "nobody", func(evidence.ID, store.Position) error { return errStop }),
		"Index":      s.Index(ctx, "nobody", func(store.IndexEntry) error { return errStop }),
	} {
		if err != nil {
			t.Errorf("%s of an unknown tenant: %v", what, err)
		}
	}
}

func testLogs(t *testing.T, s store.Store) {
	b1 := openLog(t, s, "b")
	a1 := openLog(t, s, "a")
	b1.append(b1.entry(evidence.KindAudit))
	b2 := openLogNo(t, s, store.LogRef{Tenant: "b", No: 2})
	z := openLog(t, s, "a-z")
	wantEqual(t, "all logs", must[[]store.Log](t)(s.Logs(ctx, "")), []store.Log{a1.info, z.info, b1.info, b2.info})
	wantEqual(t, "logs of b", must[[]store.Log](t)(s.Logs(ctx, "b")), []store.Log{b1.info, b2.info})
	wantEqual(t, "logs of B", must[[]store.Log](t)(s.Logs(ctx, "B")), nil)
	for _, l := range []*testLog{a1, b1, b2, z} {
		l.wantHead()
	}
	// The two logs of a tenant are two logs.
	b2.append(b2.entry(evidence.KindAudit))
	b1.wantHead()
	b2.wantHead()
}

func testOpenTwice(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	again := newLog(t, s, l.ref)
	c := again.extend(again.entry(evidence.KindSystem))
	c.Open = &again.info
	wantErr(t, "opening a log again", again.commit(c), store.ErrHeadMoved)
	l.wantHead()

	other := newLog(t, s, store.LogRef{Tenant: "b", No: 1})
	other.info.Origin = l.info.Origin
	c = other.extend(other.entry(evidence.KindSystem))
	c.Open = &other.info
	wantErr(t, "opening a log under another's origin", other.commit(c), evidence.ErrConflict)
	if logs := must[[]store.Log](t)(s.Logs(ctx, "b")); len(logs) != 0 {
		t.Errorf("the refused log is there: %v", logs)
	}

	gap := newLog(t, s, store.LogRef{Tenant: "a", No: 3})
	c = gap.extend(gap.entry(evidence.KindSystem))
	c.Open = &gap.info
	wantErr(t, "opening log 3 after log 1", gap.commit(c), evidence.ErrInvalid)

	unopened := newLog(t, s, store.LogRef{Tenant: "c", No: 1})
	wantErr(t, "writing a log that was not opened", unopened.commit(unopened.extend(unopened.entry(evidence.KindSystem))), evidence.ErrNotFound)
}

func testHeadSwap(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	l.append(l.entry(evidence.KindAudit), l.entry(evidence.KindAudit))
	l.wantHead()
	for what, spoil := range map[string]func(*store.Head){
		"size": func(h *store.Head) { h.Size-- },
		"root": func(h *store.Head) { h.Root[31] ^= 1 },
		"note": func(h *store.Head) { h.Note = append([]byte("x"), h.Note...) },
	} {
		stale := *l
		spoil(&stale.head)
		err := stale.commit(stale.extend(stale.entry(evidence.KindAudit)))
		wantErr(t, "a commit from another "+what, err, store.ErrHeadMoved)
		l.wantHead()
	}
	l.append(l.entry(evidence.KindAudit))
	l.wantHead()
}

// testHeadOnly signs the same tree anew, and writes beside the tree.
func testHeadOnly(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	c := l.extend()
	c.Keys = []store.DataKey{{ID: store.KeyID{7}, Scope: store.ScopeDay, Label: "2026-11-24", Wrapped: []byte("k")}}
	l.mustCommit(c)
	l.wantHead()
	if _, err := s.DataKey(ctx, "a", store.KeyID{7}); err != nil {
		t.Error(err)
	}
}

func testMalformed(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	for what, c := range map[string]store.LogCommit{
		"too few entries":  func() store.LogCommit { c := l.extend(l.entry(evidence.KindAudit)); c.Entries = nil; return c }(),
		"wrong leaf index": func() store.LogCommit { c := l.extend(l.entry(evidence.KindAudit)); c.Entries[0].Leaf.Seq++; return c }(),
		"a shrinking log":  func() store.LogCommit { c := l.extend(); c.Next.Size = 0; return c }(),
		"no kind":          l.extend(l.entry(evidence.KindAudit, func(l *evidence.Leaf) { l.Kind = 0 })),
		"a foreign field": l.extend(l.entry(evidence.KindAudit, func(l *evidence.Leaf) {
			l.Pub = append(l.Pub, evidence.Fact{Field: evidence.PublicField(evidence.KindTraceStep, "skill_name"), Str: "x"})
		})),
		"a bad span id": l.extend(l.step(traceID(1), "XYZ")),
	} {
		wantErr(t, what, l.commit(c), evidence.ErrInvalid)
		l.wantHead()
	}
	l.append(l.entry(evidence.KindAudit))
}

func testSettings(t *testing.T, s store.Store) {
	for _, v := range []string{"1", "", "ünïcode ' \" \\ \n", "1"} {
		if err := s.SetSetting(ctx, "Name", v); err != nil {
			t.Fatal(err)
		}
		if got := must[string](t)(s.Setting(ctx, "Name")); got != v {
			t.Errorf("setting %q, want %q", got, v)
		}
	}
	_, err := s.Setting(ctx, "name")
	wantErr(t, "a setting in other case", err, evidence.ErrNotFound)
}

// testSettingsUnder: those of a prefix and no others, and no more of a value than is asked for.
func testSettingsUnder(t *testing.T, s store.Store) {
	for _, name := range []string{"a", "a.", "a/b", "a/", "A/b", "a/ü", "a/\U0010FFFF", "a/~/c", "a0", "a/b/c", "b/"} {
		if err := s.SetSetting(ctx, name, "vü"+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetSetting(ctx, "a/empty", ""); err != nil {
		t.Fatal(err)
	}
	under := func(prefix string, most int) (list []string) {
		t.Helper()
		err := s.SettingsUnder(ctx, prefix, most, func(name, value string) error {
			list = append(list, name+"="+value)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for _, tc := range []struct {
		prefix string
		most   int
		want   []string
	}{
		{"a/", 2, []string{"a/=vü", "a/b=vü", "a/b/c=vü", "a/empty=", "a/~/c=vü", "a/ü=vü", "a/\U0010FFFF=vü"}},
		{"a/b/", 100, []string{"a/b/c=vüa/b/c"}},
		{"A/", 1, []string{"A/b=v"}},
		{"c/", 1, nil},
	} {
		if diff := cmp.Diff(tc.want, under(tc.prefix, tc.most)); diff != "" {
			t.Errorf("under %s (-want +got):\n%s", tc.prefix, diff)
		}
	}
	broken := errors.New("broken")
	err := s.SettingsUnder(ctx, "a/", 1, func(string, string) error { return broken })
	wantErr(t, "who breaks off", err, broken)
	for _, prefix := range []string{"", "a"} {
		err := s.SettingsUnder(ctx, prefix, 1, func(string, string) error { return nil })
		wantErr(t, "prefix "+prefix, err, evidence.ErrInvalid)
	}
}

func testGuards(t *testing.T, s store.Store) {
	openLog(t, s, "a")
	if list := must[[]string](t)(s.Guards(ctx)); len(list) != 0 {
		t.Errorf("guards are missing: %q", list)
	}
}

func testScrub(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	if err := s.Scrub(ctx); err != nil {
		t.Fatal(err)
	}
	l.append(l.entry(evidence.KindAudit))
	l.wantHead()
}
