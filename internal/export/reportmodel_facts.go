package export

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/report"
)

// model implements modelView.
func (r *runReport) model() (*report.Model, error) {
	r.trim()
	m := r.j.reportBase(r.newest)
	m.Summary, m.Notices = r.summary(), r.notices()
	w := &r.j.run.window
	m.Window = &report.Window{Center: w.center, Start: w.start, End: w.end, Why: centerText(w.why), Marks: r.marks}
	slices.SortStableFunc(m.Window.Marks, func(a, b report.Mark) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.LeafIndex, b.LeafIndex))
	})
	m.StepsTotal = r.total
	for i := range r.steps {
		s := &r.steps[i]
		s.Depth = r.depth(s.id)
		m.Steps = append(m.Steps, s.Step)
	}
	for i, to := range []*[]report.Entry{governanceList: &m.Governance, accessList: &m.Accesses, systemList: &m.System} {
		*to = r.lists[i].entries
		slices.SortStableFunc(*to, func(a, b report.Entry) int {
			return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Log, b.Log), cmp.Compare(a.LeafIndex, b.LeafIndex))
		})
	}
	m.AccessesHidden = r.j.req.NoAudit
	m.Integrity = slices.Insert(m.Integrity, 1, report.Fact{Name: "Records of the run", Value: r.complete()})
	return m, nil
}

// depth is how far below the top a step stands. Circles and missing parents end it.
func (r *runReport) depth(id spanID) (n int) {
	const deepest = 32
	for n < deepest {
		parent := r.parents[id]
		if _, known := r.parents[parent]; !known {
			return n
		}
		id = parent
		n++
	}
	return n
}

// centerText says what the center of the window is.
func centerText(why string) string {
	switch why {
	case "inflection_at":
		return "the turning point of the run"
	case "completed_at":
		return "the end of the run"
	case "started_at":
		return "the start of the run"
	}
	return "the run's first record, since its end is not recorded"
}

// complete says what there is of the run.
func (r *runReport) complete() string {
	run := r.j.counts.Run
	text := fmt.Sprintf("%d, numbered without a gap from 0", run.Records)
	switch {
	case !run.Ended:
		return text + "; its end is not recorded"
	case run.Later > 0:
		return fmt.Sprintf("%s; its newest end counts %d, and %d came later", text, run.RecordCount, run.Later)
	}
	return fmt.Sprintf("%s; its newest end counts %d", text, run.RecordCount)
}

// summary are the facts of the run's newest end.
func (r *runReport) summary() (out []report.Fact) {
	add := func(name, value string) {
		if value != "" {
			out = append(out, report.Fact{Name: name, Value: value})
		}
	}
	add("Run", r.j.req.Run)
	e := r.ending
	if e == nil {
		add("Status", "open: its end is not recorded")
		add("Steps", fmt.Sprint(r.total))
		return out
	}
	l := e.leaf
	add("Status", l.Text("execution_status"))
	add("Outcome", l.Text("outcome"))
	at := func(field string) string {
		n, ok := l.Int(field)
		if !ok {
			return ""
		}
		return report.Clock(evidence.Micros(n))
	}
	add("Started", at("started_at"))
	add("Completed", at("completed_at"))
	if from, ok := l.Int("started_at"); ok {
		if until, ok := l.Int("completed_at"); ok {
			add("Duration", evidence.Micros(until).Time().Sub(evidence.Micros(from).Time()).String())
		}
	}
	add("Turning point", strings.TrimSpace(at("inflection_at")+" "+l.Text("inflection_kind")))
	add("Reason", e.reason)
	add("Executed by", strings.TrimSpace(l.Text("executor_type")+" "+cmp.Or(e.name("agent_name"), e.name("agent_id"))))
	add("Model", strings.TrimSpace(e.name("provider")+" "+e.name("model")))
	add("Conversation", e.name("conversation_id"))
	add("Steps", fmt.Sprint(r.total))
	add("Tokens in / out", tokensOf(l))
	if cost := costOf(l); cost != "" {
		add("Cost", cost+" USD")
	}
	add("Policies", strings.Join(factList(l, "policy_ids"), ", "))
	add("Incidents", strings.Join(factList(l, "incident_ids"), ", "))
	if n, _ := l.Int("revision"); n > 1 {
		add("Revision", fmt.Sprintf("%d: records came after an earlier end, and nothing was overwritten", n))
	}
	for _, c := range e.content {
		switch c.Path {
		case "/prompt":
			add("Prompt", cmp.Or(cut(c.Value), bracket(c.Withheld)))
		case "/response":
			add("Response", cmp.Or(cut(c.Value), bracket(c.Withheld)))
		}
	}
	return out
}

func bracket(why string) string {
	if why == "" {
		return ""
	}
	return "[" + why + "]"
}

// notices are what a reader must know before all else.
func (r *runReport) notices() (out []string) {
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	run, w := r.j.counts.Run, &r.j.run.window
	if !run.Ended {
		add("The end of this run is not recorded: what is here has no gaps, and nothing says how much was still to come.")
	}
	if run.Later > 0 {
		add("%d records came after the run's newest recorded end.", run.Later)
	}
	if len(run.Marks) > 0 {
		add("The run is marked: %s.", strings.Join(run.Marks, ", "))
	}
	if r.late > 0 {
		add("%d steps were recorded late.", r.late)
	}
	if r.against > 0 {
		add("%d records contradict another record; both are kept.", r.against)
	}
	if n := r.j.withheldFacts(); len(n) > 0 {
		add("Not all content is shown: see what is withheld or gone.")
	}
	if r.total > int64(len(r.steps)) {
		add("The first %d of %d steps are listed here. The bundle has all of them.", len(r.steps), r.total)
	}
	if r.window > int64(len(r.marks)) {
		add("%d of %d events are drawn in the window.", len(r.marks), r.window)
	}
	for i, what := range []string{governanceList: "governance entries", accessList: "accesses", systemList: "system events"} {
		if l := &r.lists[i]; l.total > int64(len(l.entries)) {
			add("%d of %d %s are listed here.", len(l.entries), l.total, what)
		}
	}
	if run.Truncated || w.cut || run.AccessesTruncated {
		add("There is more that is bound to the run than one bundle takes: completeness.json says of what.")
	}
	if w.leftOut > 0 {
		add("%d shared system events of the window are not here, since content of them is gone.", w.leftOut)
	}
	if run.AccessesHidden {
		add("Who asked for this export may not read audit entries: of those it has only the run's own.")
	}
	return out
}
