package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// positions asks a query and returns where what it finds stands.
func positions(t *testing.T, s store.Reader, q store.Query) []store.Position {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 1000
	}
	list := []store.Position{}
	if err := s.Find(ctx, q, func(f store.Found) error {
		list = append(list, f.Position)
		return nil
	}); err != nil {
		t.Fatalf("find %+v: %v", q, err)
	}
	if q.After == nil && len(list) < q.Limit {
		if n, err := s.Count(ctx, q, 1000); err != nil || n != int64(len(list)) {
			t.Errorf("count of %+v: %d, %v, want %d", q, n, err, len(list))
		}
	}
	return list
}

func is(field string, values ...string) store.Condition {
	return store.Condition{Field: field, Values: values}
}

// testFindFilters asks for every filter of the contract's lists and views, of a
// tenant of several logs among others'.
func testFindFilters(t *testing.T, s store.Store) {
	filters := map[evidence.Kind][]string{
		evidence.KindLLMRun: {
			"run", "trace_id", "provider", "model", "execution_status", "outcome", "agent_id", "correlation_id", "conversation_id", "is_synthetic",
			"run_alias", "actor_type", "completed_at", "revision", "seed",
		},
		evidence.KindTrace:      {"run", "trace_id", "run_alias", "seed"},
		evidence.KindTraceStep:  {"run", "trace_id", "span_id", "parent_span_id", "status", "is_synthetic"},
		evidence.KindTraceEvent: {"run", "trace_id", "span_id", "event_name"},
		evidence.KindSystem: {
			"run", "component", "event_type", "severity", "caused_by", "correlation_id", "visibility", "is_synthetic", "vkey",
		},
		evidence.KindMetric: {"run", "service_name", "from", "is_synthetic"},
		evidence.KindAudit: {
			"run", "about_run", "event_type", "entity_type", "entity_id", "actor_type", "agent_id", "system_id", "correlation_id", "is_synthetic", "observed_value",
		},
		evidence.KindExport: {"about_run", "export_id", "scope", "is_synthetic", "size_bytes"},
	}
	for kind, fields := range filters {
		for _, field := range fields {
			testFilter(t, s, kind, field)
		}
	}
}

// filterValues are two values of a field.
func filterValues(f *evidence.Field) (one, other string) {
	switch f.Type {
	case evidence.TypeEnum:
		return f.Enum[0], f.Enum[1]
	case evidence.TypeBool:
		return "true", "false"
	case evidence.TypeTime:
		return poolTimes[2].String(), poolTimes[3].String()
	case evidence.TypeInt, evidence.TypeCount:
		return "7", "0"
	case evidence.TypeTraceID:
		return traceID(1), traceID(2)
	case evidence.TypeSpanID:
		return spanID(-1), spanID(1)
	}
	return "Value ü", "value ü"
}

func testFilter(t *testing.T, s store.Store, kind evidence.Kind, field string) {
	t.Helper()
	f := evidence.PublicField(kind, field)
	one, other := "Value ü", "value ü"
	switch {
	case f != nil:
		one, other = filterValues(f)
	case field != "run":
		return // that kind has no such field
	}
	tenant := fmt.Sprintf("a-%d", unique()) // and nothing is stored under this name yet
	wantEqual(t, "found of no tenant", positions(t, s, store.Query{Tenant: tenant, Kind: kind, Where: []store.Condition{is(field, one)}}), []store.Position{})
	a1 := openLog(t, s, tenant)
	b := openLog(t, s, fmt.Sprintf("b-%d", unique()))
	n := int64(0)
	entry := func(v string) store.Entry {
		n++
		e := a1.entry(kind, inRun(fmt.Sprint("run ", n), n))
		switch kind {
		case evidence.KindLLMRun:
			integer("revision", n)(e.Leaf)
		case evidence.KindTraceStep: // some are there several times
			text("trace_id", traceID(9))(e.Leaf)
			text("conflict_of", newID().String())(e.Leaf)
		}
		switch {
		case v == "":
		case field == "run":
			e.Leaf.Run = v
		default:
			e.Leaf.SetFact(factOf(f, v))
		}
		return e
	}
	var ones, others []store.Position
	for i, l := range []*testLog{a1, a1, nil} {
		if i == 2 {
			l = openLogNo(t, s, store.LogRef{Tenant: tenant, No: 2})
		}
		at := l.append(entry(one), entry(""), entry(one), entry(other))
		ones = append(ones, l.at(at), l.at(at+2))
		others = append(others, l.at(at+3))
	}
	b.append(entry(one), entry(other), entry(one), entry(one))
	newest := func(list ...store.Position) []store.Position {
		slices.SortFunc(list, func(a, b store.Position) int {
			if before(a, b) {
				return 1
			}
			return -1
		})
		return list
	}
	ask := func(what string, where []store.Condition, want []store.Position) {
		t.Helper()
		wantEqual(t, fmt.Sprintf("%s by %s, %s", kind, field, what), positions(t, s, store.Query{Tenant: tenant, Kind: kind, Where: where}), want)
	}
	ask("one", []store.Condition{is(field, one)}, newest(slices.Clone(ones)...))
	ask("the other", []store.Condition{is(field, other, other)}, newest(slices.Clone(others)...))
	ask("either", []store.Condition{is(field, one, other)}, newest(slices.Concat(ones, others)...))
	ask("both", []store.Condition{is(field, one), is(field, other)}, []store.Position{})
	ask("none", []store.Condition{is(field)}, []store.Position{})
	if f == nil || f.Type.IsText() {
		ask("unknown", []store.Condition{is(field, one+" ", "VALUE Ü", "")}, []store.Position{})
	}
	got := positions(t, s, store.Query{Tenant: b.ref.Tenant, Kind: kind, Where: []store.Condition{is(field, one)}})
	wantEqual(t, fmt.Sprintf("%s by %s, of another tenant", kind, field), len(got), 3)
}

// testFindPages reads pages while records arrive: what was there when the first
// was read is found once each, and nothing else.
func testFindPages(t *testing.T, s store.Store) {
	first, other := openLog(t, s, "a"), openLog(t, s, "b")
	arrive := func(logs ...*testLog) {
		for i, l := range logs {
			l.append(l.entry(evidence.KindAudit, text("event_type", "LOGIN"), func(leaf *evidence.Leaf) {
				leaf.OccurredAt += evidence.Micros(unique()*7919%5) + evidence.Micros(i) // many at one time
			}), l.entry(evidence.KindSystem))
		}
	}
	for range 20 {
		arrive(first, other)
	}
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	for range 20 {
		arrive(other, second)
	}
	for _, order := range []store.Order{store.Newest, store.ByTime, store.ByTimeDown} {
		for _, where := range [][]store.Condition{nil, {is("event_type", "LOGIN")}, {is("event_type", "LOGIN", "LOGOUT"), is("source_component", "storetest")}} {
			q := store.Query{Tenant: "a", Kind: evidence.KindAudit, Where: where, Below: second.at(second.head.Size), Order: order, Limit: 1000}
			want := must[[]store.Found](t)(foundBy(s, q))
			if len(want) < 20 {
				t.Fatalf("%d records", len(want))
			}
			var got []store.Found
			for q.Limit = 7; ; {
				page := must[[]store.Found](t)(foundBy(s, q))
				got = append(got, page...)
				if len(page) < q.Limit {
					break
				}
				last := page[len(page)-1]
				q.After, q.AfterTime = &last.Position, last.OccurredAt
				second.append(second.entry(evidence.KindAudit, text("event_type", "LOGIN"), func(leaf *evidence.Leaf) { leaf.OccurredAt-- }))
			}
			wantEqual(t, fmt.Sprintf("pages in order %d of %v", order, where), got, want)
			if order != store.Newest {
				continue
			}
			for i, f := range got {
				if i > 0 && !before(f.Position, got[i-1].Position) {
					t.Errorf("%v comes after %v", f.Position, got[i-1].Position)
				}
			}
		}
	}
	// Pins and pages at the edge of a log.
	q := store.Query{Tenant: "a", Kind: evidence.KindSystem}
	all := positions(t, s, q)
	for i, p := range all {
		q.Below = p
		wantEqual(t, fmt.Sprint("below ", p), positions(t, s, q), all[i+1:], cmpopts.EquateEmpty())
		wantEqual(t, fmt.Sprint("after ", p), positions(t, s, store.Query{Tenant: "a", Kind: q.Kind, After: &p}), all[i+1:], cmpopts.EquateEmpty())
	}
	q.Below = store.Position{LogNo: 9}
	wantEqual(t, "below a log that is not there", positions(t, s, q), all)
	q.Below = store.Position{LogNo: 1}
	wantEqual(t, "below the first record", positions(t, s, q), []store.Position{})
	// A snapshot finds what was there.
	snap := must[store.Snapshot](t)(s.Snapshot(ctx))
	defer snap.Close()
	arrive(other, second)
	q.Below = store.Position{}
	wantEqual(t, "in a snapshot", positions(t, snap, q), all)
	wantEqual(t, "found since", len(positions(t, s, q)), len(all)+1)
}

// testFindWindow sees that both ends of a window are in it, to the microsecond,
// and that ties are in the order of the log.
func testFindWindow(t *testing.T, s store.Store) {
	const from, until = evidence.Micros(1_764_000_000_000_000), evidence.Micros(1_764_000_060_000_000)
	for _, kind := range evidence.Kinds() {
		tenant := fmt.Sprintf("a-%s", kind)
		first := openLog(t, s, tenant)
		other := openLog(t, s, "b-"+kind.String())
		type placed struct {
			store.Position
			at evidence.Micros
		}
		var all []placed
		add := func(l *testLog, at evidence.Micros) store.Position {
			e := l.entry(kind, inRun(traceID(1), 0), func(l *evidence.Leaf) { l.OccurredAt = at })
			if f := evidence.PublicField(kind, "trace_id"); f != nil {
				text("trace_id", traceID(1))(e.Leaf)
			}
			if kind == evidence.KindLLMRun {
				integer("revision", unique())(e.Leaf)
			}
			return l.at(l.append(e))
		}
		l := first
		for no := 1; no <= 2; no++ {
			if no == 2 {
				l = openLogNo(t, s, store.LogRef{Tenant: tenant, No: no})
			}
			for _, at := range []evidence.Micros{from - 1, from, from, from + 1, until - 1, until, until, until + 1} {
				if p := add(l, at); from <= at && at <= until {
					all = append(all, placed{p, at})
				}
				add(other, at)
			}
		}
		// By time, at each the first log's before the second's.
		slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
		in := make([]store.Position, len(all))
		for i := range all {
			in[i] = all[i].Position
		}
		lo, hi := from, until
		for _, where := range [][]store.Condition{nil, {is("run", traceID(1))}, {is("source_component", "storetest")}} {
			if kind == evidence.KindSystem && where == nil {
				where = []store.Condition{is("run", traceID(1))} // the first record of a log is one
			}
			q := store.Query{Tenant: tenant, Kind: kind, Where: where, From: &lo, Until: &hi, Order: store.ByTime}
			wantEqual(t, fmt.Sprintf("%s in the window where %v", kind, where), positions(t, s, q), in)
			q.Order = store.ByTimeDown
			back := slices.Clone(in)
			slices.Reverse(back)
			wantEqual(t, fmt.Sprintf("%s back through the window where %v", kind, where), positions(t, s, q), back)
			q.Limit = 3
			wantEqual(t, "three", positions(t, s, q), back[:3])
			q.Order, q.Limit = store.Newest, 1000
			newest := positions(t, s, q)
			wantEqual(t, fmt.Sprintf("%s in the window, newest first", kind), len(newest), len(in))
		}
	}
}

func testFindInvalid(t *testing.T, s store.Store) {
	openLog(t, s, "a")
	term := &store.IndexTerm{Name: "subject"}
	for what, q := range map[string]store.Query{
		"no limit":           {Kind: evidence.KindAudit, Limit: -1},
		"no kind":            {Limit: 1},
		"another kind":       {Kind: 99, Limit: 1},
		"another order":      {Kind: evidence.KindAudit, Order: 9, Limit: 1},
		"revision of audit":  {Kind: evidence.KindAudit, NewestRevision: true, Limit: 1},
		"state of runs":      {Kind: evidence.KindLLMRun, NewestState: true, Limit: 1},
		"an unknown field":   {Kind: evidence.KindAudit, Where: []store.Condition{is("component", "api")}, Limit: 1},
		"a column":           {Kind: evidence.KindAudit, Where: []store.Condition{is("run_no", "1")}, Limit: 1},
		"SQL":                {Kind: evidence.KindAudit, Where: []store.Condition{is(`event_type" = 1 --`, "1")}, Limit: 1},
		"an unknown in any":  {Kind: evidence.KindAudit, Where: []store.Condition{{Any: []store.Condition{is("run", "r"), is("nothing", "x")}}}, Limit: 1},
		"a list":             {Kind: evidence.KindLLMRun, Where: []store.Condition{is("models", "m")}, Limit: 1},
		"no bool":            {Kind: evidence.KindAudit, Where: []store.Condition{is("is_synthetic", "1")}, Limit: 1},
		"no integer":         {Kind: evidence.KindAudit, Where: []store.Condition{is("status_code", "1.0")}, Limit: 1},
		"no time":            {Kind: evidence.KindAudit, Where: []store.Condition{is("valid_from", "2026-01-01T00:00:00Z")}, Limit: 1},
		"an empty condition": {Kind: evidence.KindAudit, Where: []store.Condition{{}}, Limit: 1},
		"two in one":         {Kind: evidence.KindAudit, Where: []store.Condition{{Field: "run", Values: []string{"r"}, Index: term}}, Limit: 1},
		"values of an index": {Kind: evidence.KindAudit, Where: []store.Condition{{Values: []string{"r"}, Index: term}}, Limit: 1},
		"too many values":    {Kind: evidence.KindAudit, Where: []store.Condition{is("run", make([]string, 5000)...)}, Limit: 1},
	} {
		for _, q.Tenant = range []string{"a", "nobody"} {
			_, err := foundBy(s, q)
			wantErr(t, what, err, evidence.ErrInvalid)
			if what != "no limit" {
				_, err = s.Count(ctx, q, 1)
				wantErr(t, "count of "+what, err, evidence.ErrInvalid)
			}
		}
	}
	stop := errors.New("stop")
	err := s.Find(ctx, store.Query{Tenant: "a", Kind: evidence.KindSystem, Limit: 9}, func(store.Found) error { return stop })
	wantErr(t, "an error of the callback", err, stop)
	many := make([]string, 4000)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for _, field := range []string{"run", "correlation_id", "entity_id", "status_code"} {
		q := store.Query{Tenant: "a", Kind: evidence.KindAudit, Where: []store.Condition{is(field, many...)}}
		wantEqual(t, "found by many values of "+field, positions(t, s, q), []store.Position{})
	}

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	q := store.Query{Tenant: "a", Kind: evidence.KindSystem, Limit: 9}
	_, find := foundBy(s, q)
	_, count := s.Count(ctx, q, 9)
	_, components := s.Components(ctx, "a", 9)
	_, alias := s.RunOfAlias(ctx, "a", "x")
	_, trace := s.RunOfTrace(ctx, "a", traceID(1))
	open := s.OpenRunsOf(ctx, "a", "", 9, func(store.RunState) error { return nil })
	for what, err := range map[string]error{
		"Find": find, "Count": count, "Components": components, "RunOfAlias": alias, "RunOfTrace": trace, "OpenRunsOf": open,
	} {
		if err == nil || errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("%s of a closed store: %v", what, err)
		}
	}
}
