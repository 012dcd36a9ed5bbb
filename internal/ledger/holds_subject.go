package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// namedUntil says how far it was looked for a person: up to which entry in the index, and up to
// which segment under each of the person's keys; and how much the hold covered then. It may be
// copied.
type namedUntil struct {
	actor, subject store.Position
	under          map[store.KeyID]store.SegmentRef // never changed
	runs, records  int64
}

// RefreshHolds adds to the holds of subjects what has come since. It is called before
// anything is expired or erased.
func (l *Ledger) RefreshHolds(ctx context.Context, tenant string) error {
	ctx = store.NoLag(ctx)
	life, ctx, unlock, err := l.lifeAlone(ctx, tenant)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = l.refreshHolds(ctx, tenant, life)
	return err
}

// refreshHolds is RefreshHolds for who has the lock. It returns the holds in force.
func (l *Ledger) refreshHolds(ctx context.Context, tenant string, life *tenantLife) ([]store.Hold, error) {
	holds, err := l.holdsInForce(ctx, tenant)
	if err != nil {
		return nil, err
	}
	for i := range holds {
		h := &holds[i]
		if h.Scope != store.HoldSubject {
			continue
		}
		subject, err := l.heldSubject(ctx, tenant, h)
		if err != nil {
			return nil, err
		}
		named := life.named[h.ID]
		if h.NRuns < named.runs || h.NRecord < named.records { // somebody has removed of it by hand
			l.log.Error("a legal hold covers less than it did", "tenant", tenant, "hold", h.ID, "runs", h.NRuns, "of", named.runs)
			named = namedUntil{}
		}
		named.runs, named.records = h.NRuns, h.NRecord
		runs, records, err := l.namedSince(ctx, tenant, subject, &named)
		if err != nil {
			return nil, err
		}
		if len(runs)+len(records) > 0 {
			if err := l.store.ExtendHold(ctx, tenant, h.ID, runs, records); err != nil {
				return nil, fmt.Errorf("extend hold %s: %w", h.ID, err)
			}
		}
		life.named[h.ID] = named
	}
	return holds, nil
}

// heldSubject opens whom a hold is about.
func (l *Ledger) heldSubject(ctx context.Context, tenant string, h *store.Hold) (string, error) {
	found, err := l.Fetch(ctx, tenant, []store.Found{{Kind: evidence.KindAudit, Position: h.Placed}}, false)
	if err != nil {
		return "", err
	}
	f := &found[0]
	if f.Leaf.Text("event_type") != eventHoldPlaced || f.Leaf.Text("entity_id") != h.ID {
		return "", fmt.Errorf("hold %s: %w: leaf %d did not place it", h.ID, evidence.ErrTampered, h.Placed.Seq)
	}
	row, err := l.store.Row(ctx, store.LogRef{Tenant: tenant, No: h.Placed.LogNo}, evidence.KindAudit, h.Placed.Seq)
	if err != nil {
		return "", fmt.Errorf("hold %s: %w", h.ID, err)
	}
	openings, err := l.openRecords(ctx, tenant, f.Leaf.Log, store.SegmentRef{LogNo: h.Placed.LogNo, No: row.Segment}, []evidence.ID{f.Leaf.ID})
	if err != nil {
		return "", err
	}
	f.Open = map[string]Opened{}
	if len(openings) == 1 {
		err = f.open(openings[0])
	}
	if err != nil {
		return "", err
	}
	subject := f.Open["/subject"].JSON
	if subject == "" {
		return "", fmt.Errorf("hold %s: %w: whom it is about cannot be opened", h.ID, evidence.ErrTampered)
	}
	return evidence.IndexText([]byte(subject)), nil
}

// namedSince returns the runs that name a person as actor or data subject, and the records without
// a run that do, as far as they were not seen until, which it moves on. The index says it of most,
// but of the steps and events of a trace by one entry, though several runs may share one; and that entry goes with
// the record that it is of, or with the field that it says, where others of the trace stay. So what
// is sealed under the person's keys counts as well.
func (l *Ledger) namedSince(ctx context.Context, tenant, person string, until *namedUntil) (runs []string, records []store.Position, err error) {
	actor := &evidence.Record{Kind: evidence.KindAudit}
	actor.SetHumanActor(person)
	var at []store.Position
	for _, n := range []struct {
		name, text string
		until      *store.Position
	}{{"actor", string(actor.SealedJSON("/actor")), &until.actor}, {"subject", person, &until.subject}} {
		entries, err := l.indexedSince(ctx, tenant, n.name, n.text, *n.until)
		if err != nil {
			return nil, nil, err
		}
		for i, e := range entries {
			if i == 0 {
				*n.until = e.Position
			}
			at = append(at, e.Position)
		}
	}
	runs, records, err = l.aboutRuns(ctx, tenant, unique(at, nil))
	if err != nil {
		return nil, nil, err
	}
	return l.sealedSince(ctx, tenant, person, until, runs, records)
}

// aboutRuns returns the runs of records, and those of them that have none.
func (l *Ledger) aboutRuns(ctx context.Context, tenant string, at []store.Position) (runs []string, records []store.Position, err error) {
	slices.SortFunc(at, comparePositions)
	for len(at) > 0 {
		n := 1
		for n < len(at) && at[n].LogNo == at[0].LogNo {
			n++
		}
		seqs := make([]int64, n)
		for i := range seqs {
			seqs[i] = at[i].Seq
		}
		err := l.leavesAt(ctx, store.LogRef{Tenant: tenant, No: at[0].LogNo}, seqs, func(i int, raw []byte) error {
			leaf, err := evidence.ParseLeaf(raw)
			if err != nil {
				return fmt.Errorf("leaf %d: %w: %w", seqs[i], evidence.ErrTampered, err)
			}
			if leaf.Run == "" {
				records = append(records, at[i])
			} else {
				runs = append(runs, leaf.Run)
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
		at = at[n:]
	}
	return unique(runs, nil), records, nil
}

// sealedSince adds the runs, and the records without one, of what is sealed under a person's keys, in
// segments behind those that until has.
func (l *Ledger) sealedSince(ctx context.Context, tenant, person string, until *namedUntil, runs []string, records []store.Position) ([]string, []store.Position, error) {
	keys, err := l.sealer.PersonKeys(ctx, tenant, person)
	if err != nil {
		return nil, nil, err
	}
	under := make(map[store.KeyID]store.SegmentRef, len(keys))
	for _, k := range keys {
		under[k.ID] = until.under[k.ID]
		var of *openLog
		var list []store.SealedSegment
		flush := func() error {
			if len(list) == 0 {
				return nil
			}
			err := l.eachSealed(ctx, of.Log, list, func(i int) ([]evidence.ID, error) {
				ids, err := l.sealer.RecordIDs(ctx, l.store, tenant, of.Origin, list[i])
				if errors.Is(err, evidence.ErrNotFound) {
					return nil, nil // the key went meanwhile, and what was under it
				}
				return ids, err
			}, func(_ int, leaf *evidence.Leaf) error {
				if leaf.Run == "" {
					records = append(records, store.Position{LogNo: of.No, Seq: leaf.Seq})
				} else {
					runs = append(runs, leaf.Run)
				}
				return nil
			})
			under[k.ID], list = list[len(list)-1].SegmentRef, list[:0]
			return err
		}
		err := l.eachUnder(ctx, tenant, k.ID, under[k.ID], personSegments, func(o *openLog, s store.SealedSegment) error {
			var err error
			if o != of || len(list) == personSegments {
				err = flush()
			}
			of, list = o, append(list, s)
			return err
		})
		if err == nil {
			err = flush()
		}
		if err != nil {
			return nil, nil, err
		}
		runs, records = unique(runs, nil), unique(records, nil)
	}
	until.under = under
	return runs, records, nil
}

func comparePositions(a, b store.Position) int {
	return cmp.Or(cmp.Compare(a.LogNo, b.LogNo), cmp.Compare(a.Seq, b.Seq))
}

// indexedSince returns the index entries of a value that stand behind a position, newest
// first.
func (l *Ledger) indexedSince(ctx context.Context, tenant, name, text string, since store.Position) ([]store.IndexEntry, error) {
	mac, err := l.sealer.FindMAC(ctx, tenant, name, text)
	if err != nil {
		return nil, err
	}
	for limit := 256; ; limit *= 8 {
		entries, err := l.store.FindIndex(ctx, tenant, name, mac, limit)
		if err != nil {
			return nil, err
		}
		n := len(entries)
		for i := range entries {
			if comparePositions(entries[i].Position, since) <= 0 {
				n = i
				break
			}
		}
		if n < len(entries) || len(entries) < limit {
			return entries[:n], nil
		}
	}
}
