package stream

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func fileBatch(texts ...string) *batch {
	b := &batch{}
	for _, text := range texts {
		b.events = append(b.events, event{Body: []byte(text)})
	}
	return b
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFileSink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.ndjson")
	s := must(newFileSink(&LogFile{Path: path, MaxBytes: 30, Keep: 2}))
	for _, text := range []string{"one", "two"} {
		if err := s.deliver(t.Context(), fileBatch(text, text)); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, path); got != "one\none\ntwo\ntwo\n" {
		t.Errorf("file %q", got)
	}
	if st := must(os.Stat(path)); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A torn line is not kept, what stands before it is.
	for _, torn := range []string{"to", strings.Repeat("x", 200<<10)} {
		if err := os.WriteFile(path, []byte("one\n"+torn), 0o600); err != nil {
			t.Fatal(err)
		}
		s = must(newFileSink(&LogFile{Path: path, MaxBytes: 1 << 20, Keep: 2}))
		if err := s.deliver(t.Context(), fileBatch("torn")); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); got != "one\ntorn\n" {
			t.Errorf("file %.40q", got)
		}
		_ = s.Close()
	}
	if err := os.WriteFile(path, []byte("no line at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = must(newFileSink(&LogFile{Path: path, MaxBytes: 1 << 20, Keep: 2}))
	defer s.Close()
	if got := read(t, path); got != "no line at all" { // another process may be writing it
		t.Errorf("file %q", got)
	}
	if err := s.deliver(t.Context(), fileBatch("whole")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != "whole\n" {
		t.Errorf("file %q", got)
	}
}

func TestFileRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.ndjson")
	s := must(newFileSink(&LogFile{Path: path, MaxBytes: 10, Keep: 2}))
	defer s.Close()
	for n := range 5 {
		if err := s.deliver(t.Context(), fileBatch(fmt.Sprintf("line %d......", n))); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"": "4", ".1": "3", ".2": "2"} {
		if got := read(t, path+name); !strings.HasPrefix(got, "line "+want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: %q", name, got)
		}
	}
	if _, err := os.Stat(path + ".3"); err == nil {
		t.Error("more files than are to be kept")
	}
	// Somebody else rotates it away.
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := s.deliver(t.Context(), fileBatch("fresh")); err != nil || read(t, path) != "fresh\n" {
		t.Errorf("%v: %q", err, read(t, path))
	}
}

// A file that cannot be written is an error each time, and goes on where it can.
func TestFileComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "events.ndjson")
	s := must(newFileSink(&LogFile{Path: path, MaxBytes: 1 << 20, Keep: 2}))
	defer s.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.deliver(t.Context(), fileBatch("lost?")); err == nil {
			t.Fatal("delivered to a directory that is gone")
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.deliver(t.Context(), fileBatch("here")); err != nil || read(t, path) != "here\n" {
		t.Errorf("%v: %q", err, read(t, path))
	}
	// A write that fails half way: what it left is cut off.
	if err := s.f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.deliver(t.Context(), fileBatch("again")); err == nil {
		t.Fatal("delivered to a closed file")
	}
	if err := s.deliver(t.Context(), fileBatch("again")); err != nil || read(t, path) != "here\nagain\n" {
		t.Errorf("%v: %q", err, read(t, path))
	}
	if _, err := newFileSink(&LogFile{Path: dir, MaxBytes: 1, Keep: 1}); err == nil {
		t.Error("a directory is taken for a file")
	}
}
