package c2sp

import (
	"crypto/sha256"
	"testing"

	"github.com/runledger/runledger/evidence"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

func testLeaf(i int64) evidence.Hash {
	return evidence.LeafHash([]byte{byte(i), byte(i >> 8), byte(i >> 16)})
}

func TestFrontierEmpty(t *testing.T) {
	var f Frontier
	if got := f.Root(); got != sha256.Sum256(nil) {
		t.Errorf("root of the empty tree = %s", got)
	}
	if f.Nodes(nil) != nil || f.Size() != 0 {
		t.Error("the zero value is not the empty tree")
	}
}

// Every node of the tree is reported once, with the hash and place that
// tlog's stored hashes give it.
func TestFrontierNodes(t *testing.T) {
	const n = 600
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) (out []tlog.Hash, err error) {
		for _, i := range indexes {
			out = append(out, stored[i])
		}
		return out, nil
	})
	var f Frontier
	seen := map[int64]evidence.Hash{}
	for i := int64(0); i < n; i++ {
		hs, err := tlog.StoredHashesForRecordHash(i, tlog.Hash(testLeaf(i)), reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hs...)
		f.Append(testLeaf(i), func(height int, index int64, h evidence.Hash) {
			at := tlog.StoredHashIndex(height, index)
			if _, twice := seen[at]; twice {
				t.Errorf("node %d of height %d is reported twice", index, height)
			}
			seen[at] = h
		})
	}
	if len(seen) != len(stored) {
		t.Errorf("%d nodes reported, want %d", len(seen), len(stored))
	}
	for i, h := range stored {
		if seen[int64(i)] != evidence.Hash(h) {
			t.Errorf("stored hash %d = %s, want %s", i, seen[int64(i)], h)
		}
	}
}

func TestFrontierProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 300).Draw(t, "size")
		var f Frontier
		for i := range n {
			f.Append(testLeaf(i), nil)
		}
		if f.Size() != n {
			t.Fatalf("size %d, want %d", f.Size(), n)
		}
		// Restored from its nodes it is the same and goes on the same.
		again, err := NewFrontier(n, f.Nodes(nil))
		if err != nil {
			t.Fatal(err)
		}
		if again.Root() != f.Root() {
			t.Fatalf("restored root %s, want %s", again.Root(), f.Root())
		}
		// A subtree appended at once is the same as its leaves.
		height := rapid.IntRange(0, 6).Draw(t, "height")
		if n%(1<<height) != 0 {
			return
		}
		var sub Frontier
		for i := n; i < n+1<<height; i++ {
			sub.Append(testLeaf(i), nil)
			f.Append(testLeaf(i), nil)
		}
		again.AppendSubtree(height, sub.Root(), nil)
		if again.Root() != f.Root() || again.Size() != f.Size() {
			t.Fatalf("with a subtree: %d %s, want %d %s", again.Size(), again.Root(), f.Size(), f.Root())
		}
	})
}

func TestNewFrontierRefuses(t *testing.T) {
	for _, tt := range []struct {
		size  int64
		nodes int
	}{{-1, 0}, {0, 1}, {1, 0}, {3, 1}, {4, 2}, {MaxSize + 1, 1}} {
		if _, err := NewFrontier(tt.size, make([]evidence.Hash, tt.nodes)); err == nil {
			t.Errorf("NewFrontier(%d, %d nodes) is accepted", tt.size, tt.nodes)
		}
	}
}

func TestFrontierAllocates(t *testing.T) {
	var f Frontier
	h := testLeaf(1)
	nodes := 0
	if n := testing.AllocsPerRun(1000, func() {
		f.Append(h, func(int, int64, evidence.Hash) { nodes++ })
		h = f.Root()
	}); n != 0 {
		t.Errorf("%v allocations per append and root", n)
	}
}

func TestFrontierMisplacedSubtree(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a subtree of 2 leaves after 1 leaf is accepted")
		}
	}()
	var f Frontier
	f.Append(testLeaf(0), nil)
	f.AppendSubtree(1, testLeaf(1), nil)
}

func BenchmarkFrontier(b *testing.B) {
	var f Frontier
	h := testLeaf(1)
	b.ReportAllocs()
	for b.Loop() {
		f.Append(h, nil)
	}
}
