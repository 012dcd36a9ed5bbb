package verify

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/zipstore"
)

// TestHostile: bundles that are made to take memory are refused with little of
// it. The bound is on all that is allocated, some times the size of the bundle;
// the same bounds the time.
func TestHostile(t *testing.T) {
	const big = 2 << 20
	good := runGood(t)
	repeat := func(s string) string { return strings.Repeat(s, big/len(s)) }
	manifest := func(text string) func() []byte {
		return func() []byte {
			b := runGood(t).seal(nil)
			b.raw = []byte(text)
			return b.zip()
		}
	}
	file := func(path, text string) func() []byte {
		return func() []byte {
			b := runGood(t)
			b.files[path] = []byte(text)
			return b.seal(nil).zip()
		}
	}
	tests := []struct {
		name  string
		build func() []byte
		code  Code
	}{
		{"files without members", manifest(`{"export_id":"e","files":[` + repeat("{},") + `{}],"format":1}`), EContainer},
		{"files that are numbers", manifest(`{"export_id":"e","files":[` + repeat("0,") + `0],"format":1}`), EContainer},
		{"logs without members", manifest(`{"export_id":"e","files":[],"format":1,"logs":[` + repeat("{},") + `{}]}`), EContainer},
		{"deep arrays", manifest(repeat("[")), EContainer},
		{"a long string", manifest(`{"export_id":"` + repeat("a") + `","files":[],"format":1}`), EContainer},
		{"strings that do not end", manifest(`{"export_id":"e","files":[{"path":` + repeat(`"\`)), EContainer},
		{"a long number", manifest(`{"format":1` + repeat("0") + `}`), EContainer},
		{"records that are empty lines", file("logs/0/"+recordsName, repeat("\n")), ELeaf},
		{"records without a line", file("logs/0/"+recordsName, repeat("a")), ELeaf},
		{"disclosures that are empty lines", file("logs/0/disclosures.jsonl", repeat("\n")), ECommit},
		{"withheld without a line", file("logs/0/withheld.jsonl", repeat("a")), EUnaccounted},
		{"a large checkpoint", file("logs/0/checkpoint", repeat("\n")), EContainer},
		{"a large proof", file("logs/0/consistency/1-2.add-checkpoint", repeat("A\n")), EContainer},
		{"many entries", func() []byte {
			var buf bytes.Buffer
			w := zipstore.NewWriter(&buf)
			for i := range zipstore.MaxEntries {
				if err := w.Add(fmt.Sprintf("logs/0/tile/entries/%d", i), nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			return buf.Bytes()
		}, EContainer},
		{"names that are listed and not there", func() []byte {
			b := runGood(t).seal(nil)
			for i := range big / 100 {
				b.man.Files = append(b.man.Files, ManifestFile{fmt.Sprintf("z%09d", i), 0, strings.Repeat("0", 64)})
			}
			b.raw = b.man.Marshal()
			return b.zip()
		}, EContainer},
		{"many logs", func() []byte {
			b := runGood(t).seal(nil)
			for i := range big / 100 {
				b.man.Logs = append(b.man.Logs, ManifestLog{fmt.Sprintf("logs/%d", i+1), fmt.Sprintf("log.example/%012x", i), 1})
			}
			b.raw = b.man.Marshal()
			return b.zip()
		}, EContainer},
	}
	for _, tt := range tests {
		data := tt.build()
		opts := good.keys()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := verifyZIP(t, data, opts)
		runtime.ReadMemStats(&after)
		if r.Verdict != Failed || !r.Has(tt.code) {
			t.Errorf("%s: %s %v", tt.name, r.Verdict, r.Findings)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 16*uint64(len(data))+16<<20 {
			t.Errorf("%s: %d bytes for a bundle of %d", tt.name, used, len(data))
		}
	}
}
