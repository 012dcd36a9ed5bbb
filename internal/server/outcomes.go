package server

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/registry"
)

// settingObservation is what the newest round of self-observation found, of whichever
// process: see known.
const settingObservation = "self_observation"

// silentRounds is after how many times without a round that passed the server is
// degraded, although none failed.
const silentRounds = 3

// Results of a round, in metrics.
const (
	roundPassed = "passed"
	roundFailed = "failed"
	roundError  = "error" // it could not be made or recorded
)

// outcome is what came of a round.
type outcome struct {
	At        evidence.Micros   `json:"at"`              // when it ended
	Passed    bool              `json:"passed"`          // all scenarios, and it is in the ledger
	Error     string            `json:"error,omitempty"` // why it could not be made or recorded
	Scenarios []scenarioOutcome `json:"scenarios"`
}

type scenarioOutcome struct {
	ID        string `json:"id"`
	Passed    bool   `json:"passed"`
	Reason    string `json:"reason,omitempty"`
	Invariant string `json:"invariant,omitempty"`
}

// outcomeOf takes what the public may know of an observation: no detail.
func outcomeOf(obs *registry.Observation, err error, at time.Time) outcome {
	out := outcome{At: evidence.MicrosOf(at), Scenarios: []scenarioOutcome{}}
	if obs != nil {
		out.Passed = obs.Passed && err == nil
		for _, r := range obs.Scenarios {
			s := scenarioOutcome{ID: r.ID, Passed: r.Passed}
			if r.Failure != nil {
				s.Reason, s.Invariant = r.Failure.Reason, r.Failure.Invariant
			}
			out.Scenarios = append(out.Scenarios, s)
		}
	}
	if err != nil {
		out.Error = err.Error()
	}
	return out
}

func (o *outcome) failed() []scenarioOutcome {
	list := []scenarioOutcome{}
	for _, s := range o.Scenarios {
		if !s.Passed {
			list = append(list, s)
		}
	}
	return list
}

func (o *outcome) result() string {
	switch {
	case o.Error != "":
		return roundError
	case o.Passed:
		return roundPassed
	}
	return roundFailed
}

// why says in a sentence what failed; "" where all passed.
func (o *outcome) why() string {
	failed := o.failed()
	switch {
	case len(failed) > 0:
		f := failed[0]
		text := fmt.Sprintf("%d of %d scenarios failed, the first: %s, %s", len(failed), len(o.Scenarios), f.ID, f.Reason)
		if f.Invariant != "" {
			text += " " + f.Invariant
		}
		return text
	case o.Error != "":
		return "a round could not be made or recorded: " + o.Error
	case !o.Passed:
		return "it did not pass"
	}
	return ""
}

// known is settingObservation, as JSON.
type known struct {
	Newest    outcome         `json:"newest"`
	Succeeded evidence.Micros `json:"succeeded"` // when a round passed last; 0: none did
}

// outcomes is what a process knows of rounds, of its own and of others'. It may be used
// by several goroutines.
type outcomes struct {
	every  time.Duration
	passed *prometheus.GaugeVec
	at     prometheus.Gauge
	rounds *prometheus.CounterVec

	mu     sync.Mutex // guards what follows
	began  time.Time  // when this process began to look
	known  known
	exists bool // there is a newest one
}

func newOutcomes(reg prometheus.Registerer, every time.Duration) *outcomes {
	o := &outcomes{
		every: every, began: time.Now(),
		passed: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "runledger_observation_passed", Help: "1 where a scenario passed in the newest round of self-observation, else 0.",
		}, []string{"scenario"}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runledger_observation_last_timestamp_seconds", Help: "When the newest round of self-observation ended; 0: none has.",
		}),
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_observations_total", Help: "Rounds of self-observation that this process made, by result: passed, failed, error.",
		}, []string{"result"}),
	}
	for _, result := range []string{roundPassed, roundFailed, roundError} {
		o.rounds.WithLabelValues(result)
	}
	reg.MustRegister(o.passed, o.at, o.rounds)
	return o
}

// add is told of a round of this process.
func (o *outcomes) add(out outcome) {
	o.rounds.WithLabelValues(out.result()).Inc()
	o.mu.Lock()
	defer o.mu.Unlock()
	k := known{Newest: out, Succeeded: o.known.Succeeded}
	if out.Passed {
		k.Succeeded = out.At
	}
	o.set(k)
}

// read is told of a round of any process.
func (o *outcomes) read(text string) error {
	var k known
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		return fmt.Errorf("setting %s: %w", settingObservation, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.exists || k.Newest.At > o.known.Newest.At {
		o.set(k)
	}
	return nil
}

// set takes what is known, with mu held. Of a round that could not be made, no scenario
// passed.
func (o *outcomes) set(k known) {
	if k.Newest.Scenarios == nil {
		k.Newest.Scenarios = []scenarioOutcome{}
	}
	if len(k.Newest.Scenarios) == 0 {
		for _, s := range o.known.Newest.Scenarios {
			o.passed.WithLabelValues(s.ID).Set(0)
		}
	} else {
		o.passed.Reset()
	}
	for _, s := range k.Newest.Scenarios {
		v := 0.0
		if s.Passed {
			v = 1
		}
		o.passed.WithLabelValues(s.ID).Set(v)
	}
	o.at.Set(float64(k.Newest.At) / 1e6)
	o.known, o.exists = k, true
}

func (o *outcomes) text() (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b, err := json.Marshal(o.known)
	return string(b), err
}

// reason is why the server is degraded: the newest round failed, or none has passed for
// long. That counts from the start of this process: before, nobody may have tried.
func (o *outcomes) reason(now time.Time) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.exists && !o.known.Newest.Passed {
		return o.known.Newest.why()
	}
	since := o.began
	if o.known.Succeeded != 0 && o.known.Succeeded.Time().After(since) {
		since = o.known.Succeeded.Time()
	}
	if now.Sub(since) <= silentRounds*o.every {
		return ""
	}
	return "no round of self-observation has passed since " + evidence.MicrosOf(since).String()
}

// observationState is what /readyz shows.
type observationState struct {
	At        evidence.Micros `json:"at"`
	Passed    bool            `json:"passed"`
	Scenarios int             `json:"scenarios"`
	Failed    []string        `json:"failed"` // ids
}

// state returns nil before the first round.
func (o *outcomes) state() *observationState {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.exists {
		return nil
	}
	n := &o.known.Newest
	out := &observationState{At: n.At, Passed: n.Passed, Scenarios: len(n.Scenarios), Failed: []string{}}
	for _, s := range n.failed() {
		out.Failed = append(out.Failed, s.ID)
	}
	return out
}
