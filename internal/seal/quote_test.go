package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// What is written is what the JSON library writes.
func TestAppendQuoted(t *testing.T) {
	texts := []string{"", `"`, `\`, `["a","string","b\n"]`, "plain", "\u2028<&>é\x7f", "é\"è\\", string(rune(0x10ffff))}
	for c := range 256 {
		texts = append(texts, "x"+string(rune(c))+"y")
	}
	for _, text := range texts {
		want, err := jsontext.AppendQuote([]byte("#"), text)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendQuoted([]byte("#"), []byte(text)); !bytes.Equal(got, want) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// The spelled out HMAC is that of the standard library, whatever its lengths.
func TestIndexMAC(t *testing.T) {
	k := bytes.Repeat([]byte{0xa5, 3}, keySize/2)
	m := &macs{key: k, made: map[macOf]macSum{}}
	for n := range 300 {
		name, text := "user"[:n%5], bytes.Repeat([]byte{byte(n)}, n)
		h := hmac.New(sha256.New, k)
		h.Write([]byte(name + "\x00"))
		h.Write(text)
		want := macSum(h.Sum(nil)[:16])
		if got := IndexMAC(k, name, string(text)); got != want {
			t.Errorf("%d bytes: %x, want %x", n, got, want)
		}
		for range 2 {
			if got := m.of(name, text); got != want {
				t.Errorf("remembered, %d bytes: %x, want %x", n, got, want)
			}
		}
	}
}
