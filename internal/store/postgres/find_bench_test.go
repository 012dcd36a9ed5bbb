package postgres_test

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/store"
)

// BenchmarkFind measures the lists and views of the contract, and the counts of
// the lists. RUNLEDGER_BENCH_ROWS says how many records there are; 1500000 are
// 500,000 runs and a million others.
func BenchmarkFind(b *testing.B) {
	total := int64(20_000)
	if v := os.Getenv("RUNLEDGER_BENCH_ROWS"); v != "" {
		var err error
		if total, err = strconv.ParseInt(v, 10, 64); err != nil {
			b.Fatal(err)
		}
	}
	db := open(b, migrated(b))
	l := newFindLoad("bench", total)
	l.fill(b, db)
	for _, c := range l.listCases() {
		b.Run(c.name, func(b *testing.B) {
			found := 0
			p50(b, "p50-µs", func() error {
				found = 0
				return db.Find(b.Context(), c.Query, func(store.Found) error {
					found++
					return nil
				})
			})
			b.ReportMetric(float64(found), "found")
		})
		if c.Order != store.Newest {
			continue
		}
		b.Run(c.name+", count", func(b *testing.B) {
			n := int64(0)
			p50(b, "p50-µs", func() (err error) {
				n, err = db.Count(b.Context(), c.Query, 10_000)
				return err
			})
			b.ReportMetric(float64(n), "counted")
		})
	}
}

// p50 reports the median time of f.
func p50(b *testing.B, unit string, f func() error) {
	var times []time.Duration
	for b.Loop() {
		start := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1000, unit)
}
