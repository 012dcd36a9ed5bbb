// Package s3test is an object storage for tests: the API of S3 over HTTP on an address of
// this machine, with buckets in memory, and faults as a test wants them.
//
// What keeps the objects is gofakes3, a Go module that speaks enough of the protocol:
// ranges, conditions, uploads in parts, versions. This package is what stands before it. It
// checks what a client says of a body (Content-MD5, the SHA-256 that its signature covers),
// it knows object lock as far as a client sees of it (the configuration, a body without a
// checksum refused, a deletion denied), and it fails requests. It does not check signatures or
// rights, and it forgets: what a real service does to durability it does not show.
package s3test

import (
	"bytes"
	"context"
	"crypto/md5" // what S3 calls Content-MD5
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Options say what the service can do.
type Options struct {
	Bucket string
	// NoConditions: it does not know conditions, and writes all the same.
	NoConditions bool
	// Lock is the mode of object lock that new objects have by default, GOVERNANCE or
	// COMPLIANCE; "on" is a lock without a default; "" is none.
	Lock string
	// LockDays is for how long; default 1.
	LockDays int
	// Around, if not nil, stands between faults and the storage.
	Around func(storage http.Handler) http.Handler
}

// Fault may answer a request in place of the storage: then it returns true.
type Fault func(w http.ResponseWriter, r *http.Request) (done bool)

// Server is a running service. Storage answers without faults.
type Server struct {
	*httptest.Server
	Storage http.Handler
	o       Options

	mu     sync.Mutex
	fault  Fault
	calls  map[string]int // by method
	header http.Header    // of the last PUT
}

// New starts a service with an empty bucket, which ends with the test.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{o: o, calls: map[string]int{}}
	s.Storage = gofakes3.New(s3mem.New(), gofakes3.WithTimeSkewLimit(0)).Server()
	next := s.Storage
	if o.Around != nil {
		next = o.Around(next)
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, next) }))
	t.Cleanup(s.Close)
	rec := httptest.NewRecorder()
	s.Storage.ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), http.MethodPut, "/"+o.Bucket, http.NoBody))
	if rec.Code != http.StatusOK {
		t.Fatalf("make the bucket: %d %s", rec.Code, rec.Body)
	}
	return s
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	s.calls[r.Method]++
	if r.Method == http.MethodPut {
		s.header = r.Header.Clone()
	}
	fault := s.fault
	s.mu.Unlock()
	if s.o.NoConditions {
		r.Header.Del("If-Match")
		r.Header.Del("If-None-Match")
	}
	if fault != nil && fault(w, r) {
		return
	}
	if code := wrongSum(r, body); code != "" {
		answer(w, http.StatusBadRequest, code)
		return
	}
	if s.lock(w, r) {
		return
	}
	next.ServeHTTP(w, r)
}

// wrongSum says what is wrong with a body, by what its headers say of it.
func wrongSum(r *http.Request, body []byte) string {
	if want := r.Header.Get("Content-Md5"); want != "" {
		if sum := md5.Sum(body); want != base64.StdEncoding.EncodeToString(sum[:]) {
			return "BadDigest"
		}
	}
	want := r.Header.Get("X-Amz-Content-Sha256")
	if len(want) == 2*sha256.Size { // else it says that there is none
		if sum := sha256.Sum256(body); want != hex.EncodeToString(sum[:]) {
			return "XAmzContentSHA256Mismatch"
		}
	}
	return ""
}

// lock answers what object lock changes.
func (s *Server) lock(w http.ResponseWriter, r *http.Request) (done bool) {
	q, inBucket := r.URL.Query(), strings.Contains(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case q.Has("object-lock") && s.o.Lock == "":
		answer(w, http.StatusNotFound, "ObjectLockConfigurationNotFoundError")
	case q.Has("object-lock"):
		rule := ""
		if s.o.Lock != "on" {
			rule = "<Rule><DefaultRetention><Mode>" + s.o.Lock + "</Mode><Days>" + strconv.Itoa(max(s.o.LockDays, 1)) + "</Days></DefaultRetention></Rule>"
		}
		fmt.Fprintf(w, `<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><ObjectLockEnabled>Enabled</ObjectLockEnabled>%s</ObjectLockConfiguration>`, rule)
	case s.o.Lock == "":
		return false
	case r.Method == http.MethodPut && inBucket && r.Header.Get("Content-Md5") == "" && r.Header.Get("X-Amz-Sdk-Checksum-Algorithm") == "":
		answer(w, http.StatusBadRequest, "InvalidRequest") // "Content-MD5 OR x-amz-checksum- HTTP header is required"
	case r.Method == http.MethodDelete && inBucket && !q.Has("uploadId"):
		answer(w, http.StatusForbidden, "AccessDenied")
	default:
		return false
	}
	return true
}

func answer(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>as told</Message></Error>`, code)
}

// Fail makes requests fail from now on; nil: no more.
func (s *Server) Fail(fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Count returns how many requests of a method have come.
func (s *Server) Count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// Header returns the headers of the last PUT.
func (s *Server) Header() http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.header
}

// Do asks the storage, past the faults, and returns the answer.
func (s *Server) Do(t testing.TB, method, key string, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(context.Background(), method, "/"+s.o.Bucket+"/"+key, bytes.NewReader(body))
	r.Header.Set("Content-Length", fmt.Sprint(len(body)))
	rec := httptest.NewRecorder()
	s.Storage.ServeHTTP(rec, r)
	return rec
}

// On faults the first n requests of a method whose path, with its query, match says.
func On(method string, n int64, match func(path string) bool, fault http.HandlerFunc) Fault {
	var left atomic.Int64
	left.Store(n)
	return func(w http.ResponseWriter, r *http.Request) bool {
		if method != "" && r.Method != method || !match(r.URL.RequestURI()) || left.Add(-1) < 0 {
			return false
		}
		fault(w, r)
		return true
	}
}

// Status answers with a status and a code of S3; "" for a status that says nothing more, as
// something on the way would.
func Status(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if code == "" {
			w.WriteHeader(status)
			return
		}
		answer(w, status, code)
	}
}

// HangUp closes the connection.
func HangUp(w http.ResponseWriter, _ *http.Request) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = c.Close()
	}
}

// Slow does not answer in time.
func Slow(_ http.ResponseWriter, r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-time.After(3 * time.Second):
	}
}

// Forever is more requests than a test makes.
const Forever = 1 << 40
