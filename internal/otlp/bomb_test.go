package otlp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/runledger/runledger/evidence"
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

// TestRecordsAreBounded: a record takes memory though its span says nothing.
func TestRecordsAreBounded(t *testing.T) {
	const many = 10_000
	td := oneSpan(nil)
	list := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	for i := range many {
		s := list.AppendEmpty()
		s.SetTraceID([16]byte{1})
		var id [8]byte
		binary.BigEndian.PutUint64(id[:], uint64(i+1))
		s.SetSpanID(id)
	}
	m := testMapper()
	m.room = many * 1000
	if b := m.Traces(td); b.Rejected == 0 || len(b.Items)*recordSize > m.room {
		t.Errorf("%d records, %d rejected", len(b.Items), b.Rejected)
	}
}

// TestWithin: what a request takes is asked for, and where there is none
// nothing is refused for good.
func TestWithin(t *testing.T) {
	asked := 0
	m := testMapper().Within(func(n int) error { asked += n; return nil })
	if b := m.Traces(oneSpan(nil)); b.Err != nil || b.Rejected != 0 || asked < recordSize {
		t.Errorf("%d bytes asked for, %+v", asked, b)
	}
	full := errors.New("full")
	m = testMapper().Within(func(int) error { return full })
	if b := m.Traces(oneSpan(nil)); !errors.Is(b.Err, full) {
		t.Errorf("got %v", b.Err)
	}
}

// TestPackedNumbers: numbers of a byte each become eight, and then text.
func TestPackedNumbers(t *testing.T) {
	wrap := func(b []byte, numbers ...int) []byte {
		for _, n := range numbers {
			b = appendMessage(nil, protowire.Number(n), b)
		}
		return b
	}
	body := wrap(make([]byte, 41<<20), 2, 8, 1, 10, 2, 2, 1)
	if _, err := DecodeMetrics(body, Protobuf); !errors.Is(err, evidence.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if _, err := DecodeMetrics(wrap(bytes.Repeat([]byte{1}, 100<<10), 2, 8, 1, 10, 2, 2, 1), Protobuf); err != nil {
		t.Error(err)
	}
}
