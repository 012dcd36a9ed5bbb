package export

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/runledger/runledger/evidence"
)

// completeness is completeness.json: what was counted, and what is late,
// missing or flagged. It is a view; the leaves are the evidence.
type completeness struct {
	Format  int64             `json:"format"`
	Records int64             `json:"records"`
	Logs    []logCompleteness `json:"logs"`
	Runs    runCompleteness   `json:"runs"`

	runs map[string]bool // ended, by run; 1 entry a run, as the verifier has
}

type logCompleteness struct {
	Dir       string           `json:"dir"`
	Origin    string           `json:"origin"`
	Size      int64            `json:"size"`
	Root      string           `json:"root"`
	FirstAt   string           `json:"first_at"`
	LastAt    string           `json:"last_at"`
	Kinds     map[string]int64 `json:"kinds"`
	Disclosed int64            `json:"disclosed_fields"`
	Withheld  map[string]int64 `json:"withheld_fields"` // by reason
	Conflicts int64            `json:"conflicts"`
	Refused   int64            `json:"conflicts_refused"`
	LateSteps int64            `json:"late_steps"`
	Synthetic int64            `json:"synthetic"`
	// Flags counts the flags of steps and the completeness marks of runs.
	Flags map[string]int64 `json:"flags"`
}

type runCompleteness struct {
	Total   int64    `json:"total"`
	Ended   int64    `json:"ended"`
	Open    int64    `json:"open"`      // their end has not been recorded
	OpenIDs []string `json:"open_runs"` // the first of them
}

const (
	maxOpenIDs = 100
	maxFlags   = 1000 // names come from producers
)

func newCompleteness() *completeness {
	return &completeness{Format: 1, runs: map[string]bool{}, Runs: runCompleteness{OpenIDs: []string{}}}
}

func (c *completeness) log(dir, origin string) *logCompleteness {
	c.Logs = append(c.Logs, logCompleteness{
		Dir: dir, Origin: origin, Kinds: map[string]int64{}, Withheld: map[string]int64{}, Flags: map[string]int64{},
	})
	return &c.Logs[len(c.Logs)-1]
}

// add counts one leaf.
func (c *completeness) add(lc *logCompleteness, l *evidence.Leaf) {
	c.Records++
	lc.Kinds[l.Kind.String()]++
	if l.Seq == 0 {
		lc.FirstAt = l.RecordedAt.String()
	}
	lc.LastAt = l.RecordedAt.String()
	if l.Text("conflict_of") != "" {
		lc.Conflicts++
	}
	if l.Kind == evidence.KindAudit && l.Text("event_type") == "ConflictRecorded" {
		lc.Refused++
	}
	if n, _ := l.Int("is_synthetic"); n != 0 {
		lc.Synthetic++
	}
	if n, _ := l.Int("late"); n != 0 {
		lc.LateSteps++
	}
	for _, name := range []string{"flags", "completeness"} {
		f, _ := l.Fact(name)
		for _, flag := range f.List {
			if _, ok := lc.Flags[flag]; !ok && len(lc.Flags) >= maxFlags {
				flag = "…"
			}
			lc.Flags[flag]++
		}
	}
	if l.Run != "" {
		ended := l.Kind == evidence.KindLLMRun && l.Text("conflict_of") == ""
		if was, ok := c.runs[l.Run]; !ok || ended && !was {
			c.runs[l.Run] = ended
		}
	}
}

func (c *completeness) marshal() ([]byte, error) {
	for run, ended := range c.runs {
		c.Runs.Total++
		if ended {
			c.Runs.Ended++
			continue
		}
		c.Runs.Open++
		c.Runs.OpenIDs = append(c.Runs.OpenIDs, run)
	}
	c.Runs.OpenIDs = smallest(c.Runs.OpenIDs, maxOpenIDs)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(c); err != nil {
		return nil, fmt.Errorf("completeness.json: %w", err)
	}
	return b.Bytes(), nil
}
