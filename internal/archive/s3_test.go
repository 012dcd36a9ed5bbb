package archive

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/anchor/s3test"
)

func openS3(t testing.TB, s *s3test.Server) *Archive {
	t.Helper()
	a, err := Open(Config{
		Spec: "s3://evidence/prod/one?region=us-east-1&endpoint=" + s.URL, Spool: t.TempDir(),
		Timeout: 500 * time.Millisecond, Patience: 1500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	a.dest.(*bucket).partSize = 16 << 10 // so that some objects go in parts
	return a
}

func newS3(t testing.TB, o s3test.Options) *s3test.Server {
	o.Bucket = "evidence"
	return s3test.New(t, o)
}

// in matches requests for objects with that ending; with a query too.
func in(ending string) func(string) bool {
	return func(path string) bool {
		path, _, _ = strings.Cut(path, "?")
		return strings.HasSuffix(path, ending)
	}
}

func contains(part string) func(string) bool {
	return func(path string) bool { return strings.Contains(path, part) }
}

func TestS3(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]s3test.Options{"plain": {}, "no conditions": {NoConditions: true}, "locked": {Lock: "COMPLIANCE"}} {
		s := newS3(t, o)
		l := newTestLog(t, 700)
		a := openS3(t, s)
		first := mustWrite(t, a, l.unit(0, 300, evidence.Hash{}))
		second := mustWrite(t, a, l.unit(300, 700, first.Manifest))
		if again := mustWrite(t, a, l.unit(300, 700, first.Manifest)); again != second {
			t.Errorf("%s: the same again: %+v", name, again)
		}
		r := mustCheck(t, a, CheckOptions{Keys: []string{l.log.VKey}})
		if len(r.Findings) > 0 || r.Records != 700 || len(r.Units) != 2 {
			t.Errorf("%s: %+v", name, r)
		}
		l.mustRead(a, first, 290, 300)
		l.mustRead(a, second, 300, 700)
		// Every byte is there as a whole object of the bucket, and in a directory it would be the same.
		d := openDir(t, t.TempDir())
		if u := mustWrite(t, d, l.unit(0, 300, evidence.Hash{})); u.Manifest != first.Manifest {
			t.Errorf("%s: a directory has another unit", name)
		}
		problems, err := a.Problems(t.Context())
		if err != nil || strings.Contains(strings.Join(problems, " "), "no object lock") == (o.Lock != "") || !strings.Contains(strings.Join(problems, " "), "no versions") {
			t.Errorf("%s: problems %q, %v", name, problems, err)
		}
	}
	a := openS3(t, newS3(t, s3test.Options{Lock: "on"}))
	if problems, err := a.Problems(t.Context()); err != nil || !strings.Contains(strings.Join(problems, " "), "no default retention") {
		t.Errorf("problems %q, %v", problems, err)
	}
	for says, o := range map[string]s3test.Options{
		"locks objects for 1 days": {Lock: "COMPLIANCE"}, "governance mode": {Lock: "GOVERNANCE", LockDays: 3000}, "": {Lock: "COMPLIANCE", LockDays: 3000},
	} {
		problems, err := openS3(t, newS3(t, o)).Problems(t.Context())
		all := strings.Join(problems, " ")
		if err != nil || says == "" && strings.Contains(all, "lock") || !strings.Contains(all, says) {
			t.Errorf("%+v: problems %q, %v", o, problems, err)
		}
	}
	problems, err := openDir(t, t.TempDir()).Problems(t.Context())
	if err != nil || len(problems) == 0 {
		t.Errorf("problems of a directory: %q, %v", problems, err)
	}
}

// TestS3Range: a few leaves are not paid with the whole unit.
func TestS3Range(t *testing.T) {
	t.Parallel()
	s := newS3(t, s3test.Options{})
	l := newTestLog(t, 3000)
	a := openS3(t, s)
	u := mustWrite(t, a, l.unit(0, 3000, evidence.Hash{}))
	var sent atomic.Int64
	s.Fail(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, logName) {
			sent.Add(1)
		}
		return false
	})
	l.mustRead(a, u, 1000, 1300)
	if n := sent.Load(); n == 0 || n > 4 {
		t.Errorf("%d requests for 300 leaves", n)
	}
	sent.Store(0)
	l.mustRead(a, u, 1100, 1200)
	if n := sent.Load(); n != 0 {
		t.Errorf("%d requests for leaves that were read just now", n)
	}
}

// TestS3Passes: what passes is waited for.
func TestS3Passes(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 300)
	for name, fault := range map[string]http.HandlerFunc{
		"500": s3test.Status(500, "InternalError"), "throttled": s3test.Status(503, "SlowDown"), "429": s3test.Status(429, "TooManyRequests"),
		"502 of a proxy": s3test.Status(502, ""), "hangs up": s3test.HangUp, "slow": s3test.Slow,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newS3(t, s3test.Options{})
			a := openS3(t, s)
			// The first request of each kind: to begin, to send, to finish, to look, to read.
			var seen [5]atomic.Bool
			s.Fail(func(w http.ResponseWriter, r *http.Request) bool {
				q := r.URL.Query()
				kind := map[bool]int{r.Method == http.MethodPut: 0, r.Method == http.MethodHead: 1, r.Method == http.MethodGet: 2, q.Has("uploads"): 3, r.Method == http.MethodPost && q.Has("uploadId"): 4}[true]
				if seen[kind].Swap(true) {
					return false
				}
				fault(w, r)
				return true
			})
			u := mustWrite(t, a, l.unit(0, 300, evidence.Hash{}))
			s.Fail(nil)
			if err := a.Verify(t.Context(), u, l.log.VKey); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestS3Stays: what does not pass is said, and names the object.
func TestS3Stays(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 300)
	for _, test := range []struct {
		name  string
		fault s3test.Fault
		want  error
		says  string
	}{
		{"slow", s3test.On(http.MethodPut, s3test.Forever, in(logName), s3test.Slow), evidence.ErrUnavailable, logName},
		{"denied", s3test.On(http.MethodPut, s3test.Forever, in(checkpointName), s3test.Status(403, "AccessDenied")), evidence.ErrUnavailable, "s3:PutObject"},
		{"denied to look", s3test.On(http.MethodHead, s3test.Forever, in(""), s3test.Status(403, "")), evidence.ErrUnavailable, "s3:GetObject"},
		{"denied to read", s3test.On(http.MethodGet, s3test.Forever, in("trace.parquet"), s3test.Status(403, "AccessDenied")), evidence.ErrUnavailable, "trace.parquet"},
		{"no bucket", s3test.On("", s3test.Forever, in(""), s3test.Status(404, "NoSuchBucket")), evidence.ErrUnavailable, "evidence"},
		{"parts are lost", s3test.On(http.MethodPost, s3test.Forever, contains("uploadId"), s3test.Status(404, "NoSuchUpload")), evidence.ErrUnavailable, "lost an upload"},
		{"a part is lost", s3test.On(http.MethodPost, s3test.Forever, contains("uploadId"), s3test.Status(400, "InvalidPart")), evidence.ErrUnavailable, "lost an upload"},
		{"404 though it was written", s3test.On(http.MethodGet, s3test.Forever, in("system.jsonl.gz"), s3test.Status(404, "NoSuchKey")), evidence.ErrNotFound, "system.jsonl.gz"},
		{"a proxy answers 404", s3test.On(http.MethodHead, s3test.Forever, in(""), s3test.Status(404, "")), evidence.ErrNotFound, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newS3(t, s3test.Options{})
			a := openS3(t, s)
			s.Fail(test.fault)
			_, err := a.Write(t.Context(), l.unit(0, 300, evidence.Hash{}))
			if test.name == "a proxy answers 404" {
				// It looks as if nothing were there, so all is written, and is not there then.
				if !errors.Is(err, evidence.ErrUnavailable) || !strings.Contains(err.Error(), "the bucket lists it") {
					t.Fatalf("error: %v", err)
				}
			} else if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("error: %v", err)
			}
			s.Fail(nil)
			time.Sleep(1100 * time.Millisecond) // until it asks again
			u := mustWrite(t, a, l.unit(0, 300, evidence.Hash{}))
			if err := a.Verify(t.Context(), u, l.log.VKey); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestS3LostOnce: an upload that is lost, or whose last answer is, is done again.
func TestS3LostOnce(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 300)
	s := newS3(t, s3test.Options{})
	no := 1
	for name, fault := range map[string]s3test.Fault{
		"a part has no upload": s3test.On(http.MethodPut, 1, contains("uploadId"), s3test.Status(404, "NoSuchUpload")),
		"none to finish":       s3test.On(http.MethodPost, 1, contains("uploadId"), s3test.Status(404, "NoSuchUpload")),
		"answer lost": s3test.On(http.MethodPost, 1, contains("uploadId"), func(w http.ResponseWriter, r *http.Request) {
			s.Storage.ServeHTTP(discard{http.Header{}}, r)
			s3test.HangUp(w, r)
		}),
	} {
		u := l.unit(0, 300, evidence.Hash{})
		u.Log.No = no // each to its own place
		no++
		s.Fail(fault)
		if _, err := openS3(t, s).Write(t.Context(), u); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// TestS3Incomplete: the service says that it has an object, and has less of it, or another.
func TestS3Incomplete(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 300)
	for name, change := range map[string]func([]byte) []byte{
		"less":    func(b []byte) []byte { return b[:len(b)-1] },
		"another": func(b []byte) []byte { b = bytes.Clone(b); b[len(b)-1] ^= 1; return b },
	} {
		for _, object := range []string{logName, checkpointName, manifestName} {
			s := s3test.New(t, s3test.Options{Bucket: "evidence", Around: func(storage http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, object) {
						b, _ := io.ReadAll(r.Body)
						b = change(b)
						r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
						r.Header.Del("Content-Md5")
						r.Header.Set("Content-Length", strconv.Itoa(len(b)))
					}
					storage.ServeHTTP(w, r)
				})
			}})
			a := openS3(t, s)
			_, err := a.Write(t.Context(), l.unit(0, 300, evidence.Hash{}))
			if !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), object) {
				t.Errorf("%s of %s: %v", name, object, err)
			}
		}
	}
}

// TestS3Missing: an object that is gone later.
func TestS3Missing(t *testing.T) {
	t.Parallel()
	s := newS3(t, s3test.Options{})
	l := newTestLog(t, 300)
	a := openS3(t, s)
	u := mustWrite(t, a, l.unit(0, 300, evidence.Hash{}))
	for _, object := range []string{logName, checkpointName, manifestName} {
		key := "prod/one/" + u.Name + "/" + object
		good := s.Do(t, http.MethodGet, key, nil).Body.Bytes()
		s.Do(t, http.MethodDelete, key, nil)
		b := openS3(t, s) // one that remembers nothing
		err := b.Leaves(t.Context(), u, 0, 10, func(int64, []byte) error { return nil })
		if !errors.Is(err, evidence.ErrNotFound) || !strings.Contains(err.Error(), object) {
			t.Errorf("%s: %v", object, err)
		}
		s.Do(t, http.MethodPut, key, good)
		l.mustRead(b, u, 0, 10)
		// Damaged, it is found when it is read.
		bad := bytes.Clone(good)
		bad[len(bad)/2] ^= 1
		s.Do(t, http.MethodPut, key, bad)
		b = openS3(t, s)
		err = b.Leaves(t.Context(), u, 0, 300, func(int64, []byte) error { return nil })
		if !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), object) {
			t.Errorf("%s: %v", object, err)
		}
		s.Do(t, http.MethodPut, key, good)
	}
}

func TestSpec(t *testing.T) {
	t.Parallel()
	for _, spec := range []string{"", "ftp://x/y", "s3://user:secret@bucket/x", "s3://B/x", "s3://bucket/x?token=1"} {
		_, err := Open(Config{Spec: spec, Spool: "x"})
		if !errors.Is(err, evidence.ErrInvalid) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "anchor") {
			t.Errorf("%q: %v", spec, err)
		}
	}
	if _, err := Open(Config{Spec: "x"}); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("no spool: %v", err)
	}
	// Nothing is asked, nor made, by opening.
	if a, err := Open(Config{Spec: "s3://evidence/x?endpoint=http://127.0.0.1:1", Spool: "x"}); err != nil || a.String() == "" {
		t.Error(err)
	}
}
