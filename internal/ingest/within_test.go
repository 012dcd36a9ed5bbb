package ingest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
)

// TestAppendNative: what comes from within goes the way of what comes over
// HTTP, and its errors are those of all other parts of the server.
func TestAppendNative(t *testing.T) {
	var paused error
	r := newRig(t, func(c *Config) {
		c.Paused = func() error { return paused }
		c.MaxBody, c.MaxInFlight, c.QueueWait = 1<<16, 1<<17, 50*time.Millisecond
	})
	ctx := context.Background()
	lines := func(texts ...string) (list [][]byte) {
		for _, text := range texts {
			list = append(list, []byte(text))
		}
		return list
	}
	const otherSpan = "0102030405060709"
	receipts, err := r.AppendNative(ctx, "acme", "key-1", lines(system(uuid1, "a"), step("r1", "0102030405060708")))
	must(t, err)
	if len(receipts) != 2 || receipts[0].ID != uuid1 || receipts[1].Index != 1 || receipts[1].Duplicate || receipts[1].ConflictOf != nil {
		t.Errorf("receipts %+v", receipts)
	}
	again, err := r.AppendNative(ctx, "acme", "key-1", lines(step("r1", "0102030405060708"), strings.Replace(step("r1", "0102030405060708"), "success", "failure", 1)))
	must(t, err)
	if !again[0].Duplicate || again[0].LeafHash != receipts[1].LeafHash || again[1].ConflictOf == nil || *again[1].ConflictOf != receipts[1].ID {
		t.Errorf("again %+v", again)
	}
	for _, tc := range []struct {
		name     string
		lines    [][]byte
		line     int
		field    string
		sentinel error
	}{
		{"invalid", lines(system(uuid2, "a"), `{"kind":"system"}`), 2, "occurred_at", evidence.ErrInvalid},
		{"server's fact", lines(strings.Replace(system(uuid2, "a"), "RESTART", "LOG_CLOSED", 1)), 1, "event_type", evidence.ErrInvalid},
		{"no JSON", lines("{"), 1, "record", evidence.ErrInvalid},
		{"conflict", lines(step("r1", otherSpan), system(uuid1, "b")), 2, "", evidence.ErrConflict},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := r.AppendNative(ctx, "acme", "key-1", tc.lines)
			var at *evidence.LineError
			if !errors.As(err, &at) || at.Line != tc.line || !errors.Is(err, tc.sentinel) {
				t.Fatalf("%v, want one of line %d that is %q", err, tc.line, tc.sentinel)
			}
			if fe := (*evidence.FieldError)(nil); errors.As(err, &fe) != (tc.field != "") || (fe != nil && fe.Field != tc.field) {
				t.Errorf("%v, want one of field %q", err, tc.field)
			}
			if k := problem.Of(err); k.Status >= 500 || k.Status == 403 {
				t.Errorf("answered with %d", k.Status)
			}
		})
	}
	_, err = r.AppendNative(ctx, "acme", "key-1", [][]byte{make([]byte, 1<<16+1)})
	wantSentinel(t, "too large", err, evidence.ErrTooLarge)
	_, err = r.AppendNative(ctx, "", "key-1", lines(system(uuid2, "a")))
	wantSentinel(t, "no tenant", err, evidence.ErrForbidden)
	room, err := r.makeRoom(ctx, 1<<17)
	must(t, err)
	_, err = r.AppendNative(ctx, "acme", "key-1", lines(system(uuid2, "a")))
	wantSentinel(t, "full", err, problem.ErrTooMany)
	room.done()
	paused = evidence.ErrUnavailable
	_, err = r.AppendNative(ctx, "acme", "key-1", lines(system(uuid2, "a")))
	wantSentinel(t, "paused", err, evidence.ErrUnavailable)
	r.roomBack()

	// What is refused leaves nothing; the tracker hears of what is new only.
	if diff := cmp.Diff(map[string]int{"system": 1, "trace_step": 2}, r.count("acme")); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"system": 1, "trace_step": 2}, r.runs.kinds()); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

func wantSentinel(t *testing.T, what string, err, sentinel error) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Errorf("%s: %v, want one that is %q", what, err, sentinel)
	}
}
