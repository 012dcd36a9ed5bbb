package export_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/verify"
)

// jobs returns a registry over the exporter of a rig with a period, and a request for
// that period.
func jobs(t *testing.T) (*rig, *export.Exports, *clock, export.Request) {
	t.Helper()
	r, from, until := periodRig(t)
	c := &clock{now: time.Now()}
	x := export.NewExports(export.ExportsConfig{Exporter: r.exporter, Links: r.master, Now: c.Now, Waiting: 2})
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, x, c, export.Request{
		Tenant: "acme", Profile: export.ProfilePeriod, Scope: export.ScopeAudit, From: from, Until: until,
		Tags: []string{"SOC2"}, By: export.Requester{Name: "key-1"}, Unrecorded: true,
	}
}

func start(t testing.TB, x *export.Exports, req export.Request, key export.IdempotencyKey) *export.State {
	t.Helper()
	s, err := x.Start(context.Background(), req, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ended waits until an export is no longer pending.
func ended(t testing.TB, x *export.Exports, id string) *export.State {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		s, err := x.State(context.Background(), "acme", id)
		if err != nil {
			t.Fatal(err)
		}
		if s.Status != "pending" {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("export %s is pending for ever", id)
		}
	}
}

func TestStart(t *testing.T) {
	r, x, clk, req := jobs(t)
	s := start(t, x, req, "k")
	id := s.Leaf.Text("export_id")
	if s.Status == "failed" || s.Leaf.Text("scope") != "audit" || id == "" {
		t.Fatalf("%+v", s)
	}
	s = ended(t, x, id)
	if s.Status != "completed" || s.Stored == nil || s.Total != 11 || s.Done != s.Total {
		t.Fatalf("%+v", s)
	}
	a, err := x.Status(s, "key-1", true)
	if err != nil {
		t.Fatal(err)
	}
	z := content(t, x, id)
	if *a.Checksum != s.Stored.Digest || *a.SizeBytes != int64(len(z)) || *a.DownloadURL != export.ContentPath(id) || a.SignedURL == nil ||
		*a.From != req.From || *a.Until != req.Until || !cmp.Equal(a.ComplianceTags, []string{"SOC2"}) || *a.RetentionClass != "hot" ||
		*a.RecordCount != 11 || a.Progress.Done != 11 || *a.Metadata.ExportID != id || a.Manifest == nil || a.Reason != nil {
		t.Errorf("%+v", a)
	}
	r.good(z, verify.Options{})
	if a, err := x.Status(s, "key-1", false); err != nil || a.DownloadURL != nil || a.SignedURL != nil {
		t.Errorf("links for who may not read: %+v %v", a, err)
	}
	if got, want := r.exportRecords(), []string{"pending", "completed"}; len(got) != 2 || !strings.HasPrefix(got[0], want[0]) || !strings.HasPrefix(got[1], want[1]) {
		t.Errorf("records %v", got)
	}
	// The same request, or key, is the same export; others are not.
	if again := start(t, x, req, ""); again.Leaf.Text("export_id") != id {
		t.Error("the same request gives another export")
	}
	other := req
	other.Scope = export.ScopeSystem
	if _, err := x.Start(context.Background(), other, "k"); !errors.Is(err, evidence.ErrConflict) {
		t.Errorf("the same key with other parameters: %v", err)
	}
	for name, edit := range map[string]func(*export.Request){
		"scope": func(q *export.Request) { q.Scope = export.ScopeSystem },
		"until": func(q *export.Request) { q.Until++ },
		"tags":  func(q *export.Request) { q.Tags = nil },
	} {
		q := req
		edit(&q)
		if s := start(t, x, q, ""); s.Leaf.Text("export_id") == id {
			t.Errorf("another %s gives the same export", name)
		} else {
			ended(t, x, s.Leaf.Text("export_id"))
		}
	}
	// Its bytes are kept for a day, and its state for good.
	clk.add(export.KeepPeriod - time.Second)
	content(t, x, id)
	clk.add(time.Second)
	if _, err := x.Content(context.Background(), "acme", id); !errors.Is(err, problem.ErrGone) {
		t.Errorf("after a day: %v", err)
	}
	s = ended(t, x, id)
	if a, err := x.Status(s, "key-1", true); err != nil || a.Status != "completed" || a.DownloadURL != nil || a.Checksum != nil || a.Manifest == nil {
		t.Errorf("%+v %v", a, err)
	}
}

// TestStartForms: csv and pdf have their digest in the record.
func TestStartForms(t *testing.T) {
	_, x, clk, req := jobs(t)
	for _, format := range []string{export.FormatCSV, export.FormatPDF, export.FormatJSON} {
		req.Format = format
		id := start(t, x, req, "").Leaf.Text("export_id")
		s := ended(t, x, id)
		b := content(t, x, id)
		if s.Status != "completed" || int64(len(b)) != s.Stored.Bytes {
			t.Fatalf("%s: %+v, %d bytes", format, s, len(b))
		}
		if format != export.FormatJSON {
			if s.Leaf.Text("checksum") != s.Stored.Digest {
				t.Errorf("%s: the record has the digest %q of %s", format, s.Leaf.Text("checksum"), s.Stored.Digest)
			}
		}
		c, err := x.Content(context.Background(), "acme", id)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"csv": "text/csv; charset=utf-8; header=present", "pdf": "application/pdf", "json": "application/json"}[format]
		if c.ContentType() != want || !strings.HasSuffix(c.FileName(), "."+format) || c.Close() != nil {
			t.Errorf("%s is %s, %s", format, c.ContentType(), c.FileName())
		}
	}
	clk.add(export.KeepPeriod)
}

// TestStartRefuses: what cannot be made is not begun, and what cannot be finished says
// why.
func TestStartRefuses(t *testing.T) {
	r, x, _, req := jobs(t)
	bad := req
	bad.Scope = "run"
	if _, err := x.Start(context.Background(), bad, ""); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("scope run: %v", err)
	}
	if _, err := x.Open(context.Background(), req, ""); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("a period in the foreground: %v", err)
	}
	if _, err := x.Start(context.Background(), runRequest("run-1"), ""); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("a run in the background: %v", err)
	}
	if list := r.exportRecords(); len(list) != 0 {
		t.Errorf("recorded: %v", list)
	}
	if _, err := x.State(context.Background(), "acme", "unknown"); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("an unknown export: %v", err)
	}
	late := req
	late.SinceSize = 5000
	id := start(t, x, late, "k").Leaf.Text("export_id")
	s := ended(t, x, id)
	a, err := x.Status(s, "key-1", true)
	if err != nil || a.Status != "failed" || a.Reason == nil || !strings.Contains(*a.Reason, "since_size") || a.DownloadURL != nil {
		t.Errorf("%+v %v", a, err)
	}
	// What failed is begun anew.
	if again := start(t, x, late, "k"); again.Leaf.Text("export_id") == id {
		t.Error("a failed export for ever")
	}
}

// TestRecover: what a process that died was making has failed, once.
func TestRecover(t *testing.T) {
	r, x, _, req := jobs(t)
	ctx := context.Background()
	done := start(t, x, req, "").Leaf.Text("export_id")
	ended(t, x, done)
	for _, id := range []string{"lost-1", "lost-2"} {
		rec := &evidence.Record{Kind: evidence.KindExport, ID: ledger.NewID(evidence.MicrosOf(time.Now())), OccurredAt: req.From}
		rec.SetText("source_domain", "LOGS")
		rec.SetText("source_component", "LogExportService")
		rec.SetText("system_id", "key-1")
		rec.SetText("export_id", id)
		rec.SetText("scope", "audit")
		rec.SetText("format", "zip")
		rec.SetText("status", "pending")
		rec.SetNames("compliance_tags", []string{"SOC2"})
		rec.SetSealed("/requested_by", []byte(`"key-1"`))
		if err := rec.Complete(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Append(ctx, "acme", []*evidence.Record{rec}, ledger.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := x.Recover(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{"lost-1": "failed", "lost-2": "failed", done: "completed"} {
		s := ended(t, x, id)
		tags, _ := s.Leaf.Fact("compliance_tags")
		if s.Status != want || s.Leaf.Text("scope") != "audit" || !cmp.Equal(tags.List, []string{"SOC2"}) {
			t.Errorf("%s is %s", id, s.Status)
		}
	}
	states := map[string]int{}
	for _, line := range r.exportRecords() {
		word, _, _ := strings.Cut(line, " ")
		states[word]++
	}
	if states["failed"] != 2 || states["pending"] != 3 || states["completed"] != 1 {
		t.Errorf("states %v", states)
	}
}

// TestStop: what is not finished when the server stops has failed, and says so in the
// log; and no more wait than may.
func TestStop(t *testing.T) {
	r, from, until := periodRig(t)
	ctx := context.Background()
	hold := make(chan struct{})
	r.exporter = export.New(export.Config{
		Ledger: r.Ledger, SpoolDir: r.spool,
		Cosign: func(ctx context.Context, _ string, _ int) error {
			select {
			case <-hold:
			case <-ctx.Done():
			}
			return ctx.Err()
		},
	})
	x := export.NewExports(export.ExportsConfig{Exporter: r.exporter, Links: r.master, Waiting: 2})
	req := export.Request{
		Tenant: "acme", Profile: export.ProfilePeriod, Scope: export.ScopeAudit, From: from, Until: until,
		By: export.Requester{Name: "key-1"}, Unrecorded: true,
	}
	one := start(t, x, req, "")
	req.Until++
	two := start(t, x, req, "")
	req.Until++
	if _, err := x.Start(ctx, req, ""); !errors.Is(err, problem.ErrTooMany) {
		t.Errorf("a third: %v", err)
	}
	if one.Status != "pending" || two.Status != "pending" {
		t.Errorf("%s, %s", one.Status, two.Status)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	close(hold)
	for _, s := range []*export.State{one, two} {
		after, err := x.State(ctx, "acme", s.Leaf.Text("export_id"))
		if err != nil || after.Status != "failed" {
			t.Errorf("%+v %v", after, err)
		}
	}
	if _, err := x.Start(ctx, req, ""); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

// TestErasedPeriod: the bytes of an export are gone once something of its log is
// erased.
func TestErasedPeriod(t *testing.T) {
	r, x, _, req := jobs(t)
	id := start(t, x, req, "").Leaf.Text("export_id")
	ended(t, x, id)
	if !bytes.Contains(content(t, x, id), []byte("person-1@example.com")) {
		t.Fatal("the export lacks what it is about")
	}
	if _, err := r.Erase(context.Background(), "acme", ledger.Erasure{Person: "person-1@example.com"}); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Content(context.Background(), "acme", id); !errors.Is(err, problem.ErrGone) {
		t.Errorf("%v", err)
	}
}
