package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitJSON(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want []string // nil: malformed
	}{
		{`[]`, []string{}},
		{` [ {"a":1} ,{ "b" : [1, 2] }, null,"x" ] `, []string{`{"a":1}`, `{ "b" : [1, 2] }`, `null`, `"x"`}},
		{`{"a":1,"a":2}`, []string{`{"a":1,"a":2}`}},
		{"[\"\xff\"]", []string{"\"\xff\""}},
		{`12`, []string{`12`}},
		{``, nil},
		{`[`, nil},
		{`[1,]`, nil},
		{`[1 2]`, nil},
		{`[1]]`, nil},
		{`{} {}`, nil},
		{`[{]`, nil},
	} {
		got, err := splitJSON([]byte(tc.in))
		if tc.want == nil {
			if !errors.Is(err, errMalformed) {
				t.Errorf("%q: %q, %v", tc.in, got, err)
			}
			continue
		}
		texts := []string{}
		for _, b := range got {
			texts = append(texts, string(b))
		}
		if diff := cmp.Diff(tc.want, texts); diff != "" || err != nil {
			t.Errorf("%q: %v\n%s", tc.in, err, diff)
		}
	}
}

func FuzzSplitJSON(f *testing.F) {
	for _, s := range []string{`[]`, `[{"a":1}, {"b":[{}]}]`, `{"a":"\u00e9"}`, "[\"\xff\"]", `[1,2`, `[[[]]]`, ` [ null , true ] `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		got, err := splitJSON(body)
		if !bytes.Equal(before, body) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			return
		}
		// What encoding/json takes is cut the same way.
		var list []json.RawMessage
		if json.Unmarshal(body, &list) != nil || list == nil {
			return
		}
		if len(list) != len(got) {
			t.Fatalf("%d records, want %d", len(got), len(list))
		}
		for i := range list {
			if !bytes.Equal(list[i], got[i]) {
				t.Fatalf("record %d is %q, want %q", i, got[i], list[i])
			}
		}
	})
}

func FuzzSplitLines(f *testing.F) {
	f.Add([]byte("{}\n\n{}\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := splitLines(body)
		if err != nil {
			return
		}
		for _, line := range got {
			if len(bytes.TrimSpace(line)) != len(line) || len(line) == 0 || bytes.IndexByte(line, '\n') >= 0 {
				t.Fatalf("line %q", line)
			}
		}
	})
}

func FuzzHasMember(f *testing.F) {
	f.Add([]byte(`{"revision":1}`))
	f.Add([]byte(`{"a":{"revision":1}}`))
	f.Fuzz(func(t *testing.T, object []byte) {
		var m map[string]json.RawMessage
		if json.Unmarshal(object, &m) != nil {
			hasMember(object, "revision") // must end
			return
		}
		if _, want := m["revision"]; !want && hasMember(object, "revision") {
			t.Fatalf("%q has no revision", object)
		}
	})
}
