package export_test

import (
	"context"
	"io"
	"testing"

	"github.com/runledger/runledger/internal/export"
)

// BenchmarkPeriod exports a period of 10,000 steps and 1,000 audit entries.
func BenchmarkPeriod(b *testing.B) {
	r := newRig(b)
	from := r.now()
	for i := range 20 {
		r.steps(i, 500*i, 500)
	}
	r.audits("LimitChecked", 1000)
	until := r.now()
	for _, format := range []string{export.FormatZIP, export.FormatCSV, export.FormatPDF} {
		b.Run(format, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				out, err := r.exporter.Export(context.Background(), export.Request{
					Tenant: "acme", Profile: export.ProfilePeriod, Scope: export.ScopeCompliance, From: from, Until: until,
					Format: format, By: export.Requester{Name: "bench"},
				})
				if err != nil {
					b.Fatal(err)
				}
				if err := out.Write(io.Discard); err != nil {
					b.Fatal(err)
				}
				if err := out.Close(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(out.Bytes), "bytes/export")
			}
		})
	}
}
