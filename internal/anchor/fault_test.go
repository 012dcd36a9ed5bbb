package anchor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/anchor/s3test"
)

// ready is a service with an anchored note of ten records that nobody has read yet.
func ready(t *testing.T) (*service, *S3) {
	s := newService(t, true)
	if err := s.open(t).Write(logA, note(t, logA, 10, 1)); err != nil {
		t.Fatal(err)
	}
	a := s.open(t)
	if _, err := a.conditionalWrites(); err != nil {
		t.Fatal(err)
	}
	return s, a
}

// onNote faults the first n requests of a method for a note.
func onNote(method string, n int64, fault http.HandlerFunc) s3test.Fault {
	return s3test.On(method, n, func(path string) bool { return strings.HasSuffix(path, ".note") }, fault)
}

var (
	status = s3test.Status
	hangUp = s3test.HangUp
	slow   = s3test.Slow
)

// truncated says more than it sends.
func truncated(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "300")
	w.Header().Set("ETag", `"abc"`)
	w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
	w.WriteHeader(http.StatusOK)
	fmt.Fprint(w, logA+"\n10\n")
}

// garbage is what something on the way answers.
func garbage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
	fmt.Fprint(w, "<html>Please log in</html>")
}

// TestPasses: what passes is waited for.
func TestPasses(t *testing.T) {
	faults := map[string]http.HandlerFunc{
		"500": status(500, "InternalError"), "503": status(503, "SlowDown"), "429": status(429, "TooManyRequests"),
		"502 of a proxy": status(502, ""), "hangs up": hangUp, "slow": slow,
	}
	for name, fault := range faults {
		t.Run("write/"+name, func(t *testing.T) {
			t.Parallel()
			s, a := ready(t)
			s.Fail(onNote(http.MethodPut, 2, fault))
			if err := a.Write(logA, note(t, logA, 20, 1)); err != nil {
				t.Fatal(err)
			}
			s.Fail(nil)
			mustRead(t, s.open(t), logA, note(t, logA, 20, 1))
		})
	}
	faults["truncated"], faults["garbage"] = truncated, garbage
	for name, fault := range faults {
		t.Run("read/"+name, func(t *testing.T) {
			t.Parallel()
			s, a := ready(t)
			s.Fail(onNote(http.MethodGet, 2, fault))
			mustRead(t, a, logA, note(t, logA, 10, 1))
		})
	}
}

// TestStays: what does not pass is that the anchor cannot be reached, and never that it
// is missing or false: either would stop the log for good.
func TestStays(t *testing.T) {
	for _, test := range []struct {
		name   string
		fault  func(http.ResponseWriter, *http.Request)
		calls  int // of one Read; 0: several
		listed bool
		says   string
	}{
		{"500", status(500, "InternalError"), 0, false, "500"},
		{"503", status(503, ""), 0, false, "503"},
		{"hangs up", hangUp, 0, false, ""},
		{"slow", slow, 0, false, "deadline"},
		{"truncated", truncated, 0, false, "EOF"},
		{"garbage", garbage, 0, false, "not a signed note"},
		{"403", status(403, "AccessDenied"), 1, false, "s3:GetObject"},
		{"403 of a proxy", status(403, ""), 1, false, "s3:GetObject"},
		{"no bucket", status(404, "NoSuchBucket"), 1, false, "bucket"},
		{"wrong region", status(400, "AuthorizationHeaderMalformed"), 1, false, "AuthorizationHeaderMalformed"},
		{"404 though it is there", status(404, "NoSuchKey"), 6, true, "lists it"},
		{"404 of a proxy", status(404, ""), 6, true, "lists it"},
		{"redirected", status(307, "TemporaryRedirect"), 1, false, "307"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, a := ready(t)
			s.Fail(func(w http.ResponseWriter, r *http.Request) bool {
				if test.listed && r.URL.Query().Has("list-type") {
					return false
				}
				test.fault(w, r)
				return true
			})
			before, start := s.Count(http.MethodGet), time.Now()
			_, err := a.Read(logA)
			if !errors.Is(err, evidence.ErrUnavailable) || errors.Is(err, evidence.ErrNotFound) || errors.Is(err, evidence.ErrTampered) {
				t.Fatalf("read: %v", err)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("the error does not say %q: %v", test.says, err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			calls := s.Count(http.MethodGet) - before
			if test.calls > 0 && calls != test.calls || test.calls == 0 && calls < 3 {
				t.Errorf("%d calls", calls)
			}
			if test.calls == 0 {
				// Others need not wait as long.
				start = time.Now()
				if _, err := a.Read(logB); !errors.Is(err, evidence.ErrUnavailable) || time.Since(start) > 200*time.Millisecond {
					t.Errorf("read of another log: %v after %v", err, time.Since(start))
				}
			}
			if err := a.Write(logA, note(t, logA, 20, 1)); !errors.Is(err, evidence.ErrUnavailable) {
				t.Errorf("write: %v", err)
			}
			for what, err := range map[string]error{
				"origins": second(a.Origins()), "lost": second(a.Lost(logA)), "forks": second(a.Forks(logA)),
			} {
				if !test.listed && (!errors.Is(err, evidence.ErrUnavailable) || errors.Is(err, evidence.ErrNotFound)) {
					t.Errorf("%s: %v", what, err)
				}
			}
			s.Fail(nil)
			time.Sleep(restFor)
			if err := a.Write(logA, note(t, logA, 30, 1)); err != nil {
				t.Errorf("write afterwards: %v", err)
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }

// TestAnswerLost: it was written, and the answer did not arrive.
func TestAnswerLost(t *testing.T) {
	t.Parallel()
	s, a := ready(t)
	inner := s.Storage
	lose := func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(httptest.NewRecorder(), r)
		hangUp(w, r)
	}
	mustRead(t, a, logA, note(t, logA, 10, 1))
	s.Fail(onNote(http.MethodPut, 1, lose))
	if err := a.Write(logA, note(t, logA, 20, 1)); err != nil {
		t.Fatal(err)
	}
	mustRead(t, a, logA, note(t, logA, 20, 1))
	s.Fail(onNote(http.MethodPut, 1, lose))
	if err := a.Write(logB, note(t, logB, 0, 0)); err != nil {
		t.Fatal(err)
	}
	mustRead(t, a, logB, note(t, logB, 0, 0))
	// The same where a rollback is accepted.
	s.Fail(onNote(http.MethodPut, 1, lose))
	if err := a.Accept(logA, note(t, logA, 20, 1), note(t, logA, 15, 1)); err != nil {
		t.Fatal(err)
	}
	mustRead(t, a, logA, note(t, logA, 15, 1))
}

// TestStale: a read that shows the past leads to no write over what is newer.
func TestStale(t *testing.T) {
	t.Parallel()
	s, a := ready(t)
	rec := httptest.NewRecorder()
	s.Storage.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/anchors/prod/one/"+logA+".note", http.NoBody))
	if rec.Code != http.StatusOK {
		t.Fatal(rec.Code)
	}
	if err := s.open(t).Write(logA, note(t, logA, 50, 1)); err != nil {
		t.Fatal(err)
	}
	stale := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", rec.Header().Get("ETag"))
		w.Header().Set("Last-Modified", rec.Header().Get("Last-Modified"))
		_, _ = w.Write(rec.Body.Bytes())
	}
	s.Fail(onNote(http.MethodGet, 3, stale))
	if err := a.Write(logA, note(t, logA, 40, 1)); err != nil {
		t.Errorf("stale for a while: %v", err)
	}
	s.Fail(onNote(http.MethodGet, s3test.Forever, stale))
	if err := s.open(t).Write(logA, note(t, logA, 45, 1)); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("stale for ever: %v", err)
	}
	s.Fail(nil)
	mustRead(t, a, logA, note(t, logA, 50, 1))
}

// TestOneRequest: what was read is compared by the service, so a write is one request.
func TestOneRequest(t *testing.T) {
	s, a := ready(t)
	mustRead(t, a, logA, note(t, logA, 10, 1))
	gets, puts := s.Count(http.MethodGet), s.Count(http.MethodPut)
	n := note(t, logA, 11, 1)
	if err := a.Write(logA, n); err != nil {
		t.Fatal(err)
	}
	if err := a.Write(logA, note(t, logA, 12, 1)); err != nil {
		t.Fatal(err)
	}
	if gets, puts = s.Count(http.MethodGet)-gets, s.Count(http.MethodPut)-puts; gets != 0 || puts != 2 {
		t.Errorf("%d reads and %d writes; want 0 and 2", gets, puts)
	}
	n = note(t, logA, 12, 1)
	sum := sha256.Sum256(n)
	if got := s.Header().Get("X-Amz-Content-Sha256"); got != hex.EncodeToString(sum[:]) {
		t.Errorf("the hash of what is sent is not signed, but %s", got)
	}
	if s.Header().Get("Content-Md5") == "" || s.Header().Get("If-Match") == "" {
		t.Errorf("headers of a write: %v", s.Header())
	}
}

// TestGone: an anchor that is deleted beside a running process is not made anew.
func TestGone(t *testing.T) {
	t.Parallel()
	s, a := ready(t)
	mustRead(t, a, logA, note(t, logA, 10, 1))
	if err := s.open(t).remove(a.key(logA + ".note")); err != nil {
		t.Fatal(err)
	}
	if err := a.Write(logA, note(t, logA, 20, 1)); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("write: %v", err)
	}
	if _, err := a.Read(logA); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("read: %v", err)
	}
}

// TestDamagedObject: what is no note, also when it is read again, is handed on.
func TestDamagedObject(t *testing.T) {
	t.Parallel()
	s, a := ready(t)
	for _, data := range [][]byte{{}, []byte("x"), note(t, logB, 20, 1), bytes.Repeat([]byte{'x'}, 100000)} {
		if _, err := s.open(t).put(a.key(logA+".note.raw"), data, nil, false); err != nil {
			t.Fatal(err)
		}
		s.Fail(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".note") {
				r.URL.Path += ".raw"
				s.Storage.ServeHTTP(w, r)
				return true
			}
			return false
		})
		got, err := a.Read(logA)
		if err != nil || !bytes.HasPrefix(data, got) && !bytes.Equal(got, data[:min(len(data), len(got))]) {
			t.Errorf("read: %d bytes, %v", len(got), err)
		}
		if err := a.Write(logA, note(t, logA, 30, 1)); !errors.Is(err, evidence.ErrTampered) {
			t.Errorf("write over %.10q: %v", data, err)
		}
	}
}

// TestKeptIsNotReplaced: what has the name of a note that was put aside and is another.
func TestKeptIsNotReplaced(t *testing.T) {
	s, a := ready(t)
	lost := note(t, logA, 10, 1)
	if _, err := a.put(a.key(logA+".lost-"+nameOf(lost)), note(t, logA, 1, 1), nil, true); err != nil {
		t.Fatal(err)
	}
	if err := a.Accept(logA, lost, note(t, logA, 5, 1)); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("accept: %v", err)
	}
	mustRead(t, s.open(t), logA, lost)
}

// TestAcceptBesideAnother: a process that goes on writing shows.
func TestAcceptBesideAnother(t *testing.T) {
	s, a := ready(t)
	other := s.open(t)
	s.Fail(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".note") {
			s.Fail(nil)
			if err := other.Write(logA, note(t, logA, 11, 1)); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	if err := a.Accept(logA, note(t, logA, 10, 1), note(t, logA, 5, 1)); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("accept: %v", err)
	}
	mustRead(t, a, logA, note(t, logA, 11, 1))
}

func TestManyOrigins(t *testing.T) {
	t.Parallel()
	s, a := ready(t)
	inner := s.Storage
	const logs = 2*pageSize + 3
	make := func(name string) {
		r, w := httptest.NewRequest(http.MethodPut, "/anchors/"+name, strings.NewReader("x")), httptest.NewRecorder()
		r.Header.Set("Content-Length", "1")
		if inner.ServeHTTP(w, r); w.Code != http.StatusOK {
			t.Fatal(w.Body)
		}
	}
	for i := range logs {
		make(fmt.Sprintf("prod/one/test.example/%012x.note", i))
	}
	for _, name := range []string{"prod/one/x.note", "prod/onetest.example/0123456789ab.note", "prod/one/test.example/0123456789ac.fork-1.ours"} {
		make(name)
	}
	got, err := a.Origins()
	if err != nil || len(got) != logs+1 { // and that of ready
		t.Errorf("%d origins, %v; want %d", len(got), err, logs+1)
	}
}

func TestConditionsUnknown(t *testing.T) {
	for name, fault := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"ignored": func(_ http.ResponseWriter, r *http.Request) bool {
			r.Header.Del("If-Match")
			r.Header.Del("If-None-Match")
			return false
		},
		"of one kind only": func(_ http.ResponseWriter, r *http.Request) bool {
			r.Header.Del("If-Match")
			return false
		},
		"refused": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("If-Match")+r.Header.Get("If-None-Match") == "" {
				return false
			}
			status(501, "NotImplemented")(w, r)
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, true)
			s.Fail(fault)
			a := s.open(t)
			for i := range int64(3) {
				if err := a.Write(logA, note(t, logA, i*10, 1)); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.open(t).Write(logA, note(t, logA, 15, 1)); err != nil {
				t.Fatal(err)
			}
			mustRead(t, a, logA, note(t, logA, 20, 1))
			got, err := a.Problems()
			if err != nil || len(got) == 0 || !strings.Contains(got[0], "does not refuse") {
				t.Errorf("problems: %q, %v", got, err)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	s, a := ready(t)
	got, err := a.Problems()
	if err != nil || len(got) != 2 || !strings.Contains(got[0], "without TLS") || !strings.Contains(got[1], "no versions") {
		t.Fatalf("problems: %q, %v", got, err)
	}
	body := strings.NewReader(`<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL+"/anchors?versioning", body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	if got, err = a.Problems(); err != nil || len(got) != 1 {
		t.Errorf("problems with versions: %q, %v", got, err)
	}
	s.Fail(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Has("versioning") {
			status(403, "AccessDenied")(w, r)
			return true
		}
		return false
	})
	if got, err = a.Problems(); err != nil || len(got) != 2 || !strings.Contains(got[1], "could not be read") {
		t.Errorf("problems without the right to ask: %q, %v", got, err)
	}
	s.Fail(func(w http.ResponseWriter, r *http.Request) bool { status(403, "AccessDenied")(w, r); return true })
	if got, err = s.open(t).Problems(); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("problems where nothing may be written: %q, %v", got, err)
	}
}

// TestEnvironment: what the address leaves out.
func TestEnvironment(t *testing.T) {
	s := newService(t, true)
	t.Setenv("AWS_ENDPOINT_URL", s.URL)
	t.Setenv("AWS_REGION", "eu-central-1")
	a, err := Open("s3://anchors/p")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Write(logA, note(t, logA, 1, 1)); err != nil {
		t.Fatal(err)
	}
	if auth := s.Header().Get("Authorization"); !strings.Contains(auth, "Credential=test/") || !strings.Contains(auth, "/eu-central-1/s3/") {
		t.Errorf("signed as %s", auth)
	}
	if got, want := a.(*S3).String(), "s3://anchors/p"; got != want {
		t.Errorf("it is called %s", got)
	}
	t.Setenv("AWS_ENDPOINT_URL", "https://x/y")
	if _, err := Open("s3://anchors/p"); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("endpoint of the environment: %v", err)
	}
	t.Setenv("AWS_ENDPOINT_URL", s.URL)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/nowhere")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	if _, err := Open("s3://anchors/p"); !errors.Is(err, evidence.ErrInvalid) || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("without credentials: %v", err)
	}
}
