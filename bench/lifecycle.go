package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/server"
)

const (
	// agedDays is how long ago the records were recorded that are archived and expire.
	agedDays = 100
	// subjectRuns are the runs of the person who is erased, of 20 steps each.
	subjectRuns = 500
	subject     = "person-who-asked"
)

// lifecycle measures what the end of evidence costs, through the real binary, while
// somebody else goes on sending: archive and expiry of -stored steps that are old
// enough, what the archive takes, and the erasure of a person with 10,000 records. The
// same load before, by itself, is what it is compared with. With -store postgres it is on a
// PostgreSQL of its own, with -archive s3 the archive is a bucket in the memory of this process.
func (b *bench) lifecycle(ctx context.Context) {
	f, cfg, dir, leave := b.lifeDeployment(ctx)
	defer leave()
	sizes := func(records int64) { archiveSizes(dir, records) }
	if b.archive == "s3" {
		s := newBucket()
		defer s.end()
		f.env, sizes = append(f.env, s.env()...), func(records int64) { s.sizes(records) }
		fmt.Println("the archive is a bucket in the memory of this process, on the same cores, without a network")
	}
	b.fillAged(ctx, cfg)
	f.env = append(f.env, "RUNLEDGER_LIFECYCLE_EVERY=0")
	f.start(ctx, 1)
	f.makeTenants(ctx, 1)
	length := b.length
	if b.quick {
		length = time.Second
	}
	f.pacedFor(length) // warm
	alone := f.pacedFor(length)
	fmt.Printf("sent by itself: p50 %.1f ms, p99 %.1f ms\n", alone.P50, alone.P99)

	f.erasePerson(ctx)

	var archived struct {
		Units []struct {
			From, To int64
			Bytes    int64 `json:"size_bytes"`
		} `json:"units"`
	}
	took, with := f.meanwhile(func() {
		check(json.Unmarshal(f.command(ctx, "archive", "run", "--tenant", facadeTenant, "--json"), &archived))
	})
	records := int64(0)
	for _, u := range archived.Units {
		records += u.To - u.From
	}
	fmt.Printf("archive: %d records in %.1f s, %.0f/s; sent meanwhile: p50 %.1f ms, p99 %.1f ms, %.2f of p99 by itself\n",
		records, took, float64(records)/took, with.P50, with.P99, with.P99/alone.P99)
	sizes(records)

	var expired struct {
		Classes []struct {
			Removed int64 `json:"removed_records"`
		} `json:"classes"`
	}
	took, with = f.meanwhile(func() {
		check(json.Unmarshal(f.command(ctx, "retention", "run", "--tenant", facadeTenant, "--json"), &expired))
	})
	removed := int64(0)
	for _, c := range expired.Classes {
		removed += c.Removed
	}
	fmt.Printf("expiry: %d records in %.1f s, %.0f/s; sent meanwhile: p50 %.1f ms, p99 %.1f ms, %.2f of p99 by itself\n",
		removed, took, float64(removed)/took, with.P50, with.P99, with.P99/alone.P99)
}

// lifeDeployment is a deployment on the store that was asked for, the directory of its
// archive, and what ends it.
func (b *bench) lifeDeployment(ctx context.Context) (f *fleet, cfg server.Config, archive string, leave func()) {
	if b.store == "postgres" {
		c, f := b.deployment(ctx)
		archive = filepath.Join(filepath.Dir(f.bin), "archive")
		f.env = append(f.env, "RUNLEDGER_ARCHIVE="+archive)
		return f, c.config(f), archive, func() { b.leave(c, f) }
	}
	data := b.data
	if data == "" {
		data = mustTemp(b.dir, "bench-lifecycle")
	}
	f = &fleet{bin: build(ctx, mustTemp(b.dir, "bench-bin")), data: []string{data}}
	return f, server.Config{Data: data, Create: true}, data + ".archive", func() {
		f.stop()
		if b.data == "" {
			for _, ending := range []string{"", ".anchor", ".archive"} {
				check(os.RemoveAll(data + ending))
			}
		}
	}
}

// fillAged fills a deployment whose clock stood in the past, and then, with the clock
// of today, with the runs of the person who is erased.
func (b *bench) fillAged(ctx context.Context, cfg server.Config) {
	want := int64(b.stored) / spansPerTrace
	people := subjectRuns
	if b.quick {
		want, people = 100, 5
	}
	filled := filepath.Join(cfg.Data, "filled") // of a directory that is kept
	if _, err := os.Stat(filled); err == nil {
		return
	}
	began := time.Now()
	past := began.Add(-agedDays * 24 * time.Hour)
	clock := ledger.Clock{Now: func() time.Time { return past.Add(time.Since(began)) }}
	now := cfg.Clock
	cfg.Clock = clock
	d, err := server.Open(ctx, cfg)
	check(err)
	_, err = d.Ledger.CreateTenant(ctx, facadeTenant)
	check(err)
	var next atomic.Int64
	var fill sync.WaitGroup
	for w := range 8 {
		fill.Go(func() {
			g := newGenerator(uint64(w) + 100)
			for {
				from := next.Add(45) - 45
				if from >= want {
					return
				}
				var batch []*evidence.Record
				for i := from; i < min(from+45, want); i++ {
					batch = append(batch, g.run(i, evidence.MicrosOf(past))...)
				}
				_, err := d.Ledger.Append(ctx, facadeTenant, batch, ledger.AppendOptions{})
				check(err)
			}
		})
	}
	fill.Wait()
	check(d.Close())
	cfg.Clock = now
	d, err = server.Open(ctx, cfg)
	check(err)
	g := newGenerator(1)
	for i := range people {
		batch := g.run(want+int64(i), evidence.MicrosOf(time.Now()))
		for _, r := range batch {
			r.SetSealed("/subject", []byte(`"`+subject+`"`))
			check(r.Complete())
		}
		_, err := d.Ledger.Append(ctx, facadeTenant, batch, ledger.AppendOptions{})
		check(err)
	}
	check(d.Close())
	check(os.WriteFile(filled, nil, 0o600))
	fmt.Printf("filled %d runs in %v\n", want+int64(people), time.Since(began).Round(time.Second))
}

func (f *fleet) erasePerson(ctx context.Context) {
	var done struct {
		Records int `json:"records"`
		Fields  int `json:"fields"`
	}
	dir := mustTemp("", "bench-certificate")
	defer os.RemoveAll(dir)
	began := time.Now()
	check(json.Unmarshal(f.command(ctx, "erase", "--tenant", facadeTenant, "--subject", subject, "--reason", "asked for",
		"--out", filepath.Join(dir, "certificate.json"), "--json"), &done))
	fmt.Printf("erasure: %d records, %d fields in %.1f s, certificate included\n", done.Records, done.Fields, time.Since(began).Seconds())
}

// meanwhile sends at a pace while do works, and returns how long that took.
func (f *fleet) meanwhile(do func()) (seconds float64, r result) {
	stop := make(chan struct{})
	waits := make(chan []time.Duration)
	go func() { waits <- f.timed(stop) }()
	began := time.Now()
	do()
	seconds = time.Since(began).Seconds()
	close(stop)
	return seconds, quantiles(<-waits)
}

func (f *fleet) pacedFor(length time.Duration) result {
	_, r := f.meanwhile(func() { time.Sleep(length) })
	return r
}

// timed sends batches of 100 spans, twenty a second from as many senders as are needed,
// until stop, and returns how long each took.
func (f *fleet) timed(stop chan struct{}) (waits []time.Duration) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	var mu sync.Mutex
	var sending sync.WaitGroup
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	seed := uint64(time.Now().UnixNano())
	for {
		select {
		case <-stop:
			sending.Wait()
			return waits
		case <-tick.C:
		}
		seed++
		sending.Go(func() {
			t := newTemplate(rand.New(rand.NewPCG(1, seed)), 100)
			at := time.Now()
			f.post(client, t.body, 0, 0)
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, time.Since(at))
		})
	}
}

func quantiles(waits []time.Duration) (r result) {
	slices.Sort(waits)
	ms := func(q float64) float64 { return float64(waits[int(float64(len(waits)-1)*q)].Microseconds()) / 1000 }
	return result{P50: ms(0.5), P99: ms(0.99)}
}

// archiveSizes says what the forms of an archive take. Steps are most of its records.
func archiveSizes(dir string, records int64) {
	var bundles, lines, columns, all int64
	check(filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		check(err)
		all += info.Size()
		switch {
		case strings.HasSuffix(path, ".zip"):
			bundles += info.Size()
		case strings.HasSuffix(path, ".jsonl.gz"):
			lines += info.Size()
		case strings.HasSuffix(path, ".parquet"):
			columns += info.Size()
		}
		return nil
	}))
	printSizes(bundles, lines, columns, all, records)
}

func printSizes(bundles, lines, columns, all, records int64) {
	per := func(n int64) float64 { return float64(n) / float64(max(records, 1)) }
	fmt.Printf("archive: %.0f B per record: gzip JSON lines %.0f, Parquet %.0f, entry bundles and tiles %.0f\n",
		per(all), per(lines), per(columns), per(bundles))
}
