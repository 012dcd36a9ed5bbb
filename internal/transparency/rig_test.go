package transparency_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store/storerig"
	"github.com/runledger/runledger/internal/transparency"
)

// rig is a handler over a real ledger. Who asks is what the tests say.
type rig struct {
	*ledger.Ledger
	http   *httptest.Server
	grant  access.Grant
	denied []string
	now    time.Time
}

// attested is a ledger that witnesses have cosigned.
type attested struct {
	*ledger.Ledger
	list []ledger.Attestation
}

func (a *attested) Cosignatures(_ context.Context, _ string, _ int, from int64) ([]ledger.Attestation, error) {
	var out []ledger.Attestation
	for _, x := range a.list {
		if x.Size >= from {
			out = append(out, x)
		}
	}
	return out, nil
}

func newRig(t testing.TB, change func(*transparency.Config)) *rig {
	t.Helper()
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data")
	db, err := storerig.Open(ctx, dir)
	must(t, err)
	master, err := seal.OpenMaster(filepath.Join(dir, "master.keyset.json"), true)
	must(t, err)
	anchor, err := ledger.NewDirAnchor(dir + ".anchor")
	must(t, err)
	l, err := ledger.Open(ctx, ledger.Config{
		Store: db, Sealer: seal.New(db, master), Anchor: anchor, Instance: "test.example",
		Logger: slog.New(slog.DiscardHandler), PublishEvery: time.Hour, // only when a test says so
	})
	must(t, err)
	r := &rig{Ledger: l, grant: auditor("acme"), now: time.Now()}
	for _, tenant := range []string{"acme", "other"} {
		_, err := l.CreateTenant(ctx, tenant)
		must(t, err)
	}
	cfg := transparency.Config{
		Ledger: l, Grant: func(context.Context) access.Grant { return r.grant }, Now: func() time.Time { return r.now },
		Deny: func(_ *http.Request, resource, reason string) error {
			r.denied = append(r.denied, resource)
			return fmt.Errorf("%w: %s", evidence.ErrForbidden, reason)
		},
	}
	if change != nil {
		change(&cfg)
	}
	mux := http.NewServeMux()
	transparency.New(cfg).Routes(mux)
	r.http = httptest.NewServer(mux)
	t.Cleanup(func() {
		r.http.Close()
		must(t, errors.Join(l.Close(), db.Close()))
	})
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// auditor may see everything of a tenant.
func auditor(tenant string) access.Grant {
	return access.Grant{
		Principal: access.Principal{Tenant: tenant, Permissions: access.Set(access.LogsRead | access.AuditRead)},
		Authority: access.Authority{IncludeSynthetic: true},
	}
}

// add appends records to a tenant's log and publishes it.
func (r *rig) add(t testing.TB, tenant string, n int) {
	t.Helper()
	var lines []string
	for range n {
		id := ledger.NewID(evidence.MicrosOf(time.Now()))
		lines = append(lines, fmt.Sprintf(`{"kind":"system","id":"%s","occurred_at":"2026-11-23T15:00:00Z","component":"worker","event_type":"DEPLOY","severity":"INFO","source_domain":"SYSTEM","source_component":"SystemRecordWriter","summary":"deployed"}`, id))
	}
	records, err := evidence.ParseNDJSON([]byte(strings.Join(lines, "\n")))
	must(t, err)
	_, err = r.Append(t.Context(), tenant, records, ledger.AppendOptions{Producer: "key-1"})
	must(t, err)
	_, _, err = r.PublishNow(t.Context(), tenant, r.newest(t, tenant).No)
	must(t, err)
}

func (r *rig) newest(t testing.TB, tenant string) ledger.LogInfo {
	t.Helper()
	logs, err := r.Logs(t.Context(), tenant)
	must(t, err)
	return logs[len(logs)-1]
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

// get asks for a path below the prefix, which is sent as it is.
func (r *rig) get(t testing.TB, path string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, r.http.URL+transparency.Prefix+path, nil)
	must(t, err)
	req.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.http.Client().Do(req)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return reply{resp.StatusCode, resp.Header, body}
}
