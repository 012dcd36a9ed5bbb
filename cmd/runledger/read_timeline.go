package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
)

// minBar is the least width of a line of time.
const minBar = 24

// scale maps time to columns.
type scale struct {
	from, until evidence.Micros
	width       int
}

// at returns the column of a moment, 0 to width-1.
func (s scale) at(m evidence.Micros) int {
	if s.until <= s.from {
		return 0
	}
	part := float64(m-s.from) / float64(s.until-s.from)
	return min(max(int(math.Floor(part*float64(s.width))), 0), s.width-1)
}

// bar draws from one moment to another, in proportion; what takes no time is a
// stroke.
func (s scale) bar(from, until evidence.Micros) string {
	if until <= from {
		return spaces(s.at(from)) + "|"
	}
	begin := s.at(from)
	end := s.at(until-1) + 1 // a bar that ends where the next begins does not touch its column
	return spaces(begin) + strings.Repeat("=", max(end-begin, 1))
}

// distance draws from the center of a window to a moment in it.
func (s scale) distance(center, m evidence.Micros) string {
	c, x := s.at(center), s.at(m)
	switch {
	case x < c:
		return spaces(x) + "*" + strings.Repeat("-", c-x-1) + "|"
	case x > c:
		return spaces(c) + "|" + strings.Repeat("-", x-c-1) + "*"
	}
	return spaces(c) + "*"
}

// micros is a duration of an answer.
func micros(ms float64) evidence.Micros { return evidence.Micros(math.Round(ms * 1000)) }

// trace shows steps on a line of time.
func (s *screen) trace(t *answer.RunTrace) {
	head := fmt.Sprintf("run %s, %d steps, %s", t.RunID, t.TotalSteps, span(millis(t.TotalDurationMS)))
	if t.TotalTokens != nil {
		head += fmt.Sprintf(", %d tokens", *t.TotalTokens)
	}
	s.printf("%s\n", clean(head))
	if len(t.Steps) > 0 {
		s.steps(t.Steps)
	}
	var rows [][]string
	for i := range t.Events {
		e := &t.Events[i]
		rows = append(rows, []string{e.Timestamp.String(), e.EventName, text(e.Severity), reason(e.Body), fmt.Sprint(e.LeafIndex)})
	}
	if len(rows) > 0 {
		s.section("Events of no step", []column{{title: "TIME"}, {title: "EVENT"}, {title: "SEVERITY", state: true}, {title: "BODY", free: true}, {title: "LEAF", right: true}}, rows)
	}
}

func (s *screen) steps(steps []answer.Step) {
	sc := scale{from: steps[0].Timestamp}
	for i := range steps {
		st := &steps[i]
		sc.from = min(sc.from, st.Timestamp)
		sc.until = max(sc.until, st.Timestamp+micros(st.DurationMS))
	}
	l := &lines{cols: []column{
		{title: "#", right: true},
		{title: "LEAF", right: true},
		{title: "AT", right: true},
		{title: "TOOK", right: true},
		{title: "STATUS", state: true},
		{title: "STEP", free: true},
		{title: "IN", right: true},
		{title: "OUT", right: true},
	}}
	depth := depths(steps)
	for i := range steps {
		st := &steps[i]
		l.rows = append(l.rows, []string{
			fmt.Sprint(st.StepIndex), fmt.Sprint(st.LeafIndex), span(time.Duration(st.Timestamp-sc.from) * time.Microsecond),
			span(millis(st.DurationMS)), clean(st.Status), spaces(2*depth[i]) + stepName(st), number(st.InputTokens), number(st.OutputTokens),
		})
	}
	sc.width = l.fit(s)
	l.head(s, axis(sc.width, "0 s", "", span(time.Duration(sc.until-sc.from)*time.Microsecond)))
	for i := range steps {
		st := &steps[i]
		l.line(s, i, s.paint(colourOf(st.Status), sc.bar(st.Timestamp, st.Timestamp+micros(st.DurationMS))))
		s.stepContent(st)
	}
}

// stepName says what a step is, and what is unusual about it.
func stepName(st *answer.Step) string {
	name := joined(" ", st.Kind, st.SkillName)
	if m := text(st.Model); m != "" && m != st.SkillName {
		// Many SDKs name a step after the model that was asked for.
		name = joined(" ", strings.TrimSuffix(name, " "+text(st.RequestModel)), m)
	}
	var notes []string
	if st.RetryCount > 0 {
		notes = append(notes, fmt.Sprintf("%d retries", st.RetryCount))
	}
	if st.Late {
		notes = append(notes, "late")
	}
	if st.ConflictOf != nil {
		notes = append(notes, "contradicts another record")
	}
	if code := text(st.OutcomeCode); code != "" {
		notes = append(notes, code)
	}
	if len(notes) > 0 {
		name += " (" + strings.Join(notes, ", ") + ")"
	}
	return clean(name)
}

// maxDepth bounds the indent.
const maxDepth = 8

// depths returns how deep each step stands below the first. What names a parent
// that is not there stands at the top, and so does a ring of parents.
func depths(steps []answer.Step) []int {
	parent := map[int64]int64{}
	known := map[int64]bool{}
	for i := range steps {
		known[steps[i].StepIndex] = true
		if p := steps[i].ParentStepIndex; p != nil {
			parent[steps[i].StepIndex] = *p
		}
	}
	out := make([]int, len(steps))
	for i := range steps {
		at, n := steps[i].StepIndex, 0
		for n <= maxDepth {
			p, ok := parent[at]
			if !ok || !known[p] {
				break
			}
			at = p
			n++
		}
		out[i] = min(n, maxDepth)
	}
	return out
}

// stepIndent is that of what a step holds.
const stepIndent = 6

// stepContent shows what went in and out of a step: in a line, or in full.
func (s *screen) stepContent(st *answer.Step) {
	parts := []struct {
		name string
		c    answer.Content
	}{
		{"prompt", st.Prompt}, {"response", st.Response}, {"params", st.Params}, {"result", st.OutcomeData}, {"message", st.StatusMessage},
	}
	if s.content {
		for _, p := range parts {
			if captured(p.c) {
				s.block(p.name, full(p.c))
			}
		}
		for i := range st.Events {
			e := &st.Events[i]
			body := []string{joined(" ", clean(e.EventName), text(e.Severity), e.Timestamp.String())}
			if captured(e.Body) {
				body = append(body, full(e.Body)...)
			}
			s.block("event", body)
		}
		return
	}
	var names []string // of what is there
	var said []string  // what it says
	for _, p := range parts {
		if !captured(p.c) {
			continue
		}
		b := brief(p.c)
		if i := slices.Index(said, b); i >= 0 && p.c.Value == nil { // once is enough
			names[i] += ", " + p.name
			continue
		}
		names, said = append(names, p.name), append(said, b)
	}
	if len(names) == 0 {
		return
	}
	for i := range names {
		names[i] += " " + said[i]
	}
	shares(names, s.width-stepIndent-gap*(len(names)-1))
	s.printf("%s%s\n", spaces(stepIndent), s.paint(dim, strings.Join(names, spaces(gap))))
}

// shares cuts texts so that they fit n columns together: the long ones, to the
// same width.
func shares(texts []string, n int) {
	order := make([]int, len(texts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(columnsOf(texts[a]), columnsOf(texts[b])) })
	for k, i := range order {
		texts[i] = cut(texts[i], n/(len(order)-k))
		n -= columnsOf(texts[i])
	}
}

// block is text in full under a step.
func (s *screen) block(name string, text []string) {
	const names = 10
	for _, line := range text {
		for _, part := range fold(line, s.width-stepIndent-names) {
			s.printf("%s%s%s\n", spaces(stepIndent), s.paint(dim, fill(name, names)), part)
			name = ""
		}
	}
}

// replay shows events by their distance from the center of the window.
func (s *screen) replay(w *answer.ReplayWindow) {
	s.printf("run %s\ncenter %s (%s), window %s to %s\n", clean(w.RunID), w.CenterTimestamp, clean(w.CenterSource), w.WindowStart, w.WindowEnd)
	events := slices.Concat(w.LLMEvents, w.SystemEvents, w.PolicyEvents)
	if len(events) == 0 {
		s.printf("\nNothing is on record in this window.\n")
		return
	}
	order := []string{"system", "policy", "llm"} // the environment and the rules come before what they act on
	slices.SortStableFunc(events, func(a, b answer.ReplayEvent) int {
		return cmp.Or(cmp.Compare(a.Timestamp, b.Timestamp), cmp.Compare(slices.Index(order, a.Source), slices.Index(order, b.Source)),
			cmp.Compare(a.LeafIndex, b.LeafIndex))
	})
	l := &lines{cols: []column{
		{title: "OFFSET", right: true}, {title: "SOURCE"}, {title: "#", right: true}, {title: "LEAF", right: true}, {title: "EVENT", free: true}, {title: "OUTCOME", state: true},
	}}
	for i := range events {
		e := &events[i]
		l.rows = append(l.rows, []string{
			offset(e.Timestamp - w.CenterTimestamp), clean(e.Source), number(e.StepIndex), fmt.Sprint(e.LeafIndex), clean(e.Action), clean(e.Outcome),
		})
	}
	// The end belongs to the window, and an odd width has a middle.
	sc := scale{from: w.WindowStart, until: w.WindowEnd + 1, width: (l.fit(s)-1)/2*2 + 1}
	l.head(s, axis(sc.width, offset(w.WindowStart-w.CenterTimestamp), "0", offset(w.WindowEnd-w.CenterTimestamp)))
	for i := range events {
		e := &events[i]
		l.line(s, i, s.paint(cmp.Or(colourOf(e.Outcome), sourceColour[e.Source]), sc.distance(w.CenterTimestamp, e.Timestamp)))
	}
}

var sourceColour = map[string]string{"system": "36", "policy": "35"}

// offset is a duration with its sign and all its microseconds.
func offset(d evidence.Micros) string {
	if d == 0 {
		return "0"
	}
	s := fmt.Sprintf("%+.6f", float64(d)/1e6)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") + " s"
}

// axis labels both ends and the middle of a line of time.
func axis(width int, left, middle, right string) string {
	b := fill(left, width)
	if middle != "" {
		at := width / 2
		b = prefix(b, at) + middle + spaces(width-at-columnsOf(middle))
	}
	return prefix(b, max(width-columnsOf(right), columnsOf(left)+1)) + right
}

// lines is a table with a line of time at its right.
type lines struct {
	cols   []column
	rows   [][]string
	widths []int
}

// fit lays the table out and returns what is left for the line of time.
func (l *lines) fit(s *screen) int {
	l.widths = make([]int, len(l.cols))
	used := 0
	for i := range l.cols {
		for _, row := range l.rows {
			l.widths[i] = max(l.widths[i], columnsOf(row[i]))
		}
		if l.widths[i] > 0 {
			l.widths[i] = max(l.widths[i], columnsOf(l.cols[i].title))
			used += l.widths[i] + gap
		}
	}
	over := used + max(minBar, s.width/3) - s.width
	narrow(l.cols, l.widths, make([]int, len(l.cols)), over)
	used = 0
	for _, w := range l.widths {
		if w > 0 {
			used += w + gap
		}
	}
	return max(s.width-used, minBar)
}

func (l *lines) head(s *screen, right string) {
	titles := make([]string, len(l.cols))
	for i, c := range l.cols {
		titles[i] = c.title
	}
	s.printf("\n")
	l.print(s, titles, true, right)
}

func (l *lines) line(s *screen, i int, right string) { l.print(s, l.rows[i], false, right) }

func (l *lines) print(s *screen, row []string, title bool, right string) {
	cols, widths := append(slices.Clone(l.cols), column{}), append(slices.Clone(l.widths), 1)
	s.row(cols, widths, append(slices.Clone(row), right), title)
}
