package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
	"github.com/runledger/runledger/verify"
)

var quiet = slog.New(slog.DiscardHandler)

// newHandler returns the control API over a ledger with the tenant acme.
func newHandler(t testing.TB) (http.Handler, *ledger.Ledger) {
	t.Helper()
	_, l, dir := openLedger(t)
	return control.Handler(control.Config{
		Ledger: l, Exporter: export.New(export.Config{Ledger: l, SpoolDir: dir}), Version: "test", Server: true,
	}), l
}

// openLedger opens a ledger with tenant acme, on a store in dir.
func openLedger(t testing.TB) (db store.Store, l *ledger.Ledger, dir string) {
	t.Helper()
	ctx := context.Background()
	dir = filepath.Join(t.TempDir(), "data")
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
	l, err = ledger.Open(ctx, ledger.Config{Store: db, Sealer: seal.New(db, master), Anchor: anchor, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	if _, err := l.CreateTenant(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	return db, l, dir
}

func step(span int, more string) string {
	return fmt.Sprintf(`{"kind":"trace_step","occurred_at":"2026-11-23T15:00:00Z","run_id":"run-1","trace_id":"%032x","span_id":"%016x",`+
		`"skill_name":"look up","step_kind":"tool","status":"success","source_domain":"ACTIVITY","source_component":"TraceStore"%s}`, 1, span, more)
}

// clients calls test with a client of each kind: through a socket, and within
// the process.
func clients(t *testing.T, test func(t *testing.T, c *control.Client, l *ledger.Ledger)) {
	t.Run("socket", func(t *testing.T) {
		h, l := newHandler(t)
		dir := t.TempDir()
		s, err := control.Listen(dir, h, quiet)
		if err != nil {
			t.Fatal(err)
		}
		c, err := control.Dial(context.Background(), dir)
		if err != nil {
			t.Fatal(err)
		}
		test(t, c, l)
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Run("local", func(t *testing.T) {
		h, l := newHandler(t)
		test(t, control.Local(h), l)
	})
}

func TestCommands(t *testing.T) {
	clients(t, func(t *testing.T, c *control.Client, l *ledger.Ledger) {
		ctx := context.Background()
		v, err := c.Version(ctx)
		if err != nil || v != (control.Version{Version: "test", PID: os.Getpid(), Server: true}) {
			t.Fatal(v, err)
		}
		out, err := c.Append(ctx, "acme", []byte(step(1, "")+"\n\n"+step(2, "")), false)
		if err != nil || len(out.Receipts) != 2 || out.Receipts[1].Line != 3 || out.Receipts[1].LeafIndex != 2 {
			t.Fatalf("%+v %v", out, err)
		}
		// Who appended it is the user of this process, whatever they say.
		err = l.Leaves(ctx, "acme", 1, 1, 2, func(_ int64, leaf []byte) error {
			if want := `"producer":"cli:` + control.CurrentUser().Name + `"`; !bytes.Contains(leaf, []byte(want)) {
				t.Errorf("leaf %s has not %s", leaf, want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		cp, err := c.Checkpoint(ctx, "acme")
		if err != nil || cp.Size != 3 {
			t.Fatal(cp, err)
		}
		p, err := c.Prove(ctx, "acme", url.Values{"id": {out.Receipts[0].ID}})
		if err != nil || p.LeafIndex != 1 || p.LeafHash != out.Receipts[0].LeafHash {
			t.Fatal(p, err)
		}
		if in, err := c.Integrity(ctx, "acme"); err != nil || in.TreeSize != 3 {
			t.Fatal(in, err)
		}
		if err := c.ConfirmClock(ctx); err != nil {
			t.Fatal(err)
		}
		info, body, err := c.Export(ctx, "acme", control.ExportRequest{Profile: verify.ProfileLog, Form: control.FormZIP})
		if err != nil {
			t.Fatal(err)
		}
		z, err := io.ReadAll(body)
		if err != nil || int64(len(z)) != info.Bytes || body.Close() != nil {
			t.Fatal(len(z), info, err)
		}
		rep, err := verify.ZIP(ctx, bytes.NewReader(z), int64(len(z)), verify.Options{Keys: []string{cp.VKey}})
		if err != nil || rep.Verdict != verify.VerifiedWithLimits {
			t.Fatalf("%+v %v", rep, err)
		}
		k, err := c.Rotate(ctx, "acme")
		if err != nil || k.No != 2 || !k.Current {
			t.Fatal(k, err)
		}
		keys, err := c.Keys(ctx, "acme")
		if err != nil || len(keys.Keys) != 2 || keys.Keys[0].Current {
			t.Fatal(keys, err)
		}
		if all, err := c.Keys(ctx, ""); err != nil || len(all.Keys) != 3 {
			t.Fatal(all, err)
		}
	})
}

func TestProblems(t *testing.T) {
	clients(t, func(t *testing.T, c *control.Client, _ *ledger.Ledger) {
		ctx := context.Background()
		export := func(req control.ExportRequest) error {
			_, _, err := c.Export(ctx, "acme", req)
			return err
		}
		do := func(_ any, err error) error { return err }
		for name, tt := range map[string]struct {
			err  error
			code string
			want error
		}{
			"tenant twice":      {do(c.CreateTenant(ctx, "acme")), control.CodeConflict, evidence.ErrConflict},
			"tenant name":       {do(c.CreateTenant(ctx, "A")), control.CodeInvalid, evidence.ErrInvalid},
			"no tenant":         {do(c.Checkpoint(ctx, "nobody")), control.CodeNotFound, evidence.ErrNotFound},
			"tenant with slash": {do(c.Checkpoint(ctx, "a/b")), control.CodeNotFound, evidence.ErrNotFound},
			"append nowhere":    {do(c.Append(ctx, "nobody", []byte(step(1, "")), false)), control.CodeNotFound, evidence.ErrNotFound},
			"bad record":        {do(c.Append(ctx, "acme", []byte(`{"kind":"x"}`), false)), control.CodeInvalid, evidence.ErrInvalid},
			"no record named":   {do(c.Prove(ctx, "acme", url.Values{})), control.CodeInvalid, evidence.ErrInvalid},
			"two named":         {do(c.Prove(ctx, "acme", url.Values{"seq": {"0"}, "id": {"x"}})), control.CodeInvalid, evidence.ErrInvalid},
			"no such leaf":      {do(c.Prove(ctx, "acme", url.Values{"seq": {"7"}})), control.CodeNotFound, evidence.ErrNotFound},
			"form":              {export(control.ExportRequest{Profile: "log", Form: "pdf"}), control.CodeInvalid, evidence.ErrInvalid},
			"profile":           {export(control.ExportRequest{Profile: "x", Form: "zip"}), control.CodeInvalid, evidence.ErrInvalid},
			"keys of nobody":    {do(c.Keys(ctx, "nobody")), control.CodeNotFound, evidence.ErrNotFound},
			"rotate nobody":     {do(c.Rotate(ctx, "nobody")), control.CodeNotFound, evidence.ErrNotFound},
			"integrity nobody":  {do(c.Integrity(ctx, "nobody")), control.CodeNotFound, evidence.ErrNotFound},
		} {
			var p *control.Problem
			if !errors.As(tt.err, &p) || p.Code != tt.code || !errors.Is(tt.err, tt.want) || p.Status < 400 || p.Detail == "" {
				t.Errorf("%s: %#v", name, tt.err)
			}
		}
	})
}

func TestAppendAnswers(t *testing.T) {
	clients(t, func(t *testing.T, c *control.Client, _ *ledger.Ledger) {
		ctx := context.Background()
		input := []byte(strings.Join([]string{step(1, ""), step(2, `,"duration_us":"x"`), step(3, ""), `{`, step(4, "")}, "\n"))
		_, err := c.Append(ctx, "acme", input, false)
		var p *control.Problem
		if !errors.As(err, &p) {
			t.Fatal(err)
		}
		want := []control.RecordProblem{
			{Line: 2, Field: "duration_us", Code: control.CodeInvalid, Detail: "must be an integer"},
			{Line: 4, Field: "record", Code: control.CodeInvalid, Detail: "is not complete JSON"},
		}
		if diff := cmp.Diff(want, p.Errors); diff != "" {
			t.Error(diff)
		}
		if cp, err := c.Checkpoint(ctx, "acme"); err != nil || cp.Size != 1 {
			t.Fatalf("something of a refused batch was written: %+v, %v", cp, err)
		}
		out, err := c.Append(ctx, "acme", input, true)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.Errors); diff != "" {
			t.Error(diff)
		}
		var lines []int
		for _, r := range out.Receipts {
			lines = append(lines, r.Line)
		}
		if diff := cmp.Diff([]int{1, 3, 5}, lines); diff != "" {
			t.Error(diff)
		}
		var many bytes.Buffer
		for i := range control.MaxBatchRecords + 1 {
			fmt.Fprintln(&many, step(i+1, ""))
		}
		if _, err := c.Append(ctx, "acme", many.Bytes(), false); !errors.Is(err, evidence.ErrTooLarge) {
			t.Errorf("too many records: %v", err)
		}
	})
}

// TestBodyLimit sends a body without end.
func TestBodyLimit(t *testing.T) {
	h, _ := newHandler(t)
	for path, status := range map[string]int{
		"/v1/tenants/acme/records": http.StatusRequestEntityTooLarge,
		"/v1/tenants":              http.StatusUnprocessableEntity,
		"/v1/nothing":              http.StatusNotFound,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, endless{}))
		var p control.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != status || p.Status != status {
			t.Errorf("%s: status %d, %s", path, w.Code, w.Body)
		}
		if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%s: content type %s", path, got)
		}
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}
