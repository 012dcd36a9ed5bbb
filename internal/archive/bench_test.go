package archive

import (
	"context"
	"flag"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runledger/runledger/evidence"
)

// A unit of the server has 262144; that many take some seconds to make.
var benchLeaves = flag.Int64("leaves", 1<<14, "size of the unit that the benchmarks write")

// BenchmarkWrite writes a unit of steps, reads it back and checks it: what an archive costs
// a record. The mark is 50,000 a second on two cores, and 200 bytes a step in Parquet.
func BenchmarkWrite(b *testing.B) {
	l, bytes := steps(b)
	n := int64(len(l.leaves))
	var m *manifest
	var peak uint64
	cpu := cpuTime()
	for b.Loop() {
		a := openDir(b, b.TempDir())
		u := l.unit(0, n, evidence.Hash{})
		ctx, stop := context.WithCancel(b.Context())
		done := make(chan uint64)
		go func() { done <- watchHeap(ctx) }()
		out := mustWrite(b, a, u)
		stop()
		peak = max(peak, <-done)
		var err error
		if m, err = a.readManifest(b.Context(), out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric((cpuTime()-cpu).Seconds()*1e6/float64(n)/float64(b.N), "cpu-µs/record")
	for _, f := range []string{"trace_step.parquet", "trace_step.jsonl.gz", "log.zip"} {
		b.ReportMetric(float64(m.file(f).Size)/float64(n), f+"-B/record")
	}
	b.ReportMetric(float64(bytes)/float64(n), "B/leaf")
	b.ReportMetric(float64(peak)/(1<<20), "heap-MiB")
}

// BenchmarkCheck is what archive verify does to that unit.
func BenchmarkCheck(b *testing.B) {
	l, _ := steps(b)
	n := int64(len(l.leaves))
	a := openDir(b, b.TempDir())
	mustWrite(b, a, l.unit(0, n, evidence.Hash{}))
	cpu := cpuTime()
	for b.Loop() {
		if r := mustCheck(b, a, CheckOptions{Keys: []string{l.log.VKey}}); r.Records != n || !r.Units[0].OK {
			b.Fatal(r)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric((cpuTime()-cpu).Seconds()*1e6/float64(n)/float64(b.N), "cpu-µs/record")
}

// steps makes a log of steps alone, of runs of 20. It returns the bytes of its leaves.
func steps(b *testing.B) (*testLog, int) {
	n := *benchLeaves
	l := newTestLog(b, 0)
	g := newGenerator(2)
	bytes := 0
	for i := range n {
		g.n++
		if g.n > 20 || i == 0 {
			g.leaf(i) // takes the next run
		}
		l.append(g.make(i, evidence.KindTraceStep))
		bytes += len(l.leaves[i])
	}
	return l, bytes
}

// watchHeap returns the most that the heap had beyond what it had at first.
func watchHeap(ctx context.Context) uint64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	first, most := s.HeapAlloc, s.HeapAlloc
	for ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
		runtime.ReadMemStats(&s)
		most = max(most, s.HeapAlloc)
	}
	return most - first
}

// cpuTime is what the process has used. On a machine that does other things too it says
// more than the clock.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
