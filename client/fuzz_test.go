package client

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// FuzzParseProof compares with the server's strict reader: what the client takes
// with a checkpoint that reader takes too, the reader takes, with the same parts.
func FuzzParseProof(f *testing.F) {
	const checkpoint = "ledger.example/0123456789ab\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— x AAAAAAAA\n"
	f.Add(proofHeader + "\nindex 0\n\n" + checkpoint)
	f.Add(proofHeader + "\nindex 1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n" + checkpoint)
	f.Add(proofHeader + "\nindex 01\n\n\n")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseProof(s)
		want, wantErr := c2sp.ParseProof([]byte(s))
		if err != nil {
			if wantErr == nil {
				t.Fatalf("refused: %v", err)
			}
			return
		}
		if wantErr != nil {
			if _, _, err := c2sp.ParseNote([]byte(p.note)); err == nil {
				t.Fatalf("accepted, although %v", wantErr)
			}
			return
		}
		if p.index != want.Index || len(p.hashes) != len(want.Hashes) || p.note != string(want.Note) {
			t.Fatalf("read %+v, want %+v", p, want)
		}
	})
}

// FuzzEncodeRaw: what is taken is one JSON object in the batch, and says what it
// said before, but for an id.
func FuzzEncodeRaw(f *testing.F) {
	f.Add(`{}`)
	f.Add(` {"kind":"system","summary":[1.0e3]} `)
	f.Add(`{"id":null,"kind":"trace_step","span_id":1}`)
	f.Fuzz(func(t *testing.T, s string) {
		it, err := encodeRaw(Raw(s))
		if err != nil {
			return
		}
		var batch []map[string]json.RawMessage
		if err := json.Unmarshal(arrayOf([]item{it, it}), &batch); err != nil || len(batch) != 2 {
			t.Fatalf("%d objects: %v", len(batch), err)
		}
		var before map[string]json.RawMessage
		if err := json.Unmarshal([]byte(s), &before); err != nil {
			t.Fatal(err)
		}
		if _, had := before["id"]; !had && it.id != "" {
			if _, ok := evidence.ParseID(it.id); !ok || text1(batch[0]["id"]) != it.id {
				t.Fatalf("id %q, sent %s", it.id, it.json)
			}
			delete(batch[0], "id")
		}
		if len(batch[0]) != len(before) {
			t.Fatalf("sent %s", it.json)
		}
		for name, v := range before {
			if !bytes.Equal(v, batch[0][name]) {
				t.Fatalf("%s: sent %s", name, batch[0][name])
			}
		}
	})
}

// FuzzAnswers: whatever a server answers, the client neither breaks nor believes
// in a receipt that is not complete.
func FuzzAnswers(f *testing.F) {
	f.Add(200, "", `{"receipts":[{"index":0,"id":"3f2a9c1e-5b7d-4e8a-9c60-1d2e3f4a5b6c","log":"l","leaf_index":1,"leaf_hash":"00"}]}`)
	f.Add(422, "1", `{"code":"invalid","errors":[{"index":0}]}`)
	f.Add(429, "Sat, 01 Jan 2000 00:00:20 GMT", `busy`)
	f.Fuzz(func(t *testing.T, status int, retryAfter, body string) {
		if status < 200 || status > 599 {
			return
		}
		resp := &http.Response{
			StatusCode: status, Header: http.Header{"Retry-After": {retryAfter}},
			Body: http.NoBody,
		}
		rec := httptest.NewRecorder()
		rec.Body.WriteString(body)
		resp.Body = rec.Result().Body
		if err := problem(resp); err.Error() == "" {
			t.Error("an error without a text")
		}
		if d := parseRetryAfter(retryAfter, time.Now()); d < 0 || d > maxRetryAfter {
			t.Errorf("Retry-After %v", d)
		}
		items := []item{{id: "3f2a9c1e-5b7d-4e8a-9c60-1d2e3f4a5b6c"}, {}}
		for _, partial := range []bool{false, true} {
			res, err := parseResult([]byte(body), items, partial)
			if err == nil && len(res.Receipts)+len(res.Errors) != len(items) {
				t.Errorf("result %+v", res)
			}
		}
		if in, err := parseInclusion([]byte(body), items[0].id); err == nil {
			_ = verify(in, items[0].id, nil)
		}
	})
}
