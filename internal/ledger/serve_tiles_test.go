package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// lyingStore changes what it reads of the logs.
type lyingStore struct {
	store.Store
	tile    func(level int, n int64, data []byte) ([]byte, error)
	segment func(s *store.LeafSegment)
}

func (s *lyingStore) Tile(ctx context.Context, log store.LogRef, level int, n int64) ([]byte, error) {
	data, err := s.Store.Tile(ctx, log, level, n)
	if err == nil && s.tile != nil {
		return s.tile(level, n, bytes.Clone(data))
	}
	return data, err
}

func (s *lyingStore) Segments(ctx context.Context, log store.LogRef, from, to int64, fn func(store.LeafSegment) error) error {
	return s.Store.Segments(ctx, log, from, to, func(seg store.LeafSegment) error {
		if s.segment != nil {
			s.segment(&seg)
		}
		return fn(seg)
	})
}

// servedRig is a log of 256*3+40 leaves, all published.
func servedRig(t *testing.T) (*rig, *lyingStore, *ledger.Served, []evidence.Hash) {
	t.Helper()
	liar := &lyingStore{}
	r := openRig(t, filepath.Join(t.TempDir(), "data"), func(c *ledger.Config) {
		liar.Store = c.Store
		c.Store, c.PublishEvery = liar, time.Hour // only when the test says so
	})
	r.tenant(t, "acme")
	ctx := t.Context()
	var lines []string
	for i := range 256*3 + 39 {
		lines = append(lines, step(1+i/10, i%10+1, ""))
	}
	for len(lines) > 0 { // several commits, so that there are several checkpoints
		n := min(len(lines), 300)
		r.append(t, "acme", lines[:n]...)
		lines = lines[n:]
		if _, _, err := r.PublishNow(ctx, "acme", 1); err != nil {
			t.Fatal(err)
		}
	}
	s, err := r.Serve(ctx, "acme", 1)
	if err != nil {
		t.Fatal(err)
	}
	var hashes []evidence.Hash
	if err := r.Leaves(ctx, "acme", 1, 0, s.Size, func(_ int64, raw []byte) error {
		hashes = append(hashes, evidence.LeafHash(raw))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return r, liar, s, hashes
}

func TestServedTiles(t *testing.T) {
	r, _, s, hashes := servedRig(t)
	ctx := t.Context()
	if s.Size != int64(len(hashes)) || s.Size != 256*3+40 {
		t.Fatalf("size %d of %d leaves", s.Size, len(hashes))
	}
	r.append(t, "acme", step(999, 1, "")) // durable and not published
	c, _, err := c2sp.ParseNote(s.Note)
	if err != nil || c.Root != rootOfHashes(hashes) {
		t.Fatalf("checkpoint %+v, %v", c, err)
	}
	for _, tt := range []struct {
		level int
		n     int64
		width int
		want  []evidence.Hash // nil: it is not there
	}{
		{0, 0, 256, hashes[:256]},
		{0, 2, 256, hashes[512:768]},
		{0, 2, 7, hashes[512:519]}, // a partial one of an earlier tree
		{0, 3, 40, hashes[768:]},
		{0, 3, 41, nil}, // beyond what is published
		{0, 3, 256, nil},
		{0, 4, 1, nil},
		{1, 0, 3, []evidence.Hash{rootOfHashes(hashes[:256]), rootOfHashes(hashes[256:512]), rootOfHashes(hashes[512:768])}},
		{1, 0, 4, nil},
		{1, 1, 1, nil},
		{2, 0, 1, nil},
		{6, 0, 1, nil},
		{-1, 0, 1, nil},
		{0, -1, 1, nil},
		{0, 1 << 60, 1, nil},
		{0, 0, 0, nil},
		{0, 0, 257, nil},
	} {
		got, err := s.Tile(ctx, tt.level, tt.n, tt.width)
		var want []byte
		for _, h := range tt.want {
			want = append(want, h[:]...)
		}
		if (tt.want == nil) != errors.Is(err, evidence.ErrNotFound) || !bytes.Equal(got, want) {
			t.Errorf("tile %d/%d of %d: %d bytes, %v", tt.level, tt.n, tt.width, len(got), err)
		}
		if tt.level != 0 {
			continue
		}
		bundle, err := s.Entries(ctx, tt.n, tt.width)
		if tt.want == nil {
			if !errors.Is(err, evidence.ErrNotFound) {
				t.Errorf("entries %d of %d: %v", tt.n, tt.width, err)
			}
			continue
		}
		entries, splitErr := c2sp.SplitEntries(bundle, tt.width)
		if err != nil || splitErr != nil {
			t.Fatalf("entries %d of %d: %v, %v", tt.n, tt.width, err, splitErr)
		}
		for i, e := range entries {
			if evidence.LeafHash(e) != tt.want[i] {
				t.Errorf("entries %d: leaf %d is another", tt.n, i)
			}
		}
	}
}

func TestServedProofs(t *testing.T) {
	_, _, s, hashes := servedRig(t)
	ctx := t.Context()
	sizes := []int64{1, 2, 255, 256, 257, 301, 512, 513, 768, s.Size}
	for _, size := range sizes {
		root := rootOfHashes(hashes[:size])
		for _, index := range []int64{0, size / 2, size - 1} {
			proof, err := s.Inclusion(ctx, index, size)
			if err == nil {
				err = c2sp.CheckInclusion(proof, size, root, index, hashes[index])
			}
			if err != nil {
				t.Errorf("leaf %d of %d: %v", index, size, err)
			}
		}
		for _, old := range sizes {
			proof, err := s.Consistency(ctx, old, size)
			if old > size {
				if !errors.Is(err, evidence.ErrNotFound) {
					t.Errorf("%d to %d: %v", old, size, err)
				}
				continue
			}
			if err == nil {
				err = c2sp.CheckConsistency(proof, size, root, old, rootOfHashes(hashes[:old]))
			}
			if err != nil {
				t.Errorf("%d to %d: %v", old, size, err)
			}
		}
		note, err := s.NoteAt(ctx, size)
		if size != s.Size && size != 301 && size != 1 { // the commits ended there
			if !errors.Is(err, evidence.ErrNotFound) {
				t.Errorf("note at %d: %q, %v", size, note, err)
			}
			continue
		}
		if c, _, perr := c2sp.ParseNote(note); err != nil || perr != nil || c.Root != root || c.Size != size {
			t.Errorf("note at %d: %+v, %v, %v", size, c, err, perr)
		}
	}
	for _, bad := range [][2]int64{{-1, 5}, {5, 5}, {0, 0}, {0, s.Size + 1}} {
		if _, err := s.Inclusion(ctx, bad[0], bad[1]); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("leaf %d of %d: %v", bad[0], bad[1], err)
		}
	}
	for _, size := range []int64{-1, s.Size + 1, 1 << 60} {
		if _, err := s.NoteAt(ctx, size); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("note at %d: %v", size, err)
		}
	}
}

// TestServedTampered changes the database under a log that is open: what is not of the
// signed tree is said to be tampered with, and never served.
func TestServedTampered(t *testing.T) {
	r, liar, _, _ := servedRig(t)
	ctx := t.Context()
	changed := func(level int, n int64) func(int, int64, []byte) ([]byte, error) {
		return func(l int, m int64, data []byte) ([]byte, error) {
			if l == level && m == n {
				data[0] ^= 1
			}
			return data, nil
		}
	}
	missing := func(int, int64, []byte) ([]byte, error) {
		return nil, evidence.ErrNotFound
	}
	short := func(_ int, _ int64, data []byte) ([]byte, error) { return data[:32], nil }
	ask := map[string]func(s *ledger.Served) error{
		"tile":        func(s *ledger.Served) error { _, err := s.Tile(ctx, 0, 1, 256); return err },
		"prefix":      func(s *ledger.Served) error { _, err := s.Tile(ctx, 0, 1, 3); return err },
		"entries":     func(s *ledger.Served) error { _, err := s.Entries(ctx, 1, 256); return err },
		"inclusion":   func(s *ledger.Served) error { _, err := s.Inclusion(ctx, 300, s.Size); return err },
		"consistency": func(s *ledger.Served) error { _, err := s.Consistency(ctx, 300, s.Size); return err },
	}
	for what, f := range ask {
		for how, tile := range map[string]func(int, int64, []byte) ([]byte, error){"changed": changed(0, 1), "missing": missing, "short": short} {
			s, err := r.Serve(ctx, "acme", 1)
			if err != nil {
				t.Fatal(err)
			}
			liar.tile = tile
			if err := f(s); !errors.Is(err, evidence.ErrTampered) || errors.Is(err, evidence.ErrNotFound) && how != "missing" {
				t.Errorf("%s with a tile that is %s: %v", what, how, err)
			}
			liar.tile = nil
			if err := f(s); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	s, err := r.Serve(ctx, "acme", 1)
	if err != nil {
		t.Fatal(err)
	}
	swapped := 0
	liar.segment = func(seg *store.LeafSegment) {
		data, err := seal.DecompressLeaves(seg.Data)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(data, []byte("get_weather")); seg.First >= 512 && at >= 0 {
			data = bytes.Clone(data)
			data[at] = 'G' // still a leaf, and not the one that was signed
			seg.Data = seal.Compress(nil, data)
			swapped++
		}
	}
	if _, err := s.Entries(ctx, 0, 256); err != nil {
		t.Errorf("entries before it: %v", err)
	}
	if _, err := s.Entries(ctx, 2, 256); !errors.Is(err, evidence.ErrTampered) || swapped == 0 {
		t.Errorf("entries that were changed: %v", err)
	}
}
