package anchor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// kinds are the anchors that must behave alike. open opens the same one again, as
// another process does.
func kinds(t *testing.T, test func(t *testing.T, open func() ledger.Anchor)) {
	t.Run("directory", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "a", "b")
		test(t, func() ledger.Anchor {
			a, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			return a
		})
	})
	for name, conditions := range map[string]bool{"bucket": true, "bucket without conditions": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, conditions)
			test(t, func() ledger.Anchor { return s.open(t) })
		})
	}
}

func mustRead(t *testing.T, a ledger.Anchor, origin string, want []byte) {
	t.Helper()
	got, err := a.Read(origin)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %s: %q, %v; want %q", origin, got, err, want)
	}
}

func TestWrite(t *testing.T) {
	kinds(t, func(t *testing.T, open func() ledger.Anchor) {
		a, b := open(), open()
		if _, err := a.Read(logA); !errors.Is(err, evidence.ErrNotFound) {
			t.Fatalf("read what is not there: %v", err)
		}
		write := func(a ledger.Anchor, n []byte, want error) {
			t.Helper()
			if err := a.Write(logA, n); !errors.Is(err, want) {
				t.Errorf("write: %v; want %v", err, want)
			}
		}
		for _, n := range []int64{0, 1, 5} {
			write(a, note(t, logA, n, 1), nil)
			mustRead(t, b, logA, note(t, logA, n, 1))
		}
		write(b, note(t, logA, 9, 1), nil)
		write(a, note(t, logA, 7, 1), nil) // b was faster, and a does not know it
		mustRead(t, a, logA, note(t, logA, 9, 1))
		write(a, note(t, logA, 9, 1), nil) // the same again
		write(a, note(t, logA, 9, 2), evidence.ErrTampered)
		write(a, note(t, logA, 0, 0), nil)
		mustRead(t, b, logA, note(t, logA, 9, 1))
		write(a, note(t, logA, 12, 2), nil)
		mustRead(t, b, logA, note(t, logA, 12, 2))

		// What is no note of this log is not written, whoever asks for it.
		write(a, []byte("a note\n"), evidence.ErrInvalid)
		write(a, nil, evidence.ErrInvalid)
		write(a, note(t, logB, 20, 1), evidence.ErrInvalid)
		mustRead(t, b, logA, note(t, logA, 12, 2))
		for _, origin := range []string{"", "x", "../0123456789ab", "test.example/0123456789AB", "test.example/0123456789ab.note"} {
			if err := a.Write(origin, note(t, logA, 20, 1)); !errors.Is(err, evidence.ErrInvalid) {
				t.Errorf("write of origin %q: %v", origin, err)
			}
			if _, err := a.Read(origin); !errors.Is(err, evidence.ErrInvalid) {
				t.Errorf("read of origin %q: %v", origin, err)
			}
		}
	})
}

func TestAccept(t *testing.T) {
	kinds(t, func(t *testing.T, open func() ledger.Anchor) {
		a, b := open(), open()
		lost, back := note(t, logA, 30, 1), note(t, logA, 20, 1)
		for _, origin := range []string{logA, logB} {
			if err := a.Write(origin, note(t, origin, 30, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Accept(logA, lost, back); err != nil {
			t.Fatal(err)
		}
		mustRead(t, b, logA, back) // not a: it still has in mind what it wrote
		if got, err := a.Lost(logA); err != nil || len(got) != 1 || !bytes.Equal(got[0], lost) {
			t.Errorf("lost: %q, %v", got, err)
		}
		if got, err := a.Lost(logB); err != nil || len(got) != 0 {
			t.Errorf("lost of another log: %q, %v", got, err)
		}
		// It goes on from there, whatever a process has in mind of the time before.
		if err := a.Write(logA, note(t, logA, 25, 3)); err != nil {
			t.Fatal(err)
		}
		mustRead(t, b, logA, note(t, logA, 25, 3))
		// A log that is lost as a whole.
		if err := b.Accept(logB, note(t, logB, 30, 1), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Read(logB); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("read of a lost log: %v", err)
		}
		got, err := a.Origins()
		slices.Sort(got)
		if err != nil || !slices.Equal(got, []string{logA, logB}) {
			t.Errorf("origins: %v, %v", got, err)
		}
		// Where the anchor was lost itself there is nothing to put aside.
		if err := b.Accept(logB, nil, note(t, logB, 10, 1)); err != nil {
			t.Fatal(err)
		}
		mustRead(t, a, logB, note(t, logB, 10, 1))
		if got, err := a.Lost(logB); err != nil || len(got) != 1 {
			t.Errorf("lost: %q, %v", got, err)
		}
	})
}

func TestKeepFork(t *testing.T) {
	kinds(t, func(t *testing.T, open func() ledger.Anchor) {
		a := open()
		ours, seen := note(t, logA, 30, 1), note(t, logA, 30, 2)
		if got, err := a.Forks(logA); err != nil || len(got) != 0 {
			t.Fatalf("forks of none: %q, %v", got, err)
		}
		where, err := a.KeepFork(logA, ours, seen)
		if err != nil || where == "" {
			t.Fatalf("keep: %q, %v", where, err)
		}
		again, err := open().KeepFork(logA, ours, seen)
		if err != nil || again != where {
			t.Errorf("keep again: %q, %v; want %q", again, err, where)
		}
		got, err := open().Forks(logA)
		if err != nil || len(got) != 2 || !bytes.Equal(got[0], ours) || !bytes.Equal(got[1], seen) {
			t.Errorf("forks: %q, %v", got, err)
		}
		if _, err := a.KeepFork(logA, ours, nil); err != nil {
			t.Fatal(err)
		}
		if got, err := a.Forks(logA); err != nil || len(got) != 3 {
			t.Errorf("%d notes of forks, %v; want 3", len(got), err)
		}
		for i := range int64(maxForks) {
			if where, err = a.KeepFork(logA, note(t, logA, 100+i, 1), nil); err != nil {
				t.Fatal(err)
			}
			if want := i < maxForks-2; (where != "") != want {
				t.Fatalf("pair %d is kept as %q", i+3, where)
			}
		}
		// Evidence of a fork is not an anchor.
		if got, err := a.Origins(); err != nil || len(got) != 0 {
			t.Errorf("origins: %v, %v", got, err)
		}
	})
}

// TestRace: whatever the processes do at once, the anchor ends at the largest note, and
// what is put aside is all there.
func TestRace(t *testing.T) {
	const processes, notes = 4, 25
	race := func(t *testing.T, open func() ledger.Anchor) {
		var anchors [processes]ledger.Anchor
		for p := range anchors {
			anchors[p] = open()
		}
		for i := range notes {
			var wg sync.WaitGroup
			for p, a := range anchors {
				wg.Go(func() {
					if err := a.Write(logA, note(t, logA, int64(i*processes+p+1), 1)); err != nil {
						t.Errorf("process %d: %v", p, err)
					}
					for k := range int64(3) {
						if i > 0 {
							break
						}
						if _, err := a.KeepFork(logB, note(t, logB, k+1, byte(k)), note(t, logB, k+1, byte(p%2))); err != nil {
							t.Errorf("process %d: %v", p, err)
						}
					}
				})
			}
			wg.Wait()
		}
		mustRead(t, open(), logA, note(t, logA, processes*notes, 1))
		got, err := open().Forks(logB)
		distinct := map[string]bool{}
		for i, n := range got {
			if i%2 == 1 {
				distinct[string(got[i-1])+string(n)] = true
			}
		}
		if err != nil || len(got) != 12 || len(distinct) != 6 {
			t.Errorf("%d notes of forks, %d pairs, %v; want 6 pairs", len(got), len(distinct), err)
		}
	}
	t.Run("directory", func(t *testing.T) {
		dir := t.TempDir()
		race(t, func() ledger.Anchor {
			a, err := NewDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			return a
		})
		left, err := filepath.Glob(filepath.Join(dir, "*", "*.tmp"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	t.Run("bucket", func(t *testing.T) {
		s := newService(t, true)
		race(t, func() ledger.Anchor { return s.open(t) })
		sizes := s.written(logA)
		if len(sizes) == 0 || !slices.IsSorted(sizes) {
			t.Errorf("the anchor went through %v", sizes)
		}
	})
}

func TestDirectoryIsHeld(t *testing.T) {
	a, err := NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := *a
	b.patience = 1
	err = a.locked(logA, func() error {
		if _, err := b.Read(logA); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("reading waits for the lock: %v", err)
		}
		return b.Write(logA, note(t, logA, 1, 1))
	})
	if !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("write while another holds the directory: %v", err)
	}
	if err := b.Write(logA, note(t, logA, 1, 1)); err != nil {
		t.Error(err)
	}
}

// TestDamagedDirectory: what is no note is not written over, so that it is found.
func TestDamagedDirectory(t *testing.T) {
	dir := t.TempDir()
	a, err := NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, data := range [][]byte{{}, []byte("x"), note(t, logB, 3, 1)} {
		if err := a.Write(logA, note(t, logA, int64(i+1), 1)); i == 0 && err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, logA+".note")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := a.Write(logA, note(t, logA, 99, 1)); !errors.Is(err, evidence.ErrTampered) {
			t.Errorf("write over %q: %v", data, err)
		}
		mustRead(t, a, logA, data)
	}
}

func TestParse(t *testing.T) {
	good := map[string]S3Config{
		"s3://anchors":        {Bucket: "anchors"},
		"s3://anchors/":       {Bucket: "anchors"},
		"s3://anchors/a/b.c/": {Bucket: "anchors", Prefix: "a/b.c"},
		"s3://anchors/p?region=eu-central-1&endpoint=https://s3.example.org:9000": {
			Bucket: "anchors", Prefix: "p", Region: "eu-central-1", Endpoint: "https://s3.example.org:9000",
		},
		"s3://anchors?endpoint=minio:9000":        {Bucket: "anchors", Endpoint: "minio:9000"},
		"s3://anchors?endpoint=http://[::1]:9000": {Bucket: "anchors", Endpoint: "http://[::1]:9000"},
	}
	for spec, want := range good {
		got, err := Parse(spec)
		if err != nil || got.S3 == nil || *got.S3 != want || got.Dir != "" {
			t.Errorf("%s: %+v, %v", spec, got, err)
		}
	}
	for _, spec := range []string{"/var/lib/anchor", "anchor", "./s3:/x", "C:\\anchor"} {
		if got, err := Parse(spec); err != nil || got.Dir != spec || got.S3 != nil {
			t.Errorf("%s: %+v, %v", spec, got, err)
		}
	}
	const secret = "wJalrXUtnFEMI"
	for _, spec := range []string{
		"", "s3://", "s3:///p", "S3://anchors", "gs://anchors", "file:///tmp", "s3://An_chors", "s3://ab",
		"s3://anchors/a//b", "s3://anchors/../b", "s3://anchors/a%20b", "s3://anchors/a%2Fb%00", "s3://anchors/p#f",
		"s3://anchors?endpoint=", "s3://anchors?region=a&region=b", "s3://anchors?timeout=5s", "s3://anchors?region=a/b",
		"s3://anchors?endpoint=ftp://x", "s3://anchors?endpoint=https://x/path", "s3://anchors?endpoint=https://", "s3://anchors?%zz",
		"s3://key:" + secret + "@anchors", "s3://anchors?endpoint=https://k:" + secret + "@x", "s3://anchors:9/%zz" + secret,
	} {
		_, err := Parse(spec)
		if !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", spec, err)
		}
		if bytes.Contains([]byte(fmt.Sprint(err)), []byte(secret)) {
			t.Errorf("the error repeats a secret: %v", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"/a", "s3://anchors/p?endpoint=http://x:1&region=r", "s3://a:b@c?%", "s3://anchors?endpoint=[::1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		s, err := Parse(spec)
		if err != nil {
			if !errors.Is(err, evidence.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if (s.S3 == nil) == (s.Dir == "") {
			t.Fatalf("%q: %+v", spec, s)
		}
		if s.S3 != nil {
			if again, err := Parse(s.S3.String()); err != nil || again.S3.Bucket != s.S3.Bucket || again.S3.Prefix != s.S3.Prefix {
				t.Fatalf("%q: %q: %+v, %v", spec, s.S3, again, err)
			}
		}
	})
}
