package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
)

const (
	llm   = "logs.llm_runs"
	audit = "logs.audit"
)

// life is a registry in a directory, and the log of the server that it is observed on.
type life struct {
	*proofLog
	dir string
	reg *Registry
}

func newLife(t *testing.T) *life {
	t.Helper()
	dir, reg := builtinDir(t)
	return &life{newProofLog(t, "test.example/000000000001", 1), dir, reg}
}

// sees records an observation, a while after the one before.
func (l *life) sees(after time.Duration, prefix string, broken map[string]Failure) *File {
	l.t.Helper()
	return l.file(observationOf(l.reg, prefix, broken), after)
}

func (l *life) apply(f *File) *Outcome {
	l.t.Helper()
	out, err := Apply(l.dir, f, []string{l.key()}, judgedAt)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// is looks at a capability and its intents.
func (l *life) is(id, status string, passing, history int) *Capability {
	l.t.Helper()
	reg := mustLoad(l.t, l.dir)
	if reg.Digest != l.reg.Digest {
		l.t.Error("the definition has changed")
	}
	for _, i := range reg.Intents {
		if i.Capability.ID == id && (i.Capability.Status != status || status != Degraded && i.SDSR.Verified != (status != Declared)) {
			l.t.Errorf("%s: %s, verified %v", i.PanelID, i.Capability.Status, i.SDSR.Verified)
		}
	}
	c := reg.Capabilities[slices.IndexFunc(reg.Capabilities, func(c *Capability) bool { return c.ID == id })]
	count := 0
	if c.Passing != nil {
		count = c.Passing.Count
	}
	if c.Status != status || count != passing || len(c.History) != history {
		l.t.Errorf("%s: %s, passed %d times, history %+v; want %s, %d, %d", id, c.Status, count, c.History, status, passing, history)
	}
	return c
}

// files returns the content of a directory.
func (l *life) files() map[string]string {
	l.t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(l.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, l.dir+"/")] = string(b)
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

var brokenEnvelope = map[string]Failure{"SDSR-LOG-LLM-O1-001": {Reason: InvariantViolated, Invariant: "INV-LOG-005", Step: "envelope", Detail: "immutable is false"}}

func TestApply(t *testing.T) {
	l := newLife(t)
	l.is(llm, Declared, 0, 0)

	all := l.sees(time.Minute, "", nil)
	out := l.apply(all)
	want := &Outcome{Digest: all.Observation.Digest(), Capabilities: []Change{
		{audit, Declared, Observed, "all 6 scenarios passed", true},
		{llm, Declared, Observed, "all 7 scenarios passed", true},
		{"logs.system_logs", Declared, Observed, "all 6 scenarios passed", true},
	}}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	c := l.is(llm, Observed, 1, 1)
	if got, want := *c.Observation, (Applied{all.Receipt.ID, out.Digest, l.reg.Digest, l.origin, all.Receipt.LeafIndex, c.Passing.Since, true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}

	// The same again changes nothing, not even a time.
	before := l.files()
	for _, c := range l.apply(all).Capabilities {
		if c.Changed || c.From != Observed || c.To != Observed || !strings.Contains(c.Reason, "before") {
			t.Errorf("%+v", c)
		}
	}
	// Some that passed change nothing either.
	one := l.sees(time.Minute, "SDSR-LOG-LLM-O", nil)
	if c := l.apply(one).Capabilities; len(c) != 1 || c[0].Changed || c[0].Reason != "5 of 7 scenarios passed: only a run of all of them changes the status" {
		t.Errorf("%+v", c)
	}
	if diff := cmp.Diff(before, l.files()); diff != "" {
		t.Error(diff)
	}

	// One that fails is enough, alone or among the others.
	bad := l.sees(time.Minute, "SDSR-LOG-LLM-O1", brokenEnvelope)
	if c := l.apply(bad).Capabilities; len(c) != 1 || !c[0].Changed || c[0].To != Degraded || c[0].Reason != "1 of 7 scenarios failed: SDSR-LOG-LLM-O1-001 invariant_violated INV-LOG-005 at envelope" {
		t.Errorf("%+v", c)
	}
	c = l.is(llm, Degraded, 0, 2)
	if c.Observation.Passed || c.History[1].From != Observed || c.History[1].Observation != bad.Observation.Digest() {
		t.Errorf("%+v", c)
	}
	l.is(audit, Observed, 1, 1)
	for _, i := range mustLoad(t, l.dir).Intents {
		if want := i.PanelID != "LOG-REC-LLM-O1"; i.SDSR.Verified != want {
			t.Errorf("%s: verified %v", i.PanelID, i.SDSR.Verified)
		}
	}

	// Back, and it begins to count anew.
	l.apply(l.sees(time.Minute, "", nil))
	l.is(llm, Observed, 1, 3)
	l.is(audit, Observed, 2, 1)
}

// TestApplyTrusted leads a capability through the files to trust, and out of it.
func TestApplyTrusted(t *testing.T) {
	l := newLife(t)
	rule := l.reg.Rules.Trusted
	for i := range rule.Observations {
		l.apply(l.sees(rule.Over/time.Duration(rule.Observations-1), "SDSR-LOG-LLM", nil))
		if i == rule.Observations-2 {
			l.is(llm, Observed, i+1, 1)
		}
	}
	c := l.is(llm, Trusted, rule.Observations, 2)
	if !strings.Contains(c.History[1].Reason, "in a row over 24h0m") {
		t.Errorf("%+v", c)
	}
	l.apply(l.sees(time.Minute, "SDSR-LOG-LLM", brokenEnvelope))
	l.is(llm, Degraded, 0, 3)
}

// TestApplyKeepsFailing: what stays broken does not grow, and nothing is lost.
func TestApplyKeepsFailing(t *testing.T) {
	l := newLife(t)
	slow := map[string]Failure{"SDSR-LOG-LLM-O2-001": {Reason: Timeout, Step: "trace", Detail: "0 of 2 steps"}}
	for i := range 6 {
		broken := maps.Clone([]map[string]Failure{brokenEnvelope, slow}[i%2])
		for id, f := range broken {
			f.Detail = fmt.Sprint("differs each time ", i)
			broken[id] = f
		}
		out := l.apply(l.sees(time.Minute, "SDSR-LOG-LLM", broken))
		if c := out.Capabilities[0]; !c.Changed || c.To != Declared {
			t.Errorf("%+v", c)
		}
	}
	c := l.is(llm, Declared, 0, 2)
	if c.Observation == nil || c.Observation.Passed || c.History[1].At != c.Observation.ObservedAt || c.History[1].Observation != c.Observation.Digest {
		t.Errorf("%+v", c)
	}
	l.apply(l.sees(time.Minute, "SDSR-LOG-LLM", nil))
	l.is(llm, Observed, 1, 3)
	for range 3 {
		l.apply(l.sees(time.Minute, "SDSR-LOG-LLM", brokenEnvelope))
	}
	c = l.is(llm, Degraded, 0, 5)
	if c.History[3].From != Observed || c.History[4].From != Degraded {
		t.Errorf("when it broke is lost: %+v", c.History)
	}
}

func TestApplyRefuses(t *testing.T) {
	l := newLife(t)
	first := l.sees(time.Minute, "", nil)
	second := l.sees(time.Minute, "SDSR-LOG-LLM", brokenEnvelope)
	l.apply(second)
	before := l.files()
	other := newProofLog(t, "test.example/000000000002", 2)
	edited := *second
	edited.Observation.Passed = true
	with := func(change func(*Observation)) *File {
		o := observationOf(l.reg, "", nil)
		change(o)
		return l.file(o, time.Minute)
	}
	for name, tt := range map[string]struct {
		f    *File
		keys []string
		is   error
		want string
	}{
		"older":              {first, []string{l.key()}, evidence.ErrConflict, "before the newest"},
		"older, elsewhere":   {other.file(observationOf(l.reg, "", nil), 0), []string{other.key()}, evidence.ErrConflict, "before the newest"},
		"edited":             {&edited, []string{l.key()}, evidence.ErrTampered, "edited"},
		"no key":             {second, nil, evidence.ErrInvalid, "no verifier key"},
		"another definition": {with(func(o *Observation) { o.Registry = "sha256:x" }), []string{l.key()}, evidence.ErrConflict, "observe again"},
		"unknown scenario":   {with(func(o *Observation) { o.Scenarios[0].ID = "SDSR-A" }), []string{l.key()}, evidence.ErrInvalid, "no scenario SDSR-A"},
		"another version":    {with(func(o *Observation) { o.Scenarios[0].Version = "0" }), []string{l.key()}, evidence.ErrInvalid, "another version"},
		"another tenant":     {with(func(o *Observation) { o.Tenant = "acme" }), []string{l.key()}, evidence.ErrInvalid, "of tenant \"acme\""},
		"not all sent":       {with(func(o *Observation) { o.Scenarios[0].Sent = o.Scenarios[0].Sent[1:] }), []string{l.key()}, evidence.ErrInvalid, "not all of it"},
		"not all seen":       {with(func(o *Observation) { o.Scenarios[0].Seen = o.Scenarios[0].Seen[1:] }), []string{l.key()}, evidence.ErrInvalid, "not all of it"},
		"seen elsewhere":     {with(func(o *Observation) { o.Scenarios[0].Seen[0].ID = "x" }), []string{l.key()}, evidence.ErrInvalid, "not all of it"},
		"no invariant": {
			with(func(o *Observation) { o.Scenarios[0].Seen[0].Invariants = []Checked{} }),
			[]string{l.key()},
			evidence.ErrInvalid, "not all of it",
		},
		"a laxer invariant": {
			with(func(o *Observation) {
				o.Scenarios[0].Seen[0].Invariants[0] = Checked{ID: o.Scenarios[0].Seen[0].Invariants[0].ID, Level: Advisory}
			}),
			[]string{l.key()},
			evidence.ErrInvalid, "not all of it",
		},
		"an expectation less": {
			with(func(o *Observation) { o.Scenarios[0].Seen[0].Expectations = o.Scenarios[0].Seen[0].Expectations[1:] }),
			[]string{l.key()},
			evidence.ErrInvalid, "not all of it",
		},
		"another capability": {with(func(o *Observation) { o.Scenarios[0].Capability = llm }), []string{l.key()}, evidence.ErrInvalid, "capability"},
	} {
		t.Run(name, func(t *testing.T) {
			if out, err := Apply(l.dir, tt.f, tt.keys, judgedAt); !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v and %+v, want %v and %q", err, out, tt.is, tt.want)
			}
		})
	}
	if diff := cmp.Diff(before, l.files()); diff != "" {
		t.Error(diff)
	}
	// A newer one of another server is taken, by the time of its ledger.
	other.clock = l.clock
	if _, err := Apply(l.dir, other.file(observationOf(l.reg, "", nil), time.Minute), []string{other.key()}, judgedAt); err != nil {
		t.Error(err)
	}
}
