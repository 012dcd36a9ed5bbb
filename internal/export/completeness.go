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
	Runs    *runCompleteness  `json:"runs,omitempty"` // of profile log
	Run     *oneRun           `json:"run,omitempty"`  // of profile run
	// Period and Controls are of profile period; Controls of scope compliance only.
	Period   *periodCompleteness `json:"period,omitempty"`
	Controls []controlCount      `json:"controls,omitempty"`

	runs map[string]bool // ended, by run; 1 entry a run, as the verifier has
}

type logCompleteness struct {
	Dir       string           `json:"dir"`
	Origin    string           `json:"origin"`
	Size      int64            `json:"size"`
	Records   int64            `json:"records"` // of them in the bundle
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

// oneRun says what there is of the run of a bundle. Its records are counted by
// log, too.
type oneRun struct {
	RunID   string `json:"run_id"`
	Records int64  `json:"records"` // of the run itself
	Ended   bool   `json:"ended"`
	// Revision and RecordCount are those of its newest llm_run; what came after
	// that is Later.
	Revision    int64 `json:"revision"`
	RecordCount int64 `json:"record_count"`
	Later       int64 `json:"later"`
	// Correlated counts the audit entries that a correlation id of the run binds
	// to it. Where there are more than one bundle takes, Truncated is true.
	Correlated int64    `json:"correlated"`
	Truncated  bool     `json:"correlated_truncated"`
	Marks      []string `json:"completeness"` // of its newest llm_run
	// Window is the time around its turning point, and how much there is in it.
	Window windowCounts `json:"window"`
	// Accesses counts the entries about who looked at the run, Exports the records
	// of its exports. Where there are more than one bundle takes, AccessesTruncated
	// is true. AccessesHidden: who asked may not read audit entries, so there are
	// neither these, nor correlated ones, nor those of the window without a run.
	Accesses          int64 `json:"accesses"`
	Exports           int64 `json:"exports"`
	AccessesTruncated bool  `json:"accesses_truncated"`
	AccessesHidden    bool  `json:"accesses_hidden"`
}

// windowCounts says what the bundle has in the window of its run.
type windowCounts struct {
	Center string `json:"center"`
	Why    string `json:"why"` // which time of the run the center is
	Start  string `json:"start"`
	End    string `json:"end"`
	System int64  `json:"system"`
	Policy int64  `json:"policy"`
	Shared int64  `json:"shared"` // of the system log
	// SharedLeftOut counts shared records of which content is gone.
	SharedLeftOut int64 `json:"shared_left_out"`
	Truncated     bool  `json:"truncated"`
}

// completeness is what is known before the records are written.
func (r *runParts) completeness(req *Request) *oneRun {
	w := &r.window
	return &oneRun{
		RunID: req.Run, Correlated: r.bound, Truncated: r.cut, Marks: []string{},
		Accesses: r.looks, Exports: r.exports, AccessesTruncated: r.looksCut, AccessesHidden: req.NoAudit,
		Window: windowCounts{
			Center: w.center.String(), Why: w.why, Start: w.start.String(), End: w.end.String(),
			System: w.system, Policy: w.policy, Shared: w.shared, SharedLeftOut: w.leftOut, Truncated: w.cut,
		},
	}
}

// add counts a record of the run.
func (r *oneRun) add(l *evidence.Leaf) {
	r.Records++
	if l.Kind != evidence.KindLLMRun || l.Text("conflict_of") != "" {
		return
	}
	if n, _ := l.Int("revision"); n >= r.Revision {
		f, _ := l.Fact("completeness")
		r.Ended, r.Revision, r.RecordCount, r.Marks = true, n, l.N+1, append([]string{}, f.List...)
	}
}

const (
	maxOpenIDs = 100
	maxFlags   = 1000 // names come from producers
)

func newCompleteness(logs []logPart) *completeness {
	c := &completeness{Format: 1, runs: map[string]bool{}}
	for _, l := range logs {
		c.Logs = append(c.Logs, logCompleteness{
			Dir: l.dir, Origin: l.Origin, Size: l.head.Size, Root: l.head.Root.String(),
			Kinds: map[string]int64{}, Withheld: map[string]int64{}, Flags: map[string]int64{},
		})
	}
	return c
}

// add counts one leaf.
func (c *completeness) add(lc *logCompleteness, l *evidence.Leaf) {
	c.Records++
	lc.Records++
	lc.Kinds[l.Kind.String()]++
	if lc.FirstAt == "" {
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
	if c.Runs != nil && l.Run != "" {
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
	if c.Runs != nil {
		c.Runs.OpenIDs = smallest(c.Runs.OpenIDs, maxOpenIDs)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(c); err != nil {
		return nil, fmt.Errorf("completeness.json: %w", err)
	}
	return b.Bytes(), nil
}
