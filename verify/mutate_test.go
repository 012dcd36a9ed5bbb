package verify

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/runledger/runledger/internal/zipstore"
)

// Good bundles of each profile: small ones for tests of every byte, and such as
// have every kind of file.
var (
	smallGood = []string{"log-rollover", "run-rollover", "period-rollover"}
	mutated   = []string{"log-stamped", "run-rollover", "period-compliance"}
)

// frozenBundle returns a bundle of the set, and what its auditor has.
func frozenBundle(tb testing.TB, name string) ([]byte, Options) {
	tb.Helper()
	list := expected(tb)
	i := slices.IndexFunc(list, func(e expectation) bool { return e.Name == name })
	if i < 0 {
		tb.Fatalf("no bundle %s", name)
	}
	opts := list[i].options(tb)
	opts.Workers = 1
	return readFrozen(tb, list[i].File), opts
}

// filesOf returns the files of an archive in their order.
func filesOf(tb testing.TB, data []byte) (out []namedFile) {
	tb.Helper()
	z, err := zipstore.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range z.Entries() {
		b, err := z.ReadFile(e.Name)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, namedFile{e.Name, b})
	}
	return out
}

// good: a verdict that an altered bundle must never get.
func good(v Verdict) bool { return v == Verified || v == VerifiedWithLimits }

// never checks, on all cores, that no bundle of alter(i, rand), i from 0 to n−1,
// is verified. nil stands for no change.
func never(t *testing.T, n int, opts Options, alter func(i int, r *rand.Rand) ([]byte, string)) {
	t.Helper()
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				data, what := alter(i, rand.New(rand.NewPCG(uint64(i), 7)))
				if data == nil {
					continue
				}
				r, err := ZIP(t.Context(), bytes.NewReader(data), int64(len(data)), opts)
				if err != nil {
					t.Errorf("%d, %s: %v", i, what, err)
				} else if good(r.Verdict) {
					t.Errorf("%d, %s, is not noticed: %s", i, what, r.Verdict)
				}
			}
		})
	}
	wg.Wait()
}

// TestEveryByte: whatever byte of a bundle is altered, it is never verified.
func TestEveryByte(t *testing.T) {
	for _, name := range smallGood {
		data, opts := frozenBundle(t, name)
		if r := verifyZIP(t, data, opts); !good(r.Verdict) {
			t.Fatalf("%s: %s %v", name, r.Verdict, r.Findings)
		}
		never(t, (len(data)+stride-1)/stride, opts, func(i int, r *rand.Rand) ([]byte, string) {
			bad, flip := bytes.Clone(data), byte(1+r.IntN(255))
			bad[i*stride] ^= flip
			return bad, fmt.Sprintf("%s byte %d ^ %#x", name, i*stride, flip)
		})
	}
}

// TestEveryByteOfFiles: the same inside of the files, with a ZIP made again
// around them. What the manifest lists is caught by its digests, so of these
// it alters less.
func TestEveryByteOfFiles(t *testing.T) {
	for _, name := range mutated {
		data, opts := frozenBundle(t, name)
		list := filesOf(t, data)
		type place struct{ file, at int }
		var places []place
		for i, f := range list {
			step := 29 * stride
			if f.name == manifestPath || slices.Contains(receiptPaths, f.name) {
				step = 5 * stride
			}
			for at := 0; at < len(f.data); at += step {
				places = append(places, place{i, at})
			}
		}
		never(t, len(places), opts, func(i int, r *rand.Rand) ([]byte, string) {
			p := places[i]
			files := slices.Clone(list)
			b, flip := bytes.Clone(files[p.file].data), byte(1)<<r.IntN(8)
			b[p.at] ^= flip
			files[p.file].data = b
			return zipOf(t, files), fmt.Sprintf("%s %s byte %d ^ %#x", name, files[p.file].name, p.at, flip)
		})
	}
}

// TestRanges: bytes inserted, removed, doubled and swapped, in the ZIP and in
// the files of a ZIP made again.
func TestRanges(t *testing.T) {
	for _, name := range mutated {
		data, opts := frozenBundle(t, name)
		list := filesOf(t, data)
		never(t, 1000/min(stride, 10), opts, func(i int, r *rand.Rand) ([]byte, string) {
			if i%2 == 0 {
				bad, what := moved(data, r)
				if bytes.Equal(bad, data) {
					return nil, ""
				}
				return bad, name + " " + what
			}
			files := slices.Clone(list)
			k := r.IntN(len(files))
			if r.IntN(2) == 0 { // receipts and manifest are not caught by digests
				k = []int{0, len(files) - 1, len(files) - 2, len(files) - 3}[r.IntN(4)]
			}
			bad, what := moved(files[k].data, r)
			if bytes.Equal(bad, files[k].data) {
				return nil, ""
			}
			files[k].data = bad
			return zipOf(t, files), fmt.Sprintf("%s %s %s", name, files[k].name, what)
		})
	}
}

// moved alters a range of the bytes, which are copied.
func moved(b []byte, r *rand.Rand) (out []byte, what string) {
	if len(b) == 0 {
		return []byte{0}, "one byte in an empty file"
	}
	from := r.IntN(len(b))
	to := from + 1 + r.IntN(min(len(b)-from, 300))
	switch r.IntN(5) {
	case 0:
		return slices.Concat(b[:from], b[to:]), fmt.Sprintf("without %d to %d", from, to)
	case 1:
		return slices.Concat(b[:to], b[from:]), fmt.Sprintf("with %d to %d twice", from, to)
	case 2:
		extra := make([]byte, 1+r.IntN(20))
		for i := range extra {
			extra[i] = byte(r.Uint32())
		}
		return slices.Concat(b[:from], extra, b[from:]), fmt.Sprintf("with %x at %d", extra, from)
	case 3:
		at := from + r.IntN(to-from)
		return slices.Concat(b[:from], b[at:to], b[from:at], b[to:]), fmt.Sprintf("with %d to %d and %d to %d swapped", from, at, at, to)
	default:
		out = bytes.Clone(b)
		clear(out[from:to])
		return out, fmt.Sprintf("with zeros from %d to %d", from, to)
	}
}
