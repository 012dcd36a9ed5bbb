package storetest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// record is a row of a tenant's logs with its place: what a query is about.
type record struct {
	store.Position
	store.Row
	kind evidence.Kind
}

func (r *record) value(field string) (string, bool) {
	if field == "run" {
		return r.Run, r.Run != ""
	}
	for _, f := range r.Facts {
		if f.Field.Name != field {
			continue
		}
		switch f.Field.Type {
		case evidence.TypeBool:
			return fmt.Sprint(f.Int != 0), true
		case evidence.TypeTime:
			return evidence.Micros(f.Int).String(), true
		case evidence.TypeInt, evidence.TypeCount:
			return fmt.Sprint(f.Int), true
		}
		return f.Str, true
	}
	return "", false
}

func (r *record) int(field string) int64 {
	for _, f := range r.Facts {
		if f.Field.Name == field {
			return f.Int
		}
	}
	return 0
}

func (r *record) conflicts() bool {
	_, ok := r.value("conflict_of")
	return ok
}

// model answers queries by looking at every row.
type model struct {
	records []record
	index   []store.IndexEntry
}

// modelOf reads all there is of a tenant.
func modelOf(t *testing.T, s store.Reader, tenant string) *model {
	t.Helper()
	m := &model{index: collect(t, func(fn func(store.IndexEntry) error) error { return s.Index(ctx, tenant, fn) })}
	for _, log := range must[[]store.Log](t)(s.Logs(ctx, tenant)) {
		for _, kind := range evidence.Kinds() {
			if err := s.Rows(ctx, log.LogRef, kind, 0, 1<<40-1, func(row *store.Row) error {
				r := record{Position: store.Position{LogNo: log.No, Seq: row.Seq}, Row: *row, kind: kind}
				r.Facts = slices.Clone(row.Facts)
				m.records = append(m.records, r)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}

func before(a, b store.Position) bool {
	return a.LogNo < b.LogNo || a.LogNo == b.LogNo && a.Seq < b.Seq
}

func (m *model) holds(r *record, c *store.Condition) bool {
	switch {
	case c.Any != nil:
		return slices.ContainsFunc(c.Any, func(c store.Condition) bool { return m.holds(r, &c) })
	case c.Index != nil:
		trace, _ := r.value("trace_id")
		return slices.ContainsFunc(m.index, func(e store.IndexEntry) bool {
			ofTrace := (r.kind == evidence.KindTraceStep || r.kind == evidence.KindTraceEvent) && trace != "" && e.Trace == trace
			return e.Name == c.Index.Name && e.MAC == c.Index.MAC && (e.Position == r.Position || ofTrace)
		})
	}
	v, ok := r.value(c.Field)
	return ok && slices.Contains(c.Values, v)
}

// find is what Find must yield.
func (m *model) find(q store.Query) []store.Found {
	below := func(p store.Position) bool { return q.Below == (store.Position{}) || before(p, q.Below) }
	var list []record
	for i := range m.records {
		r := &m.records[i]
		switch {
		case r.kind != q.Kind, !below(r.Position),
			q.From != nil && r.OccurredAt < *q.From, q.Until != nil && r.OccurredAt > *q.Until,
			slices.ContainsFunc(q.Where, func(c store.Condition) bool { return !m.holds(r, &c) }),
			q.NewestRevision && r.conflicts(),
			slices.ContainsFunc(m.records, func(o record) bool {
				switch {
				case o.kind != q.Kind || !below(o.Position):
					return false
				case q.NewestRevision:
					return o.Run == r.Run && o.int("revision") > r.int("revision") && !o.conflicts()
				case q.NewestState:
					mine, ok := r.value("export_id")
					its, _ := o.value("export_id")
					return ok && mine == its && before(r.Position, o.Position)
				}
				return false
			}):
			continue
		}
		list = append(list, *r)
	}
	compare := func(a, b record) int {
		c := cmp.Or(cmp.Compare(a.LogNo, b.LogNo), cmp.Compare(a.Position.Seq, b.Position.Seq))
		switch q.Order {
		case store.Newest:
			return -c
		case store.ByTime:
			return cmp.Or(cmp.Compare(a.OccurredAt, b.OccurredAt), c)
		default:
			return cmp.Or(cmp.Compare(b.OccurredAt, a.OccurredAt), -c)
		}
	}
	slices.SortFunc(list, compare)
	var found []store.Found
	for _, r := range list {
		if q.After != nil {
			after := record{Position: *q.After}
			after.OccurredAt = q.AfterTime
			if compare(r, after) <= 0 {
				continue
			}
		}
		if len(found) == q.Limit {
			break
		}
		found = append(found, store.Found{
			Kind: r.kind, Position: r.Position, OccurredAt: r.OccurredAt, Segment: r.Segment, ActorSegment: r.ActorSegment,
		})
	}
	return found
}

// foundBy collects what Find yields.
func foundBy(s store.Reader, q store.Query) ([]store.Found, error) {
	var list []store.Found
	err := s.Find(ctx, q, func(f store.Found) error {
		list = append(list, f)
		return nil
	})
	return list, err
}

// pool of values that records have and queries ask for: few, so that they meet.
var (
	poolTimes = []evidence.Micros{-5, 0, 1_763_999_999_999_999, 1_764_000_000_000_000, 1_764_000_000_000_001, 1_764_000_030_000_000}
	poolTexts = []string{"a", "A", "b", "c "}
	poolSpans = []string{spanID(1), spanID(2), spanID(-3)}
	poolRuns  = []string{traceID(1), traceID(2), "a", "läuft"}
)

// worldFields are those of which records have values of the pool.
func worldFields(kind evidence.Kind) []*evidence.Field {
	var list []*evidence.Field
	for _, f := range evidence.PublicFields(kind) {
		if f.Name != "conflict_of" && f.Name != "revision" && f.Type != evidence.TypeNames {
			list = append(list, f)
		}
	}
	return list
}

func poolOf(f *evidence.Field) []string {
	switch f.Type {
	case evidence.TypeEnum:
		return f.Enum[:min(3, len(f.Enum))]
	case evidence.TypeBool:
		return []string{"true", "false"}
	case evidence.TypeTime:
		return []string{poolTimes[1].String(), poolTimes[2].String()}
	case evidence.TypeInt, evidence.TypeCount:
		return []string{"0", "7"}
	case evidence.TypeTraceID:
		return poolRuns[:2]
	case evidence.TypeRun:
		return poolRuns
	case evidence.TypeSpanID:
		return poolSpans
	}
	return poolTexts
}

// fill appends records of all kinds to logs, at random but always the same.
// revision counts the revisions of runs so far.
func fill(revision map[string]int64, seed uint64, n int, logs ...*testLog) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	for i := range n {
		l := logs[rnd.IntN(len(logs))]
		kind := evidence.Kinds()[rnd.IntN(len(evidence.Kinds()))]
		run := poolRuns[rnd.IntN(len(poolRuns))]
		e := l.entry(kind)
		for _, f := range worldFields(kind) {
			if rnd.IntN(3) == 0 && f.Name != "trace_id" || f.Name == "trace_id" && kind == evidence.KindTraceEvent && rnd.IntN(2) == 0 {
				continue
			}
			values := poolOf(f)
			e.Leaf.SetFact(factOf(f, values[min(rnd.IntN(len(values)), rnd.IntN(len(values)))])) // the first are more frequent
		}
		if kind == evidence.KindLLMRun || kind == evidence.KindTrace || kind == evidence.KindTraceStep || rnd.IntN(2) == 0 {
			inRun(run, int64(i))(e.Leaf)
		}
		if kind == evidence.KindLLMRun { // revisions come in any order, with gaps
			n := revision[l.ref.Tenant+run]
			e.Leaf.SetFact(evidence.Fact{Field: evidence.PublicField(kind, "revision"), Int: 2*(n^1) + 1})
			revision[l.ref.Tenant+run]++
		}
		if rnd.IntN(5) == 0 || kind == evidence.KindTraceStep && rnd.IntN(9) > 0 { // else spans would be there twice
			text("conflict_of", newID().String())(e.Leaf)
		} else if kind == evidence.KindTraceStep {
			text("span_id", spanID(unique()))(e.Leaf)
		}
		e.Leaf.OccurredAt = poolTimes[rnd.IntN(len(poolTimes))]
		if rnd.IntN(2) == 0 {
			e.Segment, e.ActorSegment = int64(i), int64(i)+1
		}
		c := l.extend(e)
		if trace := e.Leaf.Text("trace_id"); rnd.IntN(3) == 0 {
			if kind != evidence.KindTraceStep && kind != evidence.KindTraceEvent {
				trace = ""
			}
			c.Index = []store.IndexEntry{l.indexed(e.Leaf.Seq, poolTexts[rnd.IntN(2)], byte(rnd.IntN(3)), trace)}
		}
		l.mustCommit(c)
	}
}

// factOf reads a value as a condition has it.
func factOf(f *evidence.Field, v string) evidence.Fact {
	fact := evidence.Fact{Field: f}
	switch f.Type {
	case evidence.TypeBool:
		if v == "true" {
			fact.Int = 1
		}
	case evidence.TypeTime:
		m, _ := evidence.ParseMicros(v)
		fact.Int = int64(m)
	case evidence.TypeInt, evidence.TypeCount:
		if v == "7" {
			fact.Int = 7
		}
	default:
		fact.Str = v
	}
	return fact
}

// drawCondition makes a condition of a kind.
func drawCondition(t *rapid.T, kind evidence.Kind, depth int) store.Condition {
	switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
	case what == 0:
		return store.Condition{Index: &store.IndexTerm{
			Name: rapid.SampledFrom(poolTexts[:3]).Draw(t, "name"), MAC: mac(byte(rapid.IntRange(0, 3).Draw(t, "mac"))),
		}}
	case what == 1 && depth < 2:
		c := store.Condition{Any: []store.Condition{}}
		for range rapid.IntRange(0, 3).Draw(t, "alternatives") {
			c.Any = append(c.Any, drawCondition(t, kind, depth+1))
		}
		return c
	case what <= 3:
		return store.Condition{Field: "run", Values: rapid.SliceOfN(rapid.SampledFrom(append([]string{"never"}, poolRuns...)), 0, 3).Draw(t, "runs")}
	}
	f := rapid.SampledFrom(worldFields(kind)).Draw(t, "field")
	values := poolOf(f)
	if f.Type.IsText() {
		values = append([]string{"never"}, values...)
	}
	return store.Condition{Field: f.Name, Values: rapid.SliceOfN(rapid.SampledFrom(values), 0, 4).Draw(t, "values")}
}

func drawTime(t *rapid.T, what string) *evidence.Micros {
	if rapid.Bool().Draw(t, "without "+what) {
		return nil
	}
	at := rapid.SampledFrom(poolTimes).Draw(t, what)
	return &at
}

func drawPosition(t *rapid.T, what string) store.Position {
	return store.Position{LogNo: rapid.IntRange(0, 4).Draw(t, what+" log"), Seq: rapid.Int64Range(0, 60).Draw(t, what)}
}

func drawQuery(t *rapid.T, tenant string) store.Query {
	q := store.Query{
		Tenant: tenant, Kind: rapid.SampledFrom(evidence.Kinds()).Draw(t, "kind"),
		From: drawTime(t, "from"), Until: drawTime(t, "until"),
		Order: rapid.SampledFrom([]store.Order{store.Newest, store.ByTime, store.ByTimeDown}).Draw(t, "order"),
		Limit: rapid.SampledFrom([]int{1, 2, 5, 1000}).Draw(t, "limit"),
	}
	for range rapid.SampledFrom([]int{0, 1, 1, 1, 2, 3}).Draw(t, "conditions") {
		q.Where = append(q.Where, drawCondition(t, q.Kind, 0))
	}
	if rapid.Bool().Draw(t, "pinned") {
		q.Below = drawPosition(t, "below")
	}
	if rapid.Bool().Draw(t, "paged") {
		p := drawPosition(t, "after")
		q.After, q.AfterTime = &p, rapid.SampledFrom(poolTimes).Draw(t, "after time")
	}
	newest := rapid.Bool().Draw(t, "newest")
	q.NewestRevision = newest && q.Kind == evidence.KindLLMRun
	q.NewestState = newest && q.Kind == evidence.KindExport
	return q
}
