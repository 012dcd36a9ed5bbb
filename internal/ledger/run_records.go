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
// does not is evidence.ErrTampered. A run that has expired, or that had before its
// newest records came, is ErrExpired.
func (l *Ledger) RunRecords(ctx context.Context, tenant, run string, fn func(RunRecord) error) error {
	state, err := l.RunState(ctx, tenant, run)
	if err != nil {
		return err
	}
	places, err := l.runPlaces(ctx, tenant, run, state)
	if err != nil {
		return err
	}
	for n := 0; n < len(places); n += readChunk {
		records, err := l.Fetch(ctx, tenant, places[n:min(n+readChunk, len(places))], true)
		if err != nil {
			return fmt.Errorf("run %q: records from %d: %w", run, n, err)
		}
		for i := range records {
			r := &records[i]
			if r.Leaf.Run != run || r.Leaf.N != int64(n+i) {
				return fmt.Errorf("run %q: %w: record %d is not where the database says", run, evidence.ErrTampered, n+i)
			}
			if err := fn(RunRecord{r.LogNo, LogRecord{Seq: r.Seq, Raw: r.Raw, Leaf: r.Leaf, Open: r.Open}}); err != nil {
				return err
			}
		}
	}
	return nil
}
