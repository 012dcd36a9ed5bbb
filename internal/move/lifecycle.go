package move

import (
	"context"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Rows that expired are absent in the source, and come back in the destination, since
// Commit makes the rows of all leaves. So what orders them away is written down there
// when all leaves are in, and they are removed by it, before the tenant's last head is
// signed. Holds come behind that: one that was placed since would keep such rows.
//
// Leaf segments that the source has in an archive only stand in the destination's
// database again. Whoever made the source's store gave it a way to read them
// (archive.Cold), and expiries of leaf segments are not copied.

// lifecycle is what a tenant's lifecycle left in the source.
type lifecycle struct {
	expiries []store.Expiry // but those of leaf segments
	of       map[rowsOf][]store.Expiry
	holds    []store.Hold
	archives []store.ArchiveUnit
}

// rowsOf names the rows of one table that are of one log.
type rowsOf struct {
	log   int
	table string
}

// readLifecycle reads it.
func readLifecycle(ctx context.Context, r store.Reader, tenant string, logs []store.Log) (*lifecycle, error) {
	l := &lifecycle{of: map[rowsOf][]store.Expiry{}}
	err := r.Expiries(ctx, tenant, func(e store.Expiry) error {
		if e.Table != store.TableLeaves {
			l.expiries = append(l.expiries, e)
			of := rowsOf{e.LogNo, e.Table}
			l.of[of] = append(l.of[of], e)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := r.Holds(ctx, tenant, func(h store.Hold) error { l.holds = append(l.holds, h); return nil }); err != nil {
		return nil, err
	}
	for i := range l.holds {
		h := &l.holds[i]
		err := r.HoldParts(ctx, tenant, h.ID, func(run string, at store.Position) error {
			if run != "" {
				h.Runs = append(h.Runs, run)
			} else {
				h.Records = append(h.Records, at)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("hold %s: %w", h.ID, err)
		}
	}
	for _, lg := range logs {
		err := r.Archives(ctx, lg.LogRef, func(u store.ArchiveUnit) error { l.archives = append(l.archives, u); return nil })
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}

// rowMark is what of a row says which expiries are about it.
type rowMark struct {
	seq        int64
	recordedAt evidence.Micros
	synthetic  bool
}

// expired reports whether a row may be absent.
func (l *lifecycle) expired(of rowsOf, m rowMark) bool {
	return slices.ContainsFunc(l.of[of], func(e store.Expiry) bool { return about(&e, m) })
}

// about reports whether an expiry names a row of its table and log.
func about(e *store.Expiry, m rowMark) bool {
	return e.From <= m.seq && m.seq < e.To && m.recordedAt < e.Before && (m.synthetic || !e.Synthetic)
}

func markOf(m *store.RowMark) rowMark { return rowMark{m.Seq, m.RecordedAt, m.Synthetic} }

// lifecycle gives the destination what lifecycle left, and removes what is absent in the
// source.
func (t *tenantCopier) lifecycle(ctx context.Context) error {
	l := t.left
	if len(l.expiries)+len(l.holds)+len(l.archives) == 0 {
		return nil
	}
	under := slices.Clone(l.expiries)
	for i := range under {
		under[i].Done = false // until it is
	}
	if err := t.cfg.To.RestoreLifecycle(ctx, t.tenant, under, nil, l.archives); err != nil {
		return fmt.Errorf("expiries and archives: %w", err)
	}
	for _, e := range under {
		if err := t.expire(ctx, e); err != nil {
			return fmt.Errorf("expiry of %s, leaves %d to %d of log %d: %w", e.Table, e.From, e.To-1, e.LogNo, err)
		}
	}
	if err := t.cfg.To.RestoreLifecycle(ctx, t.tenant, l.expiries, l.holds, nil); err != nil {
		return fmt.Errorf("holds: %w", err)
	}
	return nil
}

// expire removes the rows of the destination that an expiry names and that the source
// does not have. It may have some of them still: an expiry goes on where it is not done,
// and leaves out what is held.
func (t *tenantCopier) expire(ctx context.Context, e store.Expiry) error {
	ref := store.LogRef{Tenant: t.tenant, No: e.LogNo}
	kind := evidence.KindOfTable(e.Table)
	if kind == 0 {
		return fmt.Errorf("%w: there is no such table", evidence.ErrTampered)
	}
	for from := e.From; from < e.To; {
		// A window of both, so that memory does not grow with the expiry.
		to := min(e.To, from+expireWindow)
		keep := map[int64]bool{}
		err := t.cfg.From.Marks(ctx, ref, kind, from, to, func(m *store.RowMark) error {
			if about(&e, markOf(m)) {
				keep[m.Seq] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
		gone, err := t.stretches(ctx, e, kind, from, to, keep)
		if err != nil {
			return err
		}
		for _, s := range gone {
			if _, err := t.cfg.To.Expire(ctx, t.tenant, []store.Expiry{e}, s[0], s[1], false, nil); err != nil {
				return err
			}
		}
		from = to
	}
	return nil
}

// Bounds of one step of an expiry in the destination.
const (
	expireWindow = 1 << 16 // leaves
	expireRows   = 4096    // rows in one transaction
)

// stretches returns ranges of leaves in which the destination has rows that the expiry
// names and that are not to be kept, and none that are.
func (t *tenantCopier) stretches(ctx context.Context, e store.Expiry, kind evidence.Kind, from, to int64, keep map[int64]bool) (out [][2]int64, err error) {
	ref := store.LogRef{Tenant: t.tenant, No: e.LogNo}
	rows := expireRows
	err = t.cfg.To.Marks(ctx, ref, kind, from, to, func(m *store.RowMark) error {
		switch {
		case !about(&e, markOf(m)):
		case keep[m.Seq]:
			rows = expireRows // the next one begins another stretch
		case rows < expireRows:
			out[len(out)-1][1] = m.Seq + 1
			rows++
		default:
			out = append(out, [2]int64{m.Seq, m.Seq + 1})
			rows = 1
		}
		return nil
	})
	return out, err
}

// lifecycle reads what lifecycle left of a tenant, but for its archive units.
func (d *digester) lifecycle(ctx context.Context, ref store.LogRef) error {
	err := d.read.Expiries(ctx, ref.Tenant, func(e store.Expiry) error {
		if e.Table == store.TableLeaves {
			return nil // the leaves are in the copy's database again
		}
		r := d.begin(ref)
		r.text(e.Table)
		r.int(int64(e.By.LogNo), e.By.Seq, int64(e.LogNo), e.From, e.To, int64(e.Before))
		r.bool(e.Synthetic, e.Done)
		return d.put(tableExpiries)
	})
	if err != nil {
		return err
	}
	var holds []store.Hold
	if err := d.read.Holds(ctx, ref.Tenant, func(h store.Hold) error { holds = append(holds, h); return nil }); err != nil {
		return err
	}
	for i, h := range holds { // their order counts
		r := d.begin(ref)
		r.text(h.ID, h.Scope)
		r.int(int64(i), int64(h.Placed.LogNo), h.Placed.Seq, int64(h.Released.LogNo), h.Released.Seq, int64(h.From), int64(h.Until), h.NRuns, h.NRecord)
		if err := d.put(tableHolds); err != nil {
			return err
		}
		err := d.read.HoldParts(ctx, ref.Tenant, h.ID, func(run string, at store.Position) error {
			r := d.begin(ref)
			r.text(h.ID, run)
			r.int(int64(at.LogNo), at.Seq)
			return d.put(tableHeld)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *digester) archives(ctx context.Context, ref store.LogRef) error {
	return d.read.Archives(ctx, ref, func(u store.ArchiveUnit) error {
		r := d.begin(ref)
		r.text(u.Archive, u.Name)
		r.int(u.From, u.To, int64(u.FirstAt), int64(u.LastAt), u.Bytes, int64(u.At))
		r.bytes(u.Manifest[:])
		return d.put(tableArchives)
	})
}

func (r *row) bool(list ...bool) {
	for _, v := range list {
		if v {
			r.int(1)
		} else {
			r.int(0)
		}
	}
}
