package registry_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/registry"
)

// causeWait is several times as long as any effect takes.
const causeWait = 2 * time.Second

// A scenario whose causes are left out fails: it does not pass by what is there anyway.
// First what it sends is left out, so that its reads find nothing; then, where an access
// is the cause, that.
func TestNoCause(t *testing.T) {
	r := builtin(t)
	l := serveLive(t, onSQLite)
	cfg := l.config(t, r)
	mustPass(t, run(t, cfg)) // what others have left is there

	// Keys that were never used: that of the producer is not, in what follows.
	unused := l.config(t, without(t, r, func(in registry.Injection) bool { return in.Read == nil }))
	unused.MaxWait = causeWait
	mustFailAll(t, run(t, unused), 19)

	// This observer was denied before, so that its denials are there.
	denied := cfg
	denied.MaxWait = causeWait
	denied.Registry = without(t, r, func(in registry.Injection) bool { return in.Read != nil && in.Read.Status == http.StatusForbidden })
	mustFailAll(t, run(t, denied, "SDSR-LOG-AUD-O2-001"), 1)

	accesses := without(t, r, func(in registry.Injection) bool { return in.Read != nil })
	var ids []string
	for i, s := range r.Scenarios {
		// Of O4 the read only looks where the record stands, which is then missing.
		if len(s.Inject) != len(accesses.Scenarios[i].Inject) && s.Panel != "LOG-REC-AUD-O4" {
			ids = append(ids, s.ID)
		}
	}
	cfg.Registry, cfg.MaxWait = accesses, causeWait
	cfg.Observer = l.key(t, evidence.SyntheticTenant, access.RoleObserver)
	mustFailAll(t, run(t, cfg, ids...), 4)
}

func mustFailAll(t *testing.T, o *registry.Observation, n int) {
	t.Helper()
	if len(o.Scenarios) != n {
		t.Errorf("%d scenarios were run, and not %d", len(o.Scenarios), n)
	}
	for _, s := range o.Scenarios {
		if s.Passed {
			t.Errorf("%s passes without its cause", s.ID)
		}
	}
}

// without returns the registry without some injections. What a read among them would
// have saved becomes something that is nowhere.
func without(t *testing.T, r *registry.Registry, drop func(registry.Injection) bool) *registry.Registry {
	t.Helper()
	out := *r
	out.Scenarios = slices.Clone(r.Scenarios)
	for i, s := range r.Scenarios {
		c := *s
		c.Inject = slices.DeleteFunc(slices.Clone(s.Inject), drop)
		saved := map[string]string{}
		for _, in := range s.Inject {
			if drop(in) && in.Read != nil {
				maps.Copy(saved, in.Read.Save)
			}
		}
		text, err := json.Marshal(c.Observe)
		if err != nil {
			t.Fatal(err)
		}
		for name := range saved {
			text = []byte(strings.ReplaceAll(string(text), "${"+name+"}", "${uuid.nowhere}"))
		}
		c.Observe = nil
		if err := json.Unmarshal(text, &c.Observe); err != nil {
			t.Fatal(err)
		}
		out.Scenarios[i] = &c
	}
	return &out
}
