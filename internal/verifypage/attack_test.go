package verifypage

import (
	"encoding/json"
	"testing"
)

// TestHostileTexts: texts that are long, deep, or named like what every object of
// JavaScript has are refused, or read, as the command does: the page does not break off.
func TestHostileTexts(t *testing.T) {
	page := openTab(t)
	tests := map[string]struct{ read, text, want string }{
		"number of many digits":       {"parseManifest", `bytes('{"format":' + '9'.repeat(16 << 20) + '}')`, "Bad"},
		"format and others":           {"parseManifest", `bytes('{"a":{"format":1,"b":[{"format":1}]}, "FORMAT" : "2" ,"b":["]",":",1]}')`, "OtherFormat"},
		"format, deeper":              {"parseManifest", `bytes('{"a":{"format":2},"b":["format",2]}')`, "Bad"},
		"long name, other format":     {"parseManifest", `bytes('{"export_id":"' + 'x'.repeat(16 << 20) + '","format":2}')`, "OtherFormat"},
		"many escapes, other format":  {"parseManifest", `bytes('{"export_id":"' + '\\"'.repeat(8 << 20) + '","format":2}')`, "OtherFormat"},
		"deep, other format":          {"parseManifest", `bytes('{"a":' + '['.repeat(10000) + ']'.repeat(10000) + ',"format":2}')`, "Bad"},
		"not so deep, other format":   {"parseManifest", `bytes('{"a":' + '['.repeat(9999) + ']'.repeat(9999) + ',"format":2}')`, "OtherFormat"},
		"prototype in a manifest":     {"parseManifest", `bytes('{"__proto__":{"format":1},"constructor":1,"format":2}')`, "OtherFormat"},
		"long path in targets":        {"parseTargets", `'{"ranges":[{"from":0,"to":1,"paths":["/' + 'x'.repeat(1000000) + '"]}]}'`, "Bad"},
		"prototype in targets":        {"parseTargets", `'{"__proto__":{"ranges":[]}}'`, "Bad"},
		"prototype in a range":        {"parseTargets", `'{"ranges":[{"from":0,"to":1,"__proto__":{"paths":[]}}]}'`, "Bad"},
		"prototype in a policy":       {"parsePolicy", `'constructor x\nquorum none\n'`, "Bad"},
		"long line in a policy":       {"parsePolicy", `'#' + ' x'.repeat(500000) + '\nquorum none\n'`, "taken"},
		"group named like a member":   {"parsePolicy", `'quorum __proto__\n'`, "Bad"},
		"long value":                  {"checkJSON", `'"' + 'é'.repeat(8 << 20) + '"'`, "taken"},
		"long number":                 {"checkJSON", `'1'.repeat(8 << 20)`, "taken"},
		"many names":                  {"checkJSON", `'{' + Array.from({length: 300000}, (_, i) => '"' + i + '":0').join() + '}'`, "taken"},
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
