package storetest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

func testSegments(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	var want []store.LeafSegment
	want = append(want, store.LeafSegment{First: 0, Count: 1, Data: []byte("leaves 0+1")})
	for _, n := range []int{1, 256, 3, 255, 600} {
		var entries []store.Entry
		for range n {
			entries = append(entries, l.entry(evidence.KindAudit))
		}
		c := l.extend(entries...)
		want = append(want, c.Segments...)
		l.mustCommit(c)
		other.append(other.entry(evidence.KindAudit))
	}
	size := l.head.Size
	for _, r := range [][2]int64{
		{0, size},
		{0, 1},
		{1, 2},
		{2, 3},
		{257, 258},
		{258, 259},
		{257, 259},
		{516, 517},
		{size - 1, size},
		{size - 88, size},
		{5, 5},
		{9, 3},
		{size, size + 1000},
		{-5, 1},
		{0, 1 << 60},
	} {
		got := collect(t, func(fn func(store.LeafSegment) error) error { return s.Segments(ctx, l.ref, r[0], r[1], fn) })
		var overlap []store.LeafSegment
		for _, seg := range want {
			if r[0] < r[1] && seg.First < r[1] && seg.First+int64(seg.Count) > r[0] {
				overlap = append(overlap, seg)
			}
		}
		wantEqual(t, fmt.Sprintf("segments of %v", r), got, overlap)
	}
}

func testTiles(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	tile := func(level int, n int64) store.Tile {
		return store.Tile{Level: level, N: n, Data: bytes.Repeat([]byte{byte(level), byte(n), 0, 255}, 8192/4)}
	}
	want := []store.Tile{tile(0, 0), tile(0, 1), tile(0, 2), tile(0, 300), tile(1, 0), tile(1, 1), tile(2, 0), tile(4, 0)}
	c := l.extend()
	c.Tiles = []store.Tile{want[6], want[0], want[4]} // in any order
	l.mustCommit(c)
	c = l.extend()
	c.Tiles = []store.Tile{want[3], want[1], want[2], want[5], want[7]}
	l.mustCommit(c)
	c = other.extend()
	c.Tiles = []store.Tile{tile(0, 7)}
	other.mustCommit(c)

	wantEqual(t, "tiles", collect(t, func(fn func(store.Tile) error) error { return s.Tiles(ctx, l.ref, fn) }), want)
	for _, w := range want {
		if got := must[[]byte](t)(s.Tile(ctx, l.ref, w.Level, w.N)); !bytes.Equal(got, w.Data) {
			t.Errorf("tile %d/%d has other bytes", w.Level, w.N)
		}
	}
	for _, at := range []struct {
		level int
		n     int64
	}{{0, 3}, {3, 0}, {1, 300}, {0, 7}, {-1, 0}, {0, -1}, {99, 0}, {0, 1 << 40}} {
		_, err := s.Tile(ctx, l.ref, at.level, at.n)
		wantErr(t, fmt.Sprintf("tile %v", at), err, evidence.ErrNotFound)
	}
	c = l.extend()
	c.Tiles = []store.Tile{tile(0, 1)}
	if err := l.commit(c); err == nil {
		t.Error("a tile was written twice")
	}
	l.wantHead()
}

func testCheckpoints(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	keep := func(l *testLog) store.Checkpoint {
		c := l.extend(l.entry(evidence.KindAudit))
		c.KeepCheckpoint = true
		l.mustCommit(c)
		return store.Checkpoint{Size: c.Next.Size, Note: c.Next.Note}
	}
	one := keep(l)
	l.append(l.entry(evidence.KindAudit))
	two := keep(l)
	keep(other)
	late := store.Checkpoint{Size: 3, Note: []byte("a note\nwith \x00 and \xff\n")}
	for range 2 { // again is no error
		if err := s.KeepCheckpoint(ctx, l.ref, late); err != nil {
			t.Fatal(err)
		}
	}
	changed := late
	changed.Note = []byte("another")
	wantErr(t, "another checkpoint of that size", s.KeepCheckpoint(ctx, l.ref, changed), store.ErrHeadMoved)

	list := func(from int64) []store.Checkpoint {
		return collect(t, func(fn func(store.Checkpoint) error) error { return s.Checkpoints(ctx, l.ref, from, fn) })
	}
	wantEqual(t, "checkpoints", list(0), []store.Checkpoint{one, late, two})
	wantEqual(t, "checkpoints from 3", list(3), []store.Checkpoint{late, two})
	wantEqual(t, "checkpoints from 5", list(5), nil)
	l.wantHead()
}
