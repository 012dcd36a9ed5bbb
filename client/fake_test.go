package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tenant = "acme"
	origin = "ledger.example/0123456789ab"
)

// fakeServer answers as the server does, from a log in memory. It takes records
// apart with the server's own parser. faults come first: each answers one request
// and is gone; nil lets it through.
type fakeServer struct {
	t *testing.T

	mu       sync.Mutex
	faults   []fault
	requests int
	batches  []int
	log      []*evidence.Record
	ids      map[evidence.ID]int
	leaves   [][]byte
	uncover  int // how often a receipt is answered with 202 first
	maxBatch int // records; 0: any
	change   func(answer map[string]any)
	signer   note.Signer
	vkey     string
	// Of another log, that has nothing to say here.
	second    note.Signer
	secondKey string
}

type fault func(w http.ResponseWriter, r *http.Request, commit func(http.ResponseWriter))

func newFake(t *testing.T) *fakeServer {
	t.Helper()
	f := &fakeServer{t: t, ids: map[evidence.ID]int{}}
	f.signer, f.vkey = newKey(t, origin)
	f.second, f.secondKey = newKey(t, "second.example/0123456789ab")
	return f
}

func newKey(t *testing.T, name string) (note.Signer, string) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, vkey
}

// client returns a client of the server that needs no network, so that it can
// stand in a synctest bubble.
func (f *fakeServer) client(change func(*client.Config)) *client.Client {
	f.t.Helper()
	cfg := client.Config{BaseURL: "http://ledger.example", HTTPClient: &http.Client{Transport: direct{f}}, Key: "secret"}
	if change != nil {
		change(&cfg)
	}
	c, err := client.New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// direct calls a handler without a network. A handler that panics with
// http.ErrAbortHandler is a connection that breaks.
type direct struct{ h http.Handler }

func (d direct) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			err = io.ErrUnexpectedEOF
		default:
			panic(p)
		}
	}()
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func (f *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests++
	var fl fault
	if len(f.faults) > 0 {
		fl, f.faults = f.faults[0], f.faults[1:]
	}
	f.mu.Unlock()
	answer := func(w http.ResponseWriter) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer secret" {
			problem(w, 401, map[string]any{"code": "unauthenticated", "detail": "no valid credential"})
			return
		}
		if r.Method == http.MethodPost {
			f.append(w, r)
			return
		}
		f.receipt(w, r)
	}
	if fl != nil {
		fl(w, r, answer)
		return
	}
	answer(w)
}

func (f *fakeServer) append(w http.ResponseWriter, r *http.Request) {
	var raws []json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&raws); err != nil {
		problem(w, 400, map[string]any{"code": "malformed", "detail": err.Error()})
		return
	}
	f.batches = append(f.batches, len(raws))
	if f.maxBatch > 0 && len(raws) > f.maxBatch {
		problem(w, 413, map[string]any{"code": "too_large", "detail": "over the limit"})
		return
	}
	partial := r.URL.Query().Get("partial") == "true"
	records := make([]*evidence.Record, len(raws))
	errs := []map[string]any{}
	for i, raw := range raws {
		rec, err := evidence.ParseNative(raw)
		if err == nil {
			err = rec.AssignID(tenant)
		}
		if err != nil {
			fe := &evidence.FieldError{}
			if !errors.As(err, &fe) {
				f.t.Error(err)
			}
			errs = append(errs, map[string]any{"index": i, "code": "invalid", "field": fe.Field, "detail": fe.Reason})
			continue
		}
		records[i] = rec
	}
	if len(errs) > 0 && !partial {
		problem(w, 422, map[string]any{"code": "invalid", "field": errs[0]["field"], "detail": "a record is invalid", "errors": errs})
		return
	}
	receipts := []map[string]any{}
	for i, rec := range records {
		if rec == nil {
			continue
		}
		seq, known := f.ids[rec.ID]
		if !known {
			seq = f.add(rec)
		}
		rc := f.receiptOf(rec.ID, seq)
		rc["index"] = i
		if known {
			rc["duplicate"] = true
		}
		receipts = append(receipts, rc)
	}
	answer := map[string]any{"receipts": receipts, "errors": errs}
	if r.URL.Query().Get("wait") == "checkpoint" {
		answer["checkpoint"] = string(f.checkpoint())
	}
	if f.change != nil {
		f.change(answer)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// got returns the sizes of the batches that have come.
func (f *fakeServer) got() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.batches)
}

func (f *fakeServer) add(rec *evidence.Record) int {
	seq := len(f.log)
	f.ids[rec.ID] = seq
	f.log = append(f.log, rec)
	leaf := evidence.Leaf{
		Log: origin, Seq: int64(seq), ID: rec.ID, Kind: rec.Kind, Run: rec.Run, Pub: rec.Pub,
		RecordedAt: evidence.MicrosOf(time.Now()), OccurredAt: rec.OccurredAt,
	}
	if rec.Kind == evidence.KindTraceStep {
		leaf.SetFact(evidence.Fact{Field: evidence.PublicField(rec.Kind, "step_index")})
		leaf.SetFact(evidence.Fact{Field: evidence.PublicField(rec.Kind, "late")})
	}
	for _, s := range rec.Sealed {
		leaf.H = append(leaf.H, evidence.Commitment{Path: s.Path, Hash: evidence.Commit(s.Path, evidence.Salt{}, s.JSON)})
	}
	b, err := leaf.Append(nil)
	if err != nil {
		f.t.Error(err)
	}
	f.leaves = append(f.leaves, b)
	return seq
}

func (f *fakeServer) receiptOf(id evidence.ID, seq int) map[string]any {
	return map[string]any{
		"id": id.String(), "log": origin, "log_no": 1, "leaf_index": seq,
		"leaf_hash": evidence.LeafHash(f.leaves[seq]).String(),
	}
}

func (f *fakeServer) receipt(w http.ResponseWriter, r *http.Request) {
	id, _ := evidence.ParseID(r.URL.Path[len("/api/v1/receipts/"):])
	seq, ok := f.ids[id]
	switch {
	case !ok:
		problem(w, 404, map[string]any{"code": "not_found", "detail": "no such record"})
		return
	case f.uncover > 0:
		f.uncover--
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusAccepted)
		return
	}
	tree := f.tree()
	hashes, err := tlog.ProveRecord(int64(len(f.leaves)), int64(seq), tree)
	if err != nil {
		f.t.Error(err)
	}
	proof := c2sp.Proof{Index: int64(seq), Note: f.checkpoint()}
	for _, h := range hashes {
		proof.Hashes = append(proof.Hashes, evidence.Hash(h))
	}
	answer := f.receiptOf(id, seq)
	answer["leaf"] = string(f.leaves[seq])
	answer["proof"] = string(proof.Marshal())
	answer["checkpoint"] = string(proof.Note)
	answer["vkey"] = f.vkey
	if f.change != nil {
		f.change(answer)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (f *fakeServer) tree() tlog.HashReaderFunc {
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i, leaf := range f.leaves {
		hs, err := tlog.StoredHashes(int64(i), leaf, read)
		if err != nil {
			f.t.Error(err)
		}
		stored = append(stored, hs...)
	}
	return read
}

func (f *fakeServer) checkpoint() []byte {
	root, err := tlog.TreeHash(int64(len(f.leaves)), f.tree())
	if err != nil {
		f.t.Error(err)
	}
	b, err := c2sp.SignCheckpoint(c2sp.Checkpoint{Origin: origin, Size: int64(len(f.leaves)), Root: evidence.Hash(root)}, f.signer)
	if err != nil {
		f.t.Error(err)
	}
	return b
}

func problem(w http.ResponseWriter, status int, p map[string]any) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p)
}

// Faults.

// status answers with a status and nothing else.
func status(n int, header ...string) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(n)
		fmt.Fprintln(w, "<html>not the server</html>")
	}
}

// lost commits and then breaks the connection.
func lost(_ http.ResponseWriter, _ *http.Request, commit func(http.ResponseWriter)) {
	commit(httptest.NewRecorder())
	panic(http.ErrAbortHandler)
}

// down breaks the connection before anything happens.
func down(http.ResponseWriter, *http.Request, func(http.ResponseWriter)) { panic(http.ErrAbortHandler) }

// cut commits and answers with half of the answer.
func cut(w http.ResponseWriter, _ *http.Request, commit func(http.ResponseWriter)) {
	rec := httptest.NewRecorder()
	commit(rec)
	b := rec.Body.Bytes()
	_, _ = w.Write(b[:len(b)/2])
}

// slow commits and answers too late.
func slow(_ http.ResponseWriter, r *http.Request, commit func(http.ResponseWriter)) {
	commit(httptest.NewRecorder())
	<-r.Context().Done()
}

// empty answers 200 without a receipt.
func empty(w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) {
	fmt.Fprintln(w, `{"receipts":[],"errors":[]}`)
}
