package control

import (
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
)

func TestCallerNames(t *testing.T) {
	for in, want := range map[string]string{
		"operator":               "operator",
		`DOMAIN\operator`:        "DOMAIN-operator",
		"opérateur":              "op-rateur",
		"a\x00b":                 "a-b",
		strings.Repeat("x", 500): strings.Repeat("x", 124),
	} {
		if got := fit(in); got != want {
			t.Errorf("fit(%q) = %q, want %q", in, got, want)
		}
	}
	for _, c := range []Caller{CurrentUser(), userByID("4294967294"), {Name: fit(strings.Repeat("y", 500))}} {
		if !evidence.FitName(c.producer()) {
			t.Errorf("producer %q is no name", c.producer())
		}
	}
	if c := callerOf(t.Context()); c.producer() != "cli:unknown" {
		t.Errorf("no caller: %q", c.producer())
	}
}
