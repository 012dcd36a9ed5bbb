package sqlite_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/sqlite"
)

// load makes commits as the ledger does: batches of steps in traces of 20
// spans, with one trace record each, facts as instrumented agents send them.
type load struct {
	head  store.Head
	log   store.Log
	rand  *rand.Rand
	at    evidence.Micros
	trace string
	left  int
	sealed,
	nextN int64
}

func newLoad(tenant string) *load {
	return &load{
		log:  store.Log{LogRef: store.LogRef{Tenant: tenant, No: 1}, Origin: tenant + ".example/0123456789ab", VKey: "v", WrappedKey: []byte("k")},
		rand: rand.New(rand.NewPCG(1, 2)),
		at:   1_764_000_000_000_000,
	}
}

const (
	benchSteps  = 1000 // a commit
	benchSpans  = 20   // a trace
	benchLeaf   = 180  // bytes of a compressed leaf
	benchSealed = 300  // bytes of a record's sealed content, compressed
)

func (l *load) random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(l.rand.Uint32())
	}
	return b
}

func fact(k evidence.Kind, name string) evidence.Fact {
	f := evidence.PublicField(k, name)
	if f == nil {
		panic(name)
	}
	return evidence.Fact{Field: f}
}

func (l *load) leaf(k evidence.Kind) *evidence.Leaf {
	leaf := &evidence.Leaf{ID: evidence.ID(l.random(16)), Kind: k, RecordedAt: l.at, OccurredAt: l.at - 5_000_000, Run: l.trace, N: l.nextN}
	l.nextN++
	l.at += 31
	text := func(name, v string) {
		f := fact(k, name)
		f.Str = v
		leaf.SetFact(f)
	}
	for _, name := range []string{"policy_ids", "incident_ids"} {
		f := fact(k, name)
		f.List = []string{}
		leaf.SetFact(f)
	}
	text("actor_type", "AGENT")
	text("agent_id", fmt.Sprintf("agent-%d", l.rand.IntN(20)))
	text("source_domain", "ACTIVITY")
	text("source_component", "TraceStore")
	text("origin", "AGENT")
	text("producer", "key_01HZX4")
	text("trace_id", l.trace)
	leaf.SetFact(fact(k, "is_synthetic"))
	return leaf
}

func (l *load) step(i int) *evidence.Leaf {
	const k = evidence.KindTraceStep
	leaf := l.leaf(k)
	text := func(name, v string) {
		f := fact(k, name)
		f.Str = v
		leaf.SetFact(f)
	}
	num := func(name string, v int64) {
		f := fact(k, name)
		f.Int = v
		leaf.SetFact(f)
	}
	text("span_id", fmt.Sprintf("%016x", l.rand.Uint64()))
	text("parent_span_id", fmt.Sprintf("%016x", l.rand.Uint64()))
	num("step_index", int64(i))
	kind := [...]string{"llm", "tool", "agent", "retrieval"}[i%4]
	text("step_kind", kind)
	text("skill_id", kind)
	text("skill_name", fmt.Sprintf("%s skill %d", kind, l.rand.IntN(50)))
	text("status", "success")
	text("outcome_category", "SUCCESS")
	text("replay_behavior", "execute")
	num("duration_us", l.rand.Int64N(5_000_000))
	num("retry_count", 0)
	num("late", 0)
	leaf.SetFact(evidence.Fact{Field: evidence.PublicField(k, "flags"), List: []string{}})
	if i%4 == 0 {
		text("provider", "openai")
		text("model", "gpt-4o-2024-08-06")
		text("request_model", "gpt-4o")
		text("operation", "chat")
		text("finish_reason", "stop")
		num("input_tokens", l.rand.Int64N(9000))
		num("output_tokens", l.rand.Int64N(2000))
		num("cost_usd_nanos", l.rand.Int64N(90_000_000))
	}
	return leaf
}

func (l *load) commit() *store.Commit {
	c := store.LogCommit{Log: l.log.LogRef, Prev: l.head, KeepCheckpoint: true}
	if l.head.Size == 0 {
		c.Open = &l.log
	}
	runs := map[string]int64{}
	add := func(leaf *evidence.Leaf) {
		leaf.Seq = l.head.Size + int64(len(c.Entries))
		c.Entries = append(c.Entries, store.Entry{Leaf: leaf, Segment: l.sealed, ActorSegment: store.NoSegment})
		runs[leaf.Run] = leaf.Seq
	}
	for range benchSteps {
		if l.left == 0 {
			l.trace, l.left, l.nextN = fmt.Sprintf("%x", l.random(16)), benchSpans, 0
			add(l.leaf(evidence.KindTrace))
		}
		add(l.step(benchSpans - l.left))
		l.left--
	}
	n := int64(len(c.Entries))
	c.Next = store.Head{Size: l.head.Size + n, Root: evidence.Hash(l.random(32)), Note: l.random(200)}
	for first := int64(0); first < n; first += 256 {
		count := int(min(256, n-first))
		c.Segments = append(c.Segments, store.LeafSegment{First: l.head.Size + first, Count: count, Data: l.random(count * benchLeaf)})
	}
	for t := l.head.Size / 256; t < c.Next.Size/256; t++ {
		c.Tiles = append(c.Tiles, store.Tile{N: t, Data: l.random(8192)})
	}
	c.Sealed = []store.SealedSegment{{SegmentRef: store.SegmentRef{LogNo: 1, No: l.sealed}, ID: [16]byte(l.random(16)), Data: l.random(int(n) * benchSealed)}}
	l.sealed++
	for run, seq := range runs {
		c.Runs = append(c.Runs, store.RunState{Run: run, NextN: 21, NextStep: 20, Last: store.Position{LogNo: 1, Seq: seq}})
	}
	l.head = c.Next
	return &store.Commit{Logs: []store.LogCommit{c}}
}

// BenchmarkCommit measures commits of 1000 steps to a store that begins empty
// and grows. RUNLEDGER_BENCH_ROWS fills it first.
func BenchmarkCommit(b *testing.B) {
	dir := b.TempDir()
	db, err := sqlite.Open(b.Context(), sqlite.Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	l := newLoad("bench")
	fill := 0
	if v := os.Getenv("RUNLEDGER_BENCH_ROWS"); v != "" {
		if fill, err = strconv.Atoi(v); err != nil {
			b.Fatal(err)
		}
	}
	for range fill / benchSteps {
		if err := db.Commit(b.Context(), l.commit()); err != nil {
			b.Fatal(err)
		}
	}
	rows := 0
	for b.Loop() {
		b.StopTimer()
		c := l.commit()
		b.StartTimer()
		if err := db.Commit(b.Context(), c); err != nil {
			b.Fatal(err)
		}
		rows += len(c.Logs[0].Entries)
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	if err := db.Scrub(b.Context()); err != nil { // all into the database file
		b.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(dir, "runledger.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(st.Size())/float64(l.head.Size), "B/row")
}

// BenchmarkRows measures reading topic rows in order, as verification does.
func BenchmarkRows(b *testing.B) {
	db, err := sqlite.Open(b.Context(), sqlite.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	l := newLoad("bench")
	for range 20 {
		if err := db.Commit(b.Context(), l.commit()); err != nil {
			b.Fatal(err)
		}
	}
	rows := 0
	for b.Loop() {
		err := db.Rows(b.Context(), l.log.LogRef, evidence.KindTraceStep, 0, l.head.Size, func(*store.Row) error {
			rows++
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rows), "ns/row")
}
