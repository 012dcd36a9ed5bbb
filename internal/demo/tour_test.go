package demo

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// TestTour holds the stops to what the player and the printer rely on.
func TestTour(t *testing.T) {
	values := map[string]string{
		"URL": "http://127.0.0.1:8080", "DIR": "/tmp/d", "RUN": Run, "EXPORT": "e", "VKEY": "k",
		Producer: "1", Operator: "2", Viewer: "3", Auditor: "4", Outsider: "5",
	}
	if n := len(Tour()); n != 18 {
		t.Errorf("%d questions: README.md says 18", n)
	}
	asked := map[string]bool{}
	for _, s := range Tour() {
		if s.Question == "" || s.See == "" || s.Path == "" && s.Command == nil {
			t.Errorf("%+v is no stop", s)
		}
		for _, word := range append([]string{s.Curl()}, s.Command...) {
			if got := Expand(word, values); strings.Contains(got, "$") {
				t.Errorf("%s: a variable is not set", got)
			}
		}
		asked[s.Path] = true
	}
	for _, path := range []string{"/envelope", "/trace", "/governance", "/replay?window_seconds=60", "/export"} {
		if !asked["/api/v1/logs/llm-runs/$RUN"+path] {
			t.Errorf("nobody asks for %s", path)
		}
	}
}

func TestCurl(t *testing.T) {
	for want, s := range map[string]Stop{
		`curl -s "$URL/docs"`: {Path: "/docs"},
		`curl -s -H "x-api-key: $VIEWER" -o "$DIR/x" "$URL/a?b=c&d=e"`: {Path: "/a?b=c&d=e", As: Viewer, Save: "$DIR/x"},
		"": {Command: []string{"verify"}},
	} {
		if got := s.Curl(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	if got := Quote("it's $HOME"); got != `'it'\''s $HOME'` {
		t.Error(got)
	}
}

func TestShorten(t *testing.T) {
	long := strings.Repeat("é", 80)
	for _, tt := range []struct {
		name, body string
		show       []string
		want       []string
	}{
		{"one line, in its order", `{"b":1,"a":"x","c":true}`, []string{"a", "b"}, []string{`{"b": 1, "a": "x"}`}},
		{"nulls are left out", `{"a":null,"b":1.50}`, []string{"a", "b"}, []string{`{"b": 1.50}`}},
		{"entries", `{"a":[1,2,3,4,5]}`, []string{"a"}, []string{`{"a": [1, 2, … 3 more]}`}},
		{"empty", `{"a":[],"b":{}}`, []string{"a", "b"}, []string{`{"a": [], "b": {}}`}},
		{"no markup", `{"a":"<&>"}`, []string{"a"}, []string{`{"a": "<&>"}`}},
		{
			"withheld content is whole", `{"a":{"withheld":true,"commitment":null,"reason":"erased"}}`,
			[]string{"a"},
			[]string{`{"a": {"withheld": true, "commitment": null, "reason": "erased"}}`},
		},
		{
			"long", `{"a":{"b":"` + long + `","c":"` + long + `"},"d":2}`,
			[]string{"a", "b", "c", "d"},
			[]string{
				"{", `  "a": {`, `    "b": "` + strings.Repeat("é", 55) + `…",`, `    "c": "` + strings.Repeat("é", 55) + `…"`, "  },",
				`  "d": 2`, "}",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Shorten([]byte(tt.body), tt.show)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzShorten(f *testing.F) {
	for _, seed := range []string{`{"a":[{"a":1},{"a":2},{"a":3}]}`, `[`, `{"a"`, `nul`, `{"a":"\ud800"}`, `[[[[[]]]]]`, ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := Shorten(body, []string{"a"})
		if err != nil {
			return
		}
		for _, line := range got {
			if strings.ContainsAny(line, "\n\r") || !utf8.ValidString(line) {
				t.Errorf("%q is no line", line)
			}
		}
	})
}
