package otlp

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/runledger/runledger/evidence"
)

// testNow is when the captures were made.
var testNow = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func testMapper() *Mapper {
	return New(Config{Now: func() evidence.Micros { return evidence.MicrosOf(testNow) }, MaxSkew: 72 * time.Hour.Microseconds()})
}

type capture struct {
	name, signal string
	enc          Encoding
	body         []byte
}

func captures(t testing.TB, signal string) []capture {
	t.Helper()
	files, err := filepath.Glob("../../testdata/captures/*/*." + signal + ".*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures of %s: %v", signal, err)
	}
	var out []capture
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		c := capture{name: filepath.Base(filepath.Dir(f)) + "/" + filepath.Base(f), signal: signal, body: body}
		if strings.HasSuffix(f, ".json") {
			c.enc = JSON
		}
		out = append(out, c)
	}
	return out
}

func mustTraces(t testing.TB, body []byte, enc Encoding) ptrace.Traces {
	t.Helper()
	td, rejected, err := DecodeTraces(body, enc)
	if err != nil || rejected != 0 {
		t.Fatalf("rejected %d, %v", rejected, err)
	}
	return td
}

func mustLogs(t testing.TB, body []byte, enc Encoding) plog.Logs {
	t.Helper()
	ld, rejected, err := DecodeLogs(body, enc)
	if err != nil || rejected != 0 {
		t.Fatalf("rejected %d, %v", rejected, err)
	}
	return ld
}

// oneSpan is a request of one valid span, which the function may change.
func oneSpan(change func(ptrace.Span)) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "shop")
	span := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetTraceID(pcommon.TraceID{1})
	span.SetSpanID(pcommon.SpanID{2})
	span.SetName("work")
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(testNow))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(testNow.Add(1500 * time.Microsecond)))
	if change != nil {
		change(span)
	}
	return td
}

// oneLog is a request of one log record.
func oneLog(change func(plog.LogRecord)) plog.Logs {
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("service.name", "shop")
	rec := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	rec.SetTimestamp(pcommon.NewTimestampFromTime(testNow))
	if change != nil {
		change(rec)
	}
	return ld
}

func marshalTraces(t testing.TB, td ptrace.Traces, enc Encoding) []byte {
	t.Helper()
	var p ptrace.ProtoMarshaler
	var j ptrace.JSONMarshaler
	b, err := p.MarshalTraces(td)
	if enc == JSON {
		b, err = j.MarshalTraces(td)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// show is a record in a form to compare.
type shown struct {
	Kind, Key, Run, At string
	Content            string
	ContentKey         bool
	Ordinal            int
	Said               []string
	Pub, Sealed        map[string]string
}

func show(r *evidence.Record) shown {
	s := shown{
		Kind: r.Kind.String(), Key: r.NaturalKey, Run: r.Run, At: r.OccurredAt.String(), Content: string(r.Content),
		ContentKey: r.ContentKey, Ordinal: r.ContentOrdinal, Said: r.Said, Pub: map[string]string{}, Sealed: map[string]string{},
	}
	for _, f := range r.Pub {
		s.Pub[f.Field.Name] = string(f.AppendJSON(nil))
	}
	for _, v := range r.Sealed {
		s.Sealed[v.Path] = string(v.JSON)
	}
	return s
}

func showAll(b *Batch) []shown {
	var out []shown
	for _, list := range [][]Item{b.Items, b.Traces} {
		for _, it := range list {
			out = append(out, show(it.Record))
		}
	}
	return out
}

// only returns the record of a batch that must have just one.
func only(t testing.TB, b *Batch) shown {
	t.Helper()
	if len(b.Items) != 1 || b.Rejected != 0 || len(b.Errors) != 0 {
		t.Fatalf("%d items, %d rejected, %q", len(b.Items), b.Rejected, b.Errors)
	}
	return show(b.Items[0].Record)
}

func wantFacts(t testing.TB, got, want map[string]string) {
	t.Helper()
	for name, w := range want {
		if g, ok := got[name]; !ok && w != "" || g != w {
			t.Errorf("%s is %s, want %s", name, g, w)
		}
	}
}

// slowWay makes the record again with evidence's own setters.
func slowWay(r *evidence.Record) *evidence.Record {
	s := &evidence.Record{
		Kind: r.Kind, NaturalKey: r.NaturalKey, OccurredAt: r.OccurredAt, Run: r.Run, Content: r.Content,
		ContentKey: r.ContentKey, ContentOrdinal: r.ContentOrdinal, Said: r.Said,
	}
	for _, f := range r.Pub {
		switch {
		case f.Field.Type == evidence.TypeNames:
			s.SetNames(f.Field.Name, f.List)
		case f.Field.Type == evidence.TypeBool:
			s.SetBool(f.Field.Name, f.Int != 0)
		case f.Field.Type.IsText():
			s.SetText(f.Field.Name, f.Str)
		default:
			s.SetInt(f.Field.Name, f.Int)
		}
	}
	for _, v := range r.Sealed {
		if evidence.Sealed(r.Kind, v.Path).UnfitOf == "" {
			s.SetSealed(v.Path, v.JSON)
		}
	}
	return s
}

func sameAsSlowWay(t testing.TB, r *evidence.Record) {
	t.Helper()
	slow := slowWay(r)
	if err := slow.Complete(); err != nil {
		t.Fatalf("slow way: %v", err)
	}
	if diff := cmp.Diff(show(slow), show(r)); diff != "" {
		t.Errorf("setters make another record (-slow +fast):\n%s", diff)
	}
	for i := 1; i < len(r.Pub); i++ {
		if r.Pub[i-1].Field.Name >= r.Pub[i].Field.Name {
			t.Errorf("facts are not sorted: %s before %s", r.Pub[i-1].Field.Name, r.Pub[i].Field.Name)
		}
	}
}

// leafSize is the size of the record's leaf with all that a server adds at
// its longest.
func leafSize(t testing.TB, r *evidence.Record) int {
	t.Helper()
	l := evidence.Leaf{
		Log: strings.Repeat("i", 63) + "/0123456789ab", Seq: evidence.MaxInt, Kind: r.Kind,
		RecordedAt: r.OccurredAt, OccurredAt: r.OccurredAt, Run: r.Run, N: evidence.MaxInt,
	}
	for _, f := range r.Pub {
		if evidence.Sealed(r.Kind, "/"+f.Field.Name) != nil && r.SealedJSON("/"+f.Field.Name) != nil {
			f.Str = "h:0123456789abcdef"
			f.List = append([]string(nil), f.List...)
			for i := range f.List {
				if unfit(f.List[i]) {
					f.List[i] = f.Str
				}
			}
		}
		l.SetFact(f)
	}
	for _, f := range evidence.PublicFields(r.Kind) {
		if f.Owner == evidence.Server {
			l.SetFact(evidence.Fact{Field: f, Int: evidence.MaxInt, Str: strings.Repeat("x", evidence.MaxName)})
		}
	}
	for _, v := range r.Sealed {
		l.H = append(l.H, evidence.Commitment{Path: v.Path})
	}
	b, err := l.Append(nil)
	if err != nil {
		t.Fatalf("leaf: %v", err)
	}
	return len(b)
}
