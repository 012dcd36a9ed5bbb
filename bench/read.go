package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/runledger/runledger/internal/ledger"
)

// reading measures proofs and verification with many records stored.
func (b *bench) reading(ctx context.Context) {
	o, dir := b.fill(ctx)
	c, _, err := o.PublishNow(ctx, o.tenant, 1)
	check(err)
	var proofs []time.Duration
	for range 2000 {
		at := time.Now()
		_, err := o.ProveSeq(ctx, o.tenant, 1, rand.Int64N(c.Size))
		check(err)
		proofs = append(proofs, time.Since(at))
	}
	slices.Sort(proofs)
	fmt.Printf("inclusion proof, leaf read and checked: p50 %v, p99 %v\n", proofs[1000], proofs[1980])
	cpu, at := cpuTime(), time.Now()
	report, err := ledger.Verify(ctx, ledger.LiveConfig{Reader: o.db, Sealer: o.sealer, Anchor: o.anchor, Tenant: o.tenant})
	check(err)
	if !report.OK() {
		check(fmt.Errorf("verification failed: %v", report.Findings[0]))
	}
	n := float64(report.Leaves)
	fmt.Printf("live verification, every table and column: %.0f entries, %.2f µs per entry, %.2f µs CPU per entry\n",
		n, float64(time.Since(at).Microseconds())/n, float64((cpuTime()-cpu).Microseconds())/n)
	check(o.close())
	if b.data == "" {
		check(os.RemoveAll(dir))
		check(os.RemoveAll(dir + ".anchor"))
	}
}
