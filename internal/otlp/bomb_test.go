package otlp

import (
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// What records share is bounded over the request: without that, each of
// these requests of some MiB would become terabytes.
func TestSharedContentIsBounded(t *testing.T) {
	const many = 10_000
	big := strings.Repeat("x", 1<<20)
	m := testMapper()
	m.room = 16 << 20
	tests := map[string]func() *Batch{
		"spans of a large resource": func() *Batch {
			td := oneSpan(nil)
			rs := td.ResourceSpans().At(0)
			rs.Resource().Attributes().PutStr("k", big)
			for range many {
				rs.ScopeSpans().At(0).Spans().At(0).CopyTo(rs.ScopeSpans().At(0).Spans().AppendEmpty())
			}
			return m.Traces(td)
		},
		"scopes of a large resource": func() *Batch {
			td := oneSpan(nil)
			rs := td.ResourceSpans().At(0)
			rs.Resource().Attributes().PutStr("k", big)
			for range many {
				rs.ScopeSpans().At(0).CopyTo(rs.ScopeSpans().AppendEmpty())
			}
			return m.Traces(td)
		},
		"log records of a large resource": func() *Batch {
			ld := oneLog(nil)
			rl := ld.ResourceLogs().At(0)
			rl.Resource().Attributes().PutStr("k", big)
			for range many {
				rl.ScopeLogs().At(0).CopyTo(rl.ScopeLogs().AppendEmpty())
			}
			return m.Logs(ld)
		},
		"metrics of a large resource": func() *Batch {
			md := pmetric.NewMetrics()
			rm := md.ResourceMetrics().AppendEmpty()
			rm.Resource().Attributes().PutStr("k", big)
			sm := rm.ScopeMetrics().AppendEmpty()
			for range many {
				sm.Metrics().AppendEmpty().SetEmptyGauge().DataPoints().AppendEmpty()
			}
			return m.Metrics(md)
		},
		"events of a large service": func() *Batch {
			td := oneSpan(func(s ptrace.Span) {
				for range many {
					s.Events().AppendEmpty()
				}
			})
			td.ResourceSpans().At(0).Resource().Attributes().PutStr("service.name", big)
			return m.Traces(td)
		},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			b := f()
			size := 0
			for _, it := range b.Items {
				for _, v := range it.Record.Sealed {
					size += len(v.JSON)
				}
			}
			if size > 3*m.room || len(b.Items) == 0 {
				t.Errorf("%d items of %d MiB", len(b.Items), size>>20)
			}
			if len(b.Errors) == 0 || !strings.Contains(b.Errors[0], "MiB") {
				t.Errorf("%q", b.Errors)
			}
		})
	}
}
