package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
)

// uncoloured matches what paint writes, and nothing else that a terminal obeys.
var uncoloured = regexp.MustCompile("\x1b\\[[0-9]{1,2}m")

// harmless fails where output could do something to a terminal.
func harmless(t interface {
	Helper()
	Errorf(string, ...any)
}, s string,
) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("not UTF-8: %q", s)
	}
	for _, r := range s {
		if r == '\n' || r == zeroWidthJoiner || r == zeroWidthNonJoiner {
			continue
		}
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			t.Errorf("%U in %q", r, s)
			return
		}
	}
}

func TestClean(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain", "plain"},
		{"  two \t\r\n lines\u2028 ", "two lines"},
		{"\x1b[31mred", "\ufffd[31mred"},
		{"\u202egnp.exe", "\ufffdgnp.exe"},
		{"bad \xff utf-8", "bad \ufffd utf-8"},
		{"می\u200cخواهم", "می\u200cخواهم"},
		{"👩\u200d🚀", "👩\u200d🚀"},
		{"\ufeffbom", "\ufffdbom"},
	}
	for _, test := range tests {
		if got := clean(test.in); got != test.want {
			t.Errorf("clean(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

func TestColumns(t *testing.T) {
	for s, want := range map[string]int{
		"": 0, "abc": 3, "ä": 1, "a\u0308": 1, "注文": 4, "한국": 4, "\u1112\u1161\u11ab": 2, "ﾊﾝ": 2, "Ａ": 2, "🚀": 2, "שלום": 4, "می\u200cخواهم": 7, "न": 1, "µ": 1,
	} {
		if got := columnsOf(s); got != want {
			t.Errorf("columnsOf(%q) = %d, want %d", s, got, want)
		}
	}
}

func anyText(t *rapid.T, name string) string {
	parts := rapid.SliceOf(rapid.OneOf(
		rapid.String(), rapid.SampledFrom([]string{"注文サポート", "a\u0308", "👩\u200d🚀", hostile, " ", "\n", "word", "שלום", "\xff"}),
	)).Draw(t, name)
	return strings.Join(parts, "")
}

// TestText: whatever a record says, what is shown of it is harmless and has the
// width that it should have, and folding loses nothing.
func TestText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyText(t, "text")
		n := rapid.IntRange(2, 60).Draw(t, "columns")
		c := clean(s)
		harmless(t, c)
		if c != clean(c) {
			t.Errorf("cleaning %q again gives %q", c, clean(c))
		}
		short := cut(c, n)
		if columnsOf(short) > n || columnsOf(c) <= n && short != c {
			t.Errorf("cut to %d: %q", n, short)
		}
		if f := fill(short, n); columnsOf(f) != n {
			t.Errorf("%q has %d columns", f, columnsOf(f))
		}
		var all strings.Builder
		for _, line := range fold(c, n) {
			if columnsOf(line) > n {
				t.Errorf("%q is over %d columns", line, n)
			}
			all.WriteString(line)
		}
		if got, want := strings.ReplaceAll(all.String(), " ", ""), strings.ReplaceAll(c, " ", ""); got != want {
			t.Errorf("folded %q to %q", want, got)
		}
		for _, line := range cleanLines(s) {
			harmless(t, line)
		}
	})
}

// TestTableAligned: every row of a table has its columns where the titles are.
func TestTableAligned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(40, 140).Draw(t, "width")
		rows := make([][]string, rapid.IntRange(1, 5).Draw(t, "rows"))
		for i := range rows {
			rows[i] = []string{clean(anyText(t, "id")) + "x", anyText(t, "free"), "~" + clean(anyText(t, "last"))}
		}
		var b bytes.Buffer
		(&screen{w: &b, width: width}).table([]column{{title: "ID"}, {title: "FREE", free: true}, {title: "~"}}, rows)
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != len(rows)+1 {
			t.Fatalf("%d lines", len(lines))
		}
		at := columnsOf(lines[0][:strings.Index(lines[0], "~")])
		for i, line := range lines[1:] {
			harmless(t, line)
			if !strings.HasPrefix(line[len(prefix(line, at)):], "~") {
				t.Errorf("row %d: the last column is not at %d: %q", i, at, line)
			}
		}
	})
}

func TestContent(t *testing.T) {
	tests := []struct {
		name  string
		c     answer.Content
		brief string
		full  []string
	}{
		{"not permitted", answer.WithheldFor(answer.NotPermitted, "aa"), "[withheld: not permitted]", []string{"[withheld: not permitted]"}},
		{"erased", answer.WithheldFor(answer.Erased, "aa"), "[erased]", []string{"[erased]"}},
		{"expired", answer.WithheldFor(answer.Expired, "aa"), "[expired]", []string{"[expired]"}},
		{"not captured", answer.WithheldFor(answer.NotCaptured, ""), "[not captured]", []string{"[not captured]"}},
		{"nothing", answer.Content{}, "[not captured]", []string{"[not captured]"}},
		{"another reason", answer.WithheldFor("moon\nphase", "aa"), "[withheld: moon phase]", []string{"[withheld: moon phase]"}},
		{"text", jsonOf(`"a\n\tb"`), "a b", []string{"a", "    b"}},
		{"null", jsonOf(`null`), "null", []string{"null"}},
		{"number", jsonOf(`1.50`), "1.50", []string{"1.50"}},
		{"object", jsonOf(`{"a": [1, "x"]}`), `{"a":[1,"x"]}`, []string{`{`, `  "a": [`, `    1,`, `    "x"`, `  ]`, `}`}},
		{"empty list", jsonOf(`[]`), `[]`, []string{`[]`}},
		{
			"messages", jsonOf(`[{"role":"system","content":"s"},{"role":"user","content":"a\nb"}]`), "user: a b",
			[]string{"system: s", "user: a", "b"},
		},
		{
			"parts", jsonOf(`[{"role":"user","parts":[{"type":"text","content":"a"},{"type":"image","content":"b"}],"name":"n"}]`),
			`user: a {"content":"b","type":"image"} name=n`,
			[]string{`user: a {"content":"b","type":"image"} name=n`},
		},
		{"a message without a role", jsonOf(`[{"role":"user","content":"a"},{"content":"b"}]`), `[{"role":"user","content":"a"},{"content":"b"}]`, nil},
	}
	for _, test := range tests {
		if got := brief(test.c); got != test.brief {
			t.Errorf("%s: brief %q, want %q", test.name, got, test.brief)
		}
		if diff := cmp.Diff(test.full, full(test.c)); test.full != nil && diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

// TestContentLosesNothing: each word of a conversation is shown in full.
func TestContentLosesNothing(t *testing.T) {
	const raw = `[{"role":"R1","content":"C1","tool_calls":[{"id":"I1","function":{"name":"F1"}}]},` +
		`{"role":"R2","content":[{"type":"text","text":"T1","cache":"K1"},{"type":"text","text":"T2"}],"parts":["P1"],"extra":{"x":"X1"}}]`
	shown := strings.Join(full(jsonOf(raw)), "\n")
	for _, word := range []string{"R1", "C1", "I1", "F1", "R2", "T1", "K1", "T2", "P1", "X1"} {
		if !strings.Contains(shown, word) {
			t.Errorf("no %s in %s", word, shown)
		}
	}
}

func FuzzContent(f *testing.F) {
	f.Add([]byte(`[{"role":"user","parts":[{"type":"text","content":"a"}]}]`))
	f.Add([]byte(`{"withheld":true,"commitment":null,"reason":"erased"}`))
	f.Add([]byte(`"` + hostile + `"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c answer.Content
		if c.UnmarshalJSON(b) != nil {
			return
		}
		harmless(t, brief(c))
		for _, line := range full(c) {
			harmless(t, line)
		}
	})
}

// TestScale: whatever the times, a bar stays on its line, and one that is
// longer is drawn no shorter.
func TestScale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		moment := rapid.Int64Range(-1e15, 1e15)
		s := scale{evidence.Micros(moment.Draw(t, "from")), evidence.Micros(moment.Draw(t, "until")), rapid.IntRange(1, 200).Draw(t, "width")}
		from, until := evidence.Micros(moment.Draw(t, "begin")), evidence.Micros(moment.Draw(t, "end"))
		bar := s.bar(from, until)
		if len(bar) > s.width || strings.TrimSpace(bar) == "" {
			t.Fatalf("%q on %d columns", bar, s.width)
		}
		if longer := s.bar(from, until+1e6); until > from && strings.Count(longer, "=") < strings.Count(bar, "=") {
			t.Errorf("%q is shorter than %q", longer, bar)
		}
		if d := s.distance(from, until); len(d) > s.width || strings.Count(d, "*") != 1 {
			t.Errorf("distance %q", d)
		}
	})
	s := scale{0, 100, 10}
	for _, test := range []struct {
		from, until evidence.Micros
		want        string
	}{
		{0, 100, "=========="}, {0, 50, "====="}, {50, 100, "     ====="}, {0, 1, "="}, {99, 100, "         ="}, {40, 40, "    |"}, {100, 100, "         |"},
	} {
		if got := s.bar(test.from, test.until); got != test.want {
			t.Errorf("bar %d to %d: %q, want %q", test.from, test.until, got, test.want)
		}
	}
	s.width = 11
	for at, want := range map[evidence.Micros]string{0: "*----|", 50: "     *", 100: "     |----*", 49: "     *", 20: "  *--|"} {
		if got := s.distance(50, at); got != want {
			t.Errorf("distance to %d: %q, want %q", at, got, want)
		}
	}
}

func TestDepths(t *testing.T) {
	step := func(n int64, parent int64) answer.Step {
		s := answer.Step{StepIndex: n}
		if parent >= 0 {
			s.ParentStepIndex = &parent
		}
		return s
	}
	got := depths([]answer.Step{step(5, 1), step(0, -1), step(1, 0), step(2, 9), step(3, 4), step(4, 3), step(6, 6)})
	if diff := cmp.Diff([]int{2, 0, 1, 0, maxDepth, maxDepth, maxDepth}, got); diff != "" {
		t.Error(diff)
	}
}

func TestDollars(t *testing.T) {
	for n, want := range map[int64]string{0: "$0.00", 1: "$0.000000001", 12_345_000: "$0.012345", 2_000_000_000: "$2.00", 1_500_000_000: "$1.50", -10_000_000: "-$0.01"} {
		if got := dollars(&n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	if dollars(nil) != "" {
		t.Error("what is not known has a price")
	}
}
