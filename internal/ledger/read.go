package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// LogRecord is one record of a log as stored.
type LogRecord struct {
	Seq  int64
	Raw  []byte // the leaf, verbatim
	Leaf *evidence.Leaf
	Open map[string]Opened // by path; what was erased is absent
}

// Leaves calls fn for the leaves from <= seq < to of a log, in order. fn may
// keep nothing.
func (l *Ledger) Leaves(ctx context.Context, tenant string, logNo int, from, to int64, fn func(seq int64, leaf []byte) error) error {
	o, err := l.logByNo(ctx, tenant, logNo)
	if err != nil {
		return err
	}
	return eachLeaf(ctx, l.store, o.LogRef, from, to, fn)
}

// readChunk is how many leaves are read together: few enough to hold with
// their content, many enough to read each sealed segment once.
const readChunk = 4 * segmentLeaves

// Records calls fn for the records from <= seq < to of a log, in order, with
// their sealed content opened. It does not check that the content opens the
// commitments: who hands it out lets [evidence.Commit] decide.
func (l *Ledger) Records(ctx context.Context, tenant string, logNo int, from, to int64, fn func(LogRecord) error) error {
	o, err := l.logByNo(ctx, tenant, logNo)
	if err != nil {
		return err
	}
	c := newContent(l.sealer, l.store, o.Log)
	for ; from < to; from += readChunk {
		end := min(to, from+readChunk)
		records := make([]LogRecord, 0, end-from)
		err := eachLeaf(ctx, l.store, o.LogRef, from, end, func(seq int64, b []byte) error {
			raw := append([]byte(nil), b...)
			leaf, err := evidence.ParseLeaf(raw)
			if err != nil {
				return fmt.Errorf("leaf %d of %s: %w: %w", seq, o.Origin, evidence.ErrTampered, err)
			}
			records = append(records, LogRecord{Seq: seq, Raw: raw, Leaf: leaf})
			return nil
		})
		if err != nil {
			return err
		}
		refs, err := segmentRefs(ctx, l.store, o.LogRef, from, end)
		if err != nil {
			return err
		}
		for _, rec := range records {
			of, there := refs[rec.Seq]
			if !there { // its row has expired
				of = [2]int64{store.NoSegment, store.NoSegment}
			}
			open, err := c.open(ctx, rec.Leaf, of)
			if err != nil {
				return fmt.Errorf("leaf %d of %s: %w", rec.Seq, o.Origin, err)
			}
			rec.Open = open
			if err := fn(rec); err != nil {
				return err
			}
		}
	}
	return nil
}

// segmentRefs returns which sealed segments the records of a stretch have:
// that of the record and that of its actor.
func segmentRefs(ctx context.Context, r store.Reader, ref store.LogRef, from, to int64) (map[int64][2]int64, error) {
	out := make(map[int64][2]int64, to-from)
	for _, k := range evidence.Kinds() {
		err := r.Rows(ctx, ref, k, from, to, func(row *store.Row) error {
			out[row.Seq] = [2]int64{row.Segment, row.ActorSegment}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// content opens the sealed segments of one log, each once while it is near.
// It is for one goroutine.
type content struct {
	sealer *seal.Sealer
	read   store.Reader
	log    store.Log
	near   map[int64]*segment
	order  []int64
}

// segment is an opened segment; nil openings where it or its key is gone.
type segment struct {
	no       int64
	key      store.KeyID
	id       [16]byte
	openings map[evidence.ID]*seal.Opening
	err      error // it does not open
}

// nearSegments bounds what content keeps open.
const nearSegments = 64

func newContent(s *seal.Sealer, r store.Reader, lg store.Log) *content {
	return &content{sealer: s, read: r, log: lg, near: map[int64]*segment{}}
}

// segment returns an opened segment. What does not decrypt is in its err;
// the error returned is one of reading.
func (c *content) segment(ctx context.Context, no int64) (*segment, error) {
	if s := c.near[no]; s != nil {
		return s, nil
	}
	s := &segment{no: no}
	// Never from a replica, which may still have what is erased.
	stored, err := c.read.SealedSegment(store.NoLag(ctx), c.log.Tenant, store.SegmentRef{LogNo: c.log.No, No: no})
	switch {
	case errors.Is(err, evidence.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		s.key, s.id = stored.Key, stored.ID
		s.openings, s.err = c.sealer.Open(ctx, c.read, c.log.Tenant, c.log.Origin, stored)
		switch {
		case errors.Is(s.err, evidence.ErrNotFound):
			s.err = nil // its key is destroyed: erased
		case s.err != nil && !errors.Is(s.err, evidence.ErrTampered):
			return nil, s.err
		}
	}
	if len(c.order) >= nearSegments {
		delete(c.near, c.order[0])
		c.order = c.order[1:]
	}
	c.near[no] = s
	c.order = append(c.order, no)
	return s, nil
}

// open returns a record's openings by path.
func (c *content) open(ctx context.Context, leaf *evidence.Leaf, refs [2]int64) (map[string]Opened, error) {
	out := make(map[string]Opened, len(leaf.H))
	for _, no := range refs {
		if no == store.NoSegment {
			continue
		}
		s, err := c.segment(ctx, no)
		if err != nil {
			return nil, err
		}
		if s.err != nil {
			return nil, s.err
		}
		if o := s.openings[leaf.ID]; o != nil {
			for _, f := range o.Fields {
				out[f.Path] = Opened{JSON: f.JSON, Salt: o.Salt(f.Path)}
			}
		}
	}
	return out, nil
}
