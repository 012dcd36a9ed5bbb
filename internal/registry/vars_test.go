package registry

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/theory/jsonpath"

	"github.com/runledger/runledger/evidence"
)

func testVars() *Vars {
	v := newVars("S-1", "synthetic", "cred-o", "cred-p", time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC))
	v.saved = map[string]any{"name": `o'neil "\x`, "n": json.Number("7.50"), "yes": true, "dotted": "a.b"}
	return v
}

func TestVars(t *testing.T) {
	v := testVars()
	for text, want := range map[string]string{
		"${scenario}/${tenant}":                `^S-1/synthetic$`,
		"${credential} ${producer}":            `^cred-o cred-p$`,
		"${trace_id}":                          `^[0-9a-f]{32}$`,
		"${trace_id.a-b_1}":                    `^[0-9a-f]{32}$`,
		"${span.root}":                         `^[0-9a-f]{16}$`,
		"${uuid.a}":                            `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
		"${word.agent}":                        `^[b-z]{10}$`,
		"${now}":                               `^2026-01-02T03:04:05\.000006Z$`,
		"${now-5s}":                            `^2026-01-02T03:04:00\.000006Z$`,
		"${now+1m30s}":                         `^2026-01-02T03:05:35\.000006Z$`,
		"${nanos}":                             `^1767323045000006000$`,
		"${nanos-5s}":                          `^1767323040000006000$`,
		"$.a[?@.b == 1] $ {x} $x{y}":           `^\$\.a\[\?@\.b == 1\] \$ \{x\} \$x\{y\}$`,
		"${n} ${yes}":                          `^7\.50 true$`,
		"":                                     `^$`,
		"${word.x}${word.x}${trace_id}${now}z": `^([b-z]{10})[b-z]{10}[0-9a-f]{32}2026-.*z$`,
	} {
		got, err := v.text(text)
		if err != nil || !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
		// The same to the end of the scenario.
		if again, _ := v.text(text); again != got {
			t.Errorf("%s: %q, then %q", text, got, again)
		}
	}
	if a, b := v.made["trace_id"], v.made["trace_id.a-b_1"]; a == "" || a == b {
		t.Errorf("%q and %q", a, b)
	}
	if other, _ := testVars().text("${trace_id}"); other == v.made["trace_id"] {
		t.Error("two runs of a scenario have the same trace")
	}
	for _, text := range []string{"${", "a ${trace_id", "${nobody}", "${}", "${span}", "${uuid.}", "${word.a b}", "${now-5}", "${now-}", "${now 5s}", "${nanos+1d}", "${trace_id.a.b}", "${${now}}"} {
		if got, err := v.text(text); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	names, err := variablesIn("${a}x${now-5s}${a}")
	if diff := cmp.Diff([]string{"a", "now-5s", "a"}, names); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestVarsInValues(t *testing.T) {
	v := testVars()
	in := map[string]any{"a": []any{"${n}", "n=${n}", "${yes}", 3, nil, true}, "${n}": map[string]any{"b": "${name}"}}
	got, err := v.in(in)
	want := map[string]any{"a": []any{json.Number("7.50"), "n=7.50", true, 3, nil, true}, "${n}": map[string]any{"b": `o'neil "\x`}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if in["a"].([]any)[0] != "${n}" {
		t.Error("the scenario was changed")
	}
	if _, err := v.in([]any{map[string]any{"a": "${nobody}"}}); !errors.Is(err, evidence.ErrInvalid) {
		t.Error(err)
	}
	if got, err := v.pattern("^${dotted}$"); got != `^a\.b$` || err != nil {
		t.Error(got, err)
	}
}

// TestVarsInPaths: a value within a path selects what it says, and no more.
func TestVarsInPaths(t *testing.T) {
	v := testVars()
	for text, want := range map[string]string{
		`$.a[?@.b == '${name}']`:                  `$.a[?@.b == 'o\'neil "\\x']`,
		`$.a[?@.b == "${name}"]`:                  `$.a[?@.b == "o'neil \"\\x"]`,
		`$.a[?@.b == ${n} && @.c == ${yes}]`:      `$.a[?@.b == 7.50 && @.c == true]`,
		`$['it\'s'][?@ == '${dotted}'].x`:         `$['it\'s'][?@ == 'a.b'].x`,
		`$["'"][?@ == "${dotted}"]`:               `$["'"][?@ == "a.b"]`,
		`$[?@ == '${dotted}-${scenario}'].${yes}`: `$[?@ == 'a.b-S-1'].true`,
	} {
		got, err := v.path(text)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
		if _, err := jsonpath.Parse(got); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	}
	for _, text := range []string{`$.${dotted}`, `$.a[?@.b == ${name}]`, `$['a'].${name}`, `$['\${n}']`, `$.${nobody}`, `$['${n']`} {
		if got, err := v.path(text); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, c := range []any{nil, []any{}, map[string]any{}, strings.Repeat("x", maxSaved+1)} {
		if err := v.save("x", c); err == nil {
			t.Errorf("%T was saved", c)
		}
	}
}

// FuzzVars: whatever is saved, it is escaped so that a path selects just that.
func FuzzVars(f *testing.F) {
	f.Add("${trace_id} ${now-5s}", "a'b")
	f.Add("$['${x}']", "\\")
	f.Add("${x", "\x00\u2028\"")
	f.Add(`'\${x}`, "\xff")
	f.Fuzz(func(t *testing.T, text, value string) {
		v := testVars()
		value = strings.ToValidUTF8(value, "?") // as a JSON decoder leaves it
		v.saved["x"] = value
		names, err := variablesIn(text)
		out, err2 := v.text(text)
		if err != nil && err2 == nil {
			t.Fatalf("%q has no end, and became %q", text, out)
		}
		if err == nil && len(names) == 0 && out != text {
			t.Fatalf("%q became %q", text, out)
		}
		_, _ = v.path(text)
		_, _ = v.pattern(text)
		if _, err := v.in(text); (err == nil) != (err2 == nil) {
			t.Fatalf("%q: %v, %v", text, err, err2)
		}
		for _, quote := range []string{"'", `"`} {
			path, err := v.path("$[?@.a == " + quote + "${x}" + quote + "]")
			if err != nil {
				t.Fatal(err)
			}
			p, err := jsonpath.Parse(path)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			nodes := p.Select([]any{map[string]any{"a": value}, map[string]any{"a": value + "x"}, map[string]any{"b": value}})
			if len(nodes) != 1 {
				t.Fatalf("%s selects %v", path, nodes)
			}
		}
	})
}
