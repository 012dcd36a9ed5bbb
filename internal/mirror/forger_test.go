package mirror_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// forger is the operator of a log who signs whatever leaves there are.
type forger struct {
	server *server
	key    c2sp.VKey
	signer *c2sp.Signer
	files  map[string][]byte
}

func newForger(t testing.TB) *forger {
	t.Helper()
	signer, err := c2sp.NewSigner("forger.example/0123456789ab", make([]byte, 32))
	must(t, err)
	f := &forger{signer: signer, key: signer.VKey()}
	f.server = &server{}
	h := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, path, _ := strings.Cut(r.URL.Path, "/0123456789ab/")
		b, ok := f.files[path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(b)
	}))
	f.server.Server = httptest.NewServer(h)
	t.Cleanup(f.server.Close)
	return f
}

// good returns leaves that a log may have.
func (f *forger) good(t testing.TB, n int) [][]byte {
	t.Helper()
	commitment := strings.Repeat("A", 43)
	var out [][]byte
	for i := range n {
		leaf := fmt.Sprintf(`{"et":"2026-11-23T15:00:00.000000Z","h":{"/actor":"%s","/summary":"%s"},"id":"00000000-0000-4000-8000-%012x","kind":"system","log":"%s",`+
			`"pub":{%s},"seq":%d,"t":"2026-11-23T15:00:00.000000Z","v":1}`, commitment, commitment, i+1, f.key.Name, f.facts(i), i)
		if _, err := evidence.ParseLeaf([]byte(leaf)); err != nil {
			t.Fatalf("%v: %s", err, leaf)
		}
		out = append(out, []byte(leaf))
	}
	return out
}

func (f *forger) facts(i int) string {
	event, version, key := "DEPLOY", "", ""
	if i == 0 {
		event, version, key = "LOG_OPENED", `"version":"1",`, fmt.Sprintf(`,"vkey":"%s"`, f.key)
	}
	return fmt.Sprintf(`"actor_type":"SYSTEM","caused_by":"SYSTEM","component":"ledger","event_type":"%s","incident_ids":[],"is_synthetic":false,"origin":"SYSTEM","policy_ids":[],"severity":"INFO","source_component":"S","source_domain":"SYSTEM","system_id":"s",%s"visibility":"tenant"%s`, event, version, key)
}

// again is a leaf at another place.
func again(leaf []byte, seq int) []byte {
	return []byte(strings.Replace(string(leaf), `"seq":10`, fmt.Sprintf(`"seq":%d`, seq), 1))
}

// sign makes a tree of leaves and serves it. There are fewer than 256.
func (f *forger) sign(t testing.TB, leaves [][]byte) {
	t.Helper()
	var tree c2sp.Frontier
	var hashes, bundle []byte
	for _, l := range leaves {
		h := evidence.LeafHash(l)
		tree.Append(h, nil)
		hashes = append(hashes, h[:]...)
		var err error
		bundle, err = c2sp.AppendEntry(bundle, l)
		must(t, err)
	}
	note, err := c2sp.SignCheckpoint(tree.Checkpoint(f.key.Name), f.signer)
	must(t, err)
	f.files = map[string][]byte{
		"checkpoint":                     note,
		c2sp.TilePath(0, 0, len(leaves)): hashes,
		c2sp.EntriesPath(0, len(leaves)): bundle,
	}
}

// record answers a request into memory.
func record(h http.Handler, r *http.Request) []byte {
	w := httptest.NewRecorder()
	plain := r.Clone(r.Context())
	plain.Header.Del("Accept-Encoding")
	h.ServeHTTP(w, plain)
	return w.Body.Bytes()
}
