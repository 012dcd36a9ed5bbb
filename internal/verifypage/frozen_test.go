package verifypage

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/runledger/runledger/verify"
)

// frozen is a bundle of testdata/bundles and what any verifier must say of it.
type frozen struct {
	Name        string          `json:"name"`
	File        string          `json:"file"`
	Keys        []string        `json:"keys"`
	Policy      string          `json:"policy"`
	Since       string          `json:"since"`
	Verdict     verify.Verdict  `json:"verdict"`
	Codes       []string        `json:"codes"`
	HTMLVerdict *verify.Verdict `json:"html_verdict"` // of the page, where it differs
	HTMLCodes   *[]string       `json:"html_codes"`

	bundle, policy, since []byte
}

func (f *frozen) question() question { return ask(f.bundle, f.policy, f.since, f.Keys) }

// want is what the page must say.
func (f *frozen) want() reply {
	r := reply{Verdict: string(f.Verdict), Codes: f.Codes}
	if f.HTMLVerdict != nil {
		r.Verdict = string(*f.HTMLVerdict)
	}
	if f.HTMLCodes != nil {
		r.Codes = *f.HTMLCodes
	}
	r.Codes = slices.Sorted(slices.Values(r.Codes))
	return r
}

func frozenSet(tb testing.TB) []*frozen {
	tb.Helper()
	dir := filepath.Join("..", "..", "testdata", "bundles")
	read := func(name string) []byte {
		if name == "" {
			return nil
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	var set []*frozen
	if err := json.Unmarshal(read("expected.json"), &set); err != nil {
		tb.Fatal(err)
	}
	for _, f := range set {
		f.bundle, f.policy, f.since = read(f.File), read(f.Policy), read(f.Since)
	}
	if len(set) < 50 {
		tb.Fatalf("only %d frozen bundles", len(set))
	}
	return set
}

// TestFrozen: the page says of every frozen bundle what the package and the command
// say, but for time stamps.
func TestFrozen(t *testing.T) {
	page := openTab(t)
	set := frozenSet(t)
	var questions []question
	for _, f := range set {
		questions = append(questions, f.question())
	}
	for i, got := range page.verify(t, questions) {
		if want := set[i].want(); got.String() != want.String() {
			t.Errorf("%s: the page says %v, want %v\n%s", set[i].Name, got, want, got.Say)
		}
	}
}

// withGo is what package verify says of a bundle, in the terms of the page: it is
// given no roots of time-stamping authorities.
func withGo(tb testing.TB, bundle []byte, f *frozen) reply {
	tb.Helper()
	opts := verify.Options{Keys: f.Keys, Policy: f.policy, Since: f.since, Workers: 1}
	rep, err := verify.ZIP(tb.Context(), bytes.NewReader(bundle), int64(len(bundle)), opts)
	if err != nil {
		tb.Fatal(errors.Join(errors.New(f.Name), err))
	}
	r := reply{Verdict: string(rep.Verdict), Codes: []string{}}
	for _, f := range rep.Findings {
		r.Codes = append(r.Codes, string(f.Code))
	}
	slices.Sort(r.Codes)
	r.Codes = slices.Compact(r.Codes)
	return r
}
