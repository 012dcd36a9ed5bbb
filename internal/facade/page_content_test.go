package facade

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
)

// TestMuchContent: content takes no room where it is stored, so what one answer opens
// is bounded. One record is always shown, and who sees no content sees all.
func TestMuchContent(t *testing.T) {
	r := newRig(t)
	at := after(0)
	for i := range 3 {
		r.add("acme", r.native("llm_run", at, fields{
			"run_id": traceID(i + 1), "execution_status": "SUCCEEDED", "prompt": strings.Repeat("x", maxContent/2-100),
		}))
	}
	reader := Reader{Tenant: "acme", Content: true, MaxRows: 100, MaxRange: 24 * time.Hour}
	var fe *evidence.FieldError
	if _, err := r.Runs(r.ctx, reader, RunFilter{}, Paging{}); !errors.Is(err, evidence.ErrTooLarge) || !errors.As(err, &fe) || fe.Field != "limit" {
		t.Errorf("three at once: %v", err)
	}
	for _, limit := range []int{1, 2} {
		if l, err := r.Runs(r.ctx, reader, RunFilter{}, Paging{Limit: limit}); err != nil || len(l.Items) != limit {
			t.Errorf("%d at once: %v", limit, err)
		}
	}
	reader.Content = false
	if l, err := r.Runs(r.ctx, reader, RunFilter{}, Paging{}); err != nil || len(l.Items) != 3 {
		t.Errorf("without content: %v", err)
	}
}
