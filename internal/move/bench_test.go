package move_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/move"
	"github.com/runledger/runledger/internal/store"
)

// BenchmarkCopy copies 20,000 steps with content, verifications and comparison
// included.
func BenchmarkCopy(b *testing.B) {
	dir := b.TempDir()
	d := deployment{sqliteIn(filepath.Join(dir, "data")), master(b, filepath.Join(dir, "master.json")), filepath.Join(dir, "anchor")}
	d.use(b, func(l *ledger.Ledger, _ store.Store) {
		if _, err := l.CreateTenant(b.Context(), "acme"); err != nil {
			b.Fatal(err)
		}
		for i := range 20 {
			var lines []string
			for j := range 1000 {
				lines = append(lines, step(i*50+j/20, j+1, fmt.Sprintf(content, j, i)))
			}
			appendTo(b, l, "acme", lines...)
		}
	})
	for backend, place := range backends {
		b.Run(backend, func(b *testing.B) {
			var leaves int64
			for b.Loop() {
				b.StopTimer()
				other := place(b)
				b.StartTimer()
				report, err := d.copyTo(b, other, func(cfg *move.Config) { cfg.Rehearse = true })
				if err != nil {
					b.Fatal(err)
				}
				leaves += report.Copied
			}
			b.ReportMetric(float64(leaves)/b.Elapsed().Seconds(), "leaves/s")
		})
	}
	_ = os.RemoveAll(dir)
}
