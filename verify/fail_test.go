package verify

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// TestLeafRules: logs that their own server signed, but that break a rule.
func TestLeafRules(t *testing.T) {
	tests := []struct {
		name  string
		build func(l *testLog)
		code  Code
		from  int64
	}{
		{"no LOG_OPENED", func(l *testLog) { l.step1("r") }, ELeaf, 0},
		{"audit first", func(l *testLog) { l.audit("", "LOGIN", nil) }, ELeaf, 0},
		{"another key in LOG_OPENED", func(l *testLog) { l.opened(facts{"vkey": newLog(t, "other.example/0123456789ab").key()}) }, ELeaf, 0},
		{"LOG_OPENED twice", func(l *testLog) { l.opened(nil); l.opened(nil) }, ELeaf, 1},
		{"LOG_OPENED with a producer", func(l *testLog) { l.opened(facts{"producer": "key-1"}) }, ELeaf, 0},
		{"bad predecessor", func(l *testLog) { l.opened(facts{"predecessor_log": "log.example 1 x"}) }, ELeaf, 0},
		{"leaves after LOG_CLOSED", func(l *testLog) {
			l.opened(nil)
			l.opened(facts{"event_type": "LOG_CLOSED"})
			l.step1("r")
		}, ELeaf, 1},
		{"server fact with a producer", func(l *testLog) {
			l.opened(nil)
			l.audit("", "LOGIN", facts{"producer": "key-1"})
		}, ELeaf, 1},
		{"another log", func(l *testLog) {
			l.opened(nil)
			l.edit = func(f *evidence.Leaf) { f.Log = "log.example/ba9876543210" }
			l.step1("r")
		}, ELeaf, 1},
		{"another seq", func(l *testLog) {
			l.opened(nil)
			l.edit = func(f *evidence.Leaf) { f.Seq = 7 }
			l.step1("r")
		}, ELeaf, 1},
		{"t decreases", func(l *testLog) {
			l.opened(nil)
			l.step1("r")
			l.now -= 5_000_000
			l.step1("r")
		}, ELeaf, 2},
		{"t decreases between bundles", func(l *testLog) {
			l.opened(nil)
			for l.size() < 256 {
				l.step1("r")
			}
			l.now = start
			l.step1("r")
		}, ELeaf, 256},
		{"the same id twice", func(l *testLog) {
			l.opened(nil)
			for l.size() < 300 {
				l.step1("r")
			}
			l.edit = func(f *evidence.Leaf) {
				first, err := evidence.ParseLeaf(l.leaves[7])
				if err != nil {
					t.Fatal(err)
				}
				f.ID = first.ID
			}
			l.step1("r")
		}, ELeaf, 300},
		{"not canonical", func(l *testLog) {
			l.opened(nil)
			l.step1("r")
			l.leaves = l.leaves[:1]
			l.raw([]byte(`{"v":1}`))
		}, ELeaf, 1},
		{"n with a gap", func(l *testLog) {
			l.opened(nil)
			l.step1("r")
			l.n["r"]++
			l.step1("r")
		}, EGap, 2},
		{"n twice", func(l *testLog) {
			l.opened(nil)
			l.step1("r")
			l.n["r"]--
			l.step1("r")
		}, EGap, 2},
		{"n from 1", func(l *testLog) {
			l.opened(nil)
			l.n["r"]++
			l.step1("r")
		}, EGap, 1},
		{"n with a gap between bundles", func(l *testLog) {
			l.opened(nil)
			l.step1("r")
			for l.size() < 256 {
				l.step1("other")
			}
			l.n["r"]++
			l.step1("r")
		}, EGap, 256},
		{"record_count too small", func(l *testLog) {
			l.opened(nil)
			l.step1("r")
			l.ended("r", facts{"record_count": 1})
		}, EGap, 2},
		{"llm_run without a run", func(l *testLog) {
			l.opened(nil)
			l.ended("", nil)
		}, EGap, 1},
		{"erased without a record", func(l *testLog) {
			l.opened(nil)
			l.step1("r", sealed{"/prompt", `"x"`, Erased})
			l.audit("r", "ErasureExecuted", nil, sealed{"/targets", `{"ranges":[{"from":0,"to":1},{"from":1,"to":9,"paths":["/params"]}]}`, ""})
			l.audit("r", "RetentionApplied", nil, sealed{"/targets", `{"ranges":[{"from":1,"to":2}]}`, ""})
			l.audit("r", "PolicyEvaluated", nil, sealed{"/targets", `{"ranges":[{"from":1,"to":2}]}`, ""})
		}, EUnaccounted, 1},
		{"erasure record that is withheld", func(l *testLog) {
			l.opened(nil)
			l.step1("r", sealed{"/prompt", `"x"`, Erased})
			l.audit("r", "ErasureExecuted", nil, sealed{"/targets", `{"ranges":[{"from":1,"to":2}]}`, Requested})
		}, EUnaccounted, 1},
		{"erasure ahead", func(l *testLog) {
			l.opened(nil)
			l.audit("r", "ErasureExecuted", nil, sealed{"/targets", `{"ranges":[{"from":1,"to":9}]}`, ""})
			l.step1("r", sealed{"/prompt", `"x"`, Erased})
		}, EUnaccounted, 2},
		{"targets of another form", func(l *testLog) {
			l.opened(nil)
			l.audit("r", "ErasureExecuted", nil, sealed{"/targets", `{"ranges":[{"from":1}]}`, ""})
		}, ECommit, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t, testOrigin)
			tt.build(l)
			b := newBundle(t, l).seal(nil)
			r := b.verify(b.keys())
			if r.Verdict != Failed || r.ExitStatus() != 1 {
				t.Fatalf("%s %v", r.Verdict, r.Findings)
			}
			i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Code[0] == 'E' })
			f := r.Findings[i]
			if f.Code != tt.code || f.From != tt.from || f.To != tt.from+1 || f.Log != testOrigin || f.Message == "" {
				t.Errorf("%v %+v, want %s at %d", &f, f, tt.code, tt.from)
			}
		})
	}
}

// TestBundleRules: bundles of a good log whose maker changed something, with
// or without the log's key.
func TestBundleRules(t *testing.T) {
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
	tests := []struct {
		name   string
		before func(*bundle) // before manifest and receipt are made
		after  func(*bundle)
		code   Code
	}{
		{"file altered", nil, edit("README.txt", "read", "Read"), EFile},
		{"file longer", nil, edit("README.txt", "read", "reader"), EContainer},
		{"file missing", nil, func(b *bundle) { delete(b.files, "README.txt") }, EContainer},
		{"file more", nil, func(b *bundle) { b.files["policy"] = nil }, EContainer},
		{"file in no place", func(b *bundle) { b.files["notes.txt"] = nil }, nil, EContainer},
		{"file of no log", func(b *bundle) { b.files["logs/1/checkpoint"] = nil }, nil, EContainer},
		{"records in a log", func(b *bundle) { b.files[dir+"records.jsonl"] = nil }, nil, EContainer},
		{"no checkpoint", func(b *bundle) { delete(b.files, dir+"checkpoint") }, nil, EContainer},
		{"no entries", func(b *bundle) { delete(b.files, dir+"tile/entries/000.p/8") }, nil, EContainer},
		{"entries beyond", func(b *bundle) { b.files[dir+"tile/entries/001.p/1"] = nil }, nil, EContainer},
		{"entries too small", func(b *bundle) { b.files[dir+"tile/entries/000.p/8"] = make([]byte, 16) }, nil, EContainer},
		{"entries of two widths", func(b *bundle) { b.files[dir+"tile/entries/000.p/7"] = nil }, nil, EContainer},
		{"stamp without a note", func(b *bundle) { b.files[dir+"anchors/3.tsr"] = []byte("x") }, nil, EContainer},
		{"receipt in the manifest", func(b *bundle) { b.files[receiptLeaf] = nil }, func(b *bundle) { delete(b.receipt, receiptLeaf) }, EContainer},
		{"manifest reordered", nil, func(b *bundle) {
			b.raw = bytes.Replace(b.raw, []byte(`"format":1,`), nil, 1)
			b.raw = append([]byte(`{"format":1,`), b.raw[1:]...)
		}, EContainer},
		{"manifest with a space", nil, func(b *bundle) { b.raw = append(b.raw, '\n') }, EContainer},
		{"manifest with a member", nil, func(b *bundle) {
			b.raw = bytes.Replace(b.raw, []byte(`,"format"`), []byte(`,"foo":1,"format"`), 1)
		}, EContainer},
		{"format 2", nil, func(b *bundle) { b.raw = bytes.Replace(b.raw, []byte(`"format":1`), []byte(`"format":2`), 1) }, UFormat},
		{"format 2 with other members", nil, func(b *bundle) { b.raw = []byte(`{"format":2,"x":[null]}`) }, UFormat},
		{"unknown profile", func(b *bundle) { b.man.Profile = "day" }, nil, UProfile},
		{"scope of a log", func(b *bundle) { b.man.Scope.RunID = "run-1" }, nil, EContainer},
		{"log of two directories", func(b *bundle) { b.man.Logs = append(b.man.Logs, b.man.Logs[0]) }, nil, EContainer},
		{"huge log", func(b *bundle) { b.man.Logs[0].Size = c2sp.MaxSize }, nil, EContainer},

		{"checkpoint by another key", func(b *bundle) {
			seed := bytes.Repeat([]byte{1}, 32)
			s, _ := c2sp.NewSigner(testOrigin, seed)
			b.files[dir+"checkpoint"], _ = c2sp.SignCheckpoint(c2sp.Checkpoint{Origin: testOrigin, Size: 8, Root: b.logs[0].root(8)}, s)
		}, nil, ELogSig},
		{"checkpoint of another log", func(b *bundle) {
			other := newLog(t, "other.example/0123456789ab")
			other.opened(nil)
			b.files[dir+"checkpoint"] = other.checkpoint(1)
		}, nil, ELogSig},
		{"older checkpoint", func(b *bundle) { b.files[dir+"checkpoint"] = b.logs[0].checkpoint(7) }, nil, ELogSig},
		{"root altered", edit(dir+"checkpoint", "\n8\n", "\n8\nx"), nil, ELogSig},
		{"extension line", edit(dir+"checkpoint", "\n\n", "\nextension\n\n"), nil, ELogSig},
		{"anchor by another key", func(b *bundle) {
			other := newLog(t, "other.example/0123456789ab")
			other.opened(nil)
			b.files[dir+"anchors/1.note"] = other.checkpoint(1)
		}, nil, ELogSig},

		{"leaf altered", edit(dir+"tile/entries/000.p/8", "get_weather", "get_wealthy"), nil, EInclusion},
		{"leaf altered out of profile", edit(dir+"tile/entries/000.p/8", `"duration_us":1500`, `"duration_us":150 `), nil, ELeaf},
		{"entry cut", edit(dir+"tile/entries/000.p/8", `"v":1}`, `"v":1`), nil, ELeaf},
		{"bytes after the last entry", func(b *bundle) { b.files[dir+"tile/entries/000.p/8"] = append(b.files[dir+"tile/entries/000.p/8"], 0) }, nil, ELeaf},
		{"leaves swapped", func(b *bundle) {
			l := b.logs[0].leaves
			b.entries("logs/0", [][]byte{l[0], l[1], l[3], l[2], l[4], l[5], l[6], l[7]})
		}, nil, ELeaf},

		{"disclosure altered", edit(dir+"disclosures.jsonl", "Approve", "Decline"), nil, ECommit},
		{"salt altered", func(b *bundle) {
			b.files[dir+"disclosures.jsonl"] = nil
			for i, d := range b.logs[0].open {
				if i == 3 {
					d.Salt[0] ^= 1
				}
				b.files[dir+"disclosures.jsonl"] = d.Append(b.files[dir+"disclosures.jsonl"])
			}
		}, nil, ECommit},
		{"value that is no JSON", edit(dir+"disclosures.jsonl", `\"Approve loan 4711?\"`, `Approve loan 4711?`), nil, ECommit},
		{"line with a space", edit(dir+"disclosures.jsonl", `,"salt"`, `, "salt"`), nil, ECommit},
		{"last line cut", func(b *bundle) {
			f := b.files[dir+"disclosures.jsonl"]
			b.files[dir+"disclosures.jsonl"] = f[:len(f)-1]
		}, nil, ECommit},
		{"empty line", func(b *bundle) { b.files[dir+"withheld.jsonl"] = []byte("\n") }, nil, EUnaccounted},
		{"disclosure missing", func(b *bundle) {
			f := b.files[dir+"disclosures.jsonl"]
			b.files[dir+"disclosures.jsonl"] = f[bytes.IndexByte(f, '\n')+1:]
		}, nil, EUnaccounted},
		{"disclosure twice", func(b *bundle) {
			f := b.files[dir+"disclosures.jsonl"]
			b.files[dir+"disclosures.jsonl"] = append(f[:bytes.IndexByte(f, '\n')+1:bytes.IndexByte(f, '\n')+1], f...)
		}, nil, ECommit},
		{"disclosed beyond the log", func(b *bundle) {
			d := Disclosure{Seq: 8, Path: "/actor", Value: []byte("{}")}
			b.files[dir+"disclosures.jsonl"] = d.Append(b.files[dir+"disclosures.jsonl"])
		}, nil, ECommit},
		{"withheld beyond the log", func(b *bundle) {
			w := Withheld{8, "/actor", Requested}
			b.files[dir+"withheld.jsonl"] = w.Append(b.files[dir+"withheld.jsonl"])
		}, nil, EUnaccounted},
		{"disclosed and not in the leaf", func(b *bundle) {
			d := Disclosure{Seq: 7, Path: "/before_state", Value: []byte("{}")}
			b.files[dir+"disclosures.jsonl"] = d.Append(b.files[dir+"disclosures.jsonl"])
		}, nil, ECommit},
		{"withheld and not in the leaf", func(b *bundle) {
			w := Withheld{7, "/after_state", Requested}
			b.files[dir+"withheld.jsonl"] = w.Append(b.files[dir+"withheld.jsonl"])
		}, nil, EUnaccounted},
		{"disclosed and withheld", func(b *bundle) {
			w := Withheld{7, "/actor", Requested}
			b.files[dir+"withheld.jsonl"] = w.Append(b.files[dir+"withheld.jsonl"])
		}, nil, EUnaccounted},
		{"unknown reason", edit(dir+"withheld.jsonl", "not_permitted", "not_pleasing"), nil, EUnaccounted},
		{"withheld is missing", func(b *bundle) { delete(b.files, dir+"withheld.jsonl") }, nil, EUnaccounted},

		{"anchor of another history", func(b *bundle) { fork(b, dir+"anchors/3.note") }, nil, EFork},
		{"anchor ahead without proof", func(b *bundle) {
			b.logs[0].step1("r")
			b.files[dir+"anchors/9.note"] = b.logs[0].checkpoint(9)
		}, nil, EFork},
		{"consistency of another history", func(b *bundle) {
			note := b.logs[0].checkpoint(8)
			b.files[dir+"consistency/3-8.add-checkpoint"] = b.logs[0].consistency(4, 8, note)
			b.files[dir+"consistency/3-8.add-checkpoint"] = bytes.Replace(b.files[dir+"consistency/3-8.add-checkpoint"], []byte("old 4"), []byte("old 3"), 1)
		}, nil, EFork},

		{"receipt missing", nil, func(b *bundle) { b.receipt = nil }, EReceipt},
		{"receipt leaf missing", nil, func(b *bundle) { delete(b.receipt, receiptLeaf) }, EReceipt},
		{"receipt of another bundle", nil, func(b *bundle) {
			other := newBundle(t, smallLog(t))
			other.files["policy"] = nil
			b.receipt = other.seal(nil).receipt
		}, EReceipt},
		{"receipt of a log that is not extended", nil, func(b *bundle) {
			l := smallLog(t)
			l.leaves, l.stored, l.now = l.leaves[:0], nil, l.now+1
			l.opened(nil)
			for l.size() < 8 {
				l.step1("x")
			}
			other := &bundle{tb: t, logs: []*testLog{l}, sizes: []int64{8}, man: b.man, files: b.files}
			b.receipt = other.seal(nil).receipt
		}, EReceipt},
		{"receipt proof with a witness", nil, func(b *bundle) {
			p, err1 := c2sp.ParseProof(b.receipt[receiptProof])
			c, err2 := c2sp.ParseConsistency(b.receipt[receiptConsistency])
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			p.Note = cosign(t, p.Note, witness(t, "w"), start)
			c.Note = p.Note
			b.receipt[receiptProof], b.receipt[receiptConsistency] = p.Marshal(), c.Marshal()
		}, EReceipt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBundle(t, smallLog(t))
			if tt.before != nil {
				tt.before(b)
			}
			if b.logs[0].size() > 8 { // an anchor ahead
				b.sizes[0] = 8
			}
			b.seal(nil)
			if tt.after != nil {
				tt.after(b)
			}
			r := b.verify(b.keys())
			want := Failed
			if tt.code[0] == 'U' {
				want = CouldNotCheck
			}
			if r.Verdict != want || !r.Has(tt.code) {
				t.Errorf("%s %v, want %s", r.Verdict, r.Findings, tt.code)
			}
			for _, f := range r.Findings {
				if f.Code[0] == 'E' && f.Code != tt.code {
					t.Errorf("also %v", &f)
				}
			}
		})
	}
}

// fork puts a checkpoint of another history of three leaves in a bundle,
// signed by the log's own key.
func fork(b *bundle, path string) {
	l := newLog(b.tb, testOrigin)
	l.opened(nil)
	l.step1("x")
	l.step1("x")
	b.files[path] = l.checkpoint(3)
}

func TestReceiptFacts(t *testing.T) {
	tests := []struct {
		name string
		fs   facts
	}{
		{"pending", facts{"status": "pending"}},
		{"another manifest", facts{"manifest": strings.Repeat("0", 64)}},
		{"another export", facts{"export_id": "export-2"}},
		{"a producer", facts{"producer": "key-1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBundle(t, smallLog(t)).seal(func(l *evidence.Leaf) { setFacts(t, l, tt.fs) })
			r := b.verify(b.keys())
			if r.Verdict != Failed || !r.Has(EReceipt) {
				t.Errorf("%s %v", r.Verdict, r.Findings)
			}
		})
	}
	b := newBundle(t, smallLog(t)).seal(func(l *evidence.Leaf) { l.RecordedAt = start })
	if r := b.verify(b.keys()); !r.Has(EReceipt) {
		t.Errorf("t before the bundle's last leaf: %s %v", r.Verdict, r.Findings)
	}
}

// TestZIPOrder: the same files in another order are no bundle.
func TestZIPOrder(t *testing.T) {
	b := newBundle(t, smallLog(t)).seal(nil)
	list := b.list()
	for i := 1; i < len(list); i++ {
		swapped := slices.Clone(list)
		swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
		if r := verifyZIP(t, zipOf(t, swapped), b.keys()); r.Verdict != Failed || !r.Has(EContainer) {
			t.Errorf("files %d and %d swapped: %s %v", i-1, i, r.Verdict, r.Findings)
		}
	}
}

func TestFindingsJoin(t *testing.T) {
	l := longLog(t, 600)
	b := newBundle(t, l)
	b.files["logs/0/disclosures.jsonl"] = nil
	b.seal(nil)
	r := b.verify(b.keys())
	if len(r.Findings) > maxFindings || r.Counts["findings_not_listed"] == 0 || r.Verdict != Failed {
		t.Errorf("%s, %d findings, counts %v", r.Verdict, len(r.Findings), r.Counts)
	}
	var rep Report
	for i := range int64(5) {
		rep.add(Finding{Code: EGap, From: i, To: i + 1, Message: "m"})
	}
	if len(rep.Findings) != 1 || rep.Findings[0].From != 0 || rep.Findings[0].To != 5 {
		t.Errorf("%+v", rep.Findings)
	}
	if got := fmt.Sprint(rep.Findings[0].Error()); got != "E_GAP leaves 0 to 4: m" {
		t.Error(got)
	}
}
