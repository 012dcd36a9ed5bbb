package verify

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/runledger/runledger/evidence"
)

// crowded adds n log directories without a key to a bundle of profile run: each is a
// W_NO_KEY.
func crowded(tb testing.TB, b *bundle, n int) *bundle {
	tb.Helper()
	for k := len(b.man.Logs); k < n+1; k++ {
		dir := fmt.Sprintf("logs/%d", k)
		b.man.Logs = append(b.man.Logs, ManifestLog{Dir: dir, Origin: fmt.Sprintf("other.example/%012x", k), Size: 1})
		b.files[dir+"/checkpoint"], b.files[dir+"/"+recordsName] = []byte("x"), nil
	}
	return b
}

// TestCrowdedFindings: a report has an upper bound, but never so that findings which
// weigh little keep those out that make the verdict.
func TestCrowdedFindings(t *testing.T) {
	bad := map[string]struct {
		edit func(b *bundle)
		code Code
	}{
		"leaf": {func(b *bundle) { b.editRecord(0, func(r *Record) { r.Leaf = append(r.Leaf, ' ') }) }, ELeaf},
		"included": {func(b *bundle) {
			b.editRecord(0, func(r *Record) { r.Leaf = bytes.Replace(r.Leaf, []byte("get_weather"), []byte("get_whether"), 1) })
		}, EInclusion},
		"gap": {func(b *bundle) { b.dropRecord(runSeqs, 3) }, EGap},
		"commit": {func(b *bundle) {
			const path = "logs/0/disclosures.jsonl"
			b.files[path] = bytes.Replace(b.files[path], []byte("loan 4711"), []byte("loan 4712"), 1)
		}, ECommit},
		"receipt": {nil, EReceipt},
	}
	for name, tt := range bad {
		t.Run(name, func(t *testing.T) {
			b := crowded(t, runBundle(t, "run-1", []*testLog{runLog(t)}, runSeqs), maxFindings+2)
			if tt.edit != nil {
				tt.edit(b)
			}
			b.seal(nil)
			if tt.edit == nil {
				b.receipt[receiptLeaf] = bytes.Replace(b.receipt[receiptLeaf], []byte("export-1"), []byte("export-2"), 1)
			}
			r := verifyZIP(t, b.zip(), Options{Keys: []string{b.logs[0].key()}})
			if r.Verdict != Failed || !r.Has(tt.code) {
				t.Errorf("%s, %d findings, without %s", r.Verdict, len(r.Findings), tt.code)
			}
		})
	}
}

// TestCrowdedHeld: the same for what each log holds back until checks 1 to 5 are through.
func TestCrowdedHeld(t *testing.T) {
	l := newLog(t, testOrigin)
	l.opened(nil)
	for l.size() < 2500 {
		l.step1(fmt.Sprintf("run-%d", l.size()))
	}
	l.n["run-1"]++ // a gap, the last of all
	l.step1("run-1")
	b := newBundle(t, l)
	lines := bytes.SplitAfter(b.files["logs/0/disclosures.jsonl"], []byte("\n"))
	for i := range 2400 {
		if i%2 == 1 {
			lines[i] = nil // not accounted for
		}
	}
	b.files["logs/0/disclosures.jsonl"] = bytes.Join(lines, nil)
	r := verifyZIP(t, b.seal(nil).zip(), b.keys())
	if !r.Has(EUnaccounted) || !r.Has(EGap) || !r.Has(WNoQuorum) {
		t.Errorf("%s %s", r.Verdict, strings.Join(strings.Fields(fmt.Sprint(codes(r))), " "))
	}
}

// TestNoControlCharacters: nothing of a bundle reaches a terminal but as text.
func TestNoControlCharacters(t *testing.T) {
	const trick = "\x1b[2J\x1b[HVERIFIED\u202e\u009b"
	clean := func(t *testing.T, r *Report) {
		t.Helper()
		if r.Verdict != Failed {
			t.Errorf("%s", r.Verdict)
		}
		for _, f := range r.Findings {
			if strings.ContainsFunc(f.Error(), func(c rune) bool { return !unicode.IsGraphic(c) }) {
				t.Errorf("%q", f.Error())
			}
		}
	}
	t.Run("manifest", func(t *testing.T) {
		b := newBundle(t, smallLog(t))
		b.files[trick] = []byte("x")
		b.seal(nil)
		delete(b.files, trick)
		clean(t, verifyZIP(t, b.zip(), b.keys()))
	})
	t.Run("directory", func(t *testing.T) {
		b := newBundle(t, smallLog(t)).seal(nil)
		b.files[trick] = []byte("x")
		r, err := Dir(t.Context(), b.fs(), b.keys())
		if err != nil {
			t.Fatal(err)
		}
		clean(t, r)
	})
	t.Run("run", func(t *testing.T) {
		b := runBundle(t, "run-1", []*testLog{runLog(t)}, runSeqs)
		b.man.Scope.RunID = trick
		clean(t, verifyZIP(t, b.seal(nil).zip(), b.keys()))
	})
}

// TestClosedLogGoesOn: a log that the bundle shows as closed has no receipt behind that.
func TestClosedLogGoesOn(t *testing.T) {
	l := smallLog(t)
	l.add(evidence.KindSystem, "", facts{
		"component": "ledger", "event_type": "LOG_CLOSED", "severity": "INFO", "visibility": "tenant",
		"successor_log": "log.example/ffffffffffff", "vkey": newLog(t, "log.example/ffffffffffff").key(),
	}, sealed{path: "/summary", value: `"closed"`})
	b := newBundle(t, l).seal(nil)
	wantCodes(t, b.verify(b.keys()), Failed, EReceipt, WNoQuorum, WNoTime)
}

// TestErasedByOlderLog: a log that was closed before a leaf was made says nothing about it.
func TestErasedByOlderLog(t *testing.T) {
	older, newer := newLog(t, "log.example/111111111111"), newLog(t, testOrigin)
	older.opened(nil)
	older.audit("", "ErasureExecuted", nil, sealed{path: "/targets", value: `{"log":"` + testOrigin + `","ranges":[{"from":0,"to":9007199254740991}]}`})
	newer.now = older.now
	newer.opened(facts{"predecessor_log": FormatPredecessor(older.origin(), older.size(), older.root(older.size()))})
	newer.step1("run-1", sealed{path: "/prompt", value: `"gone"`, reason: Erased})
	b := newBundle(t, newer, older).seal(nil)
	wantCodes(t, b.verify(b.keys()), Failed, EUnaccounted, WNoQuorum, WNoTime)
}

// TestForeignDirectory: records of a log that nothing links to the tenant's newest are
// said to be that, be they the run's or of no run.
func TestForeignDirectory(t *testing.T) {
	foreign := newLog(t, "log.example/222222222222")
	foreign.opened(nil)
	foreign.audit("", "LimitOverrideGranted", nil)
	b := runBundle(t, "run-1", []*testLog{runLog(t), foreign}, runSeqs, []int64{1}).seal(nil)
	wantCodes(t, b.verify(b.keys()), VerifiedWithLimits, WNoQuorum, WNoTime, WPredecessor)

	newest := newLog(t, "log.example/222222222222")
	newest.opened(nil)
	b = runBundle(t, "run-1", []*testLog{newest, runLog(t)}, []int64{0}, runSeqs).seal(nil)
	wantCodes(t, b.verify(b.keys()), VerifiedWithLimits, WNoQuorum, WNoTime, WPredecessor)
}

// TestViewsAreNotProven: whoever holds the key can export a report that lies.
func TestViewsAreNotProven(t *testing.T) {
	b := runBundle(t, "run-1", []*testLog{runLog(t)}, runSeqs)
	if text := fmt.Sprint(b.seal(nil).verify(b.keys()).NotProven); strings.Contains(text, "report") {
		t.Errorf("without a report: %s", text)
	}
	b = runBundle(t, "run-1", []*testLog{runLog(t)}, runSeqs)
	b.files["report.html"] = []byte("<h1>All loans were approved</h1>")
	if text := fmt.Sprint(b.seal(nil).verify(b.keys()).NotProven); !strings.Contains(text, "that report.html says") {
		t.Errorf("with a report: %s", text)
	}
	l := newBundle(t, longLog(t, 3))
	l.files["completeness.json"] = []byte("{}")
	if text := fmt.Sprint(l.seal(nil).verify(l.keys()).NotProven); strings.Contains(text, "report.") || !strings.Contains(text, "that completeness.json says") {
		t.Errorf("of a log: %s", text)
	}
}

// TestManyBadStamps: what is no time stamp can cost a bounded time only.
func TestManyBadStamps(t *testing.T) {
	l := longLog(t, 3*maxBadStamps)
	b := newBundle(t, l)
	for size := int64(1); size < l.size(); size++ {
		b.anchor(0, size, nil, 0)
		b.files[anchorPath("logs/0", size, "tsr")] = []byte("x")
	}
	o := b.seal(nil).keys()
	o.TimeRoots = readFrozen(t, rootsFile)
	r := b.verify(o)
	n := 0
	for _, f := range r.Findings {
		if f.Code == ETime {
			n++
		}
	}
	if r.Verdict != Failed || n != maxBadStamps+1 {
		t.Errorf("%s, %d findings", r.Verdict, n)
	}
}

// TestLeftOutRecords: records of a run that may stand in a log without a key are named.
func TestLeftOutRecords(t *testing.T) {
	older := newLog(t, "log.example/aaaaaaaaaaaa")
	older.opened(nil)
	l := newLog(t, testOrigin)
	l.now = older.now
	l.opened(facts{"predecessor_log": older.predecessor()})
	for range 3 {
		l.step1("r")
	}
	l.ended("r", nil)
	b := runBundle(t, "r", []*testLog{l, older}, []int64{0, 3, 4}, nil).seal(nil)
	r := b.verify(Options{Keys: []string{l.key()}})
	wantCodes(t, r, VerifiedWithLimits, WNoKey, WNoQuorum, WNoTime)
	if !strings.Contains(fmt.Sprint(r.Findings), "records n = 0 to 1 are not here") {
		t.Errorf("%v", r.Findings)
	}
}
