package registry

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
)

func TestDigest(t *testing.T) {
	o := &Observation{Version: 1, Registry: "sha256:aa", Program: "p", Server: "s", Tenant: "synthetic", StartedAt: 1, FinishedAt: 2, Passed: true}
	// Members by name, an empty list for none, times as text.
	const canonical = `{"finished_at":"1970-01-01T00:00:00.000002Z","passed":true,"program":"p","registry":"sha256:aa","scenarios":[],` +
		`"server":"s","started_at":"1970-01-01T00:00:00.000001Z","tenant":"synthetic","v":1}`
	if got := string(canonicalJSON(o)); got != canonical {
		t.Errorf("got  %s\nwant %s", got, canonical)
	}
	const want = "sha256:72ce09da73c2f6a8648300842f6911c6b09049f3a37ea383ffb5fc7d18cf0ab2"
	if got := o.Digest(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := o.FileName(), "19700101T000000.000001Z-"+want[7:19]+".json"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// Text that is no UTF-8 has a digest, which a file of it has, too.
	o.Program = "a\xffb"
	f, err := parseFile(canonicalJSON(&File{Observation: *o}))
	if err != nil || f.Observation.Digest() != o.Digest() {
		t.Errorf("%v, %+v", err, f)
	}
}

func TestWriteFile(t *testing.T) {
	l := newProofLog(t, "test.example/000000000001", 1)
	f := l.file(smallObservation(), 0)
	dir := filepath.Join(t.TempDir(), "a", "observations")
	var path string
	for range 2 { // the second replaces the first
		var err error
		if path, err = WriteFile(dir, f); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || filepath.Join(dir, entries[0].Name()) != path {
		t.Errorf("%v %v", entries, err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(text), "{\n  \"observation\": {\n") || !strings.HasSuffix(string(text), "}\n") {
		t.Errorf("%v: %s", err, text)
	}
	back, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f, back); diff != "" {
		t.Error(diff)
	}
	// Without a receipt it can be written and read, and is good for nothing.
	f.Receipt = nil
	if path, err = WriteFile(dir, f); err != nil {
		t.Fatal(err)
	}
	if back, err = ReadFile(path); err != nil || back.Receipt != nil {
		t.Errorf("%+v %v", back, err)
	}
	if _, err := WriteFile(path, f); err == nil {
		t.Error("a file is taken for a directory")
	}
	for _, blocked := range []string{f.Observation.FileName(), stagedName(f.Observation.FileName())} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, blocked, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
		if path, err := WriteFile(dir, f); err == nil {
			t.Errorf("%s is said to be written", path)
		}
	}
}

func TestReadFileRefuses(t *testing.T) {
	good := string(canonicalJSON(&File{Observation: *smallObservation()}))
	for name, tt := range map[string]struct{ text, want string }{
		"empty":           {"", "EOF"},
		"no JSON":         {"observed", "invalid character"},
		"a list":          {"[]", "array"},
		"more after it":   {good + "{}", "after top-level value"},
		"unknown member":  {strings.Replace(good, `"passed":`, `"Passed":true,"passed":`, 1), "unknown"},
		"a member twice":  {strings.Replace(good, `"v":1`, `"v":1,"v":1`, 1), "duplicate"},
		"no such member":  {strings.Replace(good, `"v":1`, `"v":1`[:0], 1), "invalid character"},
		"member missing":  {strings.Replace(good, `"program":"1.2.3",`, "", 1), "missing"},
		"null":            {strings.Replace(good, `"program":"1.2.3"`, `"program":null`, 1), "null"},
		"no list":         {strings.Replace(good, `"records":[]`, `"records":null`, 1), "null"},
		"a float":         {strings.Replace(good, `"bytes":10,`, `"bytes":10.0,`, 1), "10.0"},
		"minus zero":      {strings.Replace(good, `"waited_ms":0`, `"waited_ms":-0`, 1), "-0"},
		"beyond 2^53":     {strings.Replace(good, `"bytes":10,`, `"bytes":9007199254740993,`, 1), "2^53"},
		"no time":         {strings.Replace(good, `"1970-01-01T00:00:00.000000Z"`, `"1970-01-01T00:00:00Z"`, 1), "RFC 3339"},
		"a lone surrogat": {strings.Replace(good, `"program":"1.2.3"`, `"program":"\ud800"`, 1), "surrogate"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.text == good {
				t.Fatal("nothing was replaced")
			}
			path := filepath.Join(t.TempDir(), "o.json")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := ReadFile(path)
			if !errors.Is(err, evidence.ErrInvalid) || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), path+": ") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := parseFile(make([]byte, maxObservation+1)); !errors.Is(err, evidence.ErrTooLarge) {
		t.Error(err)
	}
	if _, err := ReadFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// FuzzReadFile: nothing but the file itself verifies, and what is read is written so
// that it is read as the same.
func FuzzReadFile(f *testing.F) {
	l := newProofLog(f, "test.example/000000000001", 1)
	made := l.file(smallObservation(), 0)
	good := encodeFile(f, made)
	f.Add(good)
	f.Add(canonicalJSON(&File{Observation: *smallObservation()}))
	f.Add([]byte(`{"observation":{"v":1},"receipt":null}`))
	f.Add([]byte(strings.Replace(string(good), "index 2", "index 1", 1)))
	keys := []string{l.key()}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseFile(text)
		if err != nil {
			if !errors.Is(err, evidence.ErrInvalid) && !errors.Is(err, evidence.ErrTooLarge) {
				t.Error(err)
			}
			return
		}
		again, err := parseFile(canonicalJSON(got))
		if err != nil || !cmp.Equal(got, again) {
			t.Errorf("%v: read otherwise the second time: %s", err, text)
		}
		err = got.Verify(keys)
		if same := string(canonicalJSON(got)) == string(good); (err == nil) != same {
			t.Errorf("verified %v, the same %v: %s", err, same, text)
		}
	})
}
