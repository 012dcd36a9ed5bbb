package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store/sqlite"
	"github.com/runledger/runledger/verify"
)

// certificateLedger is a ledger of tenant acme, by itself.
func certificateLedger(t *testing.T) *ledger.Ledger {
	t.Helper()
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), sqlite.Config{Dir: filepath.Join(dir, "data")})
	if err != nil {
		t.Fatal(err)
	}
	master, err := seal.OpenMaster(filepath.Join(dir, "master.json"), true)
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := ledger.NewDirAnchor(filepath.Join(dir, "anchor"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), ledger.Config{
		Store: db, Sealer: seal.New(db, master), Anchor: anchor, Instance: "test.example",
		Logger: slog.New(slog.DiscardHandler), PublishEvery: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	if _, err := l.CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	return l
}

// fillFor appends steps of three runs that name a person.
func fillFor(t *testing.T, l *ledger.Ledger, round int, person string) {
	t.Helper()
	var lines []string
	for run := range 3 {
		for span := range 4 {
			lines = append(lines, fmt.Sprintf(`{"kind":"trace_step","occurred_at":"2026-11-23T15:00:00Z","run_id":"%032x","trace_id":"%032x","span_id":"%016x",`+
				`"skill_name":"search","step_kind":"tool","status":"success","source_domain":"ACTIVITY","source_component":"TraceStore","agent_id":"agent-7",`+
				`"params":{"q":1},"prompt":"the secret prompt","human_actor_id":%q,"subject":%q}`, round*10+run+1, round*10+run+1, span+1, person, person))
		}
	}
	records, err := evidence.ParseNDJSON([]byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), "acme", records, ledger.AppendOptions{Producer: "test"}); err != nil {
		t.Fatal(err)
	}
}

// TestMakeCertificate erases a person over two logs and a field of somebody else, and
// verifies what is handed out.
func TestMakeCertificate(t *testing.T) {
	l := certificateLedger(t)
	s := &Service{cfg: Config{Ledger: l}}
	fillFor(t, l, 0, "ada@example.com")
	if _, err := l.Rollover(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	fillFor(t, l, 1, "ada@example.com")
	fillFor(t, l, 2, "bob@example.com")
	logs, err := l.Logs(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{logs[1].VKey}
	for name, e := range map[string]ledger.Erasure{
		"a person": {Person: "ada@example.com", Reason: "request of ada", By: "ines"},
		"a run":    {Run: fmt.Sprintf("%032x", 21), Reason: "sent by mistake"},
	} {
		t.Run(name, func(t *testing.T) {
			done, err := l.Erase(t.Context(), "acme", e)
			if err != nil {
				t.Fatal(err)
			}
			cert, err := s.makeCertificate(t.Context(), "acme", done)
			if err != nil {
				t.Fatal(err)
			}
			rep, err := verify.Certificate(context.Background(), cert, verify.Options{Keys: keys})
			if err != nil || rep.Erasure == nil {
				t.Fatalf("%+v %v", rep, err)
			}
			got := rep.Erasure
			if got.ErasureID != done.ID || got.TenantID != "acme" || got.OrderedBy != e.By || got.Records != int64(done.Records) || got.Fields != int64(done.Fields) ||
				got.Runs != int64(done.Runs) || len(got.Orders) != len(done.Receipts) || got.Records == 0 || got.Runs == 0 {
				t.Errorf("%+v of %+v", got, done)
			}
			for _, secret := range []string{"ada@example.com", "bob@example.com", "secret prompt", "request of ada", "by mistake"} {
				if bytes.Contains(cert, []byte(secret)) {
					t.Errorf("the certificate has %q", secret)
				}
			}
			pdf, err := CertificatePDF(cert)
			if err != nil || !bytes.HasPrefix(pdf, []byte("%PDF-")) {
				t.Fatalf("%.20q %v", pdf, err)
			}
			if again, err := CertificatePDF(cert); err != nil || !bytes.Equal(again, pdf) {
				t.Errorf("another PDF of the same: %v", err)
			}
			if _, err := CertificatePDF(bytes.Replace(cert, []byte("acme"), []byte("acne"), 1)); !errors.Is(err, evidence.ErrTampered) {
				t.Errorf("an altered one is drawn: %v", err)
			}
			if _, err := CertificatePDF(cert[:100]); !errors.Is(err, evidence.ErrInvalid) {
				t.Errorf("a part of one is drawn: %v", err)
			}
		})
	}
}
