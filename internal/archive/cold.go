package archive

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// Cold returns a store that answers, from archives, for leaf segments that have left the
// database; all else is s. find returns the archive of a unit. Snapshots of it do the same. It is
// the store that everything above is given, so readers need not know.
//
// Only what the database's own expiries say has left is looked for in an archive. Where it
// cannot be had there, the error is evidence.ErrUnavailable, or evidence.ErrTampered, and
// never that there is no such leaf.
func Cold(s store.Store, find func(u store.ArchiveUnit) (*Archive, error)) store.Store {
	return &coldStore{Store: s, cold: &cold{find: find, logs: map[store.LogRef]*coldLog{}}}
}

type coldStore struct {
	store.Store
	cold *cold
}

// Segments implements store.Reader.
func (s *coldStore) Segments(ctx context.Context, log store.LogRef, from, to int64, fn func(store.LeafSegment) error) error {
	return s.cold.segments(ctx, s.Store, log, from, to, fn)
}

// Snapshot implements store.Store.
func (s *coldStore) Snapshot(ctx context.Context) (store.Snapshot, error) {
	snap, err := s.Store.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &coldSnapshot{snap, s.cold}, nil
}

type coldSnapshot struct {
	store.Snapshot
	cold *cold
}

// Segments implements store.Reader.
func (s *coldSnapshot) Segments(ctx context.Context, log store.LogRef, from, to int64, fn func(store.LeafSegment) error) error {
	return s.cold.segments(ctx, s.Snapshot, log, from, to, fn)
}

// cold knows which leaves have left.
type cold struct {
	find func(u store.ArchiveUnit) (*Archive, error)

	mu   sync.Mutex
	logs map[store.LogRef]*coldLog
}

// coldLog is what is known of one log. Both only grow, so what was read stays true.
type coldLog struct {
	moved int64               // leaves below may have left the database
	units []store.ArchiveUnit // by From
}

// errGap ends the database's answer: there is something before what it yields. That may come
// in the middle, too, where leaves leave while it is read.
var errGap = errors.New("gap")

func (c *cold) segments(ctx context.Context, r store.Reader, log store.LogRef, from, to int64, fn func(store.LeafSegment) error) error {
	for from < to {
		gap, some := to, false // where the database goes on
		err := r.Segments(ctx, log, from, to, func(s store.LeafSegment) error {
			if s.First > from {
				gap = s.First
				return errGap
			}
			from, some = s.First+int64(s.Count), true
			return fn(s)
		})
		if !errors.Is(err, errGap) && (err != nil || some) {
			return err
		}
		l, lerr := c.log(ctx, r, log, gap)
		if lerr != nil {
			return lerr
		}
		if end := min(gap, l.moved); from < end {
			from = max(from, 0)
			if err := c.archived(ctx, l, log, from, end, fn); err != nil {
				return err
			}
			from = end
		}
		if from < gap { // that has not left: what it means that it is not there, the reader judges
			if gap == to {
				return nil
			}
			return r.Segments(ctx, log, gap, to, fn)
		}
	}
	return nil
}

// log returns what is known of a log; end is how far it matters. It asks the database
// where that may be out of date.
func (c *cold) log(ctx context.Context, r store.Reader, log store.LogRef, end int64) (coldLog, error) {
	c.mu.Lock()
	l := c.logs[log]
	c.mu.Unlock()
	if l != nil && end <= l.moved {
		return *l, nil
	}
	next := &coldLog{}
	err := r.Expiries(ctx, log.Tenant, func(e store.Expiry) error {
		if e.Table == store.TableLeaves && e.LogNo == log.No {
			next.moved = max(next.moved, e.To)
		}
		return nil
	})
	if err == nil && next.moved > 0 {
		err = r.Archives(ctx, log, func(u store.ArchiveUnit) error {
			next.units = append(next.units, u)
			return nil
		})
	}
	if err != nil {
		return coldLog{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.logs[log]; old != nil && old.moved > next.moved { // an older snapshot
		return *old, nil
	}
	c.logs[log] = next
	return *next, nil
}

// archived yields leaves from the units that have them, as segments of at most 256.
func (c *cold) archived(ctx context.Context, l coldLog, log store.LogRef, from, to int64, fn func(store.LeafSegment) error) error {
	for _, u := range l.units {
		if u.To <= from || from >= to {
			continue
		}
		if u.From > from {
			break
		}
		a, err := c.find(u)
		if err == nil && a == nil {
			err = fmt.Errorf("archive %s is not configured", u.Archive)
		}
		if err != nil {
			return unreachable(u, err)
		}
		end := min(u.To, to)
		if err := segmentsOf(ctx, a, u, from, end, fn); err != nil {
			return err
		}
		from = end
	}
	if from < to {
		return fmt.Errorf("archive: %w: leaves %d to %d of log %d of tenant %s have left the database, and no unit of an archive that has them is on record",
			evidence.ErrTampered, from, to-1, log.No, log.Tenant)
	}
	return nil
}

// unreachable is the error where a unit cannot be read. An object that is missing is no
// answer to who asks for a leaf that exists.
func unreachable(u store.ArchiveUnit, err error) error {
	if errors.Is(err, evidence.ErrTampered) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("leaves %d to %d are in archive %s, unit %s: %w: %s", u.From, u.To-1, u.Archive, u.Name, evidence.ErrUnavailable, err.Error())
}

func segmentsOf(ctx context.Context, a *Archive, u store.ArchiveUnit, from, to int64, fn func(store.LeafSegment) error) error {
	var entries []byte
	first, n := from, 0
	var stop error // fn's own error is handed on as it is
	flush := func() error {
		if n == 0 {
			return nil
		}
		stop = fn(store.LeafSegment{First: first, Count: n, Data: compressor.EncodeAll(entries, nil)})
		entries, n = entries[:0], 0
		return stop
	}
	err := a.Leaves(ctx, u, from, to, func(seq int64, leaf []byte) (err error) {
		if n == 0 {
			first = seq
		}
		if entries, err = c2sp.AppendEntry(entries, leaf); err != nil {
			return err
		}
		n++
		if (seq+1)%c2sp.TileWidth == 0 || seq+1 == to {
			return flush()
		}
		return nil
	})
	switch {
	case stop != nil:
		return stop
	case err != nil:
		return unreachable(u, err)
	}
	return nil
}

// compressor makes leaf segments what readers of the database unpack (package seal): a zstd
// frame. It is read at once, so it is made fast and not small.
var compressor = func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false), zstd.WithWindowSize(512<<10), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err)
	}
	return e
}()
