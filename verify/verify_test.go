package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// limits are the findings of a good bundle without a witness policy.
var limits = []Code{WNoQuorum, WNoTime}

func wantCodes(t *testing.T, r *Report, verdict Verdict, want ...Code) {
	t.Helper()
	if r.Verdict != verdict || !slices.Equal(codes(r), want) {
		t.Errorf("%s %v, want %s %v", r.Verdict, r.Findings, verdict, want)
	}
}

func TestGood(t *testing.T) {
	b := newBundle(t, smallLog(t)).seal(nil)
	w := witness(t, "witness.example/w1")
	opts := b.keys()
	r := b.verify(opts)
	wantCodes(t, r, VerifiedWithLimits, limits...)
	if r.ExitStatus() != 10 {
		t.Errorf("exit status %d", r.ExitStatus())
	}

	b = newBundle(t, smallLog(t))
	at := b.logs[0].now
	b.files["logs/0/checkpoint"] = cosign(t, b.files["logs/0/checkpoint"], w, at)
	b.seal(nil)
	opts.Policy = []byte("witness w1 " + w.VKey().String() + "\nquorum w1\n")
	r = b.verify(opts)
	wantCodes(t, r, Verified)
	want := &Report{
		Verdict: Verified, Profile: ProfileLog, Scope: &Scope{TenantID: "acme"}, Findings: []Finding{},
		Logs: []LogReport{{
			Dir: "logs/0", Origin: testOrigin, Size: 8, Records: 8, Root: b.logs[0].root(8).String(), Key: b.logs[0].key(), Checked: true,
			FirstAt: start.String(), LastAt: (start + 7_000_000).String(), ExportID: "export-1",
			Witness: []CosignedBy{{"w1", w.VKey().String(), unixTime(int64(at) / 1_000_000)}},
		}},
		Counts: map[string]int64{
			"leaves": 8, "system": 1, "trace_step": 3, "llm_run": 1, "audit": 3, "runs": 2, "runs_ended": 1,
			"disclosed": 13, "withheld_erased": 1, "withheld_expired": 1, "withheld_not_permitted": 1,
		},
		NotProven: r.NotProven,
	}
	if diff := cmp.Diff(want, r, cmp.AllowUnexported(Report{})); diff != "" {
		t.Error(diff)
	}
	if len(r.NotProven) < 2 || r.ExitStatus() != 0 {
		t.Errorf("not proven: %q, exit status %d", r.NotProven, r.ExitStatus())
	}
}

func TestNoKeys(t *testing.T) {
	b := newBundle(t, smallLog(t)).seal(nil)
	r := b.verify(Options{Keys: []string{newLog(t, "other.example/0123456789ab").key()}})
	wantCodes(t, r, CouldNotCheck, UNoKey)
	if r.ExitStatus() != 4 {
		t.Errorf("exit status %d", r.ExitStatus())
	}
	// Another log's key under this log's name.
	seed := bytes.Repeat([]byte{9}, 32)
	s, err := c2sp.NewSigner(testOrigin, seed)
	if err != nil {
		t.Fatal(err)
	}
	wantCodes(t, b.verify(Options{Keys: []string{s.VKey().String()}}), Failed, ELogSig)
	// The key may come with the policy.
	r = b.verify(Options{Policy: []byte("log " + b.logs[0].key() + "\nquorum none\n")})
	wantCodes(t, r, VerifiedWithLimits, WNoTime)
}

func TestTwoLogs(t *testing.T) {
	old := smallLog(t)
	old.add(evidence.KindSystem, "", facts{"component": "ledger", "event_type": "LOG_CLOSED", "severity": "INFO", "visibility": "tenant"},
		sealed{path: "/summary", value: `"closed"`})
	next := newLog(t, "log.example/ba9876543210")
	next.n["run-2"] = old.n["run-2"] // it goes on after the rollover
	next.opened(facts{"predecessor_log": FormatPredecessor(old.origin(), old.size(), old.root(old.size()))})
	next.step1("run-2")
	b := newBundle(t, next, old).seal(nil)
	r := b.verify(b.keys())
	wantCodes(t, r, VerifiedWithLimits, limits...)
	if !r.Logs[1].Closed || r.Logs[0].Closed || !r.Logs[1].Checked || r.Counts["leaves"] != 11 {
		t.Errorf("%+v %v", r.Logs, r.Counts)
	}

	opts := b.keys()
	opts.Keys = opts.Keys[:1]
	r = b.verify(opts)
	wantCodes(t, r, VerifiedWithLimits, WNoKey, WNoQuorum, WNoTime)
	if r.Logs[1].Checked {
		t.Error("a log without a key is reported as checked")
	}
	opts.Keys = b.keys().Keys[1:]
	wantCodes(t, b.verify(opts), CouldNotCheck, UNoKey)

	for name, pre := range map[string]string{
		"root": FormatPredecessor(old.origin(), old.size(), old.root(4)),
		"size": FormatPredecessor(old.origin(), 4, old.root(5)),
	} {
		other := newLog(t, "log.example/ba9876543210")
		other.opened(facts{"predecessor_log": pre})
		b = newBundle(t, other, old).seal(nil)
		if r := b.verify(b.keys()); r.Verdict != Failed || !r.Has(EFork) {
			t.Errorf("predecessor of another %s: %s %v", name, r.Verdict, r.Findings)
		}
	}
	other := newLog(t, "log.example/ba9876543210")
	other.opened(facts{"predecessor_log": FormatPredecessor(old.origin(), 99, old.root(4))})
	b = newBundle(t, other, old).seal(nil)
	wantCodes(t, b.verify(b.keys()), VerifiedWithLimits, WNoQuorum, WNoTime, WPredecessor)
}

func TestQuorumAndTimes(t *testing.T) {
	w1, w2 := witness(t, "witness.example/w1"), witness(t, "witness.example/w2")
	one := []byte(fmt.Sprintf("witness w1 %s\nquorum w1\n", w1.VKey()))
	both := []byte(fmt.Sprintf("witness w1 %s\nwitness w2 %s\ngroup both all w1 w2\nquorum both\n", w1.VKey(), w2.VKey()))
	last := start + 7_000_000
	const minute = evidence.Micros(60_000_000)
	tests := []struct {
		name    string
		at1     evidence.Micros // 0: does not cosign
		at2     evidence.Micros
		policy  []byte
		verdict Verdict
		codes   []Code
	}{
		{"both", last, last, both, Verified, nil},
		{"one of both", last, 0, both, Failed, []Code{EQuorum}},
		{"none", 0, 0, both, Failed, []Code{EQuorum, WNoTime}},
		{"an unknown one more", last, last, one, Verified, nil},
		{"4 minutes before the last leaf", last - 4*minute, 0, one, Verified, nil},
		{"6 minutes before the last leaf", last - 6*minute, 0, one, Failed, []Code{ETime}},
		{"hours later than receipt", last + 200*minute, 0, one, Failed, []Code{EReceipt}},
		{"a time beyond all calendars", 1 << 62, 0, one, Failed, []Code{EReceipt, ETime}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBundle(t, smallLog(t))
			for i, at := range []evidence.Micros{tt.at1, tt.at2} {
				if at != 0 {
					b.files["logs/0/checkpoint"] = cosign(t, b.files["logs/0/checkpoint"], []*c2sp.Cosigner{w1, w2}[i], at)
				}
			}
			b.seal(nil)
			opts := b.keys()
			opts.Policy = tt.policy
			r := b.verify(opts)
			wantCodes(t, r, tt.verdict, tt.codes...)
		})
	}
	t.Run("bad cosignature", func(t *testing.T) {
		b := newBundle(t, smallLog(t))
		c, sigs, err := c2sp.ParseNote(cosign(t, b.files["logs/0/checkpoint"], w1, last))
		if err != nil {
			t.Fatal(err)
		}
		sigs[1].Sig[20] ^= 1
		b.files["logs/0/checkpoint"] = c2sp.FormatNote(c, sigs)
		b.seal(nil)
		opts := b.keys()
		wantCodes(t, b.verify(opts), VerifiedWithLimits, limits...) // the witness is unknown
		opts.Policy = one
		wantCodes(t, b.verify(opts), Failed, EQuorum, WNoTime)
	})
}

func TestSince(t *testing.T) {
	l := longLog(t, 600)
	var notes [][]byte
	for _, size := range []int64{0, 1, 255, 256, 257, 512, 600} {
		notes = append(notes, l.checkpoint(size))
	}
	b := newBundle(t, l).seal(nil)
	later := l.checkpoint(l.size())
	for _, note := range notes {
		opts := b.keys()
		opts.Since = note
		wantCodes(t, b.verify(opts), VerifiedWithLimits, limits...)
	}
	forked := newLog(t, testOrigin)
	forked.opened(facts{"version": "2"})
	for forked.size() < 300 {
		forked.step1("x")
	}
	for _, size := range []int64{1, 256, 300} {
		opts := b.keys()
		opts.Since = forked.checkpoint(size)
		r := b.verify(opts)
		wantCodes(t, r, Failed, EFork, WNoQuorum, WNoTime)
	}
	opts := b.keys()
	opts.Since = later // newer than the bundle
	wantCodes(t, b.verify(opts), CouldNotCheck, USince, WNoQuorum, WNoTime)

	other := newLog(t, "other.example/0123456789ab")
	other.opened(nil)
	opts.Since = other.checkpoint(1)
	wantCodes(t, b.verify(opts), CouldNotCheck, USince, WNoQuorum, WNoTime)
	opts.Keys = append(opts.Keys, other.key())
	wantCodes(t, b.verify(opts), CouldNotCheck, USince, WNoQuorum, WNoTime)

	// A proof to a newer tree may be in the bundle.
	b = newBundle(t, l)
	size := l.size()
	l.step1("run-1")
	newer := l.checkpoint(size + 1)
	b.files[fmt.Sprintf("logs/0/consistency/%d-%d.add-checkpoint", size, size+1)] = l.consistency(size, size+1, newer)
	b.seal(nil)
	opts = b.keys()
	opts.Since = newer
	wantCodes(t, b.verify(opts), VerifiedWithLimits, limits...)
}

func TestAnchors(t *testing.T) {
	l := longLog(t, 600)
	b := newBundle(t, l)
	for _, size := range []int64{1, 7, 256, 300, 600} {
		b.files[anchorPath("logs/0", size, "note")] = l.checkpoint(size)
	}
	b.files["logs/0/anchors/300.tsr"] = []byte("DER")
	b.files["logs/0/consistency/300-600.add-checkpoint"] = l.consistency(300, 600, l.checkpoint(600))
	b.files["logs/0/consistency/256-512.add-checkpoint"] = l.consistency(256, 512, l.checkpoint(512))
	b.seal(nil)
	r := b.verify(b.keys())
	wantCodes(t, r, VerifiedWithLimits, WNoQuorum, WNoTime, WTimeUnchecked)
}

func TestUnknownProfile(t *testing.T) {
	b := newBundle(t, smallLog(t))
	b.man.Profile = "day"
	b.man.Scope.RunID = "run-1"
	b.seal(nil)
	wantCodes(t, b.verify(b.keys()), CouldNotCheck, UProfile)
	wantCodes(t, b.verify(Options{}), CouldNotCheck, UProfile)
}

func TestOptions(t *testing.T) {
	b := newBundle(t, smallLog(t)).seal(nil)
	l := b.logs[0]
	w := witness(t, "witness.example/w1").VKey().String()
	s, err := c2sp.NewSigner(testOrigin, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	bad, _, _ := c2sp.ParseNote(l.checkpoint(3))
	bad.Size++
	_, sigs, _ := c2sp.ParseNote(l.checkpoint(3))
	data := b.zip()
	for name, o := range map[string]Options{
		"no key":          {Keys: []string{"key"}},
		"witness key":     {Keys: []string{w}},
		"two keys":        {Keys: []string{l.key(), s.VKey().String()}},
		"policy":          {Policy: []byte("quorum\n")},
		"empty policy":    {Policy: []byte{}},
		"since no note":   {Since: []byte("checkpoint")},
		"since not valid": {Keys: []string{l.key()}, Since: c2sp.FormatNote(bad, sigs)},
		"two keys, one of the policy": {
			Keys: []string{l.key()}, Policy: []byte("log " + s.VKey().String() + "\nquorum none\n"),
		},
	} {
		if r, err := ZIP(t.Context(), bytes.NewReader(data), int64(len(data)), o); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

func TestDirOnDisk(t *testing.T) {
	b := newBundle(t, longLog(t, 300)).seal(nil)
	dir := t.TempDir()
	for _, f := range b.list() {
		path := filepath.Join(dir, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want Code) {
		t.Helper()
		r, err := Dir(t.Context(), os.DirFS(dir), b.keys())
		if err != nil {
			t.Fatal(err)
		}
		if !r.Has(want) {
			t.Errorf("%s %v, want %s", r.Verdict, r.Findings, want)
		}
	}
	check(WNoQuorum)
	if err := os.WriteFile(filepath.Join(dir, "extra"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	check(EContainer)
	if err := os.Remove(filepath.Join(dir, "extra")); err != nil {
		t.Fatal(err)
	}
	check(WNoQuorum)
	readme := filepath.Join(dir, "README.txt")
	if err := os.Rename(readme, filepath.Join(t.TempDir(), "x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("manifest.json", readme); err != nil {
		t.Fatal(err)
	}
	check(EContainer)
}

func TestCancel(t *testing.T) {
	b := newBundle(t, longLog(t, 600)).seal(nil)
	data := b.zip()
	opts := b.keys()
	for _, stage := range []string{"", "files", "logs/0"} {
		ctx, cancel := context.WithCancel(t.Context())
		if stage == "" {
			cancel()
		}
		opts.Progress = func(p Progress) {
			if p.Stage == stage {
				cancel()
			}
			if p.Done <= 0 || p.Done > p.Total {
				t.Errorf("progress %+v", p)
			}
		}
		if r, err := ZIP(ctx, bytes.NewReader(data), int64(len(data)), opts); !errors.Is(err, context.Canceled) {
			t.Errorf("%q: %v, %v", stage, r, err)
		}
		cancel()
	}
}

var errDisk = errors.New("disk broken")

// brokenFS fails to read one file.
type brokenFS struct {
	fs.FS
	path string
}

func (b brokenFS) Open(name string) (fs.File, error) {
	f, err := b.FS.Open(name)
	if err == nil && name == b.path {
		return brokenFile{f}, nil
	}
	return f, err
}

type brokenFile struct{ fs.File }

func (brokenFile) Read([]byte) (int, error) { return 0, errDisk }

// A machine that cannot read is no verdict about the evidence.
func TestReadErrors(t *testing.T) {
	b := newBundle(t, smallLog(t)).seal(nil)
	for _, f := range b.list() {
		r, err := Dir(t.Context(), brokenFS{b.fs(), f.name}, b.keys())
		if !errors.Is(err, errDisk) {
			t.Errorf("%s: %v, %v", f.name, r, err)
		}
	}
}

func TestWorkers(t *testing.T) {
	b := newBundle(t, longLog(t, 1500)).seal(nil)
	want := b.verify(b.keys())
	for _, n := range []int{1, 2, 7, 64} {
		opts := b.keys()
		opts.Workers = n
		if diff := cmp.Diff(want, b.verify(opts), cmp.AllowUnexported(Report{})); diff != "" {
			t.Errorf("%d workers: %s", n, diff)
		}
	}
}

func TestLogRules(t *testing.T) {
	parse := func(l *testLog, i int) *evidence.Leaf {
		leaf, err := evidence.ParseLeaf(l.leaves[i])
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	l := smallLog(t)
	r := LogRules{Origin: l.origin(), Key: l.key()}
	for i := range l.leaves {
		if err := r.Next(parse(l, i)); err != nil {
			t.Error(err)
		}
	}
	if err := r.Next(parse(l, 3)); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("an old leaf again: %v", err)
	}
	r = LogRules{Origin: l.origin(), Key: l.key()}
	if err := r.Next(parse(l, 1)); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("the second leaf first: %v", err)
	}
}
