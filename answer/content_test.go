package answer_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/runledger/runledger/answer"
)

func TestContent(t *testing.T) {
	for _, c := range []struct {
		name    string
		content answer.Content
		json    string
		text    string
	}{
		{"nothing captured", answer.Content{}, `{"withheld":true,"commitment":null,"reason":"not_captured"}`, ""},
		{"erased", answer.WithheldFor(answer.Erased, "c"), `{"withheld":true,"commitment":"c","reason":"erased"}`, ""},
		{"a text", answer.Shown([]byte(`"grüße"`)), `"grüße"`, "grüße"},
		{"an object, byte for byte", answer.Shown([]byte(`{"b":1.0,"a":1e2}`)), `{"b":1.0,"a":1e2}`, ""},
		{"null is a value", answer.Shown([]byte(`null`)), `null`, ""},
		{"what looks much like the withheld form", answer.Shown([]byte(`{"withheld":true,"reason":"erased","more":1}`)), `{"withheld":true,"reason":"erased","more":1}`, ""},
	} {
		b, err := json.Marshal(c.content)
		if err != nil || string(b) != c.json {
			t.Errorf("%s: %s %v, want %s", c.name, b, err, c.json)
		}
		if got := c.content.Text(); got != c.text {
			t.Errorf("%s: text %q", c.name, got)
		}
		var back answer.Content
		if err := json.Unmarshal(b, &back); err != nil || (back.Withheld != nil) != (c.content.Value == nil) {
			t.Errorf("%s: read back as %+v, %v", c.name, back, err)
		}
	}
}

func FuzzContent(f *testing.F) {
	for _, s := range []string{`{"withheld":true,"commitment":null,"reason":"erased"}`, `"x"`, `[1,{"a":null}]`, `{"withheld":false,"reason":""}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c answer.Content
		if json.Unmarshal(b, &c) != nil {
			return
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, b); err != nil {
			t.Fatal(err)
		}
		var back answer.Content
		if err := json.Unmarshal(again, &back); err != nil || (back.Withheld == nil) != (c.Withheld == nil) {
			t.Fatalf("%s became %s", b, again)
		}
	})
}
