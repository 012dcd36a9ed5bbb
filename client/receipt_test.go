package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
	"golang.org/x/mod/sumdb/note"
)

func TestWaitReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.client(func(c *client.Config) { c.VerifierKeys = []string{f.vkey, f.vkey} })
		receipts, err := c.Append(t.Context(), deploy(), step(), deploy(), deploy(), deploy())
		if err != nil {
			t.Fatal(err)
		}
		f.uncover = 3
		f.faults = []fault{nil, status(503), cut}
		began := time.Now()
		for _, r := range receipts {
			in, err := c.WaitReceipt(t.Context(), r.ID)
			if err != nil {
				t.Fatal(err)
			}
			r.Index = 0
			if !in.Verified || in.Receipt != r || evidence.LeafHash(in.Leaf) != r.LeafHash || in.VKey != f.vkey {
				t.Errorf("inclusion %+v of %+v", in, r)
			}
		}
		if took := time.Since(began); took < 2*time.Second {
			t.Errorf("took %v: Retry-After was not minded", took)
		}
		in, err := f.client(nil).WaitReceipt(t.Context(), receipts[0].ID)
		if err != nil || in.Verified {
			t.Errorf("without a key: %+v, %v", in, err)
		}
		if _, err := c.WaitReceipt(t.Context(), "3f2a9c1e-5b7d-4e8a-9c60-1d2e3f4a5b6c"); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("unknown id: %v", err)
		}
		if _, err := c.WaitReceipt(t.Context(), "../metrics"); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("no id: %v", err)
		}
		f.uncover = 1000
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := c.WaitReceipt(ctx, receipts[0].ID); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("never covered: %v", err)
		}
	})
}

// TestForged lets the server lie in every part of a proof.
func TestForged(t *testing.T) {
	other := newFake(t)
	var current *fakeServer
	text := func(a map[string]any, name string) string { return a[name].(string) }
	swap := func(name, from, to string) func(map[string]any) {
		return func(a map[string]any) { a[name] = strings.Replace(text(a, name), from, to, 1) }
	}
	tests := map[string]func(a map[string]any){
		"leaf says otherwise": swap("leaf", "DEPLOY", "DELETE"),
		"leaf and hash say otherwise": func(a map[string]any) {
			a["leaf"] = strings.Replace(text(a, "leaf"), "DEPLOY", "DELETE", 1)
			a["leaf_hash"] = evidence.LeafHash([]byte(text(a, "leaf"))).String()
		},
		"another leaf": func(a map[string]any) { a["leaf"] = strings.Replace(text(a, "leaf"), `"seq":1`, `"seq":0`, 1) },
		"another index": func(a map[string]any) {
			a["leaf_index"] = 0
			a["proof"] = strings.Replace(text(a, "proof"), "index 1", "index 0", 1)
		},
		"receipt elsewhere":  func(a map[string]any) { a["leaf_index"] = 0 },
		"another log":        func(a map[string]any) { a["log"] = "other.example/0123456789ab" },
		"another hash":       func(a map[string]any) { a["leaf_hash"] = strings.Repeat("00", 32) },
		"another checkpoint": func(a map[string]any) { a["checkpoint"] = "x" },
		"smaller tree": func(a map[string]any) {
			delete(a, "checkpoint")
			a["proof"] = strings.Replace(text(a, "proof"), origin+"\n3\n", origin+"\n2\n", 1)
		},
		"no proof format": swap("proof", "@v1", "@v2"),
		"a hash less": func(a map[string]any) {
			lines := strings.Split(text(a, "proof"), "\n")
			a["proof"] = strings.Join(append(lines[:2:2], lines[3:]...), "\n")
		},
		"hash of another form": swap("proof", "=\n", "\n"),
		"no signature":         func(a map[string]any) { a["proof"], _, _ = strings.Cut(text(a, "proof"), "—") },
		"another record under this id": func(a map[string]any) {
			f := current
			id, _ := evidence.ParseID(text(a, "id"))
			for other, seq := range f.ids {
				if other != id {
					f.change = nil
					w := httptest.NewRecorder()
					f.receipt(w, httptest.NewRequest("GET", "/api/v1/receipts/"+other.String(), nil))
					if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || seq < 0 {
						t.Error(err)
					}
				}
			}
			a["id"] = id.String()
		},
		"signed by the key of another log": func(a map[string]any) {
			// Both keys are pinned, and each may speak for its own log only.
			forged, err := note.Sign(&note.Note{Text: text(a, "checkpoint")[:strings.Index(text(a, "checkpoint"), "\n\n")+1]}, current.second)
			if err != nil {
				t.Fatal(err)
			}
			a["proof"] = strings.Replace(text(a, "proof"), text(a, "checkpoint"), string(forged), 1)
			a["checkpoint"] = string(forged)
		},
		"signed by another": func(a map[string]any) {
			n, err := note.Open([]byte(text(a, "checkpoint")), note.VerifierList(verifier(t, text(a, "vkey"))))
			if err != nil {
				t.Fatal(err)
			}
			forged, err := note.Sign(&note.Note{Text: n.Text}, other.signer)
			if err != nil {
				t.Fatal(err)
			}
			a["proof"] = strings.Replace(text(a, "proof"), text(a, "checkpoint"), string(forged), 1)
			a["checkpoint"], a["vkey"] = string(forged), other.vkey
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			current = f
			c := f.client(func(c *client.Config) { c.VerifierKeys = []string{f.vkey, f.secondKey} })
			receipts, err := c.Append(t.Context(), step(), deploy(), deploy())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.WaitReceipt(t.Context(), receipts[1].ID); err != nil {
				t.Fatalf("before the forgery: %v", err)
			}
			f.change = change
			if in, err := c.WaitReceipt(t.Context(), receipts[1].ID); !errors.Is(err, evidence.ErrTampered) {
				t.Errorf("%+v, %v", in, err)
			}
		})
	}
}

func verifier(t *testing.T, vkey string) note.Verifier {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
