package export_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
	"github.com/runledger/runledger/internal/zipstore"
	"github.com/runledger/runledger/verify"
)

// rig is a ledger over a real store, with one tenant.
type rig struct {
	behind atomic.Int64
	*ledger.Ledger
	t        testing.TB
	db       store.Store
	exporter *export.Exporter
	keys     []string
	spool    string
	master   tink.AEAD
}

func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigBehind(t, 0)
}

// newRigBehind has a clock that is behind by so much, until it catches up.
func newRigBehind(t testing.TB, behind time.Duration) *rig {
	t.Helper()
	r := &rig{}
	r.behind.Store(int64(behind))
	start := time.Now()
	clock := ledger.Clock{
		Now:  func() time.Time { return time.Now().Add(-time.Duration(r.behind.Load())) },
		Boot: func() time.Duration { return time.Since(start) + behind - time.Duration(r.behind.Load()) },
	}
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data")
	db, err := storerig.Open(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	master, err := seal.OpenMaster(filepath.Join(dir, "master.keyset.json"), true)
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := ledger.NewDirAnchor(dir + ".anchor")
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ctx, ledger.Config{Store: db, Sealer: seal.New(db, master), Anchor: anchor, Instance: "test.example", Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	r.Ledger, r.t, r.db, r.spool, r.master = l, t, db, t.TempDir(), master
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	r.exporter = export.New(export.Config{Ledger: l, SpoolDir: r.spool})
	info, err := l.CreateTenant(ctx, "acme")
	if err != nil {
		t.Fatal(err)
	}
	r.keys = []string{info.VKey}
	return r
}

// steps appends steps of a run with sealed fields.
func (r *rig) steps(run, from, n int) {
	r.t.Helper()
	var records []*evidence.Record
	for i := from; i < from+n; i++ {
		line := fmt.Sprintf(`{"kind":"trace_step","occurred_at":"2026-11-23T15:00:00Z","run_id":"run-%d","trace_id":"%032x","span_id":"%016x",`+
			`"skill_name":"look up","step_kind":"tool","status":"success","source_domain":"ACTIVITY","source_component":"TraceStore",`+
			`"human_actor_id":"operator-%d@example.com","params":{"n": %d.50},"prompt":"step %d \u00e9"}`, run, run, i+1, i%3, i, i)
		rec, err := evidence.ParseNative([]byte(line))
		if err != nil {
			r.t.Fatal(err)
		}
		records = append(records, rec)
	}
	if _, err := r.Append(context.Background(), "acme", records, ledger.AppendOptions{Producer: "cli:test"}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) export(req export.Request) *export.Bundle {
	r.t.Helper()
	req.Tenant, req.Profile = "acme", verify.ProfileLog
	req.By = export.Requester{Name: "cli:operator", Human: true}
	b, err := r.exporter.Export(context.Background(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = b.Close() })
	return b
}

func zipOf(t testing.TB, b *export.Bundle) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := b.WriteZIP(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func (r *rig) verify(z []byte, opts verify.Options) *verify.Report {
	r.t.Helper()
	if opts.Keys == nil {
		opts.Keys = r.keys
	}
	rep, err := verify.ZIP(context.Background(), bytes.NewReader(z), int64(len(z)), opts)
	if err != nil {
		r.t.Fatal(err)
	}
	return rep
}

// good fails the test unless the bundle verifies with no limits but those
// that no bundle of this version is without.
func (r *rig) good(z []byte, opts verify.Options) *verify.Report {
	r.t.Helper()
	rep := r.verify(z, opts)
	for _, f := range rep.Findings {
		if f.Code != verify.WNoQuorum && f.Code != verify.WNoTime {
			r.t.Errorf("%s", f.Error())
		}
	}
	if rep.Verdict != verify.VerifiedWithLimits {
		r.t.Fatalf("verdict %s", rep.Verdict)
	}
	return rep
}

func TestExportVerifies(t *testing.T) {
	r := newRig(t)
	r.steps(1, 0, 300)
	r.steps(2, 300, 700)
	since, err := r.Checkpoint(context.Background(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	b := r.export(export.Request{})
	z := zipOf(t, b)
	if again := zipOf(t, b); !bytes.Equal(z, again) {
		t.Error("the second writing of a bundle differs from the first")
	}
	if int64(len(z)) != b.Bytes {
		t.Errorf("bundle has %d bytes, said %d", len(z), b.Bytes)
	}
	rep := r.good(z, verify.Options{Since: since})
	if rep.Counts["leaves"] != 1002 || rep.Counts["trace_step"] != 1000 || b.Records != 1002 {
		t.Errorf("counts %v, records %d", rep.Counts, b.Records)
	}
	// LOG_OPENED: actor, summary; steps: actor, params, prompt; export: actor, requested_by, request, subject.
	if want := int64(2 + 3*1000 + 4); rep.Counts["disclosed"] != want {
		t.Errorf("%d fields disclosed, want %d", rep.Counts["disclosed"], want)
	}
	if left, _ := os.ReadDir(r.spool); len(left) != 0 {
		t.Errorf("left in the spool directory: %v", left)
	}
}

func TestSinceSize(t *testing.T) {
	r := newRig(t)
	r.steps(1, 0, 10)
	z := zipOf(t, r.export(export.Request{SinceSize: 5}))
	r.good(z, verify.Options{})
	if !strings.Contains(strings.Join(names(t, z), "\n"), "logs/0/consistency/5-12.add-checkpoint") {
		t.Errorf("no consistency proof among %v", names(t, z))
	}
	_, err := r.exporter.Export(context.Background(), export.Request{
		Tenant: "acme", Profile: verify.ProfileLog, By: export.Requester{Name: "cli:test"}, SinceSize: 5000,
	})
	if !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("since a size that the log does not have: %v", err)
	}
}

func names(t testing.TB, z []byte) (list []string) {
	t.Helper()
	zr, err := zipstore.Open(bytes.NewReader(z), int64(len(z)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range zr.Entries() {
		list = append(list, e.Name)
	}
	return list
}

func TestWithhold(t *testing.T) {
	for _, tt := range []struct {
		patterns            []string
		disclosed, withheld int64 // of the 10 steps with 3 fields, and 6 others
	}{
		{nil, 36, 0},
		{[]string{"/prompt"}, 26, 10},
		{[]string{"p*"}, 16, 20},
		{[]string{"*"}, 0, 36},
	} {
		t.Run(fmt.Sprint(tt.patterns), func(t *testing.T) {
			r := newRig(t)
			r.steps(1, 0, 10)
			rep := r.good(zipOf(t, r.export(export.Request{Withhold: tt.patterns})), verify.Options{})
			if d, w := rep.Counts["disclosed"], rep.Counts["withheld_requested"]; d != tt.disclosed || w != tt.withheld {
				t.Errorf("disclosed %d, withheld %d; want %d and %d", d, w, tt.disclosed, tt.withheld)
			}
		})
	}
	r := newRig(t)
	for _, p := range []string{"", "[", "/promt", "a/b"} {
		_, err := r.exporter.Export(context.Background(), export.Request{
			Tenant: "acme", Profile: verify.ProfileLog, By: export.Requester{Name: "cli:test"}, Withhold: []string{p},
		})
		if !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("pattern %q: %v", p, err)
		}
	}
}

func TestRollover(t *testing.T) {
	r := newRig(t)
	r.steps(1, 0, 300)
	info, err := r.Rollover(context.Background(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	r.steps(1, 300, 20)
	z := zipOf(t, r.export(export.Request{}))
	rep := r.good(z, verify.Options{Keys: []string{r.keys[0], info.VKey}})
	if len(rep.Logs) != 2 || rep.Logs[0].Origin != info.Origin || !rep.Logs[1].Closed {
		t.Errorf("logs %+v", rep.Logs)
	}
}

func TestDirectory(t *testing.T) {
	r := newRig(t)
	r.steps(1, 0, 600)
	b := r.export(export.Request{Directory: true})
	var buf bytes.Buffer
	if err := b.WriteTar(&buf); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := untar(&buf, dir); err != nil {
		t.Fatal(err)
	}
	rep, err := verify.Dir(context.Background(), os.DirFS(dir), verify.Options{Keys: r.keys})
	if err != nil || rep.Verdict != verify.VerifiedWithLimits {
		t.Fatalf("%v %+v", err, rep)
	}
	// The same files as in a ZIP of the same export.
	z, err := zipstore.Open(bytes.NewReader(zipOf(t, b)), int64(len(zipOf(t, b))))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range z.Entries() {
		a, err := z.ReadFile(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(e.Name))); err != nil || !bytes.Equal(a, d) {
			t.Errorf("%s differs: %v", e.Name, err)
		}
	}
}

// TestRecorded checks what an export leaves in the log, and that a later
// bundle shows it.
func TestRecorded(t *testing.T) {
	r := newRig(t)
	b := r.export(export.Request{ExportID: "export-1", Withhold: []string{"/actor"}})
	z := zipOf(t, b)
	if _, err := r.exporter.Export(context.Background(), export.Request{
		Tenant: "acme", Profile: verify.ProfileLog, By: export.Requester{Name: "cli:test"}, SinceSize: 5000,
	}); err == nil {
		t.Fatal("no error")
	}
	var got []string
	head, _, err := r.PublishNow(context.Background(), "acme", 1)
	if err != nil {
		t.Fatal(err)
	}
	err = r.Records(context.Background(), "acme", 1, 1, head.Size, func(rec ledger.LogRecord) error {
		l := rec.Leaf
		line := l.Kind.String() + " " + l.Text("event_type") + l.Text("status")
		if n, ok := l.Int("byte_count"); ok {
			line += fmt.Sprintf(" %d %s", n, rec.Open["/view_digest"].JSON)
		}
		got = append(got, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"export pending", "export completed",
		fmt.Sprintf("audit LOG_EXPORT %d %q", len(z), b.Digest),
		"export pending", "export failed",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("log has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	r.good(zipOf(t, r.export(export.Request{})), verify.Options{})
}

func TestBadRequests(t *testing.T) {
	r := newRig(t)
	ok := export.Request{Tenant: "acme", Profile: verify.ProfileLog, By: export.Requester{Name: "cli:test"}}
	for name, tt := range map[string]struct {
		edit func(*export.Request)
		want error
	}{
		"profile":   {func(r *export.Request) { r.Profile = "run" }, evidence.ErrInvalid},
		"tenant":    {func(r *export.Request) { r.Tenant = "nobody" }, evidence.ErrNotFound},
		"no tenant": {func(r *export.Request) { r.Tenant = "" }, evidence.ErrNotFound},
		"export id": {func(r *export.Request) { r.ExportID = "a\x00b" }, evidence.ErrInvalid},
		"requester": {func(r *export.Request) { r.By.Name = "" }, evidence.ErrInvalid},
		"since":     {func(r *export.Request) { r.SinceSize = -1 }, evidence.ErrInvalid},
	} {
		req := ok
		tt.edit(&req)
		if _, err := r.exporter.Export(context.Background(), req); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoPlaintextInSpool looks for sealed content in everything that an
// export has on the disk while it is open.
func TestNoPlaintextInSpool(t *testing.T) {
	s, err := export.NewSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := bytes.Repeat([]byte("Where is order A-17? "), 20000)
	for rest := want; len(rest) > 0; rest = rest[min(len(rest), 7777):] {
		if _, err := s.Write(rest[:min(len(rest), 7777)]); err != nil {
			t.Fatal(err)
		}
	}
	for _, off := range []int64{0, 1, 15, 16, 17, 65535, 65536, 100001} {
		got, err := readAll(s.Section(off, 5000))
		if err != nil || !bytes.Equal(got, want[off:off+5000]) {
			t.Errorf("section at %d: %d bytes, %v", off, len(got), err)
		}
	}
	raw, err := export.SpoolBytes(s)
	if err != nil || len(raw) != len(want) {
		t.Fatalf("%d bytes on the disk, %v", len(raw), err)
	}
	if bytes.Contains(raw, []byte("order")) {
		t.Error("the spool has plain text")
	}
}

// TestErased exports a log from which content was erased: the bundle accounts
// for it, and a request to withhold everything does not hide by whose order.
func TestErased(t *testing.T) {
	r := newRig(t)
	r.steps(1, 0, 30)
	erased, err := r.Erase(context.Background(), "acme", ledger.Erasure{Person: "operator-1@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", erased)
	rep := r.good(zipOf(t, r.export(export.Request{})), verify.Options{})
	if n := rep.Counts["withheld_erased"]; n != 10 {
		t.Errorf("%d erased fields, want 10", n)
	}
	r.good(zipOf(t, r.export(export.Request{Withhold: []string{"*"}})), verify.Options{})
}
