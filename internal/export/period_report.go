package export

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/report"
)

// periodReport makes the model of the report of a period while the records pass by.
// Of each list it keeps the first maxListed.
type periodReport struct {
	j      *job
	counts map[string]int64 // by kind and event

	governance, accesses, system []report.Entry

	hidden int64 // synthetic records that the requester may not see
	total  int64 // entries of all lists
	last   evidence.Micros
}

// maxCounted bounds the events that are counted apart: producers have their own.
const maxCounted = 200

func newPeriodReport(j *job) *periodReport { return &periodReport{j: j, counts: map[string]int64{}} }

// record implements view.
func (r *periodReport) record(s *shown) error {
	l := s.leaf
	r.last = max(r.last, l.RecordedAt)
	if l.RecordedAt < r.j.req.From || l.RecordedAt >= r.j.req.Until {
		return nil
	}
	r.count(l)
	if r.j.choice.hides(l) {
		r.hidden++
		return nil
	}
	if !r.j.period.kinds[l.Kind] {
		return nil
	}
	switch event := l.Text("event_type"); {
	case l.Kind == evidence.KindSystem:
		r.list(&r.system, s)
	case l.Kind == evidence.KindExport, l.Kind == evidence.KindAudit && (event == "LOG_VIEW" || event == "LOG_EXPORT"):
		r.list(&r.accesses, s)
	case l.Kind == evidence.KindAudit:
		r.list(&r.governance, s)
	}
	return nil
}

func (r *periodReport) list(list *[]report.Entry, s *shown) {
	r.total++
	if len(*list) < maxListed {
		*list = append(*list, s.entry(r.j.logs[0].Origin))
	}
}

func (r *periodReport) count(l *evidence.Leaf) {
	name := l.Kind.String()
	if event := cmp.Or(l.Text("event_type"), l.Text("status"), l.Text("execution_status")); event != "" {
		name += " " + event
	}
	if _, ok := r.counts[name]; !ok && len(r.counts) >= maxCounted {
		name = l.Kind.String() + " (others)"
	}
	r.counts[name]++
}

// model implements modelView.
func (r *periodReport) model() (*report.Model, error) {
	j, m, c := r.j, r.j.reportBase(r.last), r.j.counts.Period
	m.Governance, m.Accesses, m.System = r.governance, r.accesses, r.system
	m.EntriesTotal = r.total
	m.Summary = []report.Fact{
		{Name: "Scope", Value: j.req.Scope},
		{Name: "Recorded from", Value: report.Clock(j.req.From)},
		{Name: "Recorded before", Value: report.Clock(j.req.Until)},
		{Name: "Records of the period", Value: strconv.FormatInt(c.Records, 10)},
		{Name: "Of the scope's kinds", Value: strconv.FormatInt(c.InScope, 10)},
		{Name: "Shared records of the system", Value: strconv.FormatInt(c.Shared, 10)},
		{Name: "Records in the bundle, neighbours included", Value: strconv.FormatInt(j.counts.Records, 10)},
	}
	if len(j.req.Tags) > 0 {
		m.Summary = append(m.Summary, report.Fact{Name: "Compliance tags", Value: strings.Join(j.req.Tags, ", ")})
	}
	for _, name := range slices.Sorted(maps.Keys(r.counts)) {
		m.Counts = append(m.Counts, report.Fact{Name: name, Value: strconv.FormatInt(r.counts[name], 10)})
	}
	for _, k := range j.counts.Controls {
		m.Controls = append(m.Controls, report.Control{
			Framework: k.Framework, ID: k.ID, Title: k.Title, Supports: k.Supports, Evidence: k.Evidence, Records: k.Records,
		})
	}
	m.Notices = r.notices()
	return m, nil
}

// notices says what a reader must know before all else.
func (r *periodReport) notices() (out []string) {
	c := r.j.counts.Period
	note := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if r.last < r.j.req.Until {
		note("The log ends before the period does: nothing is said of what was recorded after %s.", report.Clock(r.last))
	}
	for _, list := range []struct {
		name    string
		entries []report.Entry
	}{{"governance", r.governance}, {"access", r.accesses}, {"system", r.system}} {
		if len(list.entries) == maxListed {
			note("The list of %s entries has the first %d only; all are in records.jsonl of the bundle.", list.name, maxListed)
		}
	}
	if other := r.j.counts.Records - c.InScope - c.Shared; other > 0 {
		note("Of %d records that are not of the scope's kinds, or stand beside the period, the bundle has the public facts only.", other)
	}
	if r.hidden > 0 {
		note("%d synthetic records are in the bundle, since its leaves are consecutive, but neither listed here nor disclosed: who asked may not see them.", r.hidden)
	}
	if c.SharedGone > 0 {
		note("%d shared records of the system are left out, since their content is gone.", c.SharedGone)
	}
	return out
}
