package verify

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/runledger/runledger/evidence"
)

// runBundle makes a bundle of profile run of those leaves of each log.
func runBundle(tb testing.TB, run string, logs []*testLog, seqs ...[]int64) *bundle {
	tb.Helper()
	b := newBundle(tb, logs...)
	b.man.Profile, b.man.Scope.RunID = ProfileRun, run
	for path := range b.files {
		if strings.Contains(path, "/tile/") {
			delete(b.files, path)
		}
	}
	for k := range logs {
		b.setRecords(k, seqs[k]...)
	}
	return b
}

// setRecords puts these leaves into a directory, with what is said of them.
func (b *bundle) setRecords(k int, seqs ...int64) {
	l, dir := b.logs[k], fmt.Sprintf("logs/%d/", k)
	var records, open, held []byte
	for _, seq := range seqs {
		r := b.record(k, seq)
		records = r.Append(records)
		var all []Withheld
		for _, d := range l.open {
			switch {
			case d.Seq != seq:
			case b.shows(r.Leaf, d.Path):
				open = d.Append(open)
			default:
				all = append(all, Withheld{seq, d.Path, Requested})
			}
		}
		for _, w := range l.held {
			if w.Seq != seq {
				continue
			}
			if !b.shows(r.Leaf, w.Path) {
				w.Reason = Requested
			}
			all = append(all, w)
		}
		slices.SortFunc(all, func(a, b Withheld) int { return strings.Compare(a.Path, b.Path) })
		for _, w := range all {
			held = w.Append(held)
		}
	}
	b.files[dir+recordsName], b.files[dir+"disclosures.jsonl"], b.files[dir+"withheld.jsonl"] = records, open, held
}

// shows reports whether a field is disclosed, by the kind of its record.
func (b *bundle) shows(leaf []byte, path string) bool {
	if b.disclose == nil || path == pathTargets {
		return true
	}
	l, err := evidence.ParseLeaf(leaf)
	if err != nil {
		return true // a test's own
	}
	return slices.Contains(b.disclose, l.Kind)
}

func (b *bundle) record(k int, seq int64) *Record {
	b.tb.Helper()
	p, err := tlog.ProveRecord(b.sizes[k], seq, b.logs[k].reader())
	if err != nil {
		b.tb.Fatal(err)
	}
	return &Record{Seq: seq, Leaf: b.logs[k].leaves[seq], Proof: plain(p)}
}

// editRecord changes a line of records.jsonl.
func (b *bundle) editRecord(i int, edit func(*Record)) {
	b.tb.Helper()
	const path = "logs/0/" + recordsName
	lines := bytes.SplitAfter(b.files[path], []byte("\n"))
	r, err := ParseRecord(bytes.TrimSuffix(lines[i], []byte("\n")))
	if err != nil {
		b.tb.Fatal(err)
	}
	edit(r)
	lines[i] = r.Append(nil)
	b.files[path] = bytes.Join(lines, nil)
}

// dropRecord takes a line out of records.jsonl, and what is said of its leaf.
func (b *bundle) dropRecord(seqs []int64, seq int64) {
	b.setRecords(0, slices.DeleteFunc(slices.Clone(seqs), func(s int64) bool { return s == seq })...)
}

// runSeqs are the leaves of runLog that belong to the bundle of run-1.
var runSeqs = []int64{1, 3, 4, 5, 7, 8, 9, 10}

// runLog has a run that ended twice, among others.
//
//	0 opened   1 run-1 step        2 run-2 step        3 run-1 step   4 run-1 ended
//	5 run-1 erased                 6 run-2 ended       7 run-1 ended again
//	8 policy, by correlation       9 run-2's limit, by correlation    10 run-1 late step
func runLog(tb testing.TB) *testLog {
	tb.Helper()
	l := newLog(tb, testOrigin)
	l.opened(nil)
	l.edit = func(leaf *evidence.Leaf) { setFacts(tb, leaf, facts{"correlation_id": "order-7"}) }
	l.step1("run-1", sealed{path: "/prompt", value: `"Approve loan 4711?"`}, sealed{path: "/response", value: `"no"`, reason: Requested})
	l.step1("run-2", sealed{path: "/prompt", value: `"other"`})
	l.step1("run-1", sealed{path: "/params", value: `{"x": 1.50}`, reason: Erased})
	l.ended("run-1", nil)
	l.audit("run-1", "ErasureExecuted", nil, sealed{path: "/targets", value: `{"ranges":[{"from":3,"to":4,"paths":["/params"]}]}`})
	l.ended("run-2", nil)
	l.ended("run-1", facts{"revision": 2, "correlation_id": "order-7"})
	l.audit("", "PolicyEvaluated", facts{"producer": "key-1", "correlation_id": "order-7"}, sealed{path: "/action_reason", value: `"x"`, reason: NotPermitted})
	l.audit("run-2", "LimitChecked", facts{"producer": "key-1", "correlation_id": "order-7"})
	l.step1("run-1")
	return l
}

func runGood(tb testing.TB) *bundle {
	return runBundle(tb, "run-1", []*testLog{runLog(tb)}, runSeqs)
}

func TestRunGood(t *testing.T) {
	b := runGood(t)
	at := b.logs[0].now
	w := witness(t, "witness.example/w1")
	b.files["logs/0/checkpoint"] = cosign(t, b.files["logs/0/checkpoint"], w, at)
	b.seal(nil)
	opts := b.keys()
	wantCodes(t, b.verify(opts), VerifiedWithLimits, limits...)
	opts.Policy = []byte("witness w1 " + w.VKey().String() + "\nquorum w1\n")
	r := b.verify(opts)
	wantCodes(t, r, Verified)
	id := func(seq int64) string {
		l, err := evidence.ParseLeaf(b.logs[0].leaves[seq])
		if err != nil {
			t.Fatal(err)
		}
		return l.ID.String()
	}
	want := &Report{
		Verdict: Verified, Profile: ProfileRun, Scope: &Scope{TenantID: "acme", RunID: "run-1"}, Findings: []Finding{},
		Logs: []LogReport{{
			Dir: "logs/0", Origin: testOrigin, Size: 11, Records: 8, Root: b.logs[0].root(11).String(), Key: b.logs[0].key(), Checked: true,
			FirstAt: (start + 1_000_000).String(), LastAt: (start + 10_000_000).String(), ExportID: "export-1",
			Witness: []CosignedBy{{"w1", w.VKey().String(), unixTime(int64(at) / 1_000_000)}},
		}},
		Run: &RunReport{
			RunID: "run-1", Records: 6, Ended: true, Revision: 2, RecordCount: 5,
			Later: []LaterRecord{{"logs/0", 10, 5, "trace_step", id(10)}}, LaterCount: 1,
		},
		Counts: map[string]int64{
			"leaves": 8, "trace_step": 3, "llm_run": 2, "audit": 3,
			"disclosed": 10, "withheld_erased": 1, "withheld_requested": 1, "withheld_not_permitted": 1,
		},
		NotProven: r.NotProven,
	}
	if diff := cmp.Diff(want, r, cmp.AllowUnexported(Report{})); diff != "" {
		t.Error(diff)
	}
	if text := strings.Join(r.NotProven, "\n"); !strings.Contains(text, "no later revision of the run exists") || !strings.Contains(text, "correlation id") {
		t.Errorf("not proven: %s", text)
	}
	for _, workers := range []int{1, 7} {
		opts.Workers = workers
		if diff := cmp.Diff(want, b.verify(opts), cmp.AllowUnexported(Report{})); diff != "" {
			t.Errorf("%d workers: %s", workers, diff)
		}
	}
}

// TestRunRules: bundles whose maker, with the log's key, left out, altered or
// added something.
func TestRunRules(t *testing.T) {
	const dir = "logs/0/"
	edit := func(path, old, new string) func(*bundle) {
		return func(b *bundle) {
			s := strings.Replace(string(b.files[path]), old, new, 1)
			if s == string(b.files[path]) {
				b.tb.Fatalf("%q is not in %s", old, path)
			}
			b.files[path] = []byte(s)
		}
	}
	records := func(i int, f func(*Record)) func(*bundle) { return func(b *bundle) { b.editRecord(i, f) } }
	drop := func(seq int64) func(*bundle) { return func(b *bundle) { b.dropRecord(runSeqs, seq) } }
	tests := []struct {
		name string
		edit func(*bundle)
		code Code
		from int64 // of the finding; -1: of no leaf
	}{
		{"first record dropped", drop(1), EGap, 3},
		{"record dropped", drop(3), EGap, 4},
		{"first ending dropped", drop(4), EGap, 5},
		{"last ending dropped", drop(7), EGap, 10},
		{"erasure dropped", drop(5), EUnaccounted, 3},
		{"all dropped", func(b *bundle) { b.setRecords(0) }, EGap, -1},
		{"record twice", func(b *bundle) {
			one := b.record(0, 3)
			b.files[dir+recordsName] = one.Append(b.files[dir+recordsName])
		}, ELeaf, 3},
		{"reordered", func(b *bundle) {
			lines := bytes.SplitAfter(b.files[dir+recordsName], []byte("\n"))
			lines[1], lines[2] = lines[2], lines[1]
			b.files[dir+recordsName] = bytes.Join(lines, nil)
		}, ELeaf, 3},
		{"proofs swapped", func(b *bundle) {
			p1, p3 := b.record(0, 1).Proof, b.record(0, 3).Proof
			b.editRecord(0, func(r *Record) { r.Proof = p3 })
			b.editRecord(1, func(r *Record) { r.Proof = p1 })
		}, EInclusion, 1},
		{"proof of an older tree", func(b *bundle) {
			p, err := tlog.ProveRecord(8, 3, b.logs[0].reader())
			if err != nil {
				b.tb.Fatal(err)
			}
			b.editRecord(1, func(r *Record) { r.Proof = plain(p) })
		}, EInclusion, 3},
		{"no proof", records(2, func(r *Record) { r.Proof = nil }), EInclusion, 4},
		{"proof with a hash more", records(2, func(r *Record) { r.Proof = append(r.Proof, evidence.Hash{}) }), EInclusion, 4},
		{"leaf altered", records(0, func(r *Record) {
			r.Leaf = bytes.Replace(r.Leaf, []byte("get_weather"), []byte("get_wealthy"), 1)
		}), EInclusion, 1},
		{"leaf altered out of profile", records(0, func(r *Record) {
			r.Leaf = bytes.Replace(r.Leaf, []byte(`"duration_us":1500`), []byte(`"duration_us":150 `), 1)
		}), ELeaf, 1},
		{"a later leaf is bad, an earlier proof too", func(b *bundle) {
			b.editRecord(0, func(r *Record) { r.Proof = nil })
			b.editRecord(4, func(r *Record) { r.Leaf = []byte("{}") })
		}, ELeaf, 7},
		{"another seq", records(1, func(r *Record) { r.Seq = 2 }), ELeaf, 2},
		{"leaf beyond the checkpoint", func(b *bundle) {
			one := b.record(0, 10)
			one.Seq = 11
			one.Leaf = bytes.Replace(one.Leaf, []byte(`"seq":10,`), []byte(`"seq":11,`), 1)
			b.dropRecord(runSeqs, 10)
			b.files[dir+recordsName] = one.Append(b.files[dir+recordsName])
		}, EInclusion, 11},
		{"line with a space", edit(dir+recordsName, `,"proof"`, `, "proof"`), ELeaf, -1},
		{"last line cut", func(b *bundle) { f := b.files[dir+recordsName]; b.files[dir+recordsName] = f[:len(f)-1] }, ELeaf, -1},
		{"empty line", edit(dir+recordsName, "\n", "\n\n"), ELeaf, -1},
		{"no records file", func(b *bundle) { delete(b.files, dir+recordsName) }, EContainer, -1},
		{"entries too", func(b *bundle) { b.files[dir+"tile/entries/000.p/8"] = make([]byte, 1<<10) }, EContainer, -1},

		{"a step of another run", func(b *bundle) { b.setRecords(0, 1, 2, 3, 4, 5, 7, 8, 9, 10) }, ELeaf, 2},
		{"the ending of another run", func(b *bundle) { b.setRecords(0, 1, 3, 4, 5, 6, 7, 8, 9, 10) }, ELeaf, 6},
		{"another run in the manifest", func(b *bundle) { b.man.Scope.RunID = "run-3" }, ELeaf, 1},
		{"no run in the manifest", func(b *bundle) { b.man.Scope.RunID = "" }, EContainer, -1},
		{"a time in the scope", func(b *bundle) { b.man.Scope.From = start.String() }, EContainer, -1},

		{"disclosure altered", edit(dir+"disclosures.jsonl", "Approve", "Decline"), ECommit, 1},
		{"disclosure dropped", func(b *bundle) {
			f := b.files[dir+"disclosures.jsonl"]
			b.files[dir+"disclosures.jsonl"] = f[bytes.IndexByte(f, '\n')+1:]
		}, EUnaccounted, 1},
		{"disclosed of a leaf between", func(b *bundle) {
			f := b.files[dir+"disclosures.jsonl"]
			at := bytes.Index(f, []byte(`{"path":"/actor","salt":`)) + 1
			at += bytes.Index(f[at:], []byte(`{"path":"/actor","salt":`))
			d := Disclosure{Seq: 2, Path: "/actor", Value: []byte("{}")}
			b.files[dir+"disclosures.jsonl"] = slices.Concat(f[:at], d.Append(nil), f[at:])
		}, ECommit, 2},
		{"disclosed beyond the last", func(b *bundle) {
			d := Disclosure{Seq: 11, Path: "/actor", Value: []byte("{}")}
			b.files[dir+"disclosures.jsonl"] = d.Append(b.files[dir+"disclosures.jsonl"])
		}, ECommit, 11},
		{"withheld of no leaf", func(b *bundle) {
			w := Withheld{9, "/prompt", Requested}
			b.files[dir+"withheld.jsonl"] = w.Append(b.files[dir+"withheld.jsonl"])
		}, EUnaccounted, 9},
		{"erased instead of requested", edit(dir+"withheld.jsonl", "requested", "erased"), EUnaccounted, 1},
		{"expired instead of erased", edit(dir+"withheld.jsonl", "erased", "expired"), EUnaccounted, 3},
		{"unknown reason", edit(dir+"withheld.jsonl", "not_permitted", "not_pleasing"), EUnaccounted, -1},
		{"checkpoint of another size", func(b *bundle) { b.files[dir+"checkpoint"] = b.logs[0].checkpoint(10) }, ELogSig, -1},
		{"receipt missing", func(b *bundle) { b.logs[0].edit = nil; b.receipt = nil }, EReceipt, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := runGood(t)
			if tt.code == EReceipt {
				b.seal(nil)
				tt.edit(b)
			} else {
				tt.edit(b)
				b.seal(nil)
			}
			r := b.verify(b.keys())
			i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Code[0] == 'E' })
			if r.Verdict != Failed || i < 0 {
				t.Fatalf("%s %v, want %s", r.Verdict, r.Findings, tt.code)
			}
			f := r.Findings[i]
			if f.Code != tt.code || tt.from >= 0 && (f.From != tt.from || f.To != tt.from+1) || tt.from < 0 && f.To != 0 {
				t.Errorf("%s, want %s at %d", f.Error(), tt.code, tt.from)
			}
			for _, f := range r.Findings {
				// An erasure's record is one of the run's, too.
				if f.Code[0] == 'E' && f.Code != tt.code && (f.Code != EGap || tt.name != "erasure dropped") {
					t.Errorf("also %v", &f)
				}
			}
		})
	}
}

// TestRunLogRules: logs that break the rules, though signed.
func TestRunLogRules(t *testing.T) {
	tests := []struct {
		name  string
		build func(*testLog)
		seqs  []int64
		code  Code
		from  int64
	}{
		{"n twice", func(l *testLog) { l.step1("r"); l.n["r"]--; l.step1("r") }, []int64{1, 2}, EGap, 2},
		{"record_count too small", func(l *testLog) { l.step1("r"); l.ended("r", facts{"record_count": 1}) }, []int64{1, 2}, EGap, 2},
		{"t decreases", func(l *testLog) { l.step1("r"); l.now -= 5_000_000; l.step1("r") }, []int64{1, 2}, ELeaf, 2},
		{"the same id twice", func(l *testLog) {
			l.step1("r")
			l.edit = func(f *evidence.Leaf) {
				first, err := evidence.ParseLeaf(l.leaves[1])
				if err != nil {
					t.Fatal(err)
				}
				f.ID = first.ID
			}
			l.step1("r")
		}, []int64{1, 2}, ELeaf, 2},
		{"server's fact with a producer", func(l *testLog) {
			l.step1("r")
			l.audit("r", "ErasureExecuted", facts{"producer": "key-1"}, sealed{path: "/targets", value: `{"ranges":[]}`})
		}, []int64{1, 2}, ELeaf, 2},
		{"erasure ahead", func(l *testLog) {
			l.audit("r", "ErasureExecuted", nil, sealed{path: "/targets", value: `{"ranges":[{"from":1,"to":9}]}`})
			l.step1("r", sealed{"/prompt", `"x"`, Erased})
		}, []int64{1, 2}, EUnaccounted, 2},
		{"erasure record that is withheld", func(l *testLog) {
			l.step1("r", sealed{"/prompt", `"x"`, Erased})
			l.audit("r", "ErasureExecuted", nil, sealed{"/targets", `{"ranges":[{"from":1,"to":2}]}`, Requested})
		}, []int64{1, 2}, EUnaccounted, 1},
		{"targets of another form", func(l *testLog) {
			l.step1("r")
			l.audit("r", "ErasureExecuted", nil, sealed{"/targets", `{"ranges":[{"from":1}]}`, ""})
		}, []int64{1, 2}, ECommit, 2},
		{"audit entry of another run without a correlation", func(l *testLog) {
			l.step1("r")
			l.audit("s", "LimitChecked", nil)
		}, []int64{1, 2}, ELeaf, 2},
		{"metric of no run", func(l *testLog) {
			l.step1("r")
			l.add(evidence.KindMetric, "", facts{"names": []string{"x"}, "from": start.String(), "until": start.String(), "point_count": 1},
				sealed{path: "/resource", value: "{}"}, sealed{path: "/points", value: "[]"})
		}, []int64{1, 2}, ELeaf, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t, testOrigin)
			l.opened(nil)
			tt.build(l)
			b := runBundle(t, "r", []*testLog{l}, tt.seqs).seal(nil)
			r := b.verify(b.keys())
			i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Code[0] == 'E' })
			if i < 0 || r.Findings[i].Code != tt.code || r.Findings[i].From != tt.from {
				t.Errorf("%s %v, want %s at %d", r.Verdict, r.Findings, tt.code, tt.from)
			}
		})
	}
}

func TestRunOpen(t *testing.T) {
	l := newLog(t, testOrigin)
	l.opened(nil)
	l.step1("r")
	l.step1("r")
	b := runBundle(t, "r", []*testLog{l}, []int64{1, 2}).seal(nil)
	r := b.verify(b.keys())
	wantCodes(t, r, VerifiedWithLimits, WNoQuorum, WNoTime, WOpen)
	if r.Run.Ended || r.Run.Records != 2 || r.Run.Later == nil {
		t.Errorf("%+v", r.Run)
	}
}

// TestRunOverLogs: a run that began in the log before.
func TestRunOverLogs(t *testing.T) {
	older := newLog(t, "log.example/aaaaaaaaaaaa")
	older.opened(nil)
	older.step1("r", sealed{path: "/prompt", value: `"x"`, reason: Erased})
	older.step1("r")
	newLogAfter := func(pre string) *testLog {
		l := newLog(t, testOrigin)
		l.now = older.now
		l.opened(facts{"predecessor_log": pre})
		l.n["r"] = 2
		l.step1("r")
		l.audit("r", "ErasureExecuted", nil, sealed{path: "/targets", value: `{"log":"` + older.origin() + `","ranges":[{"from":1,"to":2,"paths":["/prompt"]}]}`})
		l.ended("r", nil)
		return l
	}
	pre := FormatPredecessor(older.origin(), older.size(), older.root(older.size()))
	l := newLogAfter(pre)
	logs := []*testLog{l, older}
	b := runBundle(t, "r", logs, []int64{0, 1, 2, 3}, []int64{1, 2}).seal(nil)
	r := b.verify(b.keys())
	wantCodes(t, r, VerifiedWithLimits, limits...)
	if r.Run.Records != 5 || r.Run.RecordCount != 5 || !r.Run.Ended {
		t.Errorf("%+v", r.Run)
	}
	// Without the key of the older log its records are left out, and that is no gap.
	opts := b.keys()
	opts.Keys = opts.Keys[:1]
	wantCodes(t, b.verify(opts), VerifiedWithLimits, WNoKey, WNoQuorum, WNoTime)

	b = runBundle(t, "r", logs, []int64{0, 1, 2, 3}, []int64{1}).seal(nil)
	if r := b.verify(b.keys()); r.Verdict != Failed || !r.Has(EGap) {
		t.Errorf("the last record of the older log dropped: %s %v", r.Verdict, r.Findings)
	}
	b = runBundle(t, "r", logs, []int64{1, 2, 3}, []int64{1, 2}).seal(nil)
	wantCodes(t, b.verify(b.keys()), VerifiedWithLimits, WNoQuorum, WNoTime, WPredecessor)

	l = newLogAfter(FormatPredecessor(older.origin(), older.size(), older.root(2)))
	b = runBundle(t, "r", []*testLog{l, older}, []int64{0, 1, 2, 3}, []int64{1, 2}).seal(nil)
	if r := b.verify(b.keys()); r.Verdict != Failed || !r.Has(EFork) {
		t.Errorf("predecessor of another root: %s %v", r.Verdict, r.Findings)
	}
	// The run's records stand in the older log only; the newest has the receipt.
	older2 := newLog(t, older.origin())
	older2.opened(nil)
	older2.step1("r")
	older2.ended("r", nil)
	l = newLog(t, testOrigin)
	l.now = older2.now
	l.opened(facts{"predecessor_log": FormatPredecessor(older2.origin(), older2.size(), older2.root(older2.size()))})
	b = runBundle(t, "r", []*testLog{l, older2}, []int64{0}, []int64{1, 2}).seal(nil)
	wantCodes(t, b.verify(b.keys()), VerifiedWithLimits, limits...)
	b = runBundle(t, "r", []*testLog{l, older2}, nil, []int64{1, 2}).seal(nil)
	wantCodes(t, b.verify(b.keys()), VerifiedWithLimits, WNoQuorum, WNoTime, WPredecessor)
}

func TestRunSince(t *testing.T) {
	l := runLog(t)
	at := func(size int64) string { return fmt.Sprintf("logs/0/consistency/%d-11.add-checkpoint", size) }
	b := runBundle(t, "run-1", []*testLog{l}, runSeqs)
	b.files[at(4)] = l.consistency(4, 11, b.files["logs/0/checkpoint"])
	b.files["logs/0/anchors/6.note"] = l.checkpoint(6)
	b.files[at(6)] = l.consistency(6, 11, b.files["logs/0/checkpoint"])
	b.seal(nil)
	other := newLog(t, testOrigin)
	other.opened(nil)
	for range 10 {
		other.step1("x")
	}
	for _, tt := range []struct {
		name  string
		since []byte
		code  Code
	}{
		{"linked", l.checkpoint(4), ""},
		{"an anchor", l.checkpoint(6), ""},
		{"the same", l.checkpoint(11), ""},
		{"not linked", l.checkpoint(5), USince},
		{"newer", l.checkpoint(12), USince},
		{"of another history, linked", other.checkpoint(4), EFork},
		{"of another history, the same size", other.checkpoint(11), EFork},
		{"of another history, an anchor", other.checkpoint(6), EFork},
	} {
		opts := b.keys()
		opts.Since = tt.since
		r := b.verify(opts)
		switch {
		case tt.code == "" && r.Verdict != VerifiedWithLimits, tt.code == EFork && r.Verdict != Failed,
			tt.code == USince && r.Verdict != CouldNotCheck, tt.code != "" && !r.Has(tt.code):
			t.Errorf("%s: %s %v", tt.name, r.Verdict, r.Findings)
		}
	}
	for name, edit := range map[string]func(*bundle){
		"an anchor without a proof": func(b *bundle) { b.files["logs/0/anchors/5.note"] = l.checkpoint(5) },
		"an anchor of another history": func(b *bundle) {
			b.files["logs/0/anchors/6.note"] = other.checkpoint(6)
		},
		"a proof to another history": func(b *bundle) {
			b.files["logs/0/consistency/6-11.add-checkpoint"] = other.consistency(6, 11, other.checkpoint(11))
		},
		"a proof that proves nothing": func(b *bundle) {
			b.files[at(6)] = bytes.Replace(l.consistency(5, 11, l.checkpoint(11)), []byte("old 5"), []byte("old 6"), 1)
		},
	} {
		l := runLog(t)
		b := runBundle(t, "run-1", []*testLog{l}, runSeqs)
		b.files["logs/0/anchors/6.note"] = l.checkpoint(6)
		b.files[at(6)] = l.consistency(6, 11, b.files["logs/0/checkpoint"])
		edit(b)
		b.seal(nil)
		if r := b.verify(b.keys()); r.Verdict != Failed || !r.Has(EFork) {
			t.Errorf("%s: %s %v", name, r.Verdict, r.Findings)
		}
	}
}
