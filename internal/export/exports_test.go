package export_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/verify"
)

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

// exports returns a registry over the rig's exporter, with run-1 and run-2.
func (r *rig) exports(maxBytes int64) (*export.Exports, *clock) {
	r.t.Helper()
	r.steps(1, 0, 3)
	r.append("acme", end("run-1", 1, `,"policy_ids":["p-2"]`))
	r.steps(2, 3, 2)
	c := &clock{now: time.Now()}
	x := export.NewExports(export.ExportsConfig{Exporter: r.exporter, Links: r.master, MaxBytes: maxBytes, Now: c.Now})
	r.t.Cleanup(func() {
		if err := x.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return x, c
}

func runRequest(run string) export.Request {
	return export.Request{Tenant: "acme", Profile: verify.ProfileRun, Run: run, By: export.Requester{Name: "key-1"}, Unrecorded: true}
}

func open(t testing.TB, x *export.Exports, req export.Request, key export.IdempotencyKey) *export.Stored {
	t.Helper()
	s, err := x.Open(context.Background(), req, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func content(t testing.TB, x *export.Exports, id string) []byte {
	t.Helper()
	c, err := x.Content(context.Background(), "acme", id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err := errors.Join(err, c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestExports(t *testing.T) {
	r := newRig(t)
	x, _ := r.exports(0)
	s := open(t, x, runRequest("run-1"), "")
	z := content(t, x, s.ExportID)
	if int64(len(z)) != s.Bytes || s.Digest != evidence.Checksum(evidence.Hash(sha256.Sum256(z))) || s.Records != 5 { // with that it was begun
		t.Errorf("%d bytes, %+v", len(z), s)
	}
	r.good(z, verify.Options{})
	if left, _ := os.ReadDir(r.spool); len(left) != 0 {
		t.Errorf("left in the spool directory: %v", left)
	}
	req := runRequest("run-1")
	req.Format = export.FormatJSON
	j := open(t, x, req, "")
	if text := content(t, x, j.ExportID); !bytes.HasPrefix(text, []byte(`{"format":"json"`)) {
		t.Errorf("json is %.40s", text)
	}
	a, err := x.Answer(s, "key-1")
	if err != nil {
		t.Fatal(err)
	}
	if a.RunID != "run-1" || a.ExportID != s.ExportID || a.Checksum != s.Digest || *a.DownloadURL != "/api/v1/exports/"+s.ExportID+"/content" ||
		a.RetentionClass != "hot" || a.ComplianceTags == nil || a.SizeBytes != s.Bytes || a.RecordCount != 5 || a.Format != "zip" ||
		!strings.HasPrefix(a.Checkpoint, "test.example/") || *a.Metadata.SystemID != "key-1" || a.Metadata.Origin != "SYSTEM" ||
		*a.Metadata.Checksum != s.Digest || !cmp.Equal(a.Metadata.PolicyIDs, []string{"p-2"}) {
		t.Errorf("%+v", a)
	}
	_, token, _ := strings.Cut(*a.SignedURL, "?"+export.LinkParameter+"=")
	if l, err := x.OpenLink(token); err != nil || l.ExportID != s.ExportID || l.Tenant != "acme" || l.Credential != "key-1" {
		t.Errorf("%+v %v", l, err)
	}
}

// TestContentServes gives ranges, as a browser asks for them.
func TestContentServes(t *testing.T) {
	r := newRig(t)
	x, _ := r.exports(0)
	s := open(t, x, runRequest("run-1"), "")
	whole := content(t, x, s.ExportID)
	c, err := x.Content(context.Background(), "acme", s.ExportID)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req := httptest.NewRequest(http.MethodGet, export.ContentPath(s.ExportID), nil)
	req.Header.Set("Range", "bytes=1001-3000")
	rec := httptest.NewRecorder()
	http.ServeContent(rec, req, c.FileName(), c.MadeAt, c)
	if rec.Code != http.StatusPartialContent || !bytes.Equal(rec.Body.Bytes(), whole[1001:3001]) {
		t.Errorf("status %d, %d bytes", rec.Code, rec.Body.Len())
	}
	if c.ContentType() != "application/zip" || c.FileName() != "runledger-"+s.ExportID+".zip" {
		t.Errorf("%s %s", c.ContentType(), c.FileName())
	}
}

// TestSameExport: which requests give the same export.
func TestSameExport(t *testing.T) {
	r := newRig(t)
	x, clk := r.exports(0)
	req := runRequest("run-1")
	first := open(t, x, req, "")
	edited := func(edit func(*export.Request)) export.Request { q := req; edit(&q); return q }
	for name, q := range map[string]export.Request{
		"run": runRequest("run-2"), "credential": edited(func(q *export.Request) { q.By.Credential = "key-2" }),
		"withhold": edited(func(q *export.Request) { q.Withhold = []string{"*"} }), "content": edited(func(q *export.Request) { q.NotPermitted = true }),
		"since": edited(func(q *export.Request) { q.SinceSize = 2 }), "format": edited(func(q *export.Request) { q.Format = "json" }),
	} {
		if s := open(t, x, q, ""); s.ExportID == first.ExportID {
			t.Errorf("another %s gives the same export", name)
		}
	}
	clk.add(export.SameWithin - time.Second)
	if s := open(t, x, edited(func(q *export.Request) { q.Format = export.FormatZIP }), ""); s.ExportID != first.ExportID {
		t.Error("the same request gives another export")
	}
	if s := open(t, x, req, "a"); s.ExportID != first.ExportID {
		t.Error("a new key within a minute gives another export")
	}
	clk.add(time.Second)
	if s := open(t, x, req, ""); s.ExportID == first.ExportID {
		t.Error("the same request gives the same export for ever")
	}
	clk.add(2 * time.Minute)
	if s := open(t, x, req, "a"); s.ExportID != first.ExportID {
		t.Error("the same key gives another export")
	}
	if _, err := x.Open(context.Background(), runRequest("run-2"), "a"); !errors.Is(err, evidence.ErrConflict) {
		t.Errorf("the same key with other parameters: %v", err)
	}
	if s := open(t, x, edited(func(q *export.Request) { q.By.Credential = "key-2" }), "a"); s.ExportID == first.ExportID {
		t.Error("another credential's key gives the same export")
	}
	clk.add(export.KeepKeys)
	if s := open(t, x, req, "a"); s.ExportID == first.ExportID {
		t.Error("a key stands for the same export for ever")
	}
	for name, err := range map[string]error{
		"export id":   second(x.Open(context.Background(), edited(func(q *export.Request) { q.ExportID = "mine" }), "")),
		"directory":   second(x.Open(context.Background(), edited(func(q *export.Request) { q.Directory = true }), "")),
		"key":         second(x.Open(context.Background(), req, "a\nb")),
		"long key":    second(x.Open(context.Background(), req, export.IdempotencyKey(strings.Repeat("x", 256)))),
		"bad pattern": second(x.Open(context.Background(), edited(func(q *export.Request) { q.Withhold = []string{"/promt"} }), "")),
	} {
		if !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestFailedExport: what failed is tried anew.
func TestFailedExport(t *testing.T) {
	r := newRig(t)
	x, _ := r.exports(0)
	if _, err := x.Open(context.Background(), runRequest("run-3"), "k"); !errors.Is(err, evidence.ErrNotFound) {
		t.Fatal(err)
	}
	r.steps(3, 10, 1)
	if s := open(t, x, runRequest("run-3"), "k"); s.Run != "run-3" {
		t.Errorf("%+v", s)
	}
}

// TestExportsAtOnce: many who ask for the same at once get one export.
func TestExportsAtOnce(t *testing.T) {
	r := newRig(t)
	x, _ := r.exports(0)
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids := map[string]int{}
	for i := range 24 {
		wg.Go(func() {
			run := []string{"run-1", "run-2"}[i%2]
			ctx, cancel := context.WithCancel(context.Background())
			if i < 4 { // these give up; the export goes on
				cancel()
			}
			defer cancel()
			s, err := x.Open(ctx, runRequest(run), "")
			if i < 4 && errors.Is(err, context.Canceled) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			c, err := x.Content(context.Background(), "acme", s.ExportID)
			if err != nil {
				t.Error(err)
				return
			}
			b, err := io.ReadAll(c)
			if err != nil || c.Close() != nil || int64(len(b)) != s.Bytes {
				t.Error(len(b), err)
			}
			mu.Lock()
			ids[s.ExportID]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(ids) != 2 {
		t.Errorf("exports %v, want 2", ids)
	}
	completed := 0
	for _, line := range r.exportRecords() {
		if strings.HasPrefix(line, "completed") {
			completed++
		}
	}
	if completed != 2 {
		t.Errorf("%d exports are recorded", completed)
	}
}

// TestGone: bytes go after an hour, or when there are too many; what the log
// knows is gone then, what it does not know is not found.
func TestGone(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	if _, err := r.CreateTenant(ctx, "other"); err != nil {
		t.Fatal(err)
	}
	x, clk := r.exports(0)
	s := open(t, x, runRequest("run-1"), "k")
	reader, err := x.Content(ctx, "acme", s.ExportID)
	if err != nil {
		t.Fatal(err)
	}
	clk.add(export.KeepContent)
	if _, err := x.Content(ctx, "acme", s.ExportID); !errors.Is(err, problem.ErrGone) || errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("after an hour: %v", err)
	}
	// Who had begun to read goes on.
	if b, err := io.ReadAll(reader); err != nil || int64(len(b)) != s.Bytes || reader.Close() != nil {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if again := open(t, x, runRequest("run-1"), "k"); again.ExportID != s.ExportID {
		t.Error("the key stands for another export")
	}
	texts := map[string]bool{}
	for _, at := range [][2]string{{"other", s.ExportID}, {"acme", "unknown"}} {
		_, err := x.Content(ctx, at[0], at[1])
		if !errors.Is(err, evidence.ErrNotFound) || errors.Is(err, problem.ErrGone) {
			t.Errorf("%v: %v", at, err)
			continue
		}
		texts[strings.ReplaceAll(err.Error(), at[1], "ID")] = true
	}
	if len(texts) != 1 {
		t.Errorf("foreign and unknown differ: %v", texts)
	}
	// A bundle that was never kept here is gone, too.
	b := r.export(export.Request{ExportID: "by-command"})
	if _, err := x.Content(ctx, "acme", b.ExportID); !errors.Is(err, problem.ErrGone) {
		t.Errorf("an export by command: %v", err)
	}
}

func TestTooMany(t *testing.T) {
	r := newRig(t)
	x, _ := r.exports(1) // room for no bundle but the newest
	one := open(t, x, runRequest("run-1"), "")
	content(t, x, one.ExportID)
	two := open(t, x, runRequest("run-2"), "")
	content(t, x, two.ExportID)
	if _, err := x.Content(context.Background(), "acme", one.ExportID); !errors.Is(err, problem.ErrGone) {
		t.Errorf("the older bundle: %v", err)
	}
	// A repeat within the minute does not get what is gone.
	if again := open(t, x, runRequest("run-1"), ""); again.ExportID == one.ExportID {
		t.Error("an export without bytes")
	}
}

func TestLinks(t *testing.T) {
	r := newRig(t)
	x, clk := r.exports(0)
	token, err := x.Link("acme", "e-1", "key-1")
	if err != nil {
		t.Fatal(err)
	}
	if raw, _ := base64.RawURLEncoding.DecodeString(token); bytes.Contains(raw, []byte("acme")) || bytes.Contains(raw, []byte("key-1")) {
		t.Error("the token tells what it stands for")
	}
	clk.add(export.LinkFor - time.Second)
	if _, err := x.OpenLink(token); err != nil {
		t.Errorf("within ten minutes: %v", err)
	}
	other, err := r.master.Encrypt([]byte(`{"t":"acme","e":"e-1","c":"key-1","x":"2999-01-01T00:00:00Z"}`), []byte("log.example/0123456789ab"))
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"empty": "", "no base64": token + "=", "cut": token[:len(token)-2], "long": strings.Repeat("A", 4000),
		"altered": token[:40] + "A" + token[41:], "of another purpose": base64.RawURLEncoding.EncodeToString(other),
	} {
		if bad == token {
			bad = token[:40] + "B" + token[41:]
		}
		if l, err := x.OpenLink(bad); !errors.Is(err, problem.ErrUnauthenticated) || l != (export.Link{}) {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
	clk.add(time.Second)
	if _, err := x.OpenLink(token); !errors.Is(err, problem.ErrUnauthenticated) {
		t.Errorf("after ten minutes: %v", err)
	}
}

func FuzzOpenLink(f *testing.F) {
	r := newRig(f)
	x := export.NewExports(export.ExportsConfig{Exporter: r.exporter, Links: r.master})
	token, err := x.Link("acme", "e-1", "key-1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := x.OpenLink(s); (err == nil) != (s == token) {
			t.Fatalf("%q: %v", s, err)
		}
	})
}

func TestClosed(t *testing.T) {
	r := newRig(t)
	x, _ := r.exports(0)
	s := open(t, x, runRequest("run-1"), "")
	c, err := x.Content(context.Background(), "acme", s.ExportID)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Open(context.Background(), runRequest("run-2"), ""); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
	if b, err := io.ReadAll(c); err != nil || int64(len(b)) != s.Bytes || c.Close() != nil {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
