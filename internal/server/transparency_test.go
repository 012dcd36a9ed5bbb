package server_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/mirror"
	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/witness"
	"github.com/runledger/runledger/verify"
)

// TestTransparencyWalk asks every route of the log as every role, for the own log,
// another tenant's and the system's: by the rules that are shipped.
func TestTransparencyWalk(t *testing.T) {
	r := newReads(t, nil)
	keys := map[string]string{}
	for _, tenant := range []string{own, foreign, synthetic} {
		keys["producer@"+tenant] = r.newKey(t, tenant)
	}
	for _, tenant := range []string{own, synthetic} {
		r.put(t, keys["producer@"+tenant], r.line("system", 0, nil), r.line("audit", 1, nil))
	}
	r.put(t, keys["producer@"+foreign], r.line("system", 0, nil))
	for _, role := range walkRoles {
		if role != "producer" {
			keys[role+"@"+home(role)] = r.roleKey(t, home(role), role)
		}
	}
	r.used(t, keys["producer@"+own])
	logs := map[string]string{}
	for _, tenant := range []string{own, foreign, synthetic, evidence.SystemTenant} {
		logs[tenant] = r.logName(t, tenant)
	}
	for _, role := range walkRoles {
		own := home(role)
		key := keys[role+"@"+own]
		r.used(t, key)
		for _, path := range []string{"checkpoint", "key", "tile/0/000.p/2", "tile/entries/000.p/2", "proof/inclusion?index=1", "proof/consistency?old=1"} {
			entries := strings.Contains(path, "entries")
			want := http.StatusOK
			if role == "producer" || entries && role != "auditor" {
				want = http.StatusForbidden
			}
			for _, at := range []struct {
				prefix string
				want   int
			}{
				{"", want},
				{"log/" + logs[own] + "/", want},
				{"log/" + logs[foreign] + "/", max(want, http.StatusForbidden)},
				{"log/" + logs[evidence.SystemTenant] + "/", want},
			} {
				if at.prefix == "log/"+logs[foreign]+"/" && want == http.StatusOK || strings.Contains(at.prefix, logs[evidence.SystemTenant]) && entries && want == http.StatusOK {
					at.want = http.StatusNotFound
				}
				var status int
				var header http.Header
				var body []byte
				added := r.added(t, own, func() { status, header, body = r.get(t, key, "/api/v1/transparency/"+at.prefix+path, nil) })
				// Who may not see another's log, or the rules' entries, may learn that there is none.
				if at.want == http.StatusForbidden && status == http.StatusNotFound && at.prefix != "" && !strings.Contains(at.prefix, logs[own]) && role != "producer" {
					at.want = status
				}
				if status != at.want {
					t.Errorf("%s: %s%s: %d, want %d: %.200s", role, at.prefix, path, status, at.want, body)
				}
				// A denial is one record; anything else is none.
				denied := map[string]int{}
				if status == http.StatusForbidden {
					denied["ACCESS_DECISION"] = 1
				}
				if len(added) != len(denied) || added["ACCESS_DECISION"] != denied["ACCESS_DECISION"] {
					t.Errorf("%s: %s%s: %d: records %v, want %v", role, at.prefix, path, status, added, denied)
				}
				if status == http.StatusOK && header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%s: %v", path, header)
				}
			}
		}
		status, _, body := r.get(t, key, "/api/v1/transparency/logs", nil)
		if (status == http.StatusOK) != (role != "producer") || strings.Contains(string(body), logs[foreign]) {
			t.Errorf("%s: logs: %d %s", role, status, body)
		}
	}
	for _, path := range []string{"checkpoint", "logs", "tile/entries/000", "log/" + logs[own] + "/checkpoint"} {
		if status, _, _ := r.get(t, "", "/api/v1/transparency/"+path, nil); status != http.StatusUnauthorized {
			t.Errorf("%s without a key: %d", path, status)
		}
		if status, body := r.post(t, r.url+"/api/v1/transparency/"+path, "text/plain", keys["auditor@"+own], []byte("x")); status != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d %s", path, status, body)
		}
	}
	for _, path := range []string{"", "x", "log/", "log/x/y", "tile/entries%2F000.p%2F2", "tile/%65ntries/000.p/2", "log/" + logs[own] + "/tile/%65ntries/000.p/2", "tile/./entries/000.p/2"} {
		for _, role := range []string{"viewer", "auditor"} {
			status, _, body := r.get(t, keys[role+"@"+own], "/api/v1/transparency/"+path, nil)
			if status == http.StatusOK || status >= 500 {
				t.Errorf("%s: %q: %d %.200s", role, path, status, body)
			}
		}
	}
}

// logName returns the 12 hex digits of a tenant's newest log.
func (r *reads) logName(t *testing.T, tenant string) string {
	t.Helper()
	c, err := r.control(t).Checkpoint(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	cp, _, err := c2sp.ParseNote([]byte(c.Checkpoint))
	if err != nil {
		t.Fatal(err)
	}
	_, name, _ := strings.Cut(cp.Origin, "/")
	return name
}

// TestMirrorOfServer copies a log from a whole server, with the key of an auditor that
// was narrowed to what it takes.
func TestMirrorOfServer(t *testing.T) {
	r := newReads(t, nil)
	producer := r.newKey(t, own)
	r.put(t, producer, r.line("system", 0, nil), r.line("audit", 1, nil))
	_, _, key := r.get(t, r.roleKey(t, own, "viewer"), "/api/v1/transparency/key", nil)
	cfg := mirror.Config{
		URL: r.url, Keys: []string{strings.TrimSpace(string(key))}, Dir: filepath.Join(t.TempDir(), "copy"),
		APIKey: r.narrowKey(t, own, "auditor", "logs.read", "audit.read"), Timeout: time.Minute,
	}
	sizes := []int64{}
	cfg.Report = func(p mirror.Progress) {
		if p.Kept {
			sizes = append(sizes, p.Size)
		}
	}
	m, err := mirror.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := m.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.put(t, producer, r.line("system", 2, nil))
		at := r.control(t)
		if _, err := at.Checkpoint(t.Context(), own); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond) // a checkpoint a second
	}
	if err := errors.Join(m.Sync(t.Context()), m.Close()); err != nil {
		t.Fatal(err)
	}
	if len(sizes) < 2 || sizes[len(sizes)-1] <= sizes[0] {
		t.Errorf("kept at %v", sizes)
	}
	// What it may not read it says.
	cfg.APIKey, cfg.Dir = r.roleKey(t, own, "viewer"), filepath.Join(t.TempDir(), "refused")
	if m, err = mirror.Open(cfg); err != nil {
		t.Fatal(err)
	}
	if err := m.Sync(t.Context()); !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("as a viewer: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReceiptShows: a receipt has the leaf only for who may see records of its kind.
func TestReceiptShows(t *testing.T) {
	const own = synthetic // where all roles are
	r := newReads(t, nil)
	producer := r.newKey(t, own)
	r.put(t, producer, r.line("system", 0, object{"id": "018f0000-0000-7000-8000-00000000aa01"}),
		r.line("audit", 1, object{"id": "018f0000-0000-7000-8000-00000000aa02"}),
		r.line("system", 2, object{"id": "018f0000-0000-7000-8000-00000000aa03", "is_synthetic": true, "synthetic_scenario_id": "S-1"}))
	keys := map[string]string{"producer": producer, "another": r.roleKey(t, own, "producer")}
	for _, role := range walkRoles {
		if role != "producer" {
			keys[role] = r.roleKey(t, own, role)
		}
	}
	for id, shown := range map[string]string{
		"018f0000-0000-7000-8000-00000000aa01": "producer viewer operator auditor tenant_admin",
		"018f0000-0000-7000-8000-00000000aa02": "producer auditor tenant_admin",
		"018f0000-0000-7000-8000-00000000aa03": "producer auditor observer",
	} {
		for name, key := range keys {
			out := r.receipt(t, key, id)
			_, has := out["leaf"]
			want := strings.Contains(" "+shown+" ", " "+name+" ")
			if has != want {
				t.Errorf("%s as %s: leaf shown: %v, want %v", id, name, has, want)
			}
			if out["proof"] == "" || out["leaf_hash"] == "" || out["id"] != id {
				t.Errorf("%s as %s: %v", id, name, out)
			}
		}
	}
}

// receipt waits until a checkpoint covers a record.
func (r *reads) receipt(t *testing.T, key, id string) object {
	t.Helper()
	for range 400 {
		if status, _, _ := r.get(t, key, "/api/v1/receipts/"+id, nil); status != http.StatusAccepted {
			return r.ask(t, key, "/api/v1/receipts/"+id, http.StatusOK)
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("%s: no checkpoint came", id)
	return nil
}

// TestWitnessedCheckpoint: a server with witnesses serves checkpoints that a mirror with
// the same policy takes.
func TestWitnessedCheckpoint(t *testing.T) {
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
	text := "witness w " + w.VKey() + " " + at.URL + "\nquorum w\n"
	policy, err := verify.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r := newReads(t, func(c *server.ServeConfig) { c.Witnesses = policy })
	producer, auditor := r.newKey(t, own), r.roleKey(t, own, "auditor")
	_, _, key := r.get(t, auditor, "/api/v1/transparency/key", nil)
	if err := w.AddLogs([]string{strings.TrimSpace(string(key))}); err != nil {
		t.Fatal(err)
	}
	r.put(t, producer, r.line("system", 0, nil))
	m, err := mirror.Open(mirror.Config{
		URL: r.url, Keys: []string{strings.TrimSpace(string(key))}, Dir: t.TempDir(), APIKey: auditor, Policy: []byte(text),
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 400 {
		if err = m.Sync(t.Context()); err == nil {
			break
		}
		var f *mirror.Failure
		if !errors.As(err, &f) || f.Code != verify.EQuorum {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := errors.Join(err, m.Close()); err != nil {
		t.Fatal(err)
	}
}
