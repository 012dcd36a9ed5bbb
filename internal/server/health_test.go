package server

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store/storerig"
)

// TestHealth: each change between ready and not ready is one record, with its
// reason; that it goes on being so is none.
func TestHealth(t *testing.T) {
	storerig.Only(t, storerig.SQLite, "what changes is the room on the disk of SQLite's data")
	ctx := context.Background()
	d, err := Open(ctx, Stored(t, Config{Data: filepath.Join(t.TempDir(), "data"), Create: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	free := int64(1 << 40)
	s := &server{
		d: d, log: slog.New(slog.DiscardHandler),
		disk: &disk{stat: func(string) (int64, int64, error) { return free, 1 << 41, nil }},
	}
	h := &health{s: s}
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for i, f := range []int64{1 << 40, 0, 0, 1 << 40, 1 << 40, 1} {
		free = f
		h.look(ctx, at.Add(time.Duration(i)*time.Minute))
	}
	head, _, err := d.Ledger.PublishNow(ctx, evidence.SystemTenant, 1)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = d.Ledger.Records(ctx, evidence.SystemTenant, 1, 0, head.Size, func(r ledger.LogRecord) error {
		if r.Leaf.Text("event_type") != "HEALTH_CHECK" {
			return nil
		}
		if !strings.Contains(r.Open["/details"].JSON, "disk") {
			t.Errorf("no reason in %s", r.Open["/details"].JSON)
		}
		got = append(got, r.Leaf.Text("severity")+" "+r.Leaf.OccurredAt.String()[11:16])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"WARN 12:01", "INFO 12:03", "WARN 12:05"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRulesChanged: other rules of access than at the last start are recorded,
// the same ones are not.
func TestRulesChanged(t *testing.T) {
	ctx := context.Background()
	d, err := Open(ctx, Stored(t, Config{Data: filepath.Join(t.TempDir(), "data"), Create: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := &server{d: d, log: slog.New(slog.DiscardHandler)}
	for _, rules := range []string{"", "", "sha256:01", "sha256:01", ""} {
		s.cfg.RulesDigest = rules
		if _, err := s.recordConfig(ctx); err != nil {
			t.Fatal(err)
		}
	}
	head, _, err := d.Ledger.PublishNow(ctx, evidence.SystemTenant, 1)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = d.Ledger.Records(ctx, evidence.SystemTenant, 1, 0, head.Size, func(r ledger.LogRecord) error {
		if r.Leaf.Text("event_type") == "RBACChanged" {
			got = append(got, r.Open["/before_state"].JSON+" "+r.Open["/after_state"].JSON)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	shipped := access.DefaultRules().Digest
	want := []string{`"` + shipped + `" "sha256:01"`, `"sha256:01" "` + shipped + `"`}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
