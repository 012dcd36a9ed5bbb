package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// equalFacts compares facts by field identity and treats an empty list as one.
var equalFacts = cmp.Options{
	cmp.Comparer(func(a, b *evidence.Field) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

// rowOf is the row that a leaf must have.
func rowOf(e store.Entry) store.Row {
	l := e.Leaf
	return store.Row{
		Seq: l.Seq, RecordedAt: l.RecordedAt, OccurredAt: l.OccurredAt, Run: l.Run, N: l.N,
		Facts: l.Pub, Segment: e.Segment, ActorSegment: e.ActorSegment,
	}
}

// sample returns a value for a field; n makes it differ.
func sample(f *evidence.Field, n int64) evidence.Fact {
	fact := evidence.Fact{Field: f}
	switch f.Type {
	case evidence.TypeNames:
		for i := range n % 4 {
			fact.List = append(fact.List, fmt.Sprintf("%s %d/%d", f.Name, n, i))
		}
	case evidence.TypeInt:
		fact.Int = -n
	case evidence.TypeCount:
		fact.Int = evidence.MaxInt - n
	case evidence.TypeBool:
		fact.Int = n % 2
	case evidence.TypeTime:
		fact.Int = 1_764_000_000_000_000 + n
	case evidence.TypeEnum:
		fact.Str = f.Enum[int(n)%len(f.Enum)]
	case evidence.TypeTraceID:
		fact.Str = traceID(n << 40)
	case evidence.TypeSpanID:
		fact.Str = spanID(-n) // the highest bit counts
	case evidence.TypeInteger:
		fact.Str = fmt.Sprintf("-98765432109876543210%d", n)
	case evidence.TypeDecimal:
		fact.Str = fmt.Sprintf("%d.50", n)
	default:
		fact.Str = fmt.Sprintf("%s:%d", f.Name, n)
	}
	return fact
}

// full returns a record with every field of its kind.
func (l *testLog) full(kind evidence.Kind, n int64) store.Entry {
	e := l.entry(kind, inRun(fmt.Sprintf("run %d", n), n))
	for _, f := range evidence.PublicFields(kind) {
		e.Leaf.SetFact(sample(f, n))
	}
	e.Segment, e.ActorSegment = n, n+1
	return e
}

// testEveryField writes every field of every kind, several times with
// different values, and reads the same back.
func testEveryField(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	var entries []store.Entry
	for n := range int64(5) {
		for _, kind := range evidence.Kinds() {
			entries = append(entries, l.full(kind, n+1))
		}
	}
	l.append(entries[:20]...)
	l.append(entries[20:]...)
	for _, e := range entries {
		wantEqual(t, e.Leaf.Kind.String(), l.row(e.Leaf.Kind, e.Leaf.Seq), rowOf(e), equalFacts)
	}
	for _, kind := range evidence.Kinds() {
		var want []store.Row
		for _, e := range entries {
			if e.Leaf.Kind == kind {
				want = append(want, rowOf(e))
			}
		}
		got := l.rows(kind, 1, l.head.Size)
		wantEqual(t, "rows of "+kind.String(), got, want, equalFacts)
	}
}

// rows collects copies of rows.
func (l *testLog) rows(kind evidence.Kind, from, to int64) []store.Row {
	l.t.Helper()
	return collect(l.t, func(fn func(store.Row) error) error {
		return l.r.Rows(ctx, l.ref, kind, from, to, func(r *store.Row) error {
			row := *r
			row.Facts = slices.Clone(r.Facts)
			return fn(row)
		})
	})
}

// testAbsentFields sees that what is absent stays absent, also right after a
// record that had everything.
func testAbsentFields(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	for _, kind := range evidence.Kinds() {
		full, bare := l.full(kind, 1), l.entry(kind)
		full.Leaf.ID, bare.Leaf.Pub = newID(), nil
		zero := l.entry(kind, inRun("run", 0))
		zero.Segment, zero.ActorSegment = 0, 0
		for i, f := range evidence.PublicFields(kind) {
			if !f.Type.IsText() && i%2 == 0 {
				zero.Leaf.SetFact(evidence.Fact{Field: f}) // zero is not absent
			}
		}
		l.append(full, bare, zero)
		for _, e := range []store.Entry{full, bare, zero} {
			wantEqual(t, kind.String(), l.row(kind, e.Leaf.Seq), rowOf(e), equalFacts)
		}
		for _, other := range evidence.Kinds() {
			if _, err := s.Row(ctx, l.ref, other, bare.Leaf.Seq); other != kind {
				wantErr(t, "a row asked for as another kind", err, evidence.ErrNotFound)
			}
		}
	}
}

// testTexts writes texts that differ in what a database might not tell apart.
func testTexts(t *testing.T, s store.Store) {
	texts := []string{
		"Straße", "strasse", "STRASSE", "Strasse", "é", "e\u0301", "日本語", "\U0001F9FE", "a", "A", "a ", " a", "  ",
		"0", "00", "1.0", "1e0", "null", "NULL", "true", "'", "''", `"`, `\`, `\"`, "%", "_", ";--", "$1", "?1",
		"tab\tnewline\ncr\r", "\u200b", "\ufeffbom", "\u202eright", strings.Repeat("long ", 10_000), strings.Repeat("ü", 5000),
	}
	l := openLog(t, s, "a")
	for _, kind := range evidence.Kinds() {
		var entries []store.Entry
		for i, v := range texts {
			e := l.entry(kind, inRun(v, int64(i)))
			for _, f := range evidence.PublicFields(kind) {
				switch {
				case f.Type == evidence.TypeNames:
					e.Leaf.SetFact(evidence.Fact{Field: f, List: []string{"b", printable(v), "a"}})
				case f.Type == evidence.TypeTraceID || f.Type == evidence.TypeSpanID || f.Name == "conflict_of":
				case f.Type.IsText():
					e.Leaf.SetFact(evidence.Fact{Field: f, Str: v})
				}
			}
			entries = append(entries, e)
		}
		l.append(entries...)
		for _, e := range entries {
			wantEqual(t, fmt.Sprintf("%s %.20q", kind, e.Leaf.Run), l.row(kind, e.Leaf.Seq), rowOf(e), equalFacts)
		}
	}
}

// printable drops control characters, which no name of a list has.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return -1
		}
		return r
	}, s)
}

func testTimes(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	first, _ := evidence.ParseMicros("0001-01-01T00:00:00.000000Z")
	last, _ := evidence.ParseMicros("9999-12-31T23:59:59.999999Z")
	var entries []store.Entry
	for i, m := range []evidence.Micros{first, first + 1, -1_000_001, -1_000_000, -1, 0, 1, 999_999, 1_763_999_999_999_999, last - 1, last} {
		e := l.entry(evidence.KindLLMRun, inRun(fmt.Sprint("run ", i), 0), integer("started_at", int64(m)), integer("completed_at", -int64(m)))
		e.Leaf.RecordedAt, e.Leaf.OccurredAt = m, -m
		entries = append(entries, e)
	}
	l.append(entries...)
	for _, e := range entries {
		wantEqual(t, e.Leaf.RecordedAt.String(), l.row(evidence.KindLLMRun, e.Leaf.Seq), rowOf(e), equalFacts)
	}
}

func testRowsInOrder(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	var want []int64
	for i := range 30 {
		kinds := evidence.Kinds()
		seq := l.append(l.entry(evidence.KindAudit), l.entry(kinds[i%len(kinds)], func(l *evidence.Leaf) {
			l.RecordedAt -= evidence.Micros(i) // order is by leaf index, not by time
		}), l.entry(evidence.KindAudit))
		want = append(want, seq)
		if kinds[i%len(kinds)] == evidence.KindAudit {
			want = append(want, seq+1)
		}
		want = append(want, seq+2)
		other.append(other.entry(evidence.KindAudit))
	}
	seqs := func(from, to int64) []int64 {
		var list []int64
		for _, r := range l.rows(evidence.KindAudit, from, to) {
			list = append(list, r.Seq)
		}
		return list
	}
	wantEqual(t, "all", seqs(0, l.head.Size), want)
	wantEqual(t, "beyond the end", seqs(-3, 1<<60), want)
	wantEqual(t, "a part", seqs(want[3], want[7]), want[3:7])
	wantEqual(t, "none", seqs(5, 5), nil)
}
