package evidence

import (
	"encoding/json"
	"slices"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// TestRFC8785 holds the samples of RFC 8785 against the JSON library, which
// the tests of leaves lean on, and against CheckJSON: its sections 3.2.2,
// 3.2.3 and appendix B.
func TestRFC8785(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{
			"3.2.2", `{
			  "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
			  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
			  "literals": [null, true, false]
			}`,
			`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		},
		{
			"3.2.3", `{
			  "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
			  "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"
			}`,
			`{"\r":"Carriage Return","1":"One","` + "\u0080" + `":"Control","ö":"Latin Small Letter O With Diaeresis",` +
				`"€":"Euro Sign","😀":"Emoji: Grinning Face","` + "\ufb33" + `":"Hebrew Letter Dalet With Dagesh"}`,
		},
		{
			"B", `[0, -0, 4.9406564584124654e-324, -4.9406564584124654e-324, 1.7976931348623157e308, 9007199254740992,
			  295147905179352830000, 9.999999999999997e22, 1e23, 1.0000000000000001e23, 999999999999999700000, 1e21,
			  9.999999999999997e-7, 0.000001, 333333333.3333332, 333333333.33333325, 1424953923781206.2]`,
			`[0,0,5e-324,-5e-324,1.7976931348623157e+308,9007199254740992,295147905179352830000,9.999999999999997e+22,` +
				`1e+23,1.0000000000000001e+23,999999999999999700000,1e+21,9.999999999999997e-7,0.000001,333333333.3333332,` +
				`333333333.33333325,1424953923781206.2]`,
		},
	}
	for _, tt := range tests {
		if err := CheckJSON([]byte(tt.in)); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got, err := canonical([]byte(tt.in)); err != nil || string(got) != tt.want {
			t.Errorf("%s: %v\n got %s\nwant %s", tt.name, err, got, tt.want)
		}
	}
}

func TestQuoteJSON(t *testing.T) {
	for in, want := range map[string]string{
		"€$\u000f\nA'B\"\\\\\"/":             `"€$\u000f\nA'B\"\\\\\"/"`, // section 3.2.2.2
		"\b\t\n\f\r\x00\x1f\x7f":             `"\b\t\n\f\r\u0000\u001f` + "\x7f" + `"`,
		"\u0080\u2028\u2029\ufeff\uffff😀<>&": `"` + "\u0080\u2028\u2029\ufeff\uffff😀<>&" + `"`,
		"":                                   `""`,
		"a\xffb":                             `"a` + "\ufffd" + `b"`,
	} {
		if got := string(QuoteJSON(in)); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		b := QuoteJSON(s)
		var back string
		if err := json.Unmarshal(b, &back); err != nil || utf8.ValidString(s) && back != s {
			t.Fatalf("%q comes back as %q (%v)", s, back, err)
		}
		if c, err := canonical(b); err != nil || string(c) != string(b) {
			t.Fatalf("%s is not canonical: %v", b, err)
		}
		if utf8.ValidString(s) && IndexText(b) != s {
			t.Fatalf("index text of %s is %q", b, IndexText(b))
		}
	})
}

// The order of the table is the order of a leaf's bytes: RFC 8785 sorts by
// UTF-16 code units, the table by bytes, and for its names both are the same.
func TestTableOrder(t *testing.T) {
	utf16Order := func(a, b string) int { return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b))) }
	for _, k := range Kinds() {
		for i, f := range PublicFields(k) {
			if f.Index() != i || PublicField(k, f.Name) != f {
				t.Errorf("%s: %s is at %d, not %d", k, f.Name, f.Index(), i)
			}
			if i > 0 && utf16Order(PublicFields(k)[i-1].Name, f.Name) >= 0 {
				t.Errorf("%s: %s is out of order", k, f.Name)
			}
		}
		for i, s := range SealedFields(k) {
			if i > 0 && utf16Order(SealedFields(k)[i-1].Path, s.Path) >= 0 {
				t.Errorf("%s: %s is out of order", k, s.Path)
			}
		}
	}
}
