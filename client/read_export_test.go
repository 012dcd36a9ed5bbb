package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
)

func TestDownloadExport(t *testing.T) {
	bundle := bytes.Repeat([]byte("PK evidence "), 100_000)
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256(bundle))
	whole := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bundle) }
	stall := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	busy := func(w http.ResponseWriter, _ *http.Request) { problem(w, 503, map[string]any{"code": "unavailable"}) }
	// ranges serves as the server does, and cut breaks off after 1000 bytes.
	ranges := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"`+sum+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bundle))
	}
	cut := func(w http.ResponseWriter, r *http.Request) {
		ranges(&breaking{ResponseWriter: w, left: 1000}, r)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	errAny := errors.New("any")
	tests := []struct {
		name     string
		checksum string
		tries    []http.HandlerFunc
		want     error // nil: the bytes arrive
	}{
		{"whole", sum, []http.HandlerFunc{whole}, nil},
		{"busy at first", sum, []http.HandlerFunc{
			func(w http.ResponseWriter, _ *http.Request) { problem(w, 503, map[string]any{"code": "unavailable"}) },
			func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			stall,
			whole,
		}, nil},
		{"one byte is another", sum, []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
			b := bytes.Clone(bundle)
			b[len(b)-1] ^= 1
			_, _ = w.Write(b)
		}}, evidence.ErrTampered},
		{"one byte less", sum, []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bundle[1:]) }}, evidence.ErrTampered},
		{"cut off", sum, []http.HandlerFunc{cut, cut, busy, ranges}, nil},
		{"stalled", sum, []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(bundle[:1000])
			_ = http.NewResponseController(w).Flush()
			stall(w, r)
		}, ranges}, nil},
		// Bytes have been written, and the server begins anew.
		{"no ranges", sum, []http.HandlerFunc{cut, whole}, errAny},
		{"another range", sum, []http.HandlerFunc{cut, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(bundle)-1, len(bundle)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(bundle)
		}}, errAny},
		{"gone meanwhile", sum, []http.HandlerFunc{cut, func(w http.ResponseWriter, _ *http.Request) { problem(w, 404, map[string]any{"code": "not_found"}) }}, evidence.ErrNotFound},
		{"forbidden", sum, []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) { problem(w, 403, map[string]any{"code": "forbidden"}) }}, evidence.ErrForbidden},
		{"gone", sum, []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) { problem(w, 404, map[string]any{"code": "not_found"}) }}, evidence.ErrNotFound},
		{"no checksum", "", nil, evidence.ErrInvalid},
		{"another digest", "sha512:" + sum[7:], nil, evidence.ErrInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var n atomic.Int32 // one that was cut off ends in its own time
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.RequestURI() != "/api/v1/exports/x%2Fy/content" || r.Header.Get("Authorization") != "Bearer secret" {
					t.Errorf("%s %v", r.URL, r.Header)
				}
				test.tries[n.Add(1)-1](w, r)
			}))
			defer s.Close()
			c, err := client.New(client.Config{BaseURL: s.URL, Key: "secret", MinBackoff: time.Millisecond, TryTimeout: 200 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			size, err := c.DownloadExport(t.Context(), "x/y", test.checksum, &got)
			if errors.Is(test.want, errAny) && err != nil {
				err = errAny
			}
			if !errors.Is(err, test.want) || int(n.Load()) != len(test.tries) || size != int64(got.Len()) {
				t.Fatalf("%d bytes after %d requests: %v", size, n.Load(), err)
			}
			if test.want == nil && !bytes.Equal(got.Bytes(), bundle) {
				t.Error("other bytes")
			}
		})
	}
}

// breaking writes so much and no more.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if len(p) > b.left {
		n, _ := b.ResponseWriter.Write(p[:b.left])
		b.left = 0
		return n, io.ErrShortWrite
	}
	b.left -= len(p)
	return b.ResponseWriter.Write(p)
}

// TestDownloadSlow: a download may take long, as long as it goes on.
func TestDownloadSlow(t *testing.T) {
	sum := sha256.New()
	for range 8 {
		_, _ = io.WriteString(sum, "part")
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 8 {
			_, _ = io.WriteString(w, "part")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	}))
	defer s.Close()
	c, err := client.New(client.Config{BaseURL: s.URL, TryTimeout: 400 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.DownloadExport(t.Context(), "x", fmt.Sprintf("sha256:%x", sum.Sum(nil)), io.Discard)
	if err != nil || n != 32 {
		t.Errorf("%d bytes: %v", n, err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	if _, err := c.DownloadExport(ctx, "x", fmt.Sprintf("sha256:%x", sum.Sum(nil)), io.Discard); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestDownloadNowhere(t *testing.T) {
	c := reader(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "bytes") })
	_, err := c.DownloadExport(t.Context(), "x", "sha256:"+evidence.Hash{}.String(), full{})
	if !errors.Is(err, errFull) || errors.Is(err, evidence.ErrUnavailable) {
		t.Error(err)
	}
}
