package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
)

// exportStatus is an answer about an export in a state.
func exportStatus(state string, done int64) []byte {
	b, err := json.Marshal(answer.ExportStatus{
		ExportID: "e-1", Status: state, Scope: "audit", Format: "zip", ComplianceTags: []string{}, StatusURL: "/api/v1/exports/e-1",
		Progress: answer.ExportProgress{Done: done, Total: 10},
		Metadata: evidence.Union(evidence.Metadata{TenantID: "acme", SourceDomain: "LOGS", Origin: "SYSTEM"}, evidence.MicrosOf(time.Now())),
	})
	if err != nil {
		panic(err)
	}
	return b
}

func TestPeriodExport(t *testing.T) {
	from := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	asked := 0
	c := reader(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + " " + r.URL.Path {
		case "POST /behind/api/v1/exports":
			b, err := io.ReadAll(r.Body)
			const want = `{"scope":"audit","from":"2026-11-01T00:00:00.000000Z","until":"2026-12-01T00:00:00.000000Z","compliance_tags":["SOC2"],"withhold":["/actor"]}`
			if err != nil || string(b) != want || r.Header.Get("Idempotency-Key") == "" || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %v %v", b, r.Header, err)
			}
			w.WriteHeader(http.StatusAccepted)
			_, _ = w.Write(exportStatus("pending", 0))
		case "GET /behind/api/v1/exports/e-1":
			if asked++; asked < 3 {
				_, _ = w.Write(exportStatus("pending", int64(asked)))
				return
			}
			_, _ = w.Write(exportStatus("failed", 10))
		default:
			problem(w, 404, map[string]any{"code": "not_found"})
		}
	})
	s, err := c.StartExport(t.Context(), client.PeriodExport{
		Scope: "audit", From: from, Until: from.AddDate(0, 1, 0), Tags: []string{"SOC2"}, Withhold: []string{"/actor"},
	})
	if err != nil || s.ExportID != "e-1" || s.Status != "pending" {
		t.Fatalf("%+v %v", s, err)
	}
	var seen []int64
	s, err = c.WaitExport(t.Context(), "e-1", func(s *answer.ExportStatus) { seen = append(seen, s.Progress.Done) })
	if err != nil || s.Status != "failed" || fmt.Sprint(seen) != "[1 2]" {
		t.Errorf("%+v %v %v", s, seen, err)
	}
	if _, err := c.ExportStatus(t.Context(), "e-2"); !errors.Is(err, evidence.ErrNotFound) {
		t.Error(err)
	}
	for _, id := range []string{"", "..", "."} {
		if _, err := c.ExportStatus(t.Context(), id); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := c.StartExport(t.Context(), client.PeriodExport{From: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)}); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("the year 12000: %v", err)
	}
	asked = -1 << 30
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.WaitExport(ctx, "e-1", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
