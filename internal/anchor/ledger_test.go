package anchor_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/anchor"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store/sqlite"
)

// deployment is a ledger on a data directory, with its anchor where a specification says.
type deployment struct {
	*ledger.Ledger
	db     *sqlite.DB
	anchor ledger.Anchor
}

func open(t *testing.T, dir, spec string, accept bool) (*deployment, error) {
	t.Helper()
	ctx := context.Background()
	a, err := anchor.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(ctx, sqlite.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	master, err := seal.OpenMaster(filepath.Join(dir, "master.keyset.json"), true)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ctx, ledger.Config{
		Store: db, Sealer: seal.New(db, master), Anchor: a, Instance: "test.example", AcceptRollback: accept,
		Logger: slog.New(slog.DiscardHandler), PublishEvery: 10 * time.Millisecond,
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &deployment{l, db, a}, nil
}

func (d *deployment) close(t *testing.T) {
	t.Helper()
	if err := errors.Join(d.Close(), d.db.Close()); err != nil {
		t.Error(err)
	}
}

func (d *deployment) append(t *testing.T, n int) {
	t.Helper()
	for range n {
		now := evidence.MicrosOf(time.Now())
		r := &evidence.Record{Kind: evidence.KindSystem, ID: ledger.NewID(now), OccurredAt: now}
		r.SetText("event_type", "INTEGRITY_ANOMALY")
		r.SetText("severity", "INFO")
		r.SetText("component", "test")
		r.SetText("source_domain", "LOGS")
		r.SetText("source_component", "test")
		r.SetSealed("/summary", []byte(`"a test"`))
		if err := r.Complete(); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Append(context.Background(), "acme", []*evidence.Record{r}, ledger.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := d.PublishNow(context.Background(), "acme", 1); err != nil {
		t.Fatal(err)
	}
}

// TestRestoredBackup: a database that is older than its anchor is refused, and going on
// from there leaves the lost note beside the anchor, wherever that is.
func TestRestoredBackup(t *testing.T) {
	service := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	defer service.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, service.URL+"/anchors", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", res, err)
	}
	res.Body.Close()
	for name, spec := range map[string]string{
		"directory": filepath.Join(t.TempDir(), "anchor"),
		"bucket":    "s3://anchors/ledger?region=us-east-1&endpoint=" + service.URL,
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			dir, backup := filepath.Join(base, "data"), filepath.Join(base, "backup")
			d, err := open(t, dir, spec, false)
			if err != nil {
				t.Fatal(err)
			}
			info, err := d.CreateTenant(context.Background(), "acme")
			if err != nil {
				t.Fatal(err)
			}
			d.append(t, 3)
			d.close(t)
			if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			if d, err = open(t, dir, spec, false); err != nil {
				t.Fatalf("open again: %v", err)
			}
			d.append(t, 3)
			lost, err := d.anchor.Read(info.Origin)
			if err != nil {
				t.Fatal(err)
			}
			d.close(t)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(dir, os.DirFS(backup)); err != nil {
				t.Fatal(err)
			}
			if d, err = open(t, dir, spec, false); !errors.Is(err, ledger.ErrRollback) {
				if err == nil {
					d.close(t)
				}
				t.Fatalf("open a restored backup: %v", err)
			}
			if d, err = open(t, dir, spec, true); err != nil {
				t.Fatalf("accept the rollback: %v", err)
			}
			got, err := d.anchor.Lost(info.Origin)
			if err != nil || len(got) != 1 || !bytes.Equal(got[0], lost) {
				t.Errorf("lost: %q, %v; want %q", got, err, lost)
			}
			logs, err := d.Logs(context.Background(), "acme")
			if err != nil || len(logs) != 2 {
				t.Errorf("logs: %v, %v", logs, err)
			}
			d.close(t)
			if d, err = open(t, dir, spec, false); err != nil {
				t.Fatalf("what was accepted stays so: %v", err)
			}
			d.close(t)
		})
	}
}
