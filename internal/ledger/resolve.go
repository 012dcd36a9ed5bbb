package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// resolve looks up each record of a request before it is sequenced into a
// careful plan. What is stored already, or stands earlier in the plan or in
// the batch, gets the first receipt; what contradicts becomes a conflict
// record or an error. What is left is sealed anew, so that no sealed content
// is kept of records that are not in the log.
func (c *committer) resolve(ctx context.Context, p *plan, r *request) error {
	l := c.l
	records := make([]*evidence.Record, len(r.batch.Records))
	for i := range records {
		records[i] = r.batch.Records[i].Record
	}
	if r.receipts == nil {
		r.receipts = make([]Receipt, len(records))
		r.place = make([]int, len(records))
		for i := range r.place {
			r.place[i] = i
		}
	}
	stored, err := l.find(ctx, r.log.Tenant, records)
	if err != nil {
		return fmt.Errorf("look up records: %w: %w", evidence.ErrUnavailable, err)
	}
	w := resolver{l: l, c: c, ctx: ctx, p: p, r: r, stored: stored, batch: map[evidence.ID]*evidence.Record{}}
	for i, rec := range records {
		if err := w.record(rec, r.place[i]); err != nil {
			w.errs = append(w.errs, &RecordError{r.place[i], err})
		}
		if w.fatal != nil {
			if errors.Is(w.fatal, evidence.ErrTampered) || errors.Is(w.fatal, evidence.ErrUnavailable) {
				return w.fatal
			}
			return fmt.Errorf("look up records: %w: %w", evidence.ErrUnavailable, w.fatal)
		}
	}
	wait, err := w.recordConflicts()
	if err != nil {
		return err
	}
	if w.errs != nil && !r.opts.Partial {
		err := errors.Join(w.errs...)
		if !wait {
			return err
		}
		// The refusal is given once its record is durable.
		p.done = append(p.done, planned{req: r, refused: err})
		return errPlanned
	}
	r.partialErr = errors.Join(append(w.errs, r.partialErr)...)
	r.place = w.place
	if err := l.sealRecords(r, r.log, w.left); err != nil {
		return err
	}
	if len(w.left) == 0 && wait {
		p.done = append(p.done, planned{req: r})
		return errPlanned
	}
	return nil
}

type resolver struct {
	l      *Ledger
	c      *committer
	ctx    context.Context
	p      *plan
	r      *request
	stored map[evidence.ID]store.Position
	batch  map[evidence.ID]*evidence.Record // what is left of this batch so far
	// contents are the opened segments of each log: records that came together
	// are sealed together, and a repeat of them opens each segment once.
	contents map[int]*content

	left  []*evidence.Record
	place []int
	errs  []error
	fatal error
}

// errPlanned says that a request is answered when its plan is durable.
var errPlanned = errors.New("planned")

// refuse makes the record of a refusal. Its id follows from what was refused,
// so that a producer who tries again and again makes one record.
func (w *resolver) refuse(rec *evidence.Record) error {
	mac, err := w.l.sealer.ContentMAC(w.ctx, w.r.log.Tenant, rec.ContentText())
	if err != nil {
		return err
	}
	r := w.l.auditRecord(evidence.MicrosOf(w.l.clock.Now()), "ConflictRecorded", "LOG", rec.ID.String())
	r.ID, r.NaturalKey = evidence.ID{}, "conflict:"+rec.ID.String()+":"+mac
	if err := r.AssignID(w.r.log.Tenant); err != nil {
		return err
	}
	r.SetText("credential_id", w.r.opts.Producer)
	r.SetSealed("/action_reason", evidence.QuoteJSON("a record with this id and other content was refused"))
	// Of two alike in a batch, or when it is resolved again, one is enough.
	if !slices.ContainsFunc(w.r.refusals, func(have *evidence.Record) bool { return have.ID == r.ID }) {
		w.r.refusals = append(w.r.refusals, r)
	}
	return nil
}

// recordConflicts plans the records of the request's refusals that are not
// there yet. wait says that there are some, of this request or another of
// the plan: nobody is told of a refusal before they are durable.
func (w *resolver) recordConflicts() (wait bool, err error) {
	if w.r.refusals == nil {
		return false, nil
	}
	tenant := w.r.log.Tenant
	stored, err := w.l.find(w.ctx, tenant, w.r.refusals)
	if err != nil {
		return false, fmt.Errorf("look up records: %w: %w", evidence.ErrUnavailable, err)
	}
	var own []*evidence.Record
	for _, r := range w.r.refusals {
		if _, there := stored[r.ID]; there {
			continue
		}
		wait = true
		if _, planned := w.p.ids[r.ID]; !planned {
			own = append(own, r)
		}
	}
	if own == nil {
		return wait, nil
	}
	o, err := w.c.newest(tenant)
	if err != nil {
		return false, err
	}
	return wait, w.l.addOwn(w.ctx, w.p, o, own...)
}

// find returns the stored records that have the ids of these.
func (l *Ledger) find(ctx context.Context, tenant string, records []*evidence.Record) (map[evidence.ID]store.Position, error) {
	var ids []evidence.ID
	var spans []store.Span
	var spanIDs []evidence.ID
	for _, r := range records {
		if span, ok := spanOf(r); ok {
			spans = append(spans, span)
			spanIDs = append(spanIDs, r.ID)
		} else {
			ids = append(ids, r.ID)
		}
	}
	out := map[evidence.ID]store.Position{}
	if ids != nil {
		found, err := l.store.FindIDs(ctx, tenant, ids)
		if err != nil {
			return nil, err
		}
		for id, pos := range found {
			out[id] = pos
		}
	}
	if spans != nil {
		found, err := l.store.FindSpans(ctx, tenant, spans)
		if err != nil {
			return nil, err
		}
		for i, s := range spans {
			if pos, ok := found[s]; ok {
				out[spanIDs[i]] = pos
			}
		}
	}
	return out, nil
}

// spanOf returns the natural key of a step that is found by it.
func spanOf(r *evidence.Record) (store.Span, bool) {
	if r.Kind != evidence.KindTraceStep || r.Text("span_id") == "" || r.Text("conflict_of") != "" {
		return store.Span{}, false
	}
	return store.Span{TraceID: r.Text("trace_id"), SpanID: r.Text("span_id")}, true
}

// record decides about one record whose receipt has that place.
func (w *resolver) record(rec *evidence.Record, at int) error {
	for tries := 0; ; tries++ {
		first, isHere, err := w.first(rec)
		if err != nil {
			w.fatal = err
			return nil
		}
		switch {
		case first == nil && isHere == nil:
			w.batch[rec.ID] = rec
			w.left = append(w.left, rec)
			w.place = append(w.place, at)
			return nil
		case isHere != nil: // the same id stands earlier in this batch
			if !sameRecord(rec, isHere) {
				break
			}
			w.r.follow = append(w.r.follow, [2]int{at, w.placeOf(isHere)})
			return nil
		case first.same:
			w.r.receipts[at] = first.receipt
			return nil
		}
		if rec.NaturalKey == "" || tries > 0 {
			if err := w.refuse(rec); err != nil {
				w.fatal = err
				return nil
			}
			return fmt.Errorf("id %s: %w: it is taken by a record with other content", rec.ID, evidence.ErrConflict)
		}
		if err := w.contradict(rec, first, at); err != nil {
			w.fatal = err
			return nil
		}
	}
}

func (w *resolver) placeOf(rec *evidence.Record) int {
	for i, r := range w.left {
		if r == rec {
			return w.place[i]
		}
	}
	return 0
}

// contradict turns a record into a conflict record of the one it
// contradicts: the same natural key with its content MAC.
func (w *resolver) contradict(rec *evidence.Record, first *firstRecord, at int) error {
	mac, err := w.l.sealer.ContentMAC(w.ctx, w.r.log.Tenant, rec.ContentText())
	if err != nil {
		return err
	}
	of := rec.ID
	step := int64(stepOfConflict)
	if first != nil {
		step = first.step
	}
	rec.NaturalKey += ":" + mac
	rec.ID = evidence.ID{}
	if err := rec.AssignID(w.r.log.Tenant); err != nil {
		return err
	}
	rec.SetText("conflict_of", of.String())
	if rec.Kind == evidence.KindTraceStep {
		rec.SetInt("step_index", step)
	}
	w.r.receipts[at].ConflictOf = of
	found, err := w.l.store.FindIDs(w.ctx, w.r.log.Tenant, []evidence.ID{rec.ID})
	if err != nil {
		return fmt.Errorf("look up records: %w: %w", evidence.ErrUnavailable, err)
	}
	if pos, ok := found[rec.ID]; ok {
		w.stored[rec.ID] = pos
	}
	w.l.metrics.conflicts.Inc()
	return nil
}

// firstRecord is the stored record with a record's id.
type firstRecord struct {
	receipt Receipt
	same    bool
	step    int64
}

// first finds what has the record's id: in the store, in the plan, or
// earlier in the batch.
func (w *resolver) first(rec *evidence.Record) (*firstRecord, *evidence.Record, error) {
	if here := w.batch[rec.ID]; here != nil {
		return nil, here, nil
	}
	if pos, ok := w.p.ids[rec.ID]; ok {
		return w.planned(rec, pos)
	}
	pos, ok := w.stored[rec.ID]
	if !ok {
		return nil, nil, nil
	}
	o, err := w.l.logByNo(w.ctx, w.r.log.Tenant, pos.LogNo)
	if err != nil {
		return nil, nil, err
	}
	// The receipt that is given again must be true whatever the database says.
	leaf, hash, err := w.l.storedLeaf(w.ctx, o, pos.Seq)
	if err != nil {
		return nil, nil, err
	}
	f := &firstRecord{receipt: receiptOf(o, leaf, hash)}
	f.receipt.Duplicate = true
	if of, ok := evidence.ParseID(leaf.Text("conflict_of")); ok {
		f.receipt.ConflictOf = of
	}
	f.step, _ = leaf.Int("step_index")
	f.same, err = w.sameContent(o, rec, leaf)
	return f, nil, err
}

// planned compares with a record that stands in this plan, not stored yet.
func (w *resolver) planned(rec *evidence.Record, pos store.Position) (*firstRecord, *evidence.Record, error) {
	for _, d := range w.p.done {
		for i, receipt := range d.receipts {
			if receipt.ID != rec.ID {
				continue
			}
			other := d.req.batch.Records[i].Record
			f := &firstRecord{receipt: receipt, same: sameRecord(rec, other)}
			f.receipt.Duplicate = true
			if rec.Kind == evidence.KindTraceStep {
				f.step = stepOfConflict
			}
			return f, nil, nil
		}
	}
	return nil, nil, fmt.Errorf("record %s at %d was planned and is not there", rec.ID, pos.Seq)
}

// sameRecord compares two records that are sealed and not stored.
func sameRecord(a, b *evidence.Record) bool {
	leaf := evidence.Leaf{Kind: b.Kind, OccurredAt: b.OccurredAt, Run: b.Run, Pub: b.Pub}
	for _, v := range b.Sealed {
		leaf.H = append(leaf.H, evidence.Commitment{Path: v.Path})
	}
	if !a.SameFacts(&leaf) {
		return false
	}
	for _, v := range b.Sealed {
		if a.WasSaid(v.Path) && string(a.SealedJSON(v.Path)) != string(v.JSON) {
			return false
		}
	}
	return true
}

// sameContent opens the stored record and compares. What was erased or has expired
// counts as the same; that a row is gone by right is for verification to say, and what
// the leaf says is true.
func (w *resolver) sameContent(o *openLog, rec *evidence.Record, leaf *evidence.Leaf) (bool, error) {
	if !rec.SameFacts(leaf) {
		return false, nil
	}
	row, err := w.l.store.Row(w.ctx, o.LogRef, leaf.Kind, leaf.Seq)
	if errors.Is(err, evidence.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("row of leaf %d: %w", leaf.Seq, err)
	}
	c := w.contents[o.No]
	if c == nil {
		c = newContent(w.l.sealer, w.l.store, o.Log)
		if w.contents == nil {
			w.contents = map[int]*content{}
		}
		w.contents[o.No] = c
	}
	opening, err := c.open(w.ctx, leaf, [2]int64{row.Segment, row.ActorSegment})
	if err != nil {
		return false, err
	}
	for _, v := range rec.Sealed {
		if text, ok := opening[v.Path]; ok && rec.WasSaid(v.Path) && text.JSON != string(v.JSON) {
			return false, nil
		}
	}
	return true, nil
}

// Opened is the opening of one sealed field.
type Opened struct {
	JSON string
	Salt evidence.Salt
}

// sealAnew seals a request's records for another log, or under other keys.
func (l *Ledger) sealAnew(r *request, o *openLog) error {
	records := make([]*evidence.Record, len(r.batch.Records))
	for i := range records {
		records[i] = r.batch.Records[i].Record
	}
	return l.sealRecords(r, o, records)
}

func (l *Ledger) sealRecords(r *request, o *openLog, records []*evidence.Record) error {
	r.log = o
	if len(records) == 0 {
		r.batch = &seal.Batch{}
		return nil
	}
	batch, err := l.sealer.Seal(context.Background(), o.Tenant, o.Origin, records, l.clock.Now())
	if err != nil {
		return err
	}
	r.batch = batch
	return nil
}
