package ledger_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// BenchmarkExpire expires steps with content, and says what one step of it takes at most: so
// long appends wait.
func BenchmarkExpire(b *testing.B) {
	defer ledger.SetExpireLeaves(ledger.SetExpireLeaves(2048))
	ctx := context.Background()
	r, h := pastRig(b)
	var first, last ledger.Receipt
	n := max(b.N, 2000)
	text := fmt.Sprintf(`,"params":{"q":"%0400d"},"prompt":"%0600d"`, 1, 2)
	for i := 0; i < n; i += 500 {
		var lines []string
		for j := range 500 {
			lines = append(lines, step(i/50+j%5, i+j+1, text))
		}
		got := r.append(b, "acme", lines...)
		if i == 0 {
			first = got[0]
		}
		last = got[499]
	}
	r.order(b, h, 1, "aos_trace_steps", evidence.ClassLLMRuns, ranges(first, last))
	var took []time.Duration
	rows := int64(0)
	b.ResetTimer()
	for more := true; more; {
		start := time.Now()
		s, err := r.ExpireStep(ctx, "acme")
		if err != nil {
			b.Fatal(err)
		}
		took, more, rows = append(took, time.Since(start)), s.More, rows+s.Rows
	}
	b.StopTimer()
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(slices.Max(took).Microseconds())/1000, "ms/step-max")
}
