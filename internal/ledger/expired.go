package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// ErrExpired says that the records of a run have expired: their leaves stand in the log,
// and what else there was of them is gone.
var ErrExpired = fmt.Errorf("its records have expired: %w", evidence.ErrNotFound)

// expiryList says which rows of a tenant may have left their tables.
type expiryList []store.Expiry

func readExpiries(ctx context.Context, r store.LifecycleReader, tenant string) (expiryList, error) {
	var out expiryList
	err := r.Expiries(ctx, tenant, func(x store.Expiry) error {
		out = append(out, x)
		return nil
	})
	return out, err
}

// cover reports whether the row of a leaf may be gone.
func (l expiryList) cover(logNo int, leaf *evidence.Leaf) bool {
	return slices.ContainsFunc(l, func(x store.Expiry) bool {
		return x.LogNo == logNo && x.Table == leaf.Kind.Table() && x.From <= leaf.Seq && leaf.Seq < x.To &&
			leaf.RecordedAt < x.Before && (!x.Synthetic || synthetic(leaf))
	})
}

// reach reports whether rows of runs may be gone from before a position on.
func (l expiryList) reach(at store.Position) bool {
	return slices.ContainsFunc(l, func(x store.Expiry) bool {
		return evidence.KindOfTable(x.Table).Class() == evidence.ClassLLMRuns &&
			(x.LogNo < at.LogNo || x.LogNo == at.LogNo && x.From < at.Seq)
	})
}

func synthetic(leaf *evidence.Leaf) bool {
	n, _ := leaf.Int("is_synthetic")
	return n != 0
}

// markExpired says of fetched records with content that is gone whether it has expired:
// their rows are about to go.
func (l *Ledger) markExpired(ctx context.Context, tenant string, list []Fetched) error {
	var gone expiryList
	for i := range list {
		f := &list[i]
		if len(f.Open) == len(f.Leaf.H) {
			continue
		}
		if gone == nil {
			var err error
			if gone, err = readExpiries(ctx, l.store, tenant); err != nil || gone == nil {
				return err
			}
		}
		f.Expired = gone.cover(f.LogNo, f.Leaf)
	}
	return nil
}

// ExpiredRun returns the leaf of a run's newest record where the run has records and none
// of them that make up a run is there any more, because they have expired; else nil. It
// reads more than a look at a run does, and is for those that were not found.
func (l *Ledger) ExpiredRun(ctx context.Context, tenant, run string) (*evidence.Leaf, error) {
	state, err := l.RunState(ctx, tenant, run)
	if err != nil || state.NextN == 0 {
		return nil, err
	}
	if _, err = l.runPlaces(ctx, tenant, run, state); !errors.Is(err, ErrExpired) {
		return nil, err
	}
	o, err := l.logByNo(ctx, tenant, state.Last.LogNo)
	if err != nil {
		return nil, err
	}
	_, leaf, err := readLeaf(ctx, l.store, o.Log, state.Last.Seq)
	return leaf, err
}

// runPlaces returns where all records of a run stand, by n. Classes of evidence are kept
// for different times: a system record of a run may be gone while the run is there, and
// what was said about its governance outlives it. The first is found among the leaves;
// of a run of which only the latter is left the error is ErrExpired. Rows that are gone
// and have not expired are evidence.ErrTampered.
func (l *Ledger) runPlaces(ctx context.Context, tenant, run string, state store.RunState) ([]store.Found, error) {
	var there []store.RunRecord
	err := l.store.RunRecords(ctx, tenant, run, func(r store.RunRecord) error {
		there = append(there, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if int64(len(there)) < state.NextN {
		s := &runSearch{l: l, ctx: ctx, tenant: tenant, run: run, lost: fmt.Errorf(
			"run %q: %w: it has %d records, and %d are there", run, evidence.ErrTampered, state.NextN, len(there))}
		if there, err = s.fill(there, state); err != nil {
			return nil, err
		}
	}
	places := make([]store.Found, len(there))
	for i, r := range there {
		places[i] = store.Found{Kind: r.Kind, Position: r.Position, Segment: r.Segment, ActorSegment: r.ActorSegment}
	}
	return places, nil
}

// runSearch looks for the records of a run whose rows are gone.
type runSearch struct {
	l           *Ledger
	ctx         context.Context
	tenant, run string
	gone        expiryList
	lost        error // what it is where they have not expired
}

// fill puts the records in their places whose rows have expired.
func (s *runSearch) fill(there []store.RunRecord, state store.RunState) ([]store.RunRecord, error) {
	var err error
	if s.gone, err = readExpiries(s.ctx, s.l.store, s.tenant); err != nil {
		return nil, err
	}
	expired := fmt.Errorf("run %q: %w", s.run, ErrExpired)
	switch {
	case len(there) == 0:
		o, err := s.l.logByNo(s.ctx, s.tenant, state.Last.LogNo)
		if err != nil {
			return nil, err
		}
		_, leaf, err := readLeaf(s.ctx, s.l.store, o.Log, state.Last.Seq)
		switch {
		case err != nil:
			return nil, err
		case !s.gone.cover(o.No, leaf):
			return nil, s.lost
		}
		return nil, expired
	case there[0].N > 0: // where it began is not known, and to look for that would be to read all
		if !s.gone.reach(there[0].Position) {
			return nil, s.lost
		}
		return nil, expired
	}
	out := there[:1:1]
	for _, r := range there[1:] {
		if r.N > out[len(out)-1].N+1 {
			if out, err = s.between(out, r.Position); err != nil {
				return nil, err
			}
		}
		out = append(out, r)
	}
	if out[len(out)-1].N+1 < state.NextN {
		last := state.Last
		last.Seq++
		if out, err = s.between(out, last); err != nil {
			return nil, err
		}
	}
	ofRun := func(r store.RunRecord) bool { return r.Kind.Class() == evidence.ClassLLMRuns }
	switch {
	case int64(len(out)) < state.NextN:
		return nil, s.lost
	case slices.ContainsFunc(out, ofRun) && !slices.ContainsFunc(there, ofRun):
		return nil, expired
	}
	return out, nil
}

// between adds the run's records behind the last of list and before a position, as their
// leaves say: who reads them proves these.
func (s *runSearch) between(list []store.RunRecord, before store.Position) ([]store.RunRecord, error) {
	at := list[len(list)-1].Position
	at.Seq++
	for ; at.LogNo <= before.LogNo; at = (store.Position{LogNo: at.LogNo + 1}) {
		o, err := s.l.logByNo(s.ctx, s.tenant, at.LogNo)
		if err != nil {
			return nil, err
		}
		end := before.Seq
		if at.LogNo < before.LogNo {
			head, err := s.l.store.Head(s.ctx, o.LogRef)
			if err != nil {
				return nil, err
			}
			end = head.Size
		}
		var leaf evidence.Leaf
		err = eachLeaf(s.ctx, s.l.store, o.LogRef, at.Seq, end, func(seq int64, raw []byte) error {
			if err := leaf.Parse(raw); err != nil {
				return fmt.Errorf("leaf %d of %s: %w: %w", seq, o.Origin, evidence.ErrTampered, err)
			}
			if leaf.Run != s.run {
				return s.ctx.Err()
			}
			if leaf.Seq != seq || !s.gone.cover(o.No, &leaf) {
				return s.lost
			}
			list = append(list, store.RunRecord{
				Position: store.Position{LogNo: o.No, Seq: seq}, Kind: leaf.Kind, N: leaf.N,
				Segment: store.NoSegment, ActorSegment: store.NoSegment,
			})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Expiring reports whether expiries of a tenant are ordered of which something is still to be removed.
func (l *Ledger) Expiring(ctx context.Context, tenant string) (bool, error) {
	err := l.store.Expiries(store.NoLag(ctx), tenant, func(e store.Expiry) error {
		if !e.Done {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}
