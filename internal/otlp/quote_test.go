package otlp

import (
	"encoding/json"
	"math"
	"strconv"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runledger/runledger/evidence"
)

func checkQuoted(t *testing.T, s string) {
	t.Helper()
	if got, want := appendQuoted(nil, s), evidence.QuoteJSON(s); string(got) != string(want) {
		t.Errorf("%q is quoted as %s, want %s", s, got, want)
	}
}

func TestQuote(t *testing.T) {
	for c := range 256 {
		// At every place of a word, and behind one.
		for pad := range 17 {
			b := make([]byte, pad, 32)
			for i := range b {
				b[i] = 'a' + byte(i)
			}
			checkQuoted(t, string(append(append(b, byte(c)), "xyz"...)))
			checkQuoted(t, string(append(append(b, byte(c), byte(c)), "0123456789"...)))
		}
	}
	for _, s := range []string{"", "é", "日本語のテキスト", "\u2028\u2029", "\xed\xa0\x80", "a\xc3", "\"\\\b\f\n\r\t\x7f", "\U0001F600\xffz"} {
		checkQuoted(t, s)
	}
}

func FuzzQuote(f *testing.F) {
	f.Add("a\x00\"é\xff01234567")
	f.Fuzz(checkQuoted)
}

func checkDouble(t *testing.T, bits uint64) {
	t.Helper()
	x := math.Float64frombits(bits)
	got := appendDouble(nil, x)
	if math.IsNaN(x) || math.IsInf(x, 0) {
		var s string
		if err := json.Unmarshal(got, &s); err != nil {
			t.Errorf("%v is written as %s", x, got)
		}
		return
	}
	back, err := strconv.ParseFloat(string(got), 64)
	if err != nil || math.Float64bits(back) != bits {
		t.Errorf("%v is written as %s", x, got)
	}
	// RFC 8785 writes -0 as 0, which would lose a bit.
	if want := jsontext.Value(strconv.FormatFloat(x, 'e', -1, 64)); x != 0 && want.Canonicalize() == nil && string(want) != string(got) {
		t.Errorf("%v is written as %s, want %s", x, got, want)
	}
}

func TestDouble(t *testing.T) {
	for _, x := range []float64{0, math.Copysign(0, -1), 1, -1.5, 1e20, 1e21, 1e-6, 1e-7, 1.25e-9, 5e-324, math.MaxFloat64, 0.1, 123456789012345680000, math.NaN(), math.Inf(1), math.Inf(-1)} {
		checkDouble(t, math.Float64bits(x))
	}
}

func FuzzDouble(f *testing.F) {
	f.Add(math.Float64bits(1e21))
	f.Fuzz(checkDouble)
}
