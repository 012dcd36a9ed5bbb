package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// dueRow is a row that an expiry names, and by which.
type dueRow struct {
	store.RowMark
	by *store.Expiry
}

// expireRows takes the next step of a pass through topic rows.
func (l *Ledger) expireRows(ctx context.Context, tenant string, life *tenantLife, holds []store.Hold, mark store.HoldsMark) (ExpiryStep, error) {
	p := life.pass
	room := expireLeaves
	if l.shared {
		room *= expireShared
	}
	if !l.Busy() {
		room *= expireAlone
	}
	list, from, to := p.window(room)
	if len(list) == 0 {
		return ExpiryStep{More: true}, l.finishPass(ctx, tenant, life)
	}
	end := p.end()
	rows, err := l.dueRows(ctx, p, list, from, min(to+expireSlack, end))
	if err != nil {
		return ExpiryStep{}, err
	}
	to = cutBetween(rows, from, to, end)
	rows = slices.DeleteFunc(rows, func(r dueRow) bool { return r.Seq >= to })
	kept, rows, err := l.leaveHeld(ctx, tenant, list, holds, rows)
	if err != nil {
		return ExpiryStep{}, err
	}
	var step ExpiryStep
	if len(rows) > 0 {
		removal, kept, err := l.expireContent(ctx, p.log, rows)
		if err != nil {
			return step, err
		}
		if err := l.retireLater(ctx, tenant, kept, rows[0].by.By); err != nil {
			return step, err
		}
		if step.Segments = len(removal.Segments); step.Segments == 0 {
			removal = nil
		} else {
			removal.By, removal.Holds = rows[0].by.By, &mark
		}
		if step.Rows, err = l.store.Expire(ctx, tenant, list, from, to, false, removal); err != nil {
			return step, err
		}
	}
	for _, e := range kept {
		p.kept[e] = true
	}
	step.More = true
	if p.next = to; to >= end {
		return step, l.finishPass(ctx, tenant, life)
	}
	return step, nil
}

// dueRows returns the rows that these expiries name, by leaf index.
func (l *Ledger) dueRows(ctx context.Context, p *expiryPass, list []store.Expiry, from, to int64) ([]dueRow, error) {
	byTable := map[string][]store.Expiry{}
	for _, e := range list {
		byTable[e.Table] = append(byTable[e.Table], e)
	}
	var rows []dueRow
	for table, of := range byTable {
		kind := evidence.KindOfTable(table)
		if kind == 0 {
			return nil, fmt.Errorf("an expiry of table %q: %w", table, evidence.ErrTampered)
		}
		at := 0
		err := l.store.Marks(ctx, p.log.LogRef, kind, from, to, func(m *store.RowMark) error {
			for at < len(of) && of[at].To <= m.Seq {
				at++
			}
			for i := at; i < len(of) && of[i].From <= m.Seq; i++ {
				e := &of[i]
				if names(e, kind, m) {
					rows = append(rows, dueRow{*m, e})
					break
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(rows, func(a, b dueRow) int { return int(a.Seq - b.Seq) })
	return rows, nil
}

// names reports whether an expiry of a kind's table names a row of it.
func names(e *store.Expiry, kind evidence.Kind, m *store.RowMark) bool {
	return e.From <= m.Seq && m.Seq < e.To && m.RecordedAt < e.Before && (m.Synthetic || !e.Synthetic) && (e.Synthetic || kind != evidence.KindAudit)
}

// cutBetween returns the last place up to to where no sealed segment of these rows goes on, so
// that few are written anew only to be removed by the next step. There may be none.
func cutBetween(rows []dueRow, from, to, end int64) int64 {
	if to >= end {
		return to
	}
	last := map[int64]int64{} // of a segment, its last row
	for i := range rows {
		for _, no := range []int64{rows[i].Segment, rows[i].ActorSegment} {
			if no != store.NoSegment {
				last[no] = rows[i].Seq
			}
		}
	}
	cut, reach := int64(0), int64(0)
	for i := range rows {
		r := &rows[i]
		if r.Seq > to {
			break
		}
		if r.Seq >= reach && r.Seq > from {
			cut = r.Seq
		}
		for _, no := range []int64{r.Segment, r.ActorSegment} {
			if no != store.NoSegment {
				reach = max(reach, last[no]+1)
			}
		}
	}
	if reach <= to { // nothing goes on at to itself
		return to
	}
	if cut > from+(to-from)/2 {
		return cut
	}
	return to
}

// leaveHeld takes out the rows that a hold covers, and returns the expiries of list, of one log, that name these.
func (l *Ledger) leaveHeld(ctx context.Context, tenant string, list []store.Expiry, holds []store.Hold, rows []dueRow) (kept []store.Expiry, free []dueRow, err error) {
	if len(holds) == 0 {
		return nil, rows, nil
	}
	logNo := list[0].LogNo
	var runs []string
	var records []store.Position
	for i := range rows {
		if rows[i].Run != "" {
			runs = append(runs, rows[i].Run)
		} else {
			records = append(records, store.Position{LogNo: logNo, Seq: rows[i].Seq})
		}
	}
	heldRuns, err := l.store.HeldRuns(ctx, tenant, unique(runs, nil))
	if err != nil {
		return nil, nil, err
	}
	heldRecords, err := l.store.HeldRecords(ctx, tenant, records)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range rows {
		held := holdCovering(holds, r.OccurredAt, r.RecordedAt)
		if r.Run != "" && held == "" {
			held = heldRuns[r.Run]
		}
		if r.Run == "" && held == "" {
			held = heldRecords[store.Position{LogNo: logNo, Seq: r.Seq}]
		}
		if held == "" {
			free = append(free, r)
			continue
		}
		for i := range list { // not its own alone: none is through while a row is there that it names
			if e := &list[i]; e.Table == r.by.Table && names(e, evidence.KindOfTable(e.Table), &r.RowMark) {
				kept = append(kept, *e)
			}
		}
	}
	return unique(kept, nil), free, nil
}

const (
	// openers is how many open segments at the same time, and openAtOnce how many each reads together.
	openers    = 4
	openAtOnce = 16
)

// retireLater notes keys under which content has gone that outlived the key of its day, as
// what was held does: old copies of it could be opened by them. FinishErasures destroys
// them once what is left under them is sealed anew.
func (l *Ledger) retireLater(ctx context.Context, tenant string, keys []store.KeyID, by store.Position) error {
	for _, k := range keys {
		if err := l.noteRetire(ctx, tenant, k, by, ""); err != nil {
			return err
		}
	}
	return nil
}

// expireContent returns how the sealed content of these rows goes: a segment as a whole, or
// written anew without them where it has content of records that stay; and the keys under
// which it was that are not those of a day or a person.
func (l *Ledger) expireContent(ctx context.Context, lg store.Log, rows []dueRow) (removal *store.Removal, kept []store.KeyID, err error) {
	var nos []int64
	for i := range rows {
		for _, no := range []int64{rows[i].Segment, rows[i].ActorSegment} {
			if no != store.NoSegment {
				nos = append(nos, no)
			}
		}
	}
	out := &store.Removal{}
	if len(nos) == 0 {
		return out, nil, nil
	}
	slices.Sort(nos)
	nos = slices.Compact(nos)
	going, err := l.idsOf(ctx, lg, rows)
	if err != nil {
		return nil, nil, err
	}
	results := make([]without, len(nos))
	g, opening := errgroup.WithContext(ctx)
	g.SetLimit(openers)
	if l.shared && l.Busy() { // the database has a processor of its own, and producers the others
		g.SetLimit(1)
	}
	for at := 0; at < len(nos); at += openAtOnce {
		end := min(at+openAtOnce, len(nos))
		g.Go(func() error { return l.withoutRecords(opening, lg, nos[at:end], going, results[at:end]) })
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	keys := map[store.KeyID]bool{}
	for i, no := range nos {
		r := &results[i]
		if !r.goes {
			continue
		}
		out.Segments = append(out.Segments, store.SegmentRef{LogNo: lg.No, No: no})
		out.IDs = append(out.IDs, r.id)
		if r.replace != nil {
			out.Replace = append(out.Replace, *r.replace)
		}
		if keys[r.key] {
			continue
		}
		keys[r.key] = true
		scope, label, err := l.sealer.KeyScope(ctx, l.store, lg.Tenant, r.key)
		if err != nil && !errors.Is(err, evidence.ErrNotFound) {
			return nil, nil, err
		}
		if scope == store.ScopeDay && strings.HasPrefix(label, keptLabel) {
			kept = append(kept, r.key)
		}
	}
	return out, kept, nil
}

// without is what becomes of a segment when some of its records go.
type without struct {
	id      [16]byte
	key     store.KeyID
	goes    bool                 // it has something of them
	replace *store.SealedSegment // nil: nothing is left
}

// withoutRecords says, in out, what becomes of segments when the records of these ids go.
func (l *Ledger) withoutRecords(ctx context.Context, lg store.Log, nos []int64, going map[evidence.ID]bool, out []without) error {
	var list []store.SealedSegment
	err := l.store.SealedSegmentsOf(ctx, lg.LogRef, nos, func(s store.SealedSegment) error {
		list = append(list, s)
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range list { // an erasure took the others
		i, found := slices.BinarySearch(nos, s.No)
		if !found {
			return fmt.Errorf("sealed segment %d of %s: %w: it was not asked for", s.No, lg.Origin, evidence.ErrTampered)
		}
		if out[i], err = l.withoutSome(ctx, lg, s, going); err != nil {
			return err
		}
	}
	return nil
}

// withoutSome says what becomes of one segment.
func (l *Ledger) withoutSome(ctx context.Context, lg store.Log, stored store.SealedSegment, going map[evidence.ID]bool) (without, error) {
	w := without{id: stored.ID, key: stored.Key, goes: true}
	ids, err := l.sealer.RecordIDs(ctx, l.store, lg.Tenant, lg.Origin, stored)
	if errors.Is(err, evidence.ErrNotFound) {
		return w, nil // nobody can open it any more
	}
	if err != nil {
		return without{}, err
	}
	stays := 0
	for _, rec := range ids {
		if !going[rec] {
			stays++
		}
	}
	switch stays {
	case 0:
		return w, nil
	case len(ids):
		return without{}, nil
	}
	drop := func(rec evidence.ID, _ string) bool { return going[rec] }
	w.replace, err = l.sealer.Without(ctx, lg.Tenant, lg.Origin, stored, drop, false)
	return w, err
}

// idsOf reads the ids of records from their leaves.
func (l *Ledger) idsOf(ctx context.Context, lg store.Log, rows []dueRow) (map[evidence.ID]bool, error) {
	out := make(map[evidence.ID]bool, len(rows))
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].Seq-rows[n-1].Seq <= segmentLeaves {
			n++
		}
		at := 0
		err := eachLeaf(ctx, l.store, lg.LogRef, rows[0].Seq, rows[n-1].Seq+1, func(seq int64, raw []byte) error {
			if rows[at].Seq != seq {
				return nil
			}
			for at < n && rows[at].Seq == seq {
				at++
			}
			id, ok := idOfLeaf(raw)
			if !ok {
				return fmt.Errorf("leaf %d of %s: %w: it has no id", seq, lg.Origin, evidence.ErrTampered)
			}
			out[id] = true
			return nil
		})
		if err != nil {
			return nil, err
		}
		rows = rows[n:]
	}
	return out, nil
}

// idOfLeaf finds the id in the text of a leaf without reading all of it. Before the member
// "id" there is only "h", whose own members are paths, and within a string a quote
// follows a backslash.
func idOfLeaf(raw []byte) (evidence.ID, bool) {
	const member = `"id":"`
	i := bytes.Index(raw, []byte(member))
	if i < 0 {
		return evidence.ID{}, false
	}
	raw = raw[i+len(member):]
	end := bytes.IndexByte(raw, '"')
	if end < 0 {
		return evidence.ID{}, false
	}
	return evidence.ParseID(string(raw[:end]))
}
