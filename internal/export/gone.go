package export

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/verify"
)

// goneFields are sealed fields that cannot be opened any more, by the log they
// are of and in order of seq, with the reason where a record gives one.
type goneFields struct {
	by   map[string][]goneField
	left int // without a reason
}

type goneField struct {
	seq    int64
	path   string
	kind   evidence.Kind // of the record
	reason verify.Reason
}

// add notes that a field of a record of a log is gone.
func (g *goneFields) add(origin string, l *evidence.Leaf, path string) {
	if g.by == nil {
		g.by = map[string][]goneField{}
	}
	g.by[origin] = append(g.by[origin], goneField{seq: l.Seq, path: path, kind: l.Kind})
	g.left++
}

// from returns the fields of a log at and after seq.
func (g *goneFields) from(origin string, seq int64) []goneField {
	list := g.by[origin]
	i, _ := slices.BinarySearchFunc(list, seq, func(f goneField, seq int64) int { return cmp.Compare(f.seq, seq) })
	return list[i:]
}

// reason returns why a field is gone, or "" where nothing says so.
func (g *goneFields) reason(origin string, seq int64, path string) verify.Reason {
	for _, f := range g.from(origin, seq) {
		if f.seq != seq {
			break
		}
		if f.path == path {
			return f.reason
		}
	}
	return ""
}

// explain gives the reason to those fields that have none and are covered. It
// reports whether there are any.
func (g *goneFields) explain(c cover) (any bool) {
	if g.left == 0 {
		return false
	}
	list := g.from(c.origin, c.from)
	for i := range list {
		f := &list[i]
		if f.seq >= c.to {
			break
		}
		if f.reason == "" && c.names(f.kind, f.path) {
			f.reason, any = c.reason, true
			g.left--
		}
	}
	return any
}

// cover is what a record of an erasure or expiry says is gone: some paths, or
// all, of the leaves from (in it) to (not in it) of a log.
type cover struct {
	origin   string
	from, to int64
	paths    []string      // none: all
	kind     evidence.Kind // of the leaves; 0: all
	reason   verify.Reason
}

func (c *cover) names(kind evidence.Kind, path string) bool {
	return (c.kind == 0 || c.kind == kind) && (len(c.paths) == 0 || slices.Contains(c.paths, path))
}

// coversOf reads the targets of a record; other records have none. As the
// verifier sees it, a record can speak only of leaves before it, or of another
// log.
func coversOf(origin string, l *evidence.Leaf, open map[string]ledger.Opened) ([]cover, error) {
	reason := coverReason(l)
	o, ok := open[pathTargets]
	if reason == "" || !ok {
		return nil, nil
	}
	t, err := evidence.ParseTargets([]byte(o.JSON))
	if err != nil {
		return nil, fmt.Errorf("leaf %d of %s: %w", l.Seq, origin, err)
	}
	var kind evidence.Kind
	if reason == verify.Expired { // it is about the rows of the table that it names, and of no other
		kind = evidence.KindOfTable(l.Text("entity_id"))
	}
	before := l.Seq
	if t.Log != "" && t.Log != origin {
		origin, before = t.Log, evidence.MaxInt
	}
	var out []cover
	for _, r := range t.Ranges {
		out = append(out, cover{origin: origin, from: r.From, to: min(r.To, before), paths: r.Paths, kind: kind, reason: reason})
	}
	return out, nil
}

// explain looks for the records that say why something is gone, where those of
// the bundle do not, and adds them to it. It reports whether the records have to
// be written again. What nothing explains stays as erased: the verifier shall
// see it.
func (j *job) explain(ctx context.Context) (again bool, err error) {
	r := j.run
	for _, c := range r.covers {
		r.gone.explain(c)
	}
	if r.gone.left > 0 {
		err = j.audits(ctx, []store.Condition{goneEvents}, func(page []store.Found) (bool, error) {
			found, err := j.explainBy(ctx, page)
			again = again || found
			return r.gone.left > 0, err
		})
	}
	again = again || r.gone.differ(&r.reasons)
	r.reasons, r.gone = r.gone, goneFields{}
	return again, err
}

// differ reports whether a field has another reason than was written of it.
func (g *goneFields) differ(written *goneFields) bool {
	for origin, list := range g.by {
		for _, f := range list {
			if orErased(f.reason) != orErased(written.reason(origin, f.seq, f.path)) {
				return true
			}
		}
	}
	return false
}

// orErased is what is said of a field of which nothing says why it is gone.
func orErased(r verify.Reason) verify.Reason { return cmp.Or(r, verify.Erased) }

// explainBy takes those records of a page into the bundle that explain something.
func (j *job) explainBy(ctx context.Context, page []store.Found) (found bool, err error) {
	for _, part := range j.logs {
		if part.system(&j.req) {
			continue
		}
		at := map[int64]store.Found{}
		var here []store.Found
		for _, f := range slices.Backward(page) { // the newest come first
			if f.LogNo == part.No {
				here = append(here, f)
				at[f.Seq] = f
			}
		}
		err := j.e.cfg.Ledger.ProveRecords(ctx, j.req.Tenant, part.No, part.head, here, func(rec *ledger.ProvenRecord) error {
			list, err := coversOf(part.Origin, rec.Leaf, rec.Open)
			for _, c := range list {
				if j.run.gone.explain(c) && j.take(at[rec.Seq]) {
					found = true
				}
			}
			return err
		})
		if err != nil {
			return found, err
		}
	}
	return found, nil
}
