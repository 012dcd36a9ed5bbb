package export

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/report"
)

// runReport makes the report of a run. It keeps what the report lists and no more,
// whatever the size of the run.
type runReport struct {
	j       *job
	newest  evidence.Micros // t of the newest record
	ending  *ending
	steps   []heldStep // the first of the run, see trim
	held    int        // bytes of content in steps
	full    bool       // there are more than maxListed; the last of these is last
	last    report.Step
	total   int64             // steps of the run
	parents map[spanID]spanID // of every step; the zero value: it has none
	marks   []report.Mark
	window  int64 // marks that there are
	lists   [3]list
	late    int64
	against int64 // records that contradict another
}

// ending is the run's newest llm_run.
type ending struct {
	leaf    *evidence.Leaf
	content []report.Content
	reason  string // why its turning point is one
	name    func(field string) string
}

// Lists of entries.
const (
	governanceList = iota
	accessList
	systemList
)

type list struct {
	entries []report.Entry
	total   int64
}

// spanID names a span: trace id and span id.
type spanID [24]byte

// heldStep is a step that the report may list.
type heldStep struct {
	report.Step
	log string
	id  spanID
}

const (
	// maxContent is how many bytes of sealed content a report has of all steps, and
	// maxValue of one field; what is longer is in the bundle.
	maxContent = 4 << 20
	maxValue   = 128 << 10
	// maxMarks is how many events the drawn window has.
	maxMarks = 300
)

func newRunReport(j *job) *runReport { return &runReport{j: j, parents: map[spanID]spanID{}} }

// record implements view.
func (r *runReport) record(s *shown) error {
	l := s.leaf
	r.newest = max(r.newest, l.RecordedAt)
	own := l.Run == r.j.req.Run && !s.part.system(&r.j.req)
	if l.Text("conflict_of") != "" {
		r.against++
	}
	switch l.Kind {
	case evidence.KindTraceStep:
		if own {
			r.step(s)
		}
	case evidence.KindLLMRun:
		if own && l.Text("conflict_of") == "" {
			r.ended(s)
		}
	case evidence.KindSystem:
		if event := l.Text("event_type"); event == "LOG_OPENED" && l.Seq == 0 && !r.j.run.window.has(l.OccurredAt) {
			return nil // it is here for the order of the logs
		}
		r.add(systemList, s)
		r.mark(s, "system", l.Text("event_type")+" "+s.name("component"), l.Text("severity"))
	case evidence.KindExport:
		r.add(accessList, s)
	case evidence.KindAudit:
		switch l.Text("event_type") {
		case "LOG_VIEW", "LOG_EXPORT":
			r.add(accessList, s)
		default:
			r.add(governanceList, s)
		}
		if isPolicy(l) {
			r.mark(s, "policy", l.Text("event_type")+" "+s.name("entity_id"), l.Text("decision"))
		}
	}
	return nil
}

func (r *runReport) add(to int, s *shown) {
	t := &r.lists[to]
	if t.total++; len(t.entries) == maxListed {
		return
	}
	e := s.entry(r.j.logs[0].Origin)
	if to == governanceList && s.leaf.Run != r.j.req.Run && !r.j.run.correlations[s.leaf.Text("correlation_id")] && coverReason(s.leaf) == "" {
		e.Detail = strings.TrimSuffix("[in the window; no id binds it to the run] "+e.Detail, " ")
	}
	t.entries = append(t.entries, e)
}

// mark draws a record if it is in the window.
func (r *runReport) mark(s *shown, lane, label, outcome string) {
	l := s.leaf
	if !r.j.run.window.has(l.OccurredAt) {
		return
	}
	if r.window++; len(r.marks) == maxMarks {
		return
	}
	m := report.Mark{Lane: lane, At: l.OccurredAt, Label: strings.TrimSpace(label), Outcome: outcome, LeafIndex: l.Seq}
	m.DurationUS, _ = l.Int("duration_us")
	if l.Log != r.j.logs[0].Origin {
		m.Log = l.Log
	}
	r.marks = append(r.marks, m)
}

// ended takes the run's newest llm_run.
func (r *runReport) ended(s *shown) {
	revision, _ := s.leaf.Int("revision")
	if r.ending != nil {
		if newest, _ := r.ending.leaf.Int("revision"); newest > revision {
			return
		}
	}
	names := map[string]string{}
	for _, f := range []string{"provider", "model", "agent_name", "agent_id", "system_id", "conversation_id", "run_alias"} {
		names[f] = s.name(f)
	}
	r.ending = &ending{leaf: s.leaf, reason: s.text("/inflection_reason"), name: func(f string) string { return names[f] }}
	r.ending.content, _ = contents(s)
}

func (r *runReport) step(s *shown) {
	l := s.leaf
	r.total++
	if n, _ := l.Int("late"); n != 0 {
		r.late++
	}
	r.mark(s, "step", l.Text("step_kind")+" "+s.name("skill_name"), l.Text("status"))
	id, ok := spanOf(l, "span_id")
	if ok && l.Text("conflict_of") == "" {
		parent, _ := spanOf(l, "parent_span_id")
		r.parents[id] = parent
	}
	if r.full && !earlier(l.OccurredAt, l.Seq, r.last.At, r.last.LeafIndex) {
		return
	}
	h := heldStep{log: l.Log, id: id, Step: report.Step{
		At: l.OccurredAt, Kind: l.Text("step_kind"), Name: s.name("skill_name"), Status: l.Text("status"),
		Model: cmp.Or(s.name("model"), s.name("request_model")), LeafIndex: l.Seq, Flags: factList(l, "flags"),
		Tokens: tokensOf(l), Cost: costOf(l),
	}}
	h.Index, _ = l.Int("step_index")
	h.DurationUS, _ = l.Int("duration_us")
	var size int
	h.Content, size = contents(s)
	r.held += size
	r.steps = append(r.steps, h)
	if len(r.steps) >= 2*maxListed || r.held > 2*maxContent {
		r.trim()
	}
}

func earlier(at evidence.Micros, seq int64, than evidence.Micros, thanSeq int64) bool {
	return at < than || at == than && seq < thanSeq
}

// trim keeps the first steps by time, and of their content what has room.
func (r *runReport) trim() {
	slices.SortStableFunc(r.steps, func(a, b heldStep) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.LeafIndex, b.LeafIndex))
	})
	if r.full = len(r.steps) >= maxListed; r.full {
		clear(r.steps[maxListed:])
		r.steps = r.steps[:maxListed]
		r.last = r.steps[maxListed-1].Step
	}
	r.held = 0
	for i := range r.steps {
		for k := range r.steps[i].Content {
			c := &r.steps[i].Content[k]
			if r.held+len(c.Value) > maxContent {
				*c = report.Content{Path: c.Path, Withheld: tooLong(len(c.Value))}
			}
			r.held += len(c.Value)
		}
	}
}

// tooLong is shown in place of a value of n bytes.
func tooLong(n int) string { return fmt.Sprintf("%d bytes, not printed here: see the ZIP", n) }

// contentOrder are the sealed fields that come first where a record's are shown.
var contentOrder = []string{"/prompt", "/params", "/response", "/outcome_data", "/status_message", pathActor}

// contents shows the sealed fields of a record, and returns how many bytes they have.
// Names that stand in their public place are not among them, nor is the actor where
// there is no person.
func contents(s *shown) (out []report.Content, size int) {
	for _, f := range s.fields {
		if f.path == pathActor && (s.leaf.Text("actor_type") != "HUMAN") {
			continue
		}
		if sealed := evidence.Sealed(s.leaf.Kind, f.path); sealed == nil || sealed.UnfitOf != "" {
			continue
		}
		c := report.Content{Path: f.path}
		switch {
		case f.withheld != "":
			c.Withheld = reasonText(f.withheld)
		case len(f.json) > maxValue:
			c.Withheld = tooLong(len(f.json))
		default:
			c.Value = plainText(f.json)
		}
		size += len(c.Value)
		out = append(out, c)
	}
	rank := func(c report.Content) int {
		if i := slices.Index(contentOrder, c.Path); i >= 0 {
			return i
		}
		return len(contentOrder)
	}
	slices.SortStableFunc(out, func(a, b report.Content) int { return cmp.Compare(rank(a), rank(b)) })
	return out, size
}

// spanOf returns the span that a field of a step names.
func spanOf(l *evidence.Leaf, field string) (id spanID, ok bool) {
	text := l.Text("trace_id") + l.Text(field)
	if len(text) != hex.EncodedLen(len(id)) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(text))
	return id, err == nil
}

func factList(l *evidence.Leaf, name string) []string {
	f, _ := l.Fact(name)
	return f.List
}

func tokensOf(l *evidence.Leaf) string {
	in, hasIn := l.Int("input_tokens")
	out, hasOut := l.Int("output_tokens")
	if !hasIn && !hasOut {
		return ""
	}
	return fmt.Sprintf("%d / %d", in, out)
}

// costOf returns what a record cost, in USD.
func costOf(l *evidence.Leaf) string {
	nanos, ok := l.Int("cost_usd_nanos")
	if !ok {
		return ""
	}
	const nano = 1_000_000_000
	text := fmt.Sprintf("%d.%09d", nanos/nano, nanos%nano)
	// Cents at least.
	for strings.HasSuffix(text, "0") && len(text)-strings.IndexByte(text, '.') > 3 {
		text = text[:len(text)-1]
	}
	return text
}
