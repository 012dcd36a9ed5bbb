package anchor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

const (
	logA = "test.example/0123456789ab"
	logB = "test.example/ba9876543210"
)

// note signs a checkpoint of a log, of a size and one of several roots.
func note(t testing.TB, origin string, size int64, root byte) []byte {
	t.Helper()
	signer, err := c2sp.NewSigner(origin, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	c := c2sp.Checkpoint{Origin: origin, Size: size, Root: evidence.Hash(sha256.Sum256([]byte{root}))}
	if size == 0 {
		c.Root = c2sp.EmptyRoot
	}
	b, err := c2sp.SignCheckpoint(c, signer)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sizeOf(t testing.TB, b []byte) int64 {
	t.Helper()
	c, _, err := c2sp.ParseNote(b)
	if err != nil {
		t.Fatalf("%v: %q", err, b)
	}
	return c.Size
}

// service is an object storage of its own behind HTTP, that fails as told.
type service struct {
	*httptest.Server
	store *gofakes3.GoFakeS3

	mu     sync.Mutex
	fault  func(w http.ResponseWriter, r *http.Request) (done bool)
	calls  map[string]int     // by method
	puts   map[string][]int64 // sizes of the notes that were written, by key
	header http.Header        // of the last PUT
}

func newService(t testing.TB, conditions bool) *service {
	t.Helper()
	s := &service{calls: map[string]int{}, puts: map[string][]int64{}}
	s.store = gofakes3.New(s3mem.New(), gofakes3.WithTimeSkewLimit(0))
	inner := s.store.Server()
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.mu.Lock()
		s.calls[r.Method]++
		if r.Method == http.MethodPut {
			s.header = r.Header.Clone()
		}
		fault := s.fault
		s.mu.Unlock()
		if !conditions {
			r.Header.Del("If-Match")
			r.Header.Del("If-None-Match")
		}
		if fault != nil && fault(w, r) {
			return
		}
		s.pass(t, inner, w, r, body)
	}))
	t.Cleanup(s.Close)
	req, _ := http.NewRequestWithContext(context.Background(), http.MethodPut, s.URL+"/anchors", http.NoBody)
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("make the bucket: %v %v", res, err)
	}
	res.Body.Close()
	return s
}

// pass lets a request through; one at a time, so that what was written is noted in order.
func (s *service) pass(t testing.TB, inner http.Handler, w http.ResponseWriter, r *http.Request, body []byte) {
	if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, ".note") {
		inner.ServeHTTP(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	inner.ServeHTTP(rec, r)
	if rec.status == http.StatusOK {
		s.puts[r.URL.Path] = append(s.puts[r.URL.Path], sizeOf(t, body))
	}
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (s *service) fail(fault func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

func (s *service) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// written returns the sizes of the notes of a log, in the order they were written.
func (s *service) written(origin string) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, sizes := range s.puts {
		if strings.HasSuffix(key, origin+".note") {
			return sizes
		}
	}
	return nil
}

func (s *service) open(t testing.TB) *S3 {
	t.Helper()
	a, err := NewS3(S3Config{
		Bucket: "anchors", Prefix: "prod/one", Endpoint: s.URL, Region: "us-east-1",
		Timeout: 500 * time.Millisecond, Patience: 1800 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	// Not the credentials of whoever runs this.
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		_ = os.Setenv(name, "test")
	}
	for _, name := range []string{"AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"} {
		_ = os.Unsetenv(name)
	}
	os.Exit(m.Run())
}
