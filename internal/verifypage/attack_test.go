package verifypage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/verify"
)

// TestHostileTexts: texts that are long, deep, or named like what every object of
// JavaScript has are refused, or read, as the command does: the page does not break off.
func TestHostileTexts(t *testing.T) {
	page := openTab(t)
	tests := map[string]struct{ read, text, want string }{
		"number of many digits":       {"parseManifest", `bytes('{"format":' + '9'.repeat(4 << 20) + '}')`, "Bad"},
		"format and others":           {"parseManifest", `bytes('{"a":{"format":1,"b":[{"format":1}]}, "FORMAT" : "2" ,"b":["]",":",1]}')`, "OtherFormat"},
		"format, deeper":              {"parseManifest", `bytes('{"a":{"format":2},"b":["format",2]}')`, "Bad"},
		"long name, other format":     {"parseManifest", `bytes('{"export_id":"' + 'x'.repeat(16 << 20) + '","format":2}')`, "OtherFormat"},
		"many escapes, other format":  {"parseManifest", `bytes('{"export_id":"' + '\\"'.repeat(1 << 20) + '","format":2}')`, "OtherFormat"},
		"deep, other format":          {"parseManifest", `bytes('{"a":' + '['.repeat(10000) + ']'.repeat(10000) + ',"format":2}')`, "Bad"},
		"not so deep, other format":   {"parseManifest", `bytes('{"a":' + '['.repeat(9999) + ']'.repeat(9999) + ',"format":2}')`, "OtherFormat"},
		"prototype in a manifest":     {"parseManifest", `bytes('{"__proto__":{"format":1},"constructor":1,"format":2}')`, "OtherFormat"},
		"long path in targets":        {"parseTargets", `'{"ranges":[{"from":0,"to":1,"paths":["/' + 'x'.repeat(1000000) + '"]}]}'`, "Bad"},
		"prototype in targets":        {"parseTargets", `'{"__proto__":{"ranges":[]}}'`, "Bad"},
		"prototype in a range":        {"parseTargets", `'{"ranges":[{"from":0,"to":1,"__proto__":{"paths":[]}}]}'`, "Bad"},
		"prototype in a policy":       {"parsePolicy", `'constructor x\nquorum none\n'`, "Bad"},
		"long line in a policy":       {"parsePolicy", `'#' + ' x'.repeat(500000) + '\nquorum none\n'`, "taken"},
		"group named like a member":   {"parsePolicy", `'quorum __proto__\n'`, "Bad"},
		"long value":                  {"checkJSON", `'"' + 'é'.repeat(1 << 20) + '"'`, "taken"},
		"long number":                 {"checkJSON", `'1'.repeat(1 << 20)`, "taken"},
		"many names":                  {"checkJSON", `'{' + Array.from({length: 50000}, (_, i) => '"' + i + '":0').join() + '}'`, "taken"},
		"prototype as a name, twice":  {"checkJSON", `'{"__proto__":1,"__proto__":2}'`, "Bad"},
		"path named like a prototype": {"parseWithheld", `'{"path":"__proto__","reason":"erased","seq":1}'`, "Bad"},
		"reason like a prototype":     {"parseWithheld", `'{"path":"/prompt","reason":"constructor","seq":1}'`, "Bad"},
	}
	for name, tt := range tests {
		got := eval[string](t, page, `(() => {
			const bytes = (s) => new TextEncoder().encode(s);
			try { runledgerVerify.parts.`+tt.read+`(`+tt.text+`, 'log.example/0123456789ab', 1, 'erased'); return 'taken'; }
			catch (err) { return err.constructor.name; }
		})()`)
		if got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	if b, err := json.Marshal(eval[[]string](t, page, `Object.keys({}.constructor.prototype)`)); err != nil || string(b) != "[]" {
		t.Errorf("Object.prototype has %s now", b)
	}
}

// TestCrowded: a thousand findings that weigh little do not keep out the one that makes
// the verdict. The bundle can be made without any key.
func TestCrowded(t *testing.T) {
	page := openTab(t)
	set := frozenSet(t)
	f := set[slices.IndexFunc(set, func(f *frozen) bool { return f.Name == "run" })]
	a := openArchive(t, f.bundle)
	m, err := verify.ParseManifest(a.files["manifest.json"])
	if err != nil {
		t.Fatal(err)
	}
	names := slices.DeleteFunc(a.names, func(name string) bool { return name == "manifest.json" || strings.HasPrefix(name, "receipt.") })
	for k := len(m.Logs); k < 1003; k++ {
		dir := fmt.Sprintf("logs/%d", k)
		m.Logs = append(m.Logs, verify.ManifestLog{Dir: dir, Origin: fmt.Sprintf("other.example/%012x", k), Size: 1})
		names = append(names, dir+"/checkpoint", dir+"/records.jsonl")
	}
	slices.Sort(names)
	m.Files = nil
	for _, name := range names {
		m.Files = append(m.Files, verify.ManifestFile{Path: name, SHA256: strings.Repeat("0", 64)})
	}
	a.names = slices.Concat([]string{"manifest.json"}, names, []string{"receipt.leaf", "receipt.tlog-proof", "receipt.consistency"})
	a.files["manifest.json"] = m.Marshal()
	const records = "logs/0/records.jsonl"
	a.files[records] = bytes.Replace(a.files[records], []byte("get_weather"), []byte("get_whether"), 1)
	a.mend(t)
	bundle := a.zip(t)
	want := reply{Verdict: "FAILED", Codes: []string{"E_INCLUSION", "W_NO_KEY"}}
	if got := withGo(t, bundle, f); got.String() != want.String() {
		t.Errorf("the package says %v", got)
	}
	if got := page.verify(t, []question{ask(bundle, f.policy, f.since, f.Keys)})[0]; got.String() != want.String() {
		t.Errorf("the page says %v\n%s", got, got.Say)
	}
}
