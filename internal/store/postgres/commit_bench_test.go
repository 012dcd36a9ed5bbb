package postgres_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/postgres"
)

const (
	benchSteps  = 1000 // a commit
	benchSpans  = 20   // a trace
	benchLeaf   = 180  // bytes of a compressed leaf
	benchSealed = 300  // bytes of a record's sealed content, compressed
)

// benchLog makes commits as the ledger does: batches of steps in traces of 20
// spans, with one trace record each, facts as instrumented agents send them.
type benchLog struct {
	*testLog
	rand    *rand.Rand
	trace   string
	n       int64
	segment int64
}

func newBenchLog(tenant string) *benchLog {
	return &benchLog{testLog: newLog(tenant), rand: rand.New(rand.NewPCG(1, uint64(len(tenant))))}
}

func (l *benchLog) random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(l.rand.Uint32())
	}
	return b
}

func (l *benchLog) record(k evidence.Kind, texts map[string]string, numbers map[string]int64) store.Entry {
	e := record(k)
	e.Leaf.ID, e.Segment = evidence.ID(l.random(16)), l.segment
	e.Leaf.Run, e.Leaf.N = l.trace, l.n
	l.n++
	for name, v := range texts {
		e.Leaf.SetFact(textFact(k, name, v))
	}
	for name, v := range numbers {
		e.Leaf.SetFact(evidence.Fact{Field: evidence.PublicField(k, name), Int: v})
	}
	for _, name := range []string{"policy_ids", "incident_ids"} {
		e.Leaf.SetFact(evidence.Fact{Field: evidence.PublicField(k, name), List: []string{}})
	}
	return e
}

func (l *benchLog) step(i int) store.Entry {
	kind := [...]string{"llm", "tool", "agent", "retrieval"}[i%4]
	texts := map[string]string{
		"actor_type": "AGENT", "agent_id": fmt.Sprintf("agent-%d", l.rand.IntN(20)), "source_domain": "ACTIVITY",
		"source_component": "TraceStore", "origin": "AGENT", "producer": "key_01HZX4", "trace_id": l.trace,
		"span_id": fmt.Sprintf("%016x", l.rand.Uint64()), "parent_span_id": fmt.Sprintf("%016x", l.rand.Uint64()),
		"step_kind": kind, "skill_id": kind, "skill_name": fmt.Sprintf("%s skill %d", kind, l.rand.IntN(50)),
		"status": "success", "outcome_category": "SUCCESS", "replay_behavior": "execute",
	}
	numbers := map[string]int64{"is_synthetic": 0, "step_index": int64(i), "duration_us": l.rand.Int64N(5_000_000), "retry_count": 0, "late": 0}
	if i%4 == 0 {
		texts["provider"], texts["model"], texts["request_model"] = "openai", "gpt-4o-2024-08-06", "gpt-4o"
		numbers["input_tokens"], numbers["output_tokens"] = l.rand.Int64N(9000), l.rand.Int64N(2000)
	}
	return l.record(evidence.KindTraceStep, texts, numbers)
}

func (l *benchLog) commitOf(steps int) *store.Commit {
	var entries []store.Entry
	var runs []store.RunState
	for i := range steps {
		if i%benchSpans == 0 {
			l.trace, l.n = fmt.Sprintf("%x", l.random(16)), 0
			entries = append(entries, l.record(evidence.KindTrace, map[string]string{"trace_id": l.trace, "producer": "key_01HZX4"}, nil))
			runs = append(runs, store.RunState{Run: l.trace, NextN: benchSpans + 1, Last: store.Position{LogNo: 1}, Open: true})
		}
		entries = append(entries, l.step(i%benchSpans))
	}
	c := l.next(entries...)
	log := &c.Logs[0]
	log.Runs, log.KeepCheckpoint, log.Segments = runs, true, nil
	for first := 0; first < len(entries); first += 256 {
		count := min(256, len(entries)-first)
		log.Segments = append(log.Segments, store.LeafSegment{First: l.head.Size + int64(first), Count: count, Data: l.random(count * benchLeaf)})
	}
	for n := l.head.Size / 256; n < log.Next.Size/256; n++ {
		log.Tiles = append(log.Tiles, store.Tile{N: n, Data: l.random(8192)})
	}
	if l.segment == 0 {
		log.Keys = []store.DataKey{{Scope: store.ScopeDay, Label: "d", Wrapped: l.random(32)}}
	}
	log.Sealed = []store.SealedSegment{{
		SegmentRef: store.SegmentRef{LogNo: 1, No: l.segment}, ID: [16]byte(l.random(16)), Data: l.random(len(entries) * benchSealed),
	}}
	l.segment++
	return c
}

// BenchmarkCommit writes commits of 1,000 steps.
func BenchmarkCommit(b *testing.B) { benchmarkCommit(b, benchSteps) }

// BenchmarkCommitOne writes commits of one step: what a round trip and a sync
// cost.
func BenchmarkCommitOne(b *testing.B) { benchmarkCommit(b, 1) }

func benchmarkCommit(b *testing.B, steps int) {
	db := open(b, migrated(b))
	l := newBenchLog("t-1")
	records := 0
	used := cpuUsed(b, db)
	for b.Loop() {
		b.StopTimer()
		c := l.commitOf(steps)
		records += len(c.Logs[0].Entries)
		b.StartTimer()
		if err := l.commit(b.Context(), db, c); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
	used(b.N)
}

// cpuUsed returns a function that reports what a commit has taken of the processors
// since: of this process and of the database's, which a busy machine does not change as
// it does the time. It reports nothing where there is no /proc.
func cpuUsed(b *testing.B, db *postgres.DB) func(n int) {
	own, servers := cpuOf("self"), time.Duration(0)
	pids := postgres.Backends(b, db)
	for _, pid := range pids {
		servers += cpuOf(strconv.Itoa(pid))
	}
	return func(n int) {
		after := time.Duration(0)
		for _, pid := range pids {
			after += cpuOf(strconv.Itoa(pid))
		}
		b.ReportMetric(float64((cpuOf("self")-own).Microseconds())/float64(n), "own-cpu-us/op")
		b.ReportMetric(float64((after-servers).Microseconds())/float64(n), "db-cpu-us/op")
	}
}

func cpuOf(pid string) time.Duration {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
