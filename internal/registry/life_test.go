package registry

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/runledger/runledger/evidence"
)

// lived is a capability of two scenarios without files.
type lived struct {
	*Capability
	n          int64
	at         time.Time
	rule       TrustedRule
	definition string
}

func newLived() *lived {
	return &lived{&Capability{ID: "logs.a", Status: Declared, Scenarios: []string{"SDSR-A", "SDSR-B"}}, 0, judgedAt, TrustedRule{3, 2 * time.Hour}, "sha256:a"}
}

// step lets both scenarios run a while later, or SDSR-A alone where only is set.
func (l *lived) step(after time.Duration, only bool, reason string) Change {
	l.n++
	l.at = l.at.Add(after)
	o := &Observation{Scenarios: []ScenarioResult{{ID: "SDSR-A", Passed: true}}}
	if reason != "" {
		o.Scenarios[0] = ScenarioResult{ID: "SDSR-A", Failure: &Failure{Reason: reason, Detail: fmt.Sprint(l.n)}}
	}
	if !only {
		o.Scenarios = append(o.Scenarios, ScenarioResult{ID: "SDSR-B", Passed: true}, ScenarioResult{ID: "SDSR-OF-OTHERS"})
	}
	a := Applied{Digest: fmt.Sprint("sha256:", l.n), Registry: l.definition, Log: "log", LeafIndex: l.n, ObservedAt: evidence.MicrosOf(l.at)}
	next, change := l.next(o.judge(l.Capability), a, l.rule)
	l.Capability = next
	return change
}

// TestTrusted: so many in a row, over so long a time, and neither alone.
func TestTrusted(t *testing.T) {
	const pass, fail = "", Timeout
	for name, tt := range map[string]struct {
		steps []livedStep
		want  string // the first letter of each status
	}{
		"both":              {steps: lives(pass, 0, pass, time.Hour, pass, time.Hour), want: "OOT"},
		"one minute less":   {steps: lives(pass, 0, pass, time.Hour, pass, time.Hour-time.Microsecond, pass, time.Microsecond), want: "OOOT"},
		"one time less":     {steps: lives(pass, 0, pass, 9*time.Hour, pass, 0), want: "OOT"},
		"a failure between": {steps: lives(pass, 0, pass, time.Hour, fail, time.Hour, pass, time.Hour, pass, time.Hour, pass, time.Hour), want: "OODOOT"},
		"after trust":       {steps: lives(pass, 0, pass, time.Hour, pass, time.Hour, pass, 0, fail, 0, fail, 0, pass, 0), want: "OOTTDDO"},
		"never passed":      {steps: lives(fail, 0, fail, time.Hour, fail, time.Hour), want: "ddd"},
		"at last":           {steps: lives(fail, 0, pass, time.Hour), want: "dO"},
	} {
		t.Run(name, func(t *testing.T) {
			l, got := newLived(), ""
			for _, s := range tt.steps {
				l.step(s.after, false, s.reason)
				got += map[string]string{Declared: "d", Observed: "O", Trusted: "T", Degraded: "D"}[l.Status]
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// TestTrustedByOneDefinition: what passed before the definition was changed does not count.
func TestTrustedByOneDefinition(t *testing.T) {
	l, got := newLived(), ""
	for n := range 5 {
		l.definition = fmt.Sprint("sha256:", min(n, 2))
		got += l.step(time.Hour, false, "").To + " "
	}
	if got != "OBSERVED OBSERVED OBSERVED OBSERVED TRUSTED " || l.Passing.Count != 3 {
		t.Errorf("%s, %+v", got, l.Passing)
	}
}

// livedStep is a run that passed (no reason) or failed, some time after the one before.
type livedStep struct {
	reason string
	after  time.Duration
}

// lives makes steps of reasons and times in turn.
func lives(of ...any) (steps []livedStep) {
	for i := 0; i < len(of); i += 2 {
		after, _ := of[i+1].(time.Duration) // else 0
		steps = append(steps, livedStep{of[i].(string), after})
	}
	return steps
}

// TestLife: whatever happens, a status says what was seen last, the history leads to it
// without a gap, and it grows only where something new happened.
func TestLife(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLived()
		changes := 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			was := *l.Capability
			only := rapid.Bool().Draw(t, "only")
			reason := rapid.SampledFrom([]string{"", "", Timeout, AuthFailed}).Draw(t, "reason")
			c := l.step(time.Duration(rapid.IntRange(0, 120).Draw(t, "minutes"))*time.Minute, only, reason)
			if c.From != was.Status || c.To != l.Status {
				t.Fatalf("%+v: from %s to %s", c, was.Status, l.Status)
			}
			if was.Status != l.Status {
				changes++
			}
			switch {
			case reason != "":
				if l.Passing != nil || l.Observation.Passed || (l.Status == Degraded) != (was.Status != Declared) {
					t.Fatalf("it failed: %+v", l.Capability)
				}
			case only:
				if c.Changed || l.Observation != was.Observation || !strings.Contains(c.Reason, "1 of 2") {
					t.Fatalf("in part: %+v %+v", c, l.Capability)
				}
			default:
				if l.Status != Observed && l.Status != Trusted || !l.Observation.Passed || l.Passing.Count < 1 {
					t.Fatalf("it passed: %+v", l.Capability)
				}
			}
			status := Declared
			for _, h := range l.History {
				if h.From != status {
					t.Fatalf("a gap in %+v", l.History)
				}
				status = h.To
			}
			if status != l.Status || len(l.History) > 3*(changes+1) { // two reasons to fail after each change
				t.Fatalf("%s after %d changes: %+v", l.Status, changes, l.History)
			}
			if l.Status == Trusted && was.Status != Trusted {
				if over := l.Observation.ObservedAt.Time().Sub(l.Passing.Since.Time()); over < l.rule.Over || l.Passing.Count < l.rule.Observations {
					t.Fatalf("trusted too early: %+v", l.Capability)
				}
			}
		}
	})
}
