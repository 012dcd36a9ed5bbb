// Command bench measures the ledger beside its peers in one run, so that the
// ratios mean something on a noisy machine. See README.md.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	what := flag.String("run", "append", "append | stored | read | otlp | facade | postgres | postgres-read | verify | export | lifecycle")
	dir := flag.String("dir", os.TempDir(), "where the data goes")
	seconds := flag.Float64("seconds", 3, "length of one measurement")
	rounds := flag.Int("rounds", 3, "interleaved rounds; medians are reported")
	stored := flag.Int("stored", 1_000_000, "records stored before (run stored, read, otlp, facade, postgres, postgres-read)")
	keep := flag.String("data", "", "directory that is kept and filled up to -stored (the same runs)")
	shape := flag.String("shape", "", "only this one: clients x batch, e.g. 8x1000 (run stored, otlp), or processes x tenants x senders x batch (run postgres)")
	store := flag.String("store", "sqlite", "sqlite | postgres (run lifecycle)")
	archive := flag.String("archive", "dir", "dir | s3, which is in memory (run lifecycle)")
	quick := flag.Bool("quick", false, "a few small shapes only, to see that it runs")
	profile := flag.String("cpuprofile", "", "write a CPU profile")
	flag.Parse()
	if *profile != "" {
		f, err := os.Create(*profile)
		check(err)
		check(pprof.StartCPUProfile(f))
		defer pprof.StopCPUProfile()
	}
	ctx := context.Background()
	b := &bench{dir: *dir, length: time.Duration(*seconds * float64(time.Second)), rounds: *rounds, stored: *stored, data: *keep, quick: *quick, shape: *shape, store: *store, archive: *archive}
	switch *what {
	case "append":
		b.appendMatrix(ctx)
	case "stored":
		b.withStored(ctx)
	case "read":
		b.reading(ctx)
	case "otlp":
		b.otlp(ctx)
	case "postgres":
		b.postgres(ctx)
	case "postgres-read":
		b.postgresRead(ctx)
	case "verify":
		b.verifying(ctx)
	case "facade":
		b.facade(ctx)
	case "lifecycle":
		b.lifecycle(ctx)
	case "export":
		b.exporting(ctx)
	case "export-one": // by run export, in a process of its own
		b.exportOne(ctx)
	case "verify-one":
		b.verifyOne(ctx)
	default:
		flag.Usage()
		os.Exit(2)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	dir    string
	data   string
	length time.Duration
	rounds int
	stored int
	quick  bool
	shape  string

	store, archive string
}

// result is one measurement.
type result struct {
	What     string  `json:"what"`
	Clients  int     `json:"clients"`
	Batch    int     `json:"batch"`
	PerSec   float64 `json:"records_per_s"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	CPU      float64 `json:"cpu_s_per_100k"` // generator included
	Records  int64   `json:"records"`
	PerEntry float64 `json:"bytes_per_record,omitempty"`
	// Of a server in a process of its own:
	ServerCPU float64 `json:"server_cpu_s_per_100k,omitempty"`
	RSS       int64   `json:"server_rss_mib,omitempty"`
	// Of a database beside it:
	StoreCPU float64 `json:"store_cpu_s_per_100k,omitempty"`
	WAL      float64 `json:"wal_bytes_per_record,omitempty"`
	Refused  int64   `json:"refused,omitempty"`
}

// drive lets clients append batches for a while.
func (b *bench) drive(ctx context.Context, s system, clients, batch int, seed uint64) result {
	var n atomic.Int64
	var mu sync.Mutex
	var waits []time.Duration
	var wg sync.WaitGroup
	cpu, start := cpuTime(), time.Now()
	for c := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			g := newGenerator(seed + uint64(c))
			var own []time.Duration
			for time.Since(start) < b.length {
				records := g.batch(batch)
				at := time.Now()
				check(s.append(ctx, records))
				own = append(own, time.Since(at))
				n.Add(int64(batch))
			}
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, own...)
		}()
	}
	wg.Wait()
	took := time.Since(start).Seconds()
	slices.Sort(waits)
	ms := func(q float64) float64 {
		return float64(waits[int(float64(len(waits)-1)*q)].Microseconds()) / 1000
	}
	return result{
		Clients: clients, Batch: batch, Records: n.Load(), PerSec: float64(n.Load()) / took,
		P50: ms(0.5), P99: ms(0.99), CPU: (cpuTime() - cpu).Seconds() / float64(n.Load()) * 1e5,
	}
}

// cpuTime is what this process has used, user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func say(r result) {
	out, err := json.Marshal(r)
	check(err)
	fmt.Println(string(out))
}

func median(rs []result) result {
	slices.SortFunc(rs, func(a, b result) int {
		switch {
		case a.PerSec < b.PerSec:
			return -1
		case a.PerSec > b.PerSec:
			return 1
		}
		return 0
	})
	return rs[len(rs)/2]
}

// appendMatrix measures each number of clients and batch size on fresh
// stores, the systems interleaved.
func (b *bench) appendMatrix(ctx context.Context) {
	open := map[string]func(dir string) (system, error){
		"runledger": func(dir string) (system, error) { return openOurs(ctx, dir) },
		"sqlite":    func(dir string) (system, error) { return openBare(dir) },
		"tessera":   func(dir string) (system, error) { return openPeer(ctx, dir) },
	}
	names := []string{"runledger", "sqlite", "tessera"}
	fmt.Println("| clients | batch | runledger/s | p50 ms | sqlite bare/s | tessera/s | vs sqlite | vs tessera |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	clientses, batches := []int{1, 16, 256}, []int{1, 100, 1000}
	if b.quick {
		clientses, batches = []int{1, 4}, []int{1, 100}
	}
	for _, clients := range clientses {
		for _, batch := range batches {
			all := map[string][]result{}
			for round := range b.rounds {
				for _, name := range names {
					dir := mustTemp(b.dir, "bench-"+name)
					s, err := open[name](dir)
					check(err)
					all[name] = append(all[name], b.drive(ctx, s, clients, batch, uint64(round*1000)))
					check(s.close())
					check(os.RemoveAll(dir))
					check(os.RemoveAll(dir + ".anchor"))
				}
			}
			m := map[string]result{}
			for _, name := range names {
				m[name] = median(all[name])
			}
			us := m["runledger"]
			fmt.Printf("| %d | %d | %.0f | %.2f | %.0f | %.0f | %.2f | %.2f |\n", clients, batch, us.PerSec, us.P50,
				m["sqlite"].PerSec, m["tessera"].PerSec, us.PerSec/m["sqlite"].PerSec, us.PerSec/m["tessera"].PerSec)
		}
	}
}

// fill opens the kept data directory and fills it up.
func (b *bench) fill(ctx context.Context) (*ours, string) {
	dir := b.data
	if dir == "" {
		dir = mustTemp(b.dir, "bench-stored")
	}
	o, err := openOurs(ctx, dir)
	check(err)
	size := func() int {
		c, _, err := o.PublishNow(ctx, o.tenant, 1)
		check(err)
		return int(c.Size)
	}
	var wg sync.WaitGroup
	missing := b.stored - size()
	start := time.Now()
	for c := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			g := newGenerator(uint64(time.Now().UnixNano()) + uint64(c))
			for range max(missing, 0) / 8000 {
				check(o.append(ctx, g.batch(1000)))
			}
		}()
	}
	wg.Wait()
	if missing > 8000 {
		fmt.Printf("filled %d records at %.0f/s\n", missing, float64(missing)/time.Since(start).Seconds())
	}
	return o, dir
}

// withStored measures appends, start-up and disk with many records stored.
func (b *bench) withStored(ctx context.Context) {
	o, dir := b.fill(ctx)
	for _, shape := range [][2]int{{8, 1000}, {8, 100}, {8, 1}, {1, 1}} {
		if b.shape != "" && b.shape != fmt.Sprintf("%dx%d", shape[0], shape[1]) {
			continue
		}
		var rs []result
		for round := range b.rounds {
			rs = append(rs, b.drive(ctx, o, shape[0], shape[1], uint64(time.Now().UnixNano())+uint64(round)))
		}
		r := median(rs)
		r.What = "append"
		say(r)
	}
	c, _, err := o.PublishNow(ctx, o.tenant, 1)
	check(err)
	check(o.close())
	n, err := diskBytes(dir)
	check(err)
	fmt.Printf("records %d, %.0f bytes per record on disk\n", c.Size, float64(n)/float64(c.Size))
	var starts []time.Duration
	for range 5 {
		at := time.Now()
		o, err = openOurs(ctx, dir)
		check(err)
		check(o.append(ctx, newGenerator(uint64(time.Now().UnixNano())).batch(1)))
		starts = append(starts, time.Since(at))
		check(o.close())
	}
	slices.Sort(starts)
	fmt.Printf("start-up to first receipt: median %v\n", starts[len(starts)/2].Round(10*time.Microsecond))
	if b.data == "" {
		check(os.RemoveAll(dir))
		check(os.RemoveAll(dir + ".anchor"))
	}
}
