package anchor

import (
	"bytes"
	"crypto/sha256"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/anchor/s3test"
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

// service is an object storage that notes what is written.
type service struct {
	*s3test.Server

	mu   sync.Mutex
	puts map[string][]int64 // sizes of the notes that were written, by key
}

func newService(t testing.TB, conditions bool) *service {
	t.Helper()
	s := &service{puts: map[string][]int64{}}
	s.Server = s3test.New(t, s3test.Options{Bucket: "anchors", NoConditions: !conditions, Around: func(storage http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.pass(t, storage, w, r) })
	}})
	return s
}

// pass lets a request through; one at a time, so that what was written is noted in order.
func (s *service) pass(t testing.TB, inner http.Handler, w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, ".note") {
		inner.ServeHTTP(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
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
