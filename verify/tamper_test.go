package verify

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/runledger/runledger/evidence"
)

// fullBundle has every kind of file that a bundle of profile log can have.
func fullBundle(tb testing.TB) *bundle {
	tb.Helper()
	old := newLog(tb, "log.example/ba9876543210")
	old.opened(nil)
	l := newLog(tb, testOrigin)
	l.opened(facts{"predecessor_log": FormatPredecessor(old.origin(), 1, old.root(1))})
	l.step1("run-1", sealed{path: "/prompt", value: `"p"`}, sealed{path: "/response", value: `"r"`, reason: Erased})
	l.audit("run-1", "ErasureExecuted", nil, sealed{path: "/targets", value: `{"ranges":[{"from":1,"to":2,"paths":["/response"]}]}`})
	l.ended("run-1", nil)
	b := newBundle(tb, l, old)
	for k, at := range []evidence.Micros{l.now, old.now} {
		path := fmt.Sprintf("logs/%d/checkpoint", k)
		b.files[path] = cosign(tb, b.files[path], witness(tb, "witness.example/w1"), at)
	}
	b.files["logs/0/anchors/2.note"] = l.checkpoint(2)
	b.files["logs/0/anchors/2.tsr"] = []byte("DER")
	b.files["logs/0/consistency/2-4.add-checkpoint"] = l.consistency(2, 4, l.checkpoint(4))
	b.files["policy"] = []byte("quorum none\n")
	b.files["completeness.json"] = []byte("{}")
	b.files["report.html"] = []byte("<p>")
	return b.seal(nil)
}

func fullOptions(tb testing.TB, b *bundle) Options {
	o := b.keys()
	o.Policy = []byte("witness w1 " + witness(tb, "witness.example/w1").VKey().String() + "\nquorum w1\n")
	o.Workers = 1
	return o
}

// TestEveryCut: no prefix of a bundle is verified.
func TestEveryCut(t *testing.T) {
	b := fullBundle(t)
	data := b.zip()
	opts := fullOptions(t, b)
	for n := 0; n < len(data); n += 7 {
		if r := verifyZIP(t, data[:n], opts); r.Verdict != Failed || !r.Has(EContainer) {
			t.Errorf("cut to %d bytes: %s %v", n, r.Verdict, r.Findings)
		}
	}
}

// TestMakerAltersFile: whoever has the log's key and alters a file of
// evidence, makes the manifest again and lets the log record it, is found
// out: each leaf byte is under the root, each opening under its commitment.
func TestMakerAltersFile(t *testing.T) {
	good := fullBundle(t)
	for _, path := range []string{"logs/0/tile/entries/000.p/4", "logs/0/disclosures.jsonl"} {
		for i := 0; i < len(good.files[path]); i += 3 * stride {
			b := fullBundle(t)
			b.files[path] = bytes.Clone(b.files[path])
			b.files[path][i] ^= 1
			b.sizes[0] = 4
			b.logs[0].leaves = b.logs[0].leaves[:4]
			r := verifyZIP(t, resealed(b).zip(), fullOptions(t, b))
			if r.Verdict != Failed {
				t.Errorf("%s byte %d: %s %v", path, i, r.Verdict, r.Findings)
			}
		}
	}
}

// resealed makes manifest and receipt of a bundle again, on the log as it
// was when it was exported.
func resealed(b *bundle) *bundle {
	l := b.logs[0]
	fresh := newLog(b.tb, l.origin())
	for _, leaf := range l.leaves[:b.sizes[0]] {
		fresh.raw(leaf)
	}
	fresh.now = l.now
	b.logs[0] = fresh
	return b.seal(nil)
}

// FuzzZIP feeds altered archives: no panic, no error, and no good verdict
// but for the bundle itself.
func FuzzZIP(f *testing.F) {
	b := fullBundle(f)
	data := b.zip()
	opts := fullOptions(f, b)
	opts.Policy = nil
	f.Add(data)
	small := newBundle(f, smallLog(f)).seal(nil).zip()
	f.Add(small)
	known := map[[32]byte]bool{sha256.Sum256(data): true, sha256.Sum256(small): true}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ZIP(t.Context(), bytes.NewReader(b), int64(len(b)), opts)
		if err != nil {
			t.Fatal(err)
		}
		if r.Verdict != Failed && r.Verdict != CouldNotCheck && !known[sha256.Sum256(b)] {
			t.Fatalf("another bundle is %s", r.Verdict)
		}
	})
}

// FuzzFile replaces one file of a bundle, with manifest and receipt made
// again, so that the parsers behind the digests are reached.
func FuzzFile(f *testing.F) {
	good := fullBundle(f)
	paths := slices.Sorted(maps.Keys(good.files))
	for i, path := range paths {
		f.Add(i, good.files[path])
	}
	receipts := len(paths)
	for i, path := range receiptPaths {
		f.Add(receipts+i, good.receipt[path])
	}
	f.Fuzz(func(t *testing.T, i int, data []byte) {
		if i < 0 || i >= receipts+len(receiptPaths) {
			return
		}
		b := fullBundle(t)
		path, original := "", []byte(nil)
		if i < receipts {
			path = paths[i]
			original = b.files[path]
			b.files[path] = data
			b.sizes[0] = 4
			b = resealed(b)
		} else {
			path = receiptPaths[i-receipts]
			original = b.receipt[path]
			b.receipt[path] = data
		}
		z := b.zip()
		opts := fullOptions(t, b)
		opts.Policy = nil
		r, err := ZIP(t.Context(), bytes.NewReader(z), int64(len(z)), opts)
		if err != nil && !errors.Is(err, evidence.ErrInvalid) {
			t.Fatal(err)
		}
		if r.Verdict == Failed || bytes.Equal(data, original) {
			return
		}
		switch path {
		case "README.txt", "policy", "completeness.json", "report.html", "logs/0/anchors/2.tsr":
			// Views, hints, and what is not read.
		case "logs/0/withheld.jsonl", "logs/1/withheld.jsonl":
			// Another reason may be given.
		default:
			if i < receipts && bytes.Contains(data, []byte("— ")) {
				return // a note with further signatures, of unknown keys
			}
			t.Fatalf("%s: other evidence is %s", path, r.Verdict)
		}
	})
}
