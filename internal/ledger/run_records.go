package ledger

import (
	"context"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// RunRecord is one record of a run as stored.
type RunRecord struct {
	LogNo int
	LogRecord
}

// RunState returns what sequencing knows of a run; NextN is 0 where it has no
// records.
func (l *Ledger) RunState(ctx context.Context, tenant, run string) (store.RunState, error) {
	states, err := l.store.Runs(ctx, tenant, []string{run})
	if err != nil {
		return store.RunState{}, err
	}
	if s, ok := states[run]; ok {
		return s, nil
	}
	return store.RunState{Run: run}, nil
}

// OpenRuns calls fn for the runs of all tenants to which records have come
// since their newest llm_run record was written.
func (l *Ledger) OpenRuns(ctx context.Context, fn func(tenant string, s store.RunState) error) error {
	return l.store.OpenRuns(ctx, fn)
}

// SettleRuns says that these runs need no further llm_run record, as long as
// they have the number of records given.
func (l *Ledger) SettleRuns(ctx context.Context, tenant string, runs map[string]int64) error {
	return l.store.SettleRuns(ctx, tenant, runs)
}

// FindIDs returns which of these ids a tenant's log holds.
func (l *Ledger) FindIDs(ctx context.Context, tenant string, ids []evidence.ID) (map[evidence.ID]store.Position, error) {
	return l.store.FindIDs(ctx, tenant, ids)
}

// RunRecords calls fn for all records of a run, by n, with their sealed
// content opened. What is made from them may be signed, so nothing of the
// database is believed: each leaf is proven against the signed head, the
// numbers are gapless from 0, and each opening matches its commitment. What
// does not is evidence.ErrTampered.
func (l *Ledger) RunRecords(ctx context.Context, tenant, run string, fn func(RunRecord) error) error {
	state, err := l.RunState(ctx, tenant, run)
	if err != nil {
		return err
	}
	var places []store.RunRecord
	err = l.store.RunRecords(ctx, tenant, run, func(r store.RunRecord) error {
		places = append(places, r)
		return nil
	})
	if err != nil {
		return err
	}
	if int64(len(places)) < state.NextN {
		return fmt.Errorf("run %q: %w: it has %d records, and %d are there", run, evidence.ErrTampered, state.NextN, len(places))
	}
	contents := map[int]*content{}
	for i, at := range places {
		o, err := l.logByNo(ctx, tenant, at.LogNo)
		if err != nil {
			return err
		}
		leaf, _, err := l.storedLeaf(ctx, o, at.Seq)
		if err != nil {
			return err
		}
		if leaf.Run != run || leaf.N != int64(i) {
			return fmt.Errorf("run %q: %w: record %d is not where the database says", run, evidence.ErrTampered, i)
		}
		c := contents[at.LogNo]
		if c == nil {
			c = newContent(l.sealer, l.store, o.Log)
			contents[at.LogNo] = c
		}
		open, err := c.open(ctx, leaf, [2]int64{at.Segment, at.ActorSegment})
		if err != nil {
			return fmt.Errorf("run %q: record %d: %w", run, i, err)
		}
		for path, v := range open {
			if want, ok := leaf.Commitment(path); !ok || evidence.Commit(path, v.Salt, []byte(v.JSON)) != want {
				return fmt.Errorf("run %q: record %d: %w: %s does not open its commitment", run, i, evidence.ErrTampered, path)
			}
		}
		if err := fn(RunRecord{at.LogNo, LogRecord{Seq: at.Seq, Leaf: leaf, Open: open}}); err != nil {
			return err
		}
	}
	return nil
}
