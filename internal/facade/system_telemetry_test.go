package facade

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

func stamp(m evidence.Micros) pcommon.Timestamp { return pcommon.Timestamp(m * 1000) }

// measure sends an export of one gauge and one counter of a service.
func (r *rig) measure(tenant, service string, began, at evidence.Micros, value int64) {
	r.t.Helper()
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", service)
	rm.Resource().Attributes().PutStr("host", "h-1")
	sm := rm.ScopeMetrics().AppendEmpty()
	sm.Scope().SetName("runtime")
	g := sm.Metrics().AppendEmpty()
	g.SetName("memory")
	g.SetUnit("By")
	p := g.SetEmptyGauge().DataPoints().AppendEmpty()
	p.SetTimestamp(stamp(at))
	p.SetIntValue(value)
	c := sm.Metrics().AppendEmpty()
	c.SetName("requests")
	sum := c.SetEmptySum()
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	q := sum.DataPoints().AppendEmpty()
	q.SetStartTimestamp(stamp(began))
	q.SetTimestamp(stamp(at))
	q.SetDoubleValue(float64(value) / 2)
	q.Attributes().PutStr("host", "mine")
	batch := r.mapper.Metrics(md)
	if batch.Rejected > 0 {
		r.t.Fatal(batch.Errors)
	}
	r.addItems(tenant, "test", batch.Items)
}

// values returns the first value of each series of a name, in order.
func values(series []answer.Series, name string) (out []float64) {
	for _, s := range series {
		if s.Name == name {
			out = append(out, *s.Points[0].Value)
		}
	}
	return out
}

func TestTelemetry(t *testing.T) {
	r := newRig(t)
	start, d := r.now(), 10*time.Second
	began := start - micros(30*24*time.Hour) // of a process that runs for a month
	minute := micros(time.Minute)
	// A month of exports, one a minute around the run.
	for i := -40; i < 40; i++ {
		at := start + evidence.Micros(i)*minute + 5
		if now := r.now(); at > now {
			r.clock.add(time.Duration(at-now) * time.Microsecond)
		}
		r.measure("acme", "old", began, at, int64(i+100))
	}
	r.measure("other", "foreign", start, start+1, 1)
	r.endedRun("acme", "run-1", start, d)

	got, err := r.Telemetry(r.ctx, r.privileged(), "run-1", Paging{})
	r.must(err)
	if got.Status != telemetryCollected || got.Reason != "" || got.HasMore {
		t.Errorf("%+v", got)
	}
	// The gauge of the run's time; the counter in it, and those that end after it,
	// within five minutes.
	if v := values(got.Series, "memory"); !slices.Equal(v, []float64{100}) {
		t.Errorf("memory %v", v)
	}
	if v := values(got.Series, "requests"); !slices.Equal(v, []float64{50, 50.5, 51, 51.5, 52, 52.5}) {
		t.Errorf("requests %v", v)
	}
	want := answer.Series{
		Name: "requests", Type: "sum", LeafIndex: got.Series[0].LeafIndex,
		Attributes: map[string]any{"service.name": "old", "host": "mine", "resource.host": "h-1", "scope.name": "runtime"},
		Points:     []answer.Point{{Timestamp: start + 5, Value: got.Series[1].Points[0].Value}},
	}
	if diff := cmp.Diff(want, got.Series[1]); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
	if got.Series[0].Unit != "By" || got.Series[0].Type != "gauge" || got.Metadata.OccurredAt != began || *got.Metadata.RunID != "run-1" {
		t.Errorf("%+v, %+v", got.Series[0], got.Metadata)
	}

	// The same in pages, while more comes.
	for _, limit := range []int{1, 4} {
		var pages []answer.Series
		for cursor := ""; ; {
			p, err := r.Telemetry(r.ctx, r.privileged(), "run-1", Paging{Limit: limit, Cursor: cursor})
			r.must(err)
			pages = append(pages, p.Series...)
			if !p.HasMore {
				break
			}
			cursor = *p.NextCursor
			r.measure("acme", "new", start, start+evidence.Micros(len(pages)), 7)
		}
		if diff := cmp.Diff(got.Series, pages); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", limit, diff)
		}
		got, err = r.Telemetry(r.ctx, r.privileged(), "run-1", Paging{})
		r.must(err)
	}

	closed, err := r.Telemetry(r.ctx, r.reader(), "run-1", Paging{Limit: 1})
	r.must(err)
	if len(closed.Series) != 2 || closed.Status != telemetryCollected {
		t.Fatalf("without permission: %+v", closed)
	}
	for i, s := range closed.Series {
		if s.Name != []string{"memory", "requests"}[i] || s.Withheld == nil || s.Withheld.Reason != answer.NotPermitted ||
			s.Withheld.Commitment == nil || s.Points == nil || len(s.Points) > 0 || s.Unit != "" {
			t.Errorf("without permission: %+v", s)
		}
		if diff := cmp.Diff(map[string]any{"service.name": "old"}, s.Attributes); diff != "" {
			t.Errorf("attributes (-want +got):\n%s", diff)
		}
	}
	if _, err := r.Telemetry(r.ctx, readerOf("other"), "run-1", Paging{}); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("another tenant's run: %v", err)
	}
}

// A record is of a run whose time its span meets; both ends count.
func TestTelemetryEdges(t *testing.T) {
	r := newRig(t)
	start := after(30 * time.Minute) // the records come late
	end := start + micros(10*time.Second+telemetrySlack)
	closing := micros(telemetryClosing)
	r.endedRun("acme", "run-1", start, 10*time.Second)
	for i, tt := range []struct{ from, until evidence.Micros }{
		{start - 5, start - 1},             // 1: before
		{start - 5, start},                 // 2: ends as the run begins
		{start, start + 1},                 // 3
		{end, end + 9},                     // 4: begins as it ends
		{end + 1, end + 9},                 // 5: after
		{start - 9, end + closing},         // 6
		{start - 9, end + closing + 1},     // 7: a later export
		{start - micros(2*time.Hour), end}, // 8: long ago, and late
		{start - micros(time.Hour), end},   // 9: as long ago as may be
	} {
		r.measure("acme", "s", tt.from, tt.until, 2*int64(i+1))
	}
	got, err := r.Telemetry(r.ctx, r.privileged(), "run-1", Paging{})
	r.must(err)
	v := values(got.Series, "requests")
	slices.Sort(v)
	// 8 came later than its place is looked for, the known hole; 9 is found by its
	// beginning.
	if !slices.Equal(v, []float64{2, 3, 4, 6, 9}) {
		t.Errorf("%v", v)
	}
}

// placeOf finds where a moment is in the order of the log, over a rollover too.
func TestTelemetryPlace(t *testing.T) {
	r := newRig(t)
	var times []evidence.Micros
	for i := range 40 {
		r.clock.add(time.Second)
		if i%4 != 3 {
			times = append(times, r.now())
			r.measure("acme", "s", r.now(), r.now(), 1)
			r.event("acme", r.now())
		}
		if i == 20 {
			_, err := r.ledger.Rollover(r.ctx, "acme")
			r.must(err)
		}
	}
	q := &telemetryQuery{f: r.Facade, r: r.reader()}
	r.must(q.place(r.ctx, ""))
	for d := -2 * time.Second; d < 45*time.Second; d += time.Second / 2 {
		at := after(time.Hour + d)
		below, err := q.placeOf(r.ctx, at)
		r.must(err)
		found, err := r.ledger.Find(r.ctx, store.Query{Tenant: "acme", Kind: evidence.KindMetric, Below: below, Limit: 100})
		r.must(err)
		want := 0
		for _, m := range times {
			if m <= at {
				want++
			}
		}
		if below == (store.Position{}) || len(found) != want && !(want == 0 && below.LogNo == 1) {
			t.Errorf("%s: %d records are below %v, want %d", d, len(found), below, want)
		}
	}
}

func TestTelemetryNotCollected(t *testing.T) {
	r := newRig(t)
	r.endedRun("acme", "run-1", after(0), time.Second)
	exactly := func(reason string) {
		t.Helper()
		got, err := r.Telemetry(r.ctx, r.reader(), "run-1", Paging{})
		r.must(err)
		b, err := json.Marshal(got)
		r.must(err)
		var obj map[string]any
		r.must(json.Unmarshal(b, &obj))
		meta, _ := obj["metadata"].(map[string]any)
		if meta["tenant_id"] != "acme" || meta["run_id"] != "run-1" || meta["occurred_at"] != r.now().String() || meta["recorded_at"] != r.now().String() {
			t.Errorf("metadata %v", meta)
		}
		delete(obj, "metadata")
		want := map[string]any{
			"run_id": "run-1", "status": "telemetry_not_collected", "reason": reason,
			"available_data": []any{"events", "snapshot", "replay"}, "future_milestone": "M-TBD",
		}
		if diff := cmp.Diff(want, obj); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	exactly("infrastructure_telemetry_producer_not_implemented")
	r.measure("other", "s", after(0), after(0), 1)
	exactly("infrastructure_telemetry_producer_not_implemented")
	r.measure("acme", "s", after(time.Minute), after(time.Minute), 1)
	exactly("no_telemetry_in_run_window")
}

// What SDKs send with their runs.
func TestTelemetryCaptures(t *testing.T) {
	r := newRig(t)
	for _, files := range [][]capturedFile{
		{
			{"otel-instrumentation-openai-0.22.0/chat.02.traces.pb", "traces", "pb"},
			{"otel-instrumentation-openai-0.22.0/chat.03.metrics.pb", "metrics", "pb"},
		},
		{
			{"openlit-1.15.0/chat.01.traces.json", "traces", "json"},
			{"openlit-1.15.0/chat.02.metrics.json", "metrics", "json"},
		},
	} {
		r.send("acme", files...)
	}
	r.settle()
	found, err := r.ledger.Find(r.ctx, store.Query{Tenant: "acme", Kind: evidence.KindLLMRun, Limit: 10})
	r.must(err)
	leaves, err := r.ledger.Fetch(r.ctx, "acme", found, false)
	r.must(err)
	if len(leaves) != 2 {
		t.Fatalf("%d runs", len(leaves))
	}
	for _, l := range leaves {
		got, err := r.Telemetry(r.ctx, r.privileged(), l.Leaf.Run, Paging{})
		r.must(err)
		names := map[string]bool{}
		for _, s := range got.Series {
			names[s.Name] = true
			if len(s.Points) == 0 || s.Withheld != nil || s.Type == "" || s.Attributes["service.name"] == nil {
				t.Errorf("%+v", s)
			}
		}
		if got.Status != telemetryCollected || !names["gen_ai.client.operation.duration"] || !names["gen_ai.client.token.usage"] {
			t.Errorf("run %s: %s, %v", l.Leaf.Run, got.Status, names)
		}
		if _, err := json.Marshal(got); err != nil {
			t.Error(err)
		}
	}
}

func TestTelemetryErased(t *testing.T) {
	r := newRig(t)
	r.endedRun("acme", "run-1", after(0), time.Second)
	r.measure("acme", "s", after(0), after(0), 1)
	found, err := r.ledger.Find(r.ctx, store.Query{Tenant: "acme", Kind: evidence.KindMetric, Limit: 1})
	r.must(err)
	_, err = r.ledger.Erase(r.ctx, "acme", ledger.Erasure{
		Fields: []ledger.ErasedField{{Position: found[0].Position, Paths: []string{"/points"}}}, Reason: "asked", By: "cli:root",
	})
	r.must(err)
	got, err := r.Telemetry(r.ctx, r.privileged(), "run-1", Paging{})
	r.must(err)
	if got.Status != telemetryCollected || len(got.Series) != 2 || got.Series[0].Withheld == nil || got.Series[0].Withheld.Reason != answer.Erased {
		t.Errorf("%+v", got)
	}
}

// Native metrics may have points in any form: their names are all that is shown.
func TestTelemetryNative(t *testing.T) {
	r := newRig(t)
	r.endedRun("acme", "run-1", after(0), time.Second)
	r.add("acme", r.native("metric", after(0), fields{
		"from": after(0).String(), "until": after(0).String(), "point_count": 1, "names": []string{"größe", "load"}, "points": []any{1, "x"},
	}))
	got, err := r.Telemetry(r.ctx, r.privileged(), "run-1", Paging{})
	r.must(err)
	if len(got.Series) != 2 || got.Series[0].Name != "größe" || got.Series[1].Name != "load" || len(got.Series[0].Points) > 0 {
		t.Errorf("%+v", got)
	}
	got, err = r.Telemetry(r.ctx, r.reader(), "run-1", Paging{})
	r.must(err)
	if len(got.Series) != 2 || !evidence.IsReplacement(got.Series[0].Name) || got.Series[1].Name != "load" {
		t.Errorf("%+v", got)
	}
}

// Each type of metric, and what JSON has no number for.
func TestSeriesTypes(t *testing.T) {
	md := pmetric.NewMetrics()
	sm := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty()
	add := func(name string) pmetric.Metric {
		m := sm.Metrics().AppendEmpty()
		m.SetName(name)
		return m
	}
	g := add("g").SetEmptyGauge().DataPoints()
	for _, v := range []float64{math.NaN(), math.Inf(1), 1.5} {
		p := g.AppendEmpty()
		p.SetStartTimestamp(1) // means nothing for a gauge
		p.SetTimestamp(2000)
		p.SetDoubleValue(v)
		p.Attributes().PutDouble("d", v)
		p.Attributes().PutEmptySlice("s").AppendEmpty().SetDouble(math.Inf(-1))
		p.Attributes().PutEmptyMap("m").PutDouble("n", math.NaN())
	}
	g.AppendEmpty().SetTimestamp(1999) // a microsecond too early
	after := g.AppendEmpty()
	after.SetStartTimestamp(2000)
	after.SetTimestamp(6000)
	gone := g.AppendEmpty()
	gone.SetTimestamp(3000)
	gone.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
	h := add("h").SetEmptyHistogram().DataPoints().AppendEmpty()
	h.SetStartTimestamp(1000)
	h.SetTimestamp(9000) // covers 2 to 5
	h.SetCount(math.MaxUint64)
	h.SetSum(math.NaN())
	x := add("x").SetEmptyExponentialHistogram().DataPoints().AppendEmpty()
	x.SetTimestamp(5999)
	x.SetCount(2)
	s := add("s").SetEmptySummary().DataPoints().AppendEmpty()
	s.SetTimestamp(5000)
	s.SetCount(3)
	s.SetSum(4)
	late := add("late").SetEmptySum().DataPoints().AppendEmpty()
	late.SetStartTimestamp(6000)
	late.SetTimestamp(7000)
	add("empty")

	m := seriesMaker{from: 2, until: 5, leaf: 3}
	for _, metric := range sm.Metrics().All() {
		if err := m.metric("", metric); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.Marshal(m.out)
	if err != nil {
		t.Fatal(err)
	}
	const at2, at9, at5 = `"1970-01-01T00:00:00.000002Z"`, `"1970-01-01T00:00:00.000009Z"`, `"1970-01-01T00:00:00.000005Z"`
	want := `[` +
		`{"name":"g","unit":"","type":"gauge","attributes":{"d":"NaN","m":{"n":"NaN"},"s":["-Infinity"]},"points":[{"timestamp":` + at2 + `,"value":null}],"leaf_index":3},` +
		`{"name":"g","unit":"","type":"gauge","attributes":{"d":"Infinity","m":{"n":"NaN"},"s":["-Infinity"]},"points":[{"timestamp":` + at2 + `,"value":null}],"leaf_index":3},` +
		`{"name":"g","unit":"","type":"gauge","attributes":{"d":1.5,"m":{"n":"NaN"},"s":["-Infinity"]},"points":[{"timestamp":` + at2 + `,"value":1.5}],"leaf_index":3},` +
		`{"name":"g","unit":"","type":"gauge","attributes":{},"points":[{"timestamp":"1970-01-01T00:00:00.000003Z","value":null}],"leaf_index":3},` +
		`{"name":"h","unit":"","type":"histogram","attributes":{},"points":[{"timestamp":` + at9 + `,"value":null,"count":9223372036854775807}],"leaf_index":3},` +
		`{"name":"x","unit":"","type":"exponential_histogram","attributes":{},"points":[{"timestamp":` + at5 + `,"value":null,"count":2}],"leaf_index":3},` +
		`{"name":"s","unit":"","type":"summary","attributes":{},"points":[{"timestamp":` + at5 + `,"value":null,"count":3,"sum":4}],"leaf_index":3}]`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
