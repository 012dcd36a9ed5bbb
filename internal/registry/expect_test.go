package registry

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/evidence"
)

func parseJSON(t testing.TB, s string) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(s))
	if err != nil {
		t.Fatal(s, err)
	}
	return v
}

// TestSame compares what YAML says with what JSON says.
func TestSame(t *testing.T) {
	for _, c := range []struct {
		yaml, json string
		want       bool
	}{
		{"1", "1", true},
		{"1", "1.0", true},
		{"1", "1e0", true},
		{"1", "10e-1", true},
		{"1.0", "1", true},
		{"0.1", "0.1", true},
		{"0.1", "0.10000000000000000001", false},
		{"1e3", "1000", true},
		{"1000", "1E+3", true},
		{"-5", "-5.0", true},
		{"-5", "5", false},
		{"0", "-0", true},
		{"0", "0e999999999999999999999", true},
		{"1", "1e999999999999999999999", false},
		{"1", "1e999999999", false},
		{"9007199254740993", "9007199254740993", true},
		{"9007199254740993", "9007199254740992", false},
		{"18446744073709551615", "18446744073709551615", true},
		{"-9223372036854775808", "-9223372036854775808", true},
		{"0x10", "16", true},
		{"5", `"5"`, false},
		{`"5"`, "5", false},
		{`"5"`, `"5"`, true},
		{"1", "true", false},
		{"true", "true", true},
		{"true", `"true"`, false},
		{"false", "null", false},
		{"null", "null", true},
		{"null", "0", false},
		{"text", `"text"`, true},
		{"text", `"Text"`, false},
		{".nan", "0", false},
		{".inf", "1e400", false},
		{"2026-01-02T03:04:05Z", `"2026-01-02T03:04:05.000000Z"`, true},
		{"2026-01-02T03:04:05Z", `"2026-01-02T03:04:06.000000Z"`, false},
		{"[1, a]", `[1.0,"a"]`, true},
		{"[1, a]", `["a",1]`, false},
		{"[1]", `[1,2]`, false},
		{"[]", "[]", true},
		{"[]", "null", false},
		{"{a: 1, b: [x]}", `{"b":["x"],"a":1}`, true},
		{"{a: 1}", `{"a":1,"b":2}`, false},
		{"{a: 1, b: 2}", `{"a":1,"c":2}`, false},
		{"{a: null}", `{}`, false},
		{"{}", "[]", false},
	} {
		var want any
		if err := yaml.Unmarshal([]byte(c.yaml), &want); err != nil {
			t.Fatal(c.yaml, err)
		}
		if got := same(want, parseJSON(t, c.json)); got != c.want {
			t.Errorf("%s (%T) and %s: %v, want %v", c.yaml, want, c.json, got, c.want)
		}
	}
}

func TestExpect(t *testing.T) {
	const answer = `{"items":[{"id":"a","n":1,"x":null},{"id":"b","n":2.50,"tags":["t"],"o":{}}],"total":2,"empty":"","text":"one two","it's":true}`
	for _, c := range []struct {
		expect Expect
		want   string // "": it holds; else what the detail has
	}{
		{Expect{Path: "$.total", Equals: 2}, ""},
		{Expect{Path: "$.total", Equals: "2"}, `$.total is 2, and not "2"`},
		{Expect{Path: "$.total"}, ""},
		{Expect{Path: "$.nobody"}, "it selects nothing"},
		{Expect{Path: "$.nobody", Equals: 1}, "it selects nothing"},
		{Expect{Path: "$.nobody", Count: ptr(0)}, ""},
		{Expect{Path: "$.total", Count: ptr(0)}, "it selects 1, and not 0"},
		{Expect{Path: "$.nobody", Max: ptr(3), Equals: 1}, ""},
		{Expect{Path: "$.items[*]", Min: ptr(3)}, "it selects 2, and not at least 3"},
		{Expect{Path: "$.items[*]", Max: ptr(1)}, "it selects 2, and not at most 1"},
		{Expect{Path: "$.items[*].id", In: []any{"a", "b"}, Min: ptr(2), Max: ptr(2)}, ""},
		{Expect{Path: "$.items[*].id", In: []any{"a", "c"}}, `$.items[1].id is "b", and none of ["a","c"]`},
		{Expect{Path: "$.items[*].n", Equals: 1}, "$.items[1].n is 2.50, and not 1"},
		{Expect{Path: "$.items[?@.id == '${scenario}']"}, "it selects nothing"},
		{Expect{Path: "$.items[?@.n > 1].n", Equals: 2.5}, ""},
		{Expect{Path: "$.items[*].x", Type: "null"}, ""},
		{Expect{Path: "$.items[*].x", NotNull: true}, "$.items[0].x is null"},
		{Expect{Path: "$.items[*].n", Type: "number"}, ""},
		{Expect{Path: "$['it\\'s']", Type: "string"}, `$['it\'s'] is true, and no string`},
		{Expect{Path: "$['it\\'s']", Type: "boolean"}, ""},
		{Expect{Path: "$.items", Type: "array", NotEmpty: true}, ""},
		{Expect{Path: "$.items[1].o", Type: "object"}, ""},
		{Expect{Path: "$.items[1].o", NotEmpty: true}, "$.items[1].o is empty"},
		{Expect{Path: "$.empty", NotEmpty: true}, "$.empty is empty"},
		{Expect{Path: "$.total", NotEmpty: true}, "$.total is 2, and no text"},
		{Expect{Path: "$.text", Matches: "^one"}, ""},
		{Expect{Path: "$.total", Matches: "^[0-9]+$"}, ""},
		{Expect{Path: "$.items[0].x", Matches: "^[a-z]+$"}, "$.items[0].x is null, and does not match"},
		{Expect{Path: "$.empty", Matches: "."}, "does not match"},
		{Expect{Path: "$['it\\'s']", Matches: "true"}, `is true, and does not match true`},
		{Expect{Path: "$.items", Matches: "a"}, "and does not match a"},
		{Expect{Path: "$.text", Matches: "^two"}, `$.text is "one two", and does not match ^two`},
		{Expect{Path: "$.text", Matches: "one", Equals: "one"}, `and not "one"`},
		{Expect{Path: "$.text", Equals: "one two", Type: "number"}, "and no number"},
		{Expect{Path: "$..id", Count: ptr(2), Matches: "^[ab]$"}, ""},
	} {
		e, err := c.expect.compile(testVars())
		if err != nil {
			t.Errorf("%+v: %v", c.expect, err)
			continue
		}
		got := e.check(parseJSON(t, answer))
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.expect, got, c.want)
		}
	}
	for _, bad := range []Expect{{Path: "items"}, {Path: "$.${nobody}"}, {Path: "$", Equals: "${nobody}"}, {Path: "$", In: []any{"${"}}, {Path: "$", Matches: "("}, {Path: "$", Matches: "${x}"}} {
		if _, err := bad.compile(testVars()); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestDetailIsShort: of what was found at most 200 characters are shown.
func TestDetailIsShort(t *testing.T) {
	e, err := (&Expect{Path: "$", Equals: "x"}).compile(testVars())
	if err != nil {
		t.Fatal(err)
	}
	got := e.check(strings.Repeat("é", 5000))
	if n := utf8.RuneCountInString(got); n > maxShown+1 || !utf8.ValidString(got) {
		t.Errorf("%d characters: %s", n, got)
	}
}

// FuzzExpect: whatever a server answers, an expectation holds or says why it does not.
func FuzzExpect(f *testing.F) {
	f.Add("$.items[?@.id == 'a'].n", `{"items":[{"id":"a","n":1e999999999}]}`, "1")
	f.Add("$..*", `[[],{},null,"x",-0.0]`, "[]")
	f.Add("$[?length(@.a) > 1 && match(@.b, 'x.*')]", `[{"a":"ab","b":"xy"}]`, "{}")
	f.Add("$[?@.a < $.b]", `[{"a":1},{"b":2}]`, "null")
	f.Fuzz(func(t *testing.T, path, answer, equals string) {
		if len(answer) > 1<<12 || len(path) > 1<<8 {
			return
		}
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(answer))
		if err != nil {
			return
		}
		want, err := jsonschema.UnmarshalJSON(strings.NewReader(equals))
		if err != nil {
			want = equals
		}
		if !same(v, v) {
			if d, ok := v.(json.Number); !ok || len(d) < 10 { // an exponent may be too large
				t.Errorf("%s is not itself", answer)
			}
		}
		began := time.Now()
		for _, e := range []Expect{{Path: path, Equals: want}, {Path: path, In: []any{want}, Max: ptr(3)}, {Path: path, NotEmpty: true, Type: "array", NotNull: true, Matches: "a"}} {
			x, err := e.compile(testVars())
			if err != nil {
				return
			}
			if detail := x.check(v); utf8.RuneCountInString(detail) > maxShown+1 || !utf8.ValidString(detail) {
				t.Errorf("%q", detail)
			}
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("%s of %d bytes takes %s", path, len(answer), d)
		}
		for name := range invariantChecks {
			i := &inspection{Invariant: &Invariant{Check: name}, a: &reply{status: 200, value: v}, o: &Observe{Items: "items", ItemMetadata: true}, tenant: testTenant}
			_ = i.check()
		}
	})
}
