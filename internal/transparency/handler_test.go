package transparency_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/transparency"
)

// overHTTP is a tlog.TileReader: what other people's programs read with. The paths
// of C2SP are not those of that package, so they are converted.
type overHTTP struct {
	r      *rig
	t      *testing.T
	prefix string
	got    int
}

func (o *overHTTP) Height() int { return 8 }

func (o *overHTTP) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range tiles {
		path := tile.Path() // tile/8/<L>/<N>[.p/<W>]
		path = o.prefix + "/tile/" + strings.TrimPrefix(path, "tile/8/")
		p := o.r.get(o.t, path)
		if p.status != 200 {
			return nil, fmt.Errorf("%s: %d %s", path, p.status, p.body)
		}
		o.got++
		out = append(out, p.body)
	}
	return out, nil
}

func (o *overHTTP) SaveTiles([]tlog.Tile, [][]byte) {}

// TestWithOtherTools checks a log over HTTP with golang.org/x/mod alone: the note,
// the tree from its tiles, every entry, and proofs.
func TestWithOtherTools(t *testing.T) {
	r := newRig(t, nil)
	r.add(t, "acme", 256)
	r.add(t, "acme", 343) // with LOG_OPENED: 600
	for _, prefix := range []string{"", "/log/" + transparency.Name(r.newest(t, "acme").Origin)} {
		key := strings.TrimSpace(string(r.get(t, prefix+"/key").body))
		verifier, err := note.NewVerifier(key)
		must(t, err)
		signed, err := note.Open(r.get(t, prefix+"/checkpoint").body, note.VerifierList(verifier))
		must(t, err)
		lines := strings.Split(signed.Text, "\n")
		root, err := tlog.ParseHash(lines[2])
		must(t, err)
		if lines[0] != r.newest(t, "acme").Origin || lines[1] != "600" {
			t.Fatalf("checkpoint %q", signed.Text)
		}
		tree := tlog.Tree{N: 600, Hash: root}
		tiles := &overHTTP{r: r, t: t, prefix: prefix}
		reader := tlog.TileHashReader(tree, tiles)
		for _, bundle := range []struct {
			n     int64
			width int
		}{{0, 256}, {1, 256}, {2, 88}} {
			got := r.get(t, prefix+"/"+c2sp.EntriesPath(bundle.n, bundle.width))
			entries, err := c2sp.SplitEntries(got.body, bundle.width)
			must(t, err)
			for i, e := range entries {
				at := bundle.n*256 + int64(i)
				if i%50 != 0 {
					continue // each costs requests
				}
				proof, err := tlog.ProveRecord(600, at, reader)
				must(t, err)
				must(t, tlog.CheckRecord(proof, 600, root, at, tlog.RecordHash(e)))
			}
		}
		older, err := tlog.TreeHash(257, reader)
		must(t, err)
		proof, err := tlog.ProveTree(600, 257, reader)
		must(t, err)
		must(t, tlog.CheckTree(proof, 600, root, 257, older))
		if tiles.got == 0 {
			t.Error("no tile was read")
		}
	}
}

func TestProofs(t *testing.T) {
	r := newRig(t, nil)
	r.add(t, "acme", 300)
	first := r.get(t, "/checkpoint").body
	r.now = r.now.Add(time.Second)
	r.add(t, "acme", 100)
	key, err := c2sp.ParseVKey(r.newest(t, "acme").VKey)
	must(t, err)
	old, err := c2sp.Verify(first, key)
	must(t, err)
	leaves := r.get(t, "/tile/entries/001.p/145").body
	entries, err := c2sp.SplitEntries(leaves, 145)
	must(t, err)
	for query, size := range map[string]int64{"index=300": 401, "index=300&size=301": 301, "size=401&index=300": 401} {
		p := r.get(t, "/proof/inclusion?"+query)
		proof, err := c2sp.ParseProof(p.body)
		if err != nil {
			t.Fatalf("%s: %v: %s", query, err, p.body)
		}
		c, err := c2sp.Verify(proof.Note, key)
		must(t, err)
		if c.Size != size || proof.Index != 300 || p.header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %+v in %+v, %v", query, proof, c, p.header)
		}
		must(t, c2sp.CheckInclusion(proof.Hashes, c.Size, c.Root, 300, evidence.LeafHash(entries[300-256])))
	}
	for query, size := range map[string]int64{"old=301": 401, "old=0": 401, "old=401": 401, "old=1&new=301": 301} {
		proof, err := c2sp.ParseConsistency(r.get(t, "/proof/consistency?"+query).body)
		must(t, err)
		c, err := c2sp.Verify(proof.Note, key)
		must(t, err)
		if c.Size != size {
			t.Errorf("%s: %+v", query, c)
		}
		if proof.Old == old.Size {
			must(t, c2sp.CheckConsistency(proof.Hashes, c.Size, c.Root, old.Size, old.Root))
		}
	}
	for path, want := range map[string]int{
		"/proof/inclusion": 400, "/proof/inclusion?index=-1": 400, "/proof/inclusion?index=01": 400, "/proof/inclusion?index=1&index=2": 400,
		"/proof/inclusion?index=1&more=2": 400, "/proof/inclusion?index=%zz": 400, "/proof/inclusion?index=9223372036854775808": 400,
		"/proof/inclusion?index=401": 404, "/proof/inclusion?index=5&size=5": 404, "/proof/inclusion?index=5&size=100": 404, // no checkpoint of 100
		"/proof/inclusion?index=5&size=9007199254740991": 404,
		"/proof/consistency":                             400, "/proof/consistency?old=402": 404, "/proof/consistency?old=1&new=2": 404, "/proof/consistency?old=302&new=301": 404,
		"/checkpoint?x=1": 400, "/key?x": 400, "/logs?x": 400, "/tile/0/000?x": 400,
	} {
		if p := r.get(t, path); p.status != want {
			t.Errorf("%s: %d, want %d: %s", path, p.status, want, p.body)
		}
	}
}

// TestOnlyPublished: nothing that no published checkpoint covers is shown.
func TestOnlyPublished(t *testing.T) {
	r := newRig(t, nil)
	r.add(t, "acme", 255) // with LOG_OPENED: a full tile
	records, err := evidence.ParseNDJSON([]byte(`{"kind":"system","id":"018f0000-0000-7000-8000-000000000001","occurred_at":"2026-11-23T15:00:00Z","component":"worker","event_type":"DEPLOY","severity":"INFO","source_domain":"SYSTEM","source_component":"S","summary":"later"}`))
	must(t, err)
	_, err = r.Append(t.Context(), "acme", records, ledger.AppendOptions{Producer: "key-1"})
	must(t, err)
	for path, want := range map[string]int{
		"/tile/0/000": 200, "/tile/0/000.p/255": 200, "/tile/entries/000": 200, "/tile/entries/000.p/1": 200, "/tile/1/000.p/1": 200,
		"/tile/0/001.p/1": 404, "/tile/entries/001.p/1": 404, "/tile/1/000": 404, "/tile/1/000.p/2": 404, "/tile/2/000.p/1": 404,
		"/proof/inclusion?index=256": 404, "/proof/consistency?old=257": 404, "/proof/inclusion?index=0&size=257": 404,
		"/tile/0/0": 404, "/tile/0/x000/000": 404, "/tile/00/000": 404, "/tile/0/000.p/0": 404, "/tile/0/000.p/256": 404, "/tile/0/000.p/01": 404,
		"/tile/0": 404, "/tile/": 404, "/tile/entries/": 404, "/tile/64/000": 404, "/tile/-1/000": 404, "/tile/8/0/000": 404,
		"/tile/0/000/": 404, "/tile/0%2F000": 404, "/tile/%65ntries/000": 404, "/tile/entries%2f000": 404,
	} {
		if p := r.get(t, path); p.status != want {
			t.Errorf("%s: %d, want %d: %.200s", path, p.status, want, p.body)
		}
	}
}

func TestHeaders(t *testing.T) {
	r := newRig(t, nil)
	r.add(t, "acme", 300)
	fixed := "/log/" + transparency.Name(r.newest(t, "acme").Origin)
	for path, want := range map[string][2]string{
		fixed + "/tile/0/000":            {"application/octet-stream", "private, max-age=31536000, immutable"},
		fixed + "/tile/entries/000":      {"application/octet-stream", "private, max-age=31536000, immutable"},
		fixed + "/tile/0/001.p/5":        {"application/octet-stream", "private, max-age=3600"},
		fixed + "/tile/entries/001.p/45": {"application/octet-stream", "private, max-age=3600"},
		fixed + "/checkpoint":            {"text/plain; charset=utf-8", "no-store"},
		fixed + "/key":                   {"text/plain; charset=utf-8", "no-store"},
		// The newest log is another one after a rollover.
		"/tile/0/000":       {"application/octet-stream", "no-store"},
		"/tile/entries/000": {"application/octet-stream", "no-store"},
		"/checkpoint":       {"text/plain; charset=utf-8", "no-store"},
		"/logs":             {"application/json", "no-store"},
		"/tile/9/000":       {"application/problem+json", "no-store"},
	} {
		p := r.get(t, path)
		if got := [2]string{p.header.Get("Content-Type"), p.header.Get("Cache-Control")}; got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	plain := r.get(t, "/tile/entries/000")
	for accept, packed := range map[string]bool{"gzip": true, "br, GZIP;q=0.5": true, "gzip;q=0": false, "br": false, "identity": false} {
		p := r.get(t, "/tile/entries/000", "Accept-Encoding", accept)
		if (p.header.Get("Content-Encoding") == "gzip") != packed {
			t.Errorf("%s: %v", accept, p.header)
		}
		body := p.body
		if packed {
			z, err := gzip.NewReader(bytes.NewReader(body))
			must(t, err)
			body, err = io.ReadAll(z)
			must(t, err)
		}
		if !bytes.Equal(body, plain.body) || !strings.Contains(p.header.Get("Vary"), "Accept-Encoding") {
			t.Errorf("%s: %d bytes, want %d; %v", accept, len(body), len(plain.body), p.header)
		}
	}
}

// TestWhoMay: entries are for who may see every kind of record, another tenant's log
// is not there, and of the system's nothing is shown that says what is in it.
func TestWhoMay(t *testing.T) {
	r := newRig(t, nil)
	for _, tenant := range []string{"acme", "other", evidence.SystemTenant} {
		r.add(t, tenant, 5)
	}
	may := func(permissions access.Permission, synthetic, only bool) access.Grant {
		g := auditor("acme")
		g.Permissions, g.IncludeSynthetic, g.SyntheticOnly = access.Set(permissions), synthetic, only
		return g
	}
	own := "/log/" + transparency.Name(r.newest(t, "acme").Origin)
	foreign := "/log/" + transparency.Name(r.newest(t, "other").Origin)
	system := "/log/" + transparency.Name(r.newest(t, evidence.SystemTenant).Origin)
	platform := auditor(evidence.SystemTenant)
	hashes := []string{"/checkpoint", "/key", "/tile/0/000.p/6", "/proof/inclusion?index=5", "/proof/consistency?old=1"}
	for _, tt := range []struct {
		name    string
		grant   access.Grant
		prefix  string
		hashes  int
		entries int
	}{
		{"auditor", auditor("acme"), "", 200, 200},
		{"auditor, by name", auditor("acme"), own, 200, 200},
		{"viewer", may(access.LogsRead, true, false), own, 200, 403},
		{"without synthetic", may(access.LogsRead|access.AuditRead, false, false), own, 200, 403},
		{"synthetic only", may(access.LogsRead|access.AuditRead, true, true), own, 200, 403},
		{"another tenant's", auditor("acme"), foreign, 404, 404},
		{"the system's", auditor("acme"), system, 200, 404},
		{"the system's, by the platform", platform, system, 200, 200},
		{"the platform, newest", platform, "", 200, 200},
		{"a tenant's, by the system's", platform, own, 404, 404},
		{"unknown", auditor("acme"), "/log/000000000000", 404, 404},
		{"no name", auditor("acme"), "/log/x", 404, 404},
		{"no tenant", access.Grant{}, "", 403, 403},
	} {
		r.grant, r.denied = tt.grant, nil
		for _, path := range hashes {
			if p := r.get(t, tt.prefix+path); p.status != tt.hashes {
				t.Errorf("%s: %s: %d, want %d: %s", tt.name, path, p.status, tt.hashes, p.body)
			}
		}
		if len(r.denied) != 0 {
			t.Errorf("%s: %v", tt.name, r.denied)
		}
		if p := r.get(t, tt.prefix+"/tile/entries/000.p/6"); p.status != tt.entries {
			t.Errorf("%s: entries: %d, want %d: %s", tt.name, p.status, tt.entries, p.body)
		}
		if tt.entries == 403 && tt.grant.Tenant != "" && len(r.denied) != 1 {
			t.Errorf("%s: denials %v, want one", tt.name, r.denied)
		}
	}
}

func TestLogs(t *testing.T) {
	r := newRig(t, nil)
	before := r.newest(t, "acme")
	_, err := r.Rollover(t.Context(), "acme")
	must(t, err)
	var got transparency.Logs
	must(t, json.Unmarshal(r.get(t, "/logs").body, &got))
	if len(got.Logs) != 3 || got.Logs[0].Newest || !got.Logs[1].Newest || !got.Logs[2].Newest || got.Logs[2].TenantID != evidence.SystemTenant {
		t.Fatalf("%+v", got)
	}
	for _, l := range got.Logs {
		note := r.get(t, strings.TrimPrefix(l.Prefix, transparency.Prefix)+"/checkpoint")
		key, err := c2sp.ParseVKey(l.VKey)
		must(t, err)
		if _, err := c2sp.Verify(note.body, key); err != nil {
			t.Errorf("%s: %v", l.Log, err)
		}
	}
	if got.Logs[0].Log != before.Origin {
		t.Errorf("%+v", got.Logs[0])
	}
	// The newest is the successor now.
	if !bytes.HasPrefix(r.get(t, "/checkpoint").body, []byte(got.Logs[1].Log+"\n")) {
		t.Error("the checkpoint without a name is not the newest log's")
	}
}

// TestQuorum: with a policy the checkpoint is the newest that has the quorum, but never
// one that is older than what was shown before.
func TestQuorum(t *testing.T) {
	var a *attested
	r := newRig(t, func(c *transparency.Config) {
		a = &attested{Ledger: c.Ledger.(*ledger.Ledger)}
		c.Ledger = a
		c.Quorum = func(signed []ledger.Attestation) bool { return len(signed) >= 2 }
	})
	size := func() int64 {
		t.Helper()
		r.now = r.now.Add(time.Second)
		c, _, err := c2sp.ParseNote(r.get(t, "/checkpoint").body)
		must(t, err)
		return c.Size
	}
	cosign := func(size int64, n int) {
		for range n {
			a.list = append(a.list, ledger.Attestation{Size: size, Kind: ledger.AttestCosignature})
		}
	}
	cosign(1, 2)
	r.add(t, "acme", 9)
	if got := size(); got != 10 {
		t.Errorf("first: %d, want 10 which nobody has cosigned", got)
	}
	r.add(t, "acme", 10)
	cosign(20, 1)
	if got := size(); got != 10 {
		t.Errorf("one cosignature: %d, want 10", got)
	}
	r.add(t, "acme", 10)
	cosign(20, 1)
	cosign(30, 1)
	if got := size(); got != 20 {
		t.Errorf("two of 20: %d, want 20", got)
	}
	cosign(30, 1)
	if got := size(); got != 30 {
		t.Errorf("two of 30: %d, want 30", got)
	}
	// At most once a second.
	r.add(t, "acme", 10)
	cosign(40, 2)
	c, _, err := c2sp.ParseNote(r.get(t, "/checkpoint").body)
	must(t, err)
	if c.Size != 30 {
		t.Errorf("at once: %d, want 30", c.Size)
	}
	if got := size(); got != 40 {
		t.Errorf("a second later: %d, want 40", got)
	}
}

// stuck is a ledger that waits until it is told to go on.
type stuck struct {
	*ledger.Ledger
	enter, leave chan struct{}
}

func (s *stuck) Cosigned(_ context.Context, _ string, _ int, note []byte) ([]byte, error) {
	s.enter <- struct{}{}
	<-s.leave
	return note, nil
}

// TestRoom: a tenant's requests beyond its share are refused, and others' are not.
func TestRoom(t *testing.T) {
	s := &stuck{enter: make(chan struct{}), leave: make(chan struct{})}
	r := newRig(t, func(c *transparency.Config) {
		s.Ledger = c.Ledger.(*ledger.Ledger)
		c.Ledger, c.MaxRequests, c.MaxPerTenant = s, 3, 1
	})
	done := make(chan int)
	go func() { done <- r.get(t, "/checkpoint").status }()
	<-s.enter
	p := r.get(t, "/key")
	if p.status != 429 || p.header.Get("Retry-After") == "" {
		t.Errorf("%d %v", p.status, p.header)
	}
	r.grant = auditor("other")
	if p := r.get(t, "/key"); p.status != 200 {
		t.Errorf("another tenant: %d %s", p.status, p.body)
	}
	r.grant = auditor("acme")
	s.leave <- struct{}{}
	if got := <-done; got != 200 {
		t.Errorf("%d", got)
	}
	if p := r.get(t, "/key"); p.status != 200 {
		t.Errorf("afterwards: %d %s", p.status, p.body)
	}
}

// FuzzPaths asks for anything: there is an answer that is no fault of the server, and
// it holds nothing of another tenant.
func FuzzPaths(f *testing.F) {
	r := newRig(f, nil)
	r.add(f, "acme", 20)
	r.add(f, "other", 3)
	foreign := transparency.Name(r.newest(f, "other").Origin)
	for _, path := range []string{
		"/checkpoint", "/tile/0/000.p/21", "/tile/entries/000.p/3", "/tile/entries/x001/000", "/log/" + foreign + "/checkpoint",
		"/proof/inclusion?index=3&size=21", "/proof/consistency?old=1&new=21", "/log//tile/0/000", "/tile/0/000.p/300", "/tile/9999999999999999999/000",
	} {
		f.Add(path)
	}
	handler := r.http.Config.Handler
	f.Fuzz(func(t *testing.T, path string) {
		req, err := newRequest(path)
		if err != nil {
			t.Skip()
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		if w.Code >= 500 {
			t.Errorf("%q: %d %s", path, w.Code, w.Body)
		}
		if w.Code == 200 && bytes.Contains(w.Body.Bytes(), []byte(foreign)) {
			t.Errorf("%q shows another tenant's log", path)
		}
	})
}

// newRequest makes a request of a path as a server would take it in.
func newRequest(path string) (*http.Request, error) {
	u, err := url.ParseRequestURI(transparency.Prefix + path)
	if err != nil {
		return nil, err
	}
	return &http.Request{Method: http.MethodGet, URL: u, Host: "localhost", Header: http.Header{}}, nil
}
