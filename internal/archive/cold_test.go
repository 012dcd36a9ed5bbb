package archive

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// hotStore is a database of one log: its leaf segments, and what lifecycle has left. What is
// not asked for here it does not have.
type hotStore struct {
	store.Store
	l        *testLog
	segments []store.LeafSegment
	moved    []store.Expiry
	units    []store.ArchiveUnit
	asked    int // how often it was asked for expiries
}

func newHotStore(l *testLog, per int64) *hotStore {
	s := &hotStore{l: l}
	for from := int64(0); from < int64(len(l.leaves)); from += per {
		var data []byte
		to := min(from+per, int64(len(l.leaves)))
		for _, leaf := range l.leaves[from:to] {
			data, _ = c2sp.AppendEntry(data, leaf)
		}
		s.segments = append(s.segments, store.LeafSegment{First: from, Count: int(to - from), Data: compressor.EncodeAll(data, nil)})
	}
	return s
}

func (s *hotStore) Segments(_ context.Context, log store.LogRef, from, to int64, fn func(store.LeafSegment) error) error {
	if log != s.l.log.LogRef {
		return nil
	}
	for _, seg := range s.segments {
		if seg.First < to && seg.First+int64(seg.Count) > from {
			if err := fn(seg); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *hotStore) Expiries(_ context.Context, _ string, fn func(store.Expiry) error) error {
	s.asked++
	for _, e := range s.moved {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (s *hotStore) Archives(_ context.Context, _ store.LogRef, fn func(store.ArchiveUnit) error) error {
	for _, u := range s.units {
		if err := fn(u); err != nil {
			return err
		}
	}
	return nil
}

func (s *hotStore) Snapshot(context.Context) (store.Snapshot, error) {
	return hotSnapshot{hotStore: s}, nil
}

type hotSnapshot struct {
	store.Snapshot
	*hotStore
}

func (s hotSnapshot) Segments(ctx context.Context, log store.LogRef, from, to int64, fn func(store.LeafSegment) error) error {
	return s.hotStore.Segments(ctx, log, from, to, fn)
}

func (s hotSnapshot) Expiries(ctx context.Context, tenant string, fn func(store.Expiry) error) error {
	return s.hotStore.Expiries(ctx, tenant, fn)
}

func (s hotSnapshot) Archives(ctx context.Context, log store.LogRef, fn func(store.ArchiveUnit) error) error {
	return s.hotStore.Archives(ctx, log, fn)
}

func (s hotSnapshot) Close() error { return nil }

// move takes leaf segments out of the database that end at or before a leaf.
func (s *hotStore) move(to int64) {
	s.moved = append(s.moved, store.Expiry{Table: store.TableLeaves, LogNo: 1, To: to})
	s.drop(0, to)
}

func (s *hotStore) drop(from, to int64) {
	kept := s.segments[:0:0]
	for _, seg := range s.segments {
		if seg.First < from || seg.First+int64(seg.Count) > to {
			kept = append(kept, seg)
		}
	}
	s.segments = kept
}

// read returns how far leaves come in order from a leaf on.
func (s *hotStore) read(r store.Reader, from, to int64) (int64, error) {
	dec, err := zstd.NewReader(nil)
	if err != nil {
		return 0, err
	}
	defer dec.Close()
	next := from
	err = r.Segments(context.Background(), s.l.log.LogRef, from, to, func(seg store.LeafSegment) error {
		data, err := dec.DecodeAll(seg.Data, nil)
		if err != nil {
			return err
		}
		leaves, err := c2sp.SplitEntries(data, seg.Count)
		if err != nil {
			return err
		}
		for i, leaf := range leaves {
			seq := seg.First + int64(i)
			if seq < next || seq >= to {
				continue
			}
			if seq != next || string(leaf) != string(s.l.leaves[seq]) {
				return fmt.Errorf("leaf %d where %d is to come", seq, next)
			}
			next++
		}
		return nil
	})
	return next, err
}

func TestCold(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 1000)
	hot := newHotStore(l, 150)
	a := openDir(t, t.TempDir())
	var prev evidence.Hash
	for _, r := range [][2]int64{{0, 200}, {200, 620}, {620, 800}} {
		u := mustWrite(t, a, l.unit(r[0], r[1], prev))
		hot.units, prev = append(hot.units, u), u.Manifest
	}
	s := Cold(hot, func(store.ArchiveUnit) (*Archive, error) { return a, nil })
	ranges := [][2]int64{{0, 1000}, {0, 1}, {199, 201}, {256, 257}, {450, 460}, {600, 800}, {610, 900}, {899, 1000}, {999, 1000}, {300, 300}}
	check := func(name string, r store.Reader) {
		t.Helper()
		for _, x := range ranges {
			if got, err := hot.read(r, x[0], x[1]); err != nil || got != x[1] {
				t.Errorf("%s: leaves %d to %d: to %d, %v", name, x[0], x[1], got, err)
			}
		}
		if got, err := hot.read(r, 0, 1<<40); err != nil || got != 1000 {
			t.Errorf("%s: all leaves: to %d, %v", name, got, err)
		}
	}
	check("nothing moved", s)
	if hot.asked > 0 {
		t.Errorf("expiries were asked for %d times", hot.asked)
	}
	for _, to := range []int64{200, 620, 800} {
		hot.move(to)
		check(fmt.Sprintf("moved to %d", to), s)
		snap, err := s.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		check(fmt.Sprintf("snapshot, moved to %d", to), snap)
	}
	if hot.asked > 4 {
		t.Errorf("expiries were asked for %d times", hot.asked)
	}
	// What is missing behind the prefix is missing: whoever reads finds it.
	whole := hot.segments
	hot.drop(900, 1000)
	if got, err := hot.read(s, 700, 1000); err != nil || got != 900 {
		t.Errorf("the end is missing: to %d, %v", got, err)
	}
	hot.segments = whole
	hot.drop(750, 900) // behind what has left, which ends at 800
	if got, err := hot.read(s, 790, 1000); err == nil || got != 800 {
		t.Errorf("the middle is missing: to %d, %v", got, err)
	}
	hot.segments = whole
	// An archive that cannot be reached, and one that has lost the unit.
	other := openDir(t, t.TempDir())
	for name, find := range map[string]func(store.ArchiveUnit) (*Archive, error){
		"not reached": func(store.ArchiveUnit) (*Archive, error) { return nil, errors.New("no route to host") },
		"none":        func(store.ArchiveUnit) (*Archive, error) { return nil, nil },
		"unit lost":   func(store.ArchiveUnit) (*Archive, error) { return other, nil },
	} {
		_, err := hot.read(Cold(hot, find), 100, 900)
		if !errors.Is(err, evidence.ErrUnavailable) || errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	units := hot.units
	hot.units = hot.units[:1]
	if _, err := hot.read(Cold(hot, func(store.ArchiveUnit) (*Archive, error) { return a, nil }), 100, 900); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("no unit on record: %v", err)
	}
	stop := errors.New("stop")
	hot.units = units
	for _, from := range []int64{0, 900} {
		if err := s.Segments(t.Context(), l.log.LogRef, from, 1000, func(store.LeafSegment) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("the callback's error, from %d: %v", from, err)
		}
	}
}

// TestColdWhileMoving: leaves leave while they are read.
func TestColdWhileMoving(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 1000)
	hot := newHotStore(l, 100)
	a := openDir(t, t.TempDir())
	hot.units = []store.ArchiveUnit{mustWrite(t, a, l.unit(0, 800, evidence.Hash{}))}
	s := Cold(&movingStore{hotStore: hot}, func(store.ArchiveUnit) (*Archive, error) { return a, nil })
	if got, err := hot.read(s, 0, 1000); err != nil || got != 1000 {
		t.Errorf("to %d, %v", got, err)
	}
}

// movingStore moves what is left of the prefix once two segments were read.
type movingStore struct{ *hotStore }

func (s *movingStore) Segments(ctx context.Context, log store.LogRef, from, to int64, fn func(store.LeafSegment) error) error {
	n := 0
	err := s.hotStore.Segments(ctx, log, from, to, func(seg store.LeafSegment) error {
		if n++; n == 3 && len(s.moved) == 0 {
			return errGap
		}
		return fn(seg)
	})
	if errors.Is(err, errGap) && len(s.moved) == 0 {
		s.move(800)
		return s.hotStore.Segments(ctx, log, from+200, to, fn)
	}
	return err
}
