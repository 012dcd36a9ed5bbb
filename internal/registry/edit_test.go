package registry

import (
	"errors"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/evidence"
)

func TestSetWord(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"plain":         {"# é: x\na: 1\ns:\n  status: OLD # why\n  # more\nb: 2\n", "# é: x\na: 1\ns:\n  status: NEW # why\n  # more\nb: 2\n"},
		"double quotes": {"s:\n  status: \"OLD\" # why\n", "s:\n  status: NEW # why\n"},
		"single quotes": {"s:\n  status: 'OLD'\n", "s:\n  status: NEW\n"},
		"flow":          {"s: {é: 1, status: OLD, x: 2}\n", "s: {é: 1, status: NEW, x: 2}\n"},
		"the same":      {"s: {status: NEW}\n", "s: {status: NEW}\n"},
		"next line":     {"s:\n  status:\n    OLD\n", "s:\n  status:\n    NEW\n"},
		"line ends":     {"s:\r\n  status: OLD\r\n", "s:\r\n  status: NEW\r\n"},
		"no line end":   {"s:\n  status: OLD", "s:\n  status: NEW"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := setWord([]byte(tt.text), "NEW", "s", "status")
			if err != nil || string(got) != tt.want {
				t.Errorf("%v: got\n%swant\n%s", err, got, tt.want)
			}
		})
	}
	for name, text := range map[string]string{
		"missing": "s: {}\n", "no mapping": "s: x\n", "a list": "s: {status: [OLD]}\n", "block": "s:\n  status: |\n    OLD\n",
		"alias": "a: &x OLD\ns:\n  status: *x\n", "anchor": "s:\n  status: &x OLD\n", "tag": "s:\n  status: !!str OLD\n",
		"empty": "s:\n  status:\n", "no YAML": "s: [\n", "nothing": "",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := setWord([]byte(text), "NEW", "s", "status"); !errors.Is(err, evidence.ErrInvalid) {
				t.Errorf("%v: %s", err, got)
			}
		})
	}
}

type pairOfTest struct {
	A string `yaml:"a"`
	B int    `yaml:"b"`
}

func TestSetMember(t *testing.T) {
	made := setMapping(pairOfTest{"2026-11-30T12:00:00.000000Z", 2})
	const madeText = "x:\n  a: \"2026-11-30T12:00:00.000000Z\"\n  b: 2\n"
	for name, tt := range map[string]struct {
		text   string
		change func(*yaml.Node) error
		want   string
	}{
		"null":             {"a: 1\n\n# above\nx: null\n\n# below\ny:   2\n", made, "a: 1\n\n# above\n" + madeText + "\n# below\ny:   2\n"},
		"comment behind":   {"x: null # the newest\ny: 2\n", made, strings.Replace(madeText, "x:", "x: # the newest", 1) + "y: 2\n"},
		"again":            {strings.Replace(madeText, "x:", "x: # the newest", 1) + "y: 2\n", made, strings.Replace(madeText, "x:", "x: # the newest", 1) + "y: 2\n"},
		"last":             {"a: 1\nx: null", made, "a: 1\n" + madeText},
		"missing":          {"a: 1", made, "a: 1\n" + madeText},
		"comments inside":  {"x:\n  b: 1 # b\n  # a is\n  a: z # a\n  c: gone\ny: 2\n", made, "x:\n  b: 2 # b\n  # a is\n  a: \"2026-11-30T12:00:00.000000Z\" # a\ny: 2\n"},
		"to null":          {"x: # why\n  a: z\n  b: 1\n\n  # end\ny: 2\n", setNull, "x: null # why\n\n  # end\ny: 2\n"},
		"null again":       {"x: null # why\n", setNull, "x: null # why\n"},
		"list at the edge": {"x:\n- 1\n- 2\n# end\ny: 2\n", setNull, "x: null\n# end\ny: 2\n"},
		"document markers": {"---\nx: null\n", made, "---\n" + madeText},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := setMember([]byte(tt.text), "x", tt.change)
			if err != nil || string(got) != tt.want {
				t.Errorf("%v: got\n%swant\n%s", err, got, tt.want)
			}
		})
	}
	for name, text := range map[string]string{"flow": "{a: 1, x: null}\n", "anchor": "a: &n {b: 1}\nx: *n\n", "no YAML": "x: [\n", "a list": "- x\n"} {
		t.Run(name, func(t *testing.T) {
			if got, err := setMember([]byte(text), "x", made); !errors.Is(err, evidence.ErrInvalid) {
				t.Errorf("%v: %s", err, got)
			}
		})
	}
}

func TestSetHistory(t *testing.T) {
	up := Transition{1, Declared, Observed, "passed: \"all\"", "sha256:1"}
	down := Transition{2, Observed, Degraded, "failed\nbadly: # no comment", "sha256:2"}
	again := Transition{3, Degraded, Degraded, "failed", "sha256:3"}
	later := Transition{4, Degraded, Degraded, "failed", "sha256:4"}
	text := []byte("id: x\nhistory: [] # oldest first\nlast: 1\n")
	var was []Transition
	for _, is := range [][]Transition{{up}, {up, down}, {up, down, again}, {up, down, later}} {
		var err error
		if text, err = setMember(text, "history", setHistory(was, is)); err != nil {
			t.Fatal(err)
		}
		var back struct {
			ID      string
			History []Transition
			Last    int
		}
		if err := yaml.Unmarshal(text, &back); err != nil || back.ID != "x" || back.Last != 1 || len(back.History) != len(is) {
			t.Fatalf("%v: %s", err, text)
		}
		for i := range is {
			if back.History[i] != is[i] {
				t.Errorf("%+v, want %+v", back.History[i], is[i])
			}
		}
		if !strings.Contains(string(text), "history: # oldest first\n") {
			t.Errorf("the comment is gone:\n%s", text)
		}
		// A person says why, and that stays.
		if len(is) == 3 && is[2] == again {
			text = []byte(strings.Replace(string(text), `to: DEGRADED`, `to: DEGRADED # first`, 1))
			text = []byte(strings.Replace(string(text), `from: DEGRADED`, `from: DEGRADED # known`, 1))
		}
		was = is
	}
	for _, comment := range []string{"to: DEGRADED # first\n", "from: DEGRADED # known\n"} {
		if !strings.Contains(string(text), comment) {
			t.Errorf("%q is gone:\n%s", comment, text)
		}
	}
}

// FuzzSetMember: an edit gives the member its value and leaves the others theirs, or
// fails, or ends in what is no YAML or has another value, which check finds.
func FuzzSetMember(f *testing.F) {
	for _, text := range []string{
		"a: 1\nx: null # c\ny: [2, 3]\n", "x:\n- a: 1\n# c\n\nz: |\n  # x\n  y\n", "x: {a: b}", "? x\n: y\n", "---\nx: &n 1\ny: *n\n...\n",
		"\"x\": 'a'\nb:\n  x: 1\n", "é: \u2028\nx: 1\n", "x: >\n  a\n\n# b\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var before, after map[string]yaml.Node
		if yaml.Unmarshal([]byte(text), &before) != nil {
			return
		}
		for _, n := range before {
			if n.Kind == 0 {
				return
			}
		}
		made := pairOfTest{"2026-11-30T12:00:00.000000Z", 2}
		out, err := setMember([]byte(text), "x", setMapping(made))
		if err != nil || yaml.Unmarshal(out, &after) != nil {
			return
		}
		var got pairOfTest
		if x := after["x"]; x.Decode(&got) != nil || got != made {
			return
		}
		for name := range before {
			if _, ok := after[name]; !ok {
				t.Errorf("%q is gone: %q became %q", name, text, out)
			}
		}
	})
}
