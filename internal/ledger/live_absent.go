package ledger

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/runledger/runledger/evidence"
)

// stretch is the leaves from <= seq < to of a log.
type stretch struct{ from, to int64 }

// absentKey names the leaves of which a list of stretches speaks: those of a kind that
// are synthetic, or those that are not.
type absentKey struct {
	logNo     int
	kind      evidence.Kind
	synthetic bool
}

// absentGap is how far apart two leaves without rows may stand in one stretch. So there
// are few of them where much has expired, and what no record covers is soon found
// among the leaves.
const absentGap = segmentLeaves

// absences are the leaves whose rows are not there. Of a stretch all leaves that its key
// names have none; those of other kinds, between them, are no part of it.
type absences struct {
	list map[absentKey][]stretch
	shut map[absentKey]bool // a row came after the last stretch
	n    int64
}

// leaf takes the leaves of a log in order.
func (a *absences) leaf(logNo int, l *evidence.Leaf, gone bool) {
	k := absentKey{logNo, l.Kind, synthetic(l)}
	list := a.list[k]
	switch last := len(list) - 1; {
	case !gone:
		if last >= 0 {
			a.shut[k] = true
		}
		return
	case last >= 0 && !a.shut[k] && l.Seq-list[last].to < absentGap:
		list[last].to = l.Seq + 1
	default:
		a.list[k] = append(list, stretch{l.Seq, l.Seq + 1})
		delete(a.shut, k)
	}
	a.n++
}

// coverKey names what targets are about: a path of the leaves of a log ("": all paths),
// of a kind (0: any), and those that are synthetic alone, or all.
type coverKey struct {
	log       string
	path      string
	kind      evidence.Kind
	synthetic bool
}

// coverage is what the targets of a tenant's records cover, for many questions.
type coverage map[coverKey][]stretch

// newCoverage puts targets together. order is the number of the log of an origin: a
// record says nothing of a log that came after it.
func newCoverage(targets []target, order map[string]int) coverage {
	c := coverage{}
	for _, t := range targets {
		s := stretch{t.From, min(t.To, t.before)}
		if t.until != 0 {
			s.to = min(s.to, t.young)
		}
		if s.from >= s.to || t.by.LogNo < order[t.log] {
			continue
		}
		k := coverKey{t.log, "", t.kind, t.synthetic}
		if len(t.Paths) == 0 {
			c[k] = append(c[k], s)
		}
		for _, k.path = range t.Paths {
			c[k] = append(c[k], s)
		}
	}
	for k, list := range c {
		c[k] = joined(list)
	}
	return c
}

// joined sorts stretches and joins those that touch.
func joined(list []stretch) []stretch {
	if len(list) == 0 {
		return nil
	}
	list = slices.SortedFunc(slices.Values(list), func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	out := list[:1]
	for _, s := range list[1:] {
		if last := &out[len(out)-1]; s.from <= last.to {
			last.to = max(last.to, s.to)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// covers reports whether targets account for a field that is not there.
func (c coverage) covers(m missingField) bool {
	for _, path := range []string{"", m.path} {
		for _, kind := range []evidence.Kind{0, m.kind} {
			for _, synthetic := range []bool{false, true} {
				if synthetic && !m.synthetic {
					continue
				}
				if inStretch(c[coverKey{m.log, path, kind, synthetic}], m.seq) {
					return true
				}
			}
		}
	}
	return false
}

func inStretch(list []stretch, seq int64) bool {
	i, exact := slices.BinarySearchFunc(list, seq, func(s stretch, seq int64) int { return cmp.Compare(s.from, seq) })
	return exact || i > 0 && seq < list[i-1].to
}

// rows returns which of a log's rows of a kind may be gone: what is named without paths
// by a RetentionApplied of the kind's table. Audit entries are never removed, but for
// synthetic ones.
func (c coverage) rows(log string, k absentKey) []stretch {
	var list []stretch
	if k.kind != evidence.KindAudit {
		list = append(list, c[coverKey{log, "", k.kind, false}]...)
	}
	if k.synthetic {
		list = append(list, c[coverKey{log, "", k.kind, true}]...)
	}
	return joined(list)
}

// without returns what of a stretch is in none of a sorted list.
func (s stretch) without(list []stretch) (out []stretch) {
	i, exact := slices.BinarySearchFunc(list, s.from, func(x stretch, seq int64) int { return cmp.Compare(x.from, seq) })
	if !exact && i > 0 {
		i--
	}
	for _, x := range list[i:] {
		if x.from >= s.to {
			break
		}
		if s.from < x.from {
			out = append(out, stretch{s.from, x.from})
		}
		s.from = max(s.from, x.to)
	}
	if s.from < s.to {
		out = append(out, s)
	}
	return out
}

// checkAbsent: a row that is not there must have expired.
func (t *tenantFold) checkAbsent(ctx context.Context) error {
	found := int64(0)
	order := func(a, b absentKey) int {
		return cmp.Or(cmp.Compare(a.logNo, b.logNo), cmp.Compare(a.kind, b.kind))
	}
	for _, k := range slices.SortedFunc(maps.Keys(t.absent.list), order) {
		f := t.folds[k.logNo]
		may := t.coverage.rows(f.lg.Origin, k)
		for _, s := range t.absent.list[k] {
			for _, gap := range s.without(may) {
				n, err := f.absentRows(ctx, k, gap)
				if err != nil {
					return err
				}
				found += n
			}
			if t.v.report.Truncated {
				return nil
			}
		}
	}
	t.v.report.Expired += t.absent.n - found
	return nil
}

// absentRows reports those leaves of a stretch that a key names, and counts them.
func (f *logFold) absentRows(ctx context.Context, k absentKey, s stretch) (n int64, err error) {
	e := &examiner{read: f.t.read, log: f.lg}
	for from := s.from; from < s.to && !f.v.report.Truncated; from += readChunk {
		c := &chunk{from: from, to: min(from+readChunk, s.to)}
		if err := e.readLeaves(ctx, c); err != nil {
			return n, err
		}
		for _, l := range c.leaves {
			if l.leaf != nil && l.leaf.Kind == k.kind && synthetic(l.leaf) == k.synthetic {
				f.finding(missingRow(l.leaf))
				n++
			}
		}
	}
	return n, nil
}

func missingRow(l *evidence.Leaf) Finding {
	return Finding{
		Code: CodeColumn, Table: l.Kind.Table(), From: l.Seq, To: l.Seq + 1,
		Message: "the row of the leaf is missing, and no record says that it has expired",
	}
}
