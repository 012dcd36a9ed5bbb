package verify

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
)

// TestRunMakerAltersFile is TestMakerAltersFile for the files of a run.
func TestRunMakerAltersFile(t *testing.T) {
	for _, path := range []string{"logs/0/" + recordsName, "logs/0/disclosures.jsonl"} {
		for i := 0; i < len(runGood(t).files[path]); i += 7 * stride {
			b := runGood(t)
			b.files[path] = bytes.Clone(b.files[path])
			b.files[path][i] ^= 1
			b.seal(nil)
			if r := verifyZIP(t, b.zip(), b.keys()); r.Verdict != Failed {
				t.Errorf("%s byte %d: %s %v", path, i, r.Verdict, r.Findings)
			}
		}
	}
}

func TestRecordLine(t *testing.T) {
	h := evidence.Hash{1, 2, 3}
	r := &Record{Seq: 7, Leaf: []byte(`{"a":"é\n"}`), Proof: []evidence.Hash{h, {}}}
	line := r.Append(nil)
	const want = `{"leaf":"{\"a\":\"é\\n\"}","proof":["AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],"seq":7}` + "\n"
	if string(line) != want {
		t.Fatalf("got  %s\nwant %s", line, want)
	}
	line = line[:len(line)-1]
	got, err := ParseRecord(line)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Error(diff)
	}
	none := (&Record{Leaf: []byte("x")}).Append(nil)
	if got, err := ParseRecord(none[:len(none)-1]); err != nil || len(got.Proof) != 0 {
		t.Errorf("%s: %v, %v", none, got, err)
	}
	for _, edit := range [][2]string{
		{`{"leaf"`, ` {"leaf"`},
		{`,"seq":7`, `,"seq":07`},
		{`AAA="]`, `AAA="],`},
		{`AAA="]`, `AAA=",]`},
		{`AAA="]`, `AAB="]`},
		{`AAA="]`, `AAA"]`},
		{`["AQ`, `[,"AQ`},
		{`","`, `" ,"`},
		{`","`, `""`},
		{`}`, `} `},
		{`7}`, `7,"x":1}`},
		{`\\n`, `\n\u000a`},
	} {
		bad := strings.Replace(string(line), edit[0], edit[1], 1)
		if edit[0] == `}` {
			bad = string(line) + " "
		}
		if bad == string(line) {
			t.Fatalf("%q is not in the line", edit[0])
		}
		if r, err := ParseRecord([]byte(bad)); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v, %v", bad, r, err)
		}
	}
	long := &Record{Leaf: []byte("x"), Proof: make([]evidence.Hash, 64)}
	b := long.Append(nil)
	if _, err := ParseRecord(b[:len(b)-1]); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("64 hashes: %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"leaf":"{\"v\":1}","proof":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],"seq":7}`))
	f.Add([]byte(`{"leaf":"","proof":[],"seq":0}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseRecord(line)
		if err != nil {
			if !errors.Is(err, evidence.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if got := r.Append(nil); string(got) != string(line)+"\n" {
			t.Fatalf("%q is read and written as %q", line, got)
		}
	})
}

// FuzzRunFile replaces a file of a bundle of a run, with manifest and receipt
// made again.
func FuzzRunFile(f *testing.F) {
	good := runGood(f)
	paths := []string{"logs/0/" + recordsName, "logs/0/disclosures.jsonl", "logs/0/withheld.jsonl"}
	for i, path := range paths {
		f.Add(i, good.files[path])
	}
	f.Fuzz(func(t *testing.T, i int, data []byte) {
		if i < 0 || i >= len(paths) {
			return
		}
		b := runGood(t)
		original := b.files[paths[i]]
		b.files[paths[i]] = data
		b.seal(nil)
		z := b.zip()
		r, err := ZIP(t.Context(), bytes.NewReader(z), int64(len(z)), b.keys())
		if err != nil {
			t.Fatal(err)
		}
		// Whoever has the key may leave out the records after the last ending, and
		// those beside the run, and give another reason.
		if r.Verdict != Failed && !bytes.Equal(data, original) && i == 1 {
			t.Fatalf("other evidence is %s", r.Verdict)
		}
	})
}

// BenchmarkRun verifies the bundle of a run of 1,000 steps.
func BenchmarkRun(b *testing.B) {
	l := newLog(b, testOrigin)
	l.opened(nil)
	var seqs []int64
	for range 1000 {
		l.step1("r", sealed{path: "/prompt", value: `"` + strings.Repeat("word ", 100) + `"`}, sealed{path: "/params", value: `{"x": 1.50}`})
		seqs = append(seqs, l.size()-1)
		l.step1("other")
	}
	l.ended("r", nil)
	seqs = append(seqs, l.size()-1)
	bu := runBundle(b, "r", []*testLog{l}, seqs).seal(nil)
	data := bu.zip()
	opts := bu.keys()
	for b.Loop() {
		if r := verifyZIP(b, data, opts); r.Verdict != VerifiedWithLimits {
			b.Fatal(r.Findings)
		}
	}
	b.ReportMetric(float64(len(data)), "B/bundle")
}
