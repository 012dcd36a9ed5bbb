package verifypage

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/verify"
)

// TestEarly: of what expired against its policy the page says what the package says, in
// the same words.
func TestEarly(t *testing.T) {
	page := openTab(t)
	n := 0
	for _, f := range frozenSet(t) {
		if !strings.HasPrefix(f.Name, "unaccounted-early") && !strings.HasPrefix(f.Name, "unaccounted-policy") {
			continue
		}
		n++
		rep, err := verify.ZIP(t.Context(), bytes.NewReader(f.bundle), int64(len(f.bundle)), verify.Options{Keys: f.Keys, Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		type finding struct{ Code, Expected, Found, Message string }
		var want, got []finding
		for _, x := range rep.Findings[:min(4, len(rep.Findings))] {
			want = append(want, finding{string(x.Code), x.Expected, x.Found, x.Message})
		}
		reply := page.verify(t, []question{f.question()})[0]
		if err := json.Unmarshal([]byte(reply.Say), &got); err != nil {
			t.Fatal(f.Name, err, reply)
		}
		of := func(list []finding) []finding {
			return slices.DeleteFunc(list, func(x finding) bool { return x.Code != string(verify.EUnaccounted) })
		}
		if want, got = of(want), of(got); len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("%s: the page says\n%q, want\n%q", f.Name, got, want)
		}
	}
	if n < 7 {
		t.Errorf("%d bundles", n)
	}
}
