package api

import (
	"errors"
	"net/http"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/problem"
)

// FuzzRange: whatever is asked for, it is the whole, a part of it, or what lies behind
// its end.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=5-", "bytes=-5", "bytes=-0", "bytes=99-", "bytes=1-2,3-4", "x", "bytes=99999999999999999999-", "bytes= 1-2"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, s string, size int64) {
		size &= 1<<40 - 1
		r := rangeOf(http.Header{"Range": {s}}, &export.Stored{Bytes: size, Digest: "sha256:x"})
		switch {
		case !r.part && r.from == 0 && r.to == size:
		case r.part && r.from >= size:
		case r.part && 0 <= r.from && r.from < r.to && r.to <= size:
		default:
			t.Errorf("%q of %d bytes: %+v", s, size, r)
		}
	})
}

// FuzzExportRequest: what is taken is a request of a period, and what is not says why.
func FuzzExportRequest(f *testing.F) {
	f.Add([]byte(`{"scope":"audit","from":"2026-11-01T00:00:00Z","until":"2026-12-01T00:00:00.5+01:00","format":"csv","compliance_tags":["SOC2"],"disclose":["/prompt"],"withhold":["*"],"since_size":3}`))
	f.Add([]byte(`{"scope":"audit","scope":"audit"}`))
	f.Add([]byte(`{"a\u0000":1}`))
	f.Add([]byte(`{"from":1}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := parseExport(b)
		var field *evidence.FieldError
		switch {
		case err == nil && req.Profile == export.ProfilePeriod && req.Format != "" && req.Tenant == "" && req.SinceSize >= 0:
		case errors.As(err, &field) && field.Field != "" && (errors.Is(err, problem.ErrMalformed) || errors.Is(err, evidence.ErrInvalid)):
		default:
			t.Errorf("%q: %+v, %v", b, req, err)
		}
	})
}
