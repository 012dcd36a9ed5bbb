package verify

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/c2sp"
)

// TestDigestFirst: entry bundles are hashed while their leaves are read, but a
// file that is not the manifest's is still found before anything that comes
// after: signatures, leaves, trees, keys.
func TestDigestFirst(t *testing.T) {
	const first, second = "logs/0/tile/entries/000", "logs/0/tile/entries/001.p/44"
	tests := []struct {
		name   string
		before func(*bundle) // before the manifest is made
		after  func(*bundle)
		opts   func(*Options)
		path   string
	}{
		{"the only thing", nil, func(b *bundle) { b.files[second] = flip(b.files[second], 40) }, nil, second},
		{"before a signature", func(b *bundle) { b.files["logs/0/checkpoint"] = b.logs[0].checkpoint(299) }, func(b *bundle) { b.files[second] = flip(b.files[second], 40) }, nil, second},
		{"before an earlier leaf", func(b *bundle) { b.files[first] = flip(b.files[first], 1) }, func(b *bundle) { b.files[second] = flip(b.files[second], 40) }, nil, second},
		{"before a later leaf", func(b *bundle) { b.files[second] = flip(b.files[second], 1) }, func(b *bundle) { b.files[first] = flip(b.files[first], 40) }, nil, first},
		{"before the root", func(b *bundle) {
			b.files[first] = bytes.Replace(b.files[first], []byte("get_weather"), []byte("get_wealthy"), 1)
		}, func(b *bundle) { b.files[second] = flip(b.files[second], 40) }, nil, second},
		{"two of them", nil, func(b *bundle) { b.files[first], b.files[second] = flip(b.files[first], 40), flip(b.files[second], 40) }, nil, first},
		{"without a key", nil, func(b *bundle) { b.files[second] = flip(b.files[second], 40) }, func(o *Options) { o.Keys = nil }, second},
	}
	for _, tt := range tests {
		b := newBundle(t, longLog(t, 300))
		if tt.before != nil {
			tt.before(b)
		}
		b.seal(nil)
		tt.after(b)
		opts := b.keys()
		if tt.opts != nil {
			tt.opts(&opts)
		}
		r := b.verify(opts)
		if r.Verdict != Failed || len(r.Findings) != 1 || r.Findings[0].Code != EFile || r.Findings[0].Path != tt.path {
			t.Errorf("%s: %s %v", tt.name, r.Verdict, r.Findings)
		}
		// Nothing is said of what was not checked.
		want := []LogReport{{Dir: "logs/0", Origin: testOrigin, Size: 300, ExportID: "export-1"}}
		if diff := cmp.Diff(want, r.Logs); diff != "" || len(r.Counts) > 0 {
			t.Errorf("%s: %s %v", tt.name, diff, r.Counts)
		}
	}
	// A log whose key is not given is not read, but its files are those listed.
	b := rollover(t, nil)
	const old = "logs/1/tile/entries/000.p/5"
	b.files[old] = flip(b.files[old], 40)
	opts := b.keys()
	opts.Keys = opts.Keys[:1]
	if r := b.verify(opts); r.Verdict != Failed || !r.Has(EFile) {
		t.Errorf("a log without a key: %s %v", r.Verdict, r.Findings)
	}
	if c2sp.TileWidth != 256 {
		t.Fatal("the files have other names")
	}
}

func flip(b []byte, at int) []byte {
	out := bytes.Clone(b)
	out[at] ^= 1
	return out
}
