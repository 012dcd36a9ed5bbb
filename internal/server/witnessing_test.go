package server_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/witness"
	"github.com/runledger/runledger/verify"
)

// TestStopIsWitnessed: after an orderly stop a witness has seen all that was recorded,
// SHUTDOWN included, so no backup of an earlier time starts unopposed.
func TestStopIsWitnessed(t *testing.T) {
	w, err := witness.NewServer(witness.ServerConfig{Dir: t.TempDir(), Name: "w.example"})
	if err != nil {
		t.Fatal(err)
	}
	at := httptest.NewServer(w)
	t.Cleanup(func() {
		at.Close()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	policy, err := verify.ParsePolicy([]byte("witness w " + w.VKey() + " " + at.URL + "\nquorum w\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := newReads(t, func(c *server.ServeConfig) { c.Witnesses = policy })
	producer := r.newKey(t, own)
	tenants, err := r.control(t).Tenants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range tenants.Tenants {
		if err := w.AddLogs([]string{l.VKey}); err != nil {
			t.Fatal(err)
		}
	}
	r.put(t, producer, r.line("system", 0, nil))
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	if events := systemEvents(t, r.dir); !slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "api SHUTDOWN") }) {
		t.Errorf("system log: %v", events)
	}
	d, err := server.Open(t.Context(), server.Stored(t, server.Config{Data: r.dir}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, tenant := range []string{own, evidence.SystemTenant} {
		head, _, err := d.Ledger.PublishNow(t.Context(), tenant, 1)
		if err != nil {
			t.Fatal(err)
		}
		answer := httptest.NewRecorder()
		w.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/checkpoint?origin="+url.QueryEscape(head.Origin), nil))
		seen, _, err := c2sp.ParseNote(answer.Body.Bytes())
		if err != nil || seen != head {
			t.Errorf("the witness has seen %+v of %s (%v), want %+v", seen, tenant, err, head)
		}
	}
}
