package move_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/runledger/runledger/internal/move"
	"github.com/runledger/runledger/internal/store"
)

var errCut = errors.New("the power went")

// cutStore is a store whose power goes at one of its writes: before it is stored, or
// when it is and nobody was told.
type cutStore struct {
	store.Store
	left  int // writes until then
	after bool
	cut   bool
}

func (s *cutStore) write(f func() error) error {
	if s.cut {
		return errCut
	}
	if s.left--; s.left > 0 {
		return f()
	}
	s.cut = true
	if s.after {
		if err := f(); err != nil {
			return err
		}
	}
	return errCut
}

func (s *cutStore) Commit(ctx context.Context, c *store.Commit) error {
	return s.write(func() error { return s.Store.Commit(ctx, c) })
}

func (s *cutStore) KeepCheckpoints(ctx context.Context, log store.LogRef, list []store.Checkpoint) error {
	return s.write(func() error { return s.Store.KeepCheckpoints(ctx, log, list) })
}

func (s *cutStore) KeepAttestations(ctx context.Context, log store.LogRef, list []store.Attestation) error {
	return s.write(func() error { return s.Store.KeepAttestations(ctx, log, list) })
}

func (s *cutStore) KeepRemovals(ctx context.Context, tenant string, list []store.Removed) error {
	return s.write(func() error { return s.Store.KeepRemovals(ctx, tenant, list) })
}

func (s *cutStore) RestoreLifecycle(ctx context.Context, tenant string, e []store.Expiry, h []store.Hold, a []store.ArchiveUnit) error {
	return s.write(func() error { return s.Store.RestoreLifecycle(ctx, tenant, e, h, a) })
}

func (s *cutStore) Expire(ctx context.Context, tenant string, list []store.Expiry, from, to int64, done bool, r *store.Removal) (rows int64, err error) {
	err = s.write(func() error {
		rows, err = s.Store.Expire(ctx, tenant, list, from, to, done, r)
		return err
	})
	return rows, err
}

func (s *cutStore) SetSetting(ctx context.Context, name, value string) error {
	return s.write(func() error { return s.Store.SetSetting(ctx, name, value) })
}

func (s *cutStore) PutAPIKey(ctx context.Context, k store.APIKey) error {
	return s.write(func() error { return s.Store.PutAPIKey(ctx, k) })
}

// cut is a copy that ends at the n-th write to either store. It reports whether it
// came that far.
func cut(t *testing.T, d deployment, other side, n int, after, source bool) bool {
	t.Helper()
	var cutting *cutStore
	_, err := d.copyTo(t, other, func(cfg *move.Config) {
		cfg.ChunkLeaves = 200
		if source {
			cutting = &cutStore{Store: cfg.From, left: n, after: after}
			cfg.From = cutting
		} else {
			cutting = &cutStore{Store: cfg.To, left: n, after: after}
			cfg.To = cutting
		}
	})
	switch {
	case cutting.cut && !errors.Is(err, errCut):
		t.Fatalf("ended at write %d: %v", n, err)
	case !cutting.cut && err != nil:
		t.Fatal(err)
	}
	return cutting.cut
}

// onlyOne sees that at most one of the two could be opened by a ledger, and exactly
// one once the copy is done.
func onlyOne(t *testing.T, a, b side, done bool) {
	t.Helper()
	n := 0
	for _, s := range []side{a, b} {
		db, err := s.open()
		if err != nil {
			t.Fatal(err)
		}
		logs, err := db.Logs(context.Background(), "")
		if err == nil && len(logs) > 0 && move.Check(context.Background(), db) == nil {
			n++
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n > 1 || done && n != 1 {
		t.Fatalf("%d of two can be opened", n)
	}
}

// TestCutEverywhere ends a copy at each of its writes in turn, both ways, and goes on.
func TestCutEverywhere(t *testing.T) {
	t.Parallel()
	step := 1
	if testing.Short() {
		step = 7
	}
	writes := 0
	for n := 1; ; n += step {
		d, other := source(t, "sqlite"), sqliteSide(t)
		if !cut(t, d, other, n, n%2 == 0, false) {
			break
		}
		writes = n
		onlyOne(t, d.side, other, false)
		report, err := d.copyTo(t, other)
		if err != nil {
			t.Fatalf("on from write %d: %v", n, err)
		}
		if report.Copied > report.Leaves {
			t.Errorf("%+v", report)
		}
		onlyOne(t, d.side, other, true)
	}
	if writes < 30 {
		t.Errorf("a copy has only %d writes: that shows nothing", writes)
	}
}

// TestCutAtTheEnd ends a copy when it tells the source.
func TestCutAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		d, other := source(t, "sqlite"), sqliteSide(t)
		if !cut(t, d, other, 1, after, true) {
			t.Fatal("the source was not told")
		}
		onlyOne(t, d.side, other, false)
		if after {
			// The source has given up its place, so no other copy may take it.
			if _, err := d.copyTo(t, sqliteSide(t)); err == nil {
				t.Error("another copy took the place")
			}
		}
		if report, err := d.copyTo(t, other); err != nil || report.Copied != 0 {
			t.Fatalf("%+v %v", report, err)
		}
		goOn(t, d, d.at(other))
	}
}

// TestCutAgainAndAgain ends copies at random, on every pair of backends.
func TestCutAgainAndAgain(t *testing.T) {
	for from := range backends {
		for to := range backends {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(uint64(len(from)), uint64(len(to))))
				d, other := source(t, from), backends[to](t)
				cuts := 0
				for cut(t, d, other, 1+rng.IntN(20), rng.IntN(2) == 0, false) {
					if cuts++; cuts > 500 {
						t.Fatal("it does not come to an end")
					}
				}
				if cuts < 5 {
					t.Errorf("ended only %d times", cuts)
				}
				goOn(t, d, d.at(other))
			})
		}
	}
}

// set puts a mark by hand, with the digest of its own heads.
func set(t *testing.T, s side, m move.Mark) {
	t.Helper()
	db, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.SetSetting(context.Background(), "move", string(text)); err != nil {
		t.Fatal(err)
	}
	if have, err := move.MarkOf(context.Background(), db); err != nil || have.State != m.State {
		t.Fatal(fmt.Sprint(have, err))
	}
}
