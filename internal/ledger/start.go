package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// rollback is a log whose head does not extend its anchor, which an
// operator accepted.
type rollback struct {
	log  store.Log
	head store.Head
	lost []byte // the anchored note; nil where the anchor is missing
	why  error
	// done: the successor is there already, and only the anchor is not what
	// it should be: a crash between the two.
	done bool
}

// checkHeads compares the head of every log with its signature and its
// anchor. It reads a head and a note of each log, and a few tiles where the
// anchor is behind, whatever the size of the logs.
func (l *Ledger) checkHeads(ctx context.Context) ([]rollback, error) {
	logs, err := l.store.Logs(ctx, "")
	if err != nil {
		return nil, err
	}
	var back []rollback
	origins := map[string]bool{}
	for i, lg := range logs {
		origins[lg.Origin] = true
		o, err := l.openKey(lg)
		if err != nil {
			return nil, err
		}
		head, err := checkedHead(ctx, l.store, o)
		if err != nil {
			return nil, err
		}
		newest := i+1 == len(logs) || logs[i+1].Tenant != lg.Tenant
		lost, err := l.compareAnchor(ctx, o, head)
		if err == nil && newest {
			lost, err = l.checkPoints(ctx, o, head)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrRollback) {
			return nil, err
		}
		r := rollback{log: lg, head: head, lost: lost, why: err}
		if !newest {
			if _, first, err := readLeaf(ctx, l.store, logs[i+1], 0); err == nil {
				r.done = first.Text("predecessor_log") == predecessor(lg.Origin, head.Size, head.Root)
			}
			if !r.done {
				return nil, fmt.Errorf("log %s of tenant %s, which has a successor: %w", lg.Origin, lg.Tenant, err)
			}
		}
		if !l.cfg.AcceptRollback {
			return nil, fmt.Errorf("log %s of tenant %s: %w", lg.Origin, lg.Tenant, err)
		}
		back = append(back, r)
	}
	return back, l.checkUnknown(origins)
}

// checkPoints looks for kept checkpoints of a larger tree than the head. They
// are in the same database, so this only finds someone who cut a log and
// forgot them.
func (l *Ledger) checkPoints(ctx context.Context, o *openLog, head store.Head) ([]byte, error) {
	var lost []byte
	err := l.store.Checkpoints(ctx, o.LogRef, head.Size+1, func(p store.Checkpoint) error {
		if c, err := c2sp.Verify(p.Note, o.vkey); err == nil && c.Size > head.Size {
			lost = slices.Clone(p.Note)
		}
		return nil
	})
	if err == nil && lost != nil {
		err = fmt.Errorf("%w: the database has %d records and a checkpoint of more", ErrRollback, head.Size)
	}
	return lost, err
}

// compareAnchor returns an error that wraps ErrRollback, and the anchored
// note, where the head does not extend the anchor.
func (l *Ledger) compareAnchor(ctx context.Context, o *openLog, head store.Head) ([]byte, error) {
	note, err := l.anchor.Read(o.Origin)
	if errors.Is(err, evidence.ErrNotFound) {
		return nil, fmt.Errorf("%w: its anchor is missing", ErrRollback)
	}
	if err != nil {
		return nil, err
	}
	a, err := c2sp.Verify(note, o.vkey)
	if err != nil || a.Origin != o.Origin {
		return note, fmt.Errorf("anchor of %s: %w: it is not a note of this log: %w", o.Origin, evidence.ErrTampered, err)
	}
	switch {
	case a.Size > head.Size:
		return note, fmt.Errorf("%w: the database has %d records where the anchor has %d", ErrRollback, head.Size, a.Size)
	case a.Size == head.Size && a.Root == head.Root, a.Size == 0:
		return note, nil
	case a.Size == head.Size:
		return note, fmt.Errorf("%w: another root at size %d", ErrRollback, a.Size)
	}
	t, err := loadTree(ctx, l.store, o.LogRef, head.Size)
	if err != nil {
		return note, fmt.Errorf("log %s: %w", o.Origin, err)
	}
	return note, extends(&t, a.Size, a.Root, l.tileOf(ctx, o.LogRef))
}

// checkUnknown looks for anchored logs that the database does not have: it
// is older than they are.
func (l *Ledger) checkUnknown(known map[string]bool) error {
	anchored, err := l.anchor.Origins()
	if err != nil {
		return err
	}
	for _, origin := range anchored {
		if known[origin] {
			continue
		}
		note, err := l.anchor.Read(origin)
		if errors.Is(err, evidence.ErrNotFound) {
			continue // lost with an accepted rollback
		}
		if err != nil {
			return err
		}
		c, _, err := c2sp.ParseNote(note)
		if err != nil {
			return fmt.Errorf("anchor of %s: %w: %w", origin, evidence.ErrTampered, err)
		}
		if c.Size == 0 {
			continue // a log that was never stored: a crash while it was made
		}
		if !l.cfg.AcceptRollback {
			return fmt.Errorf("log %s: %w: the anchor has %d records of it and the database does not know it", origin, ErrRollback, c.Size)
		}
		l.log.Warn("anchored log is not in the database", "log", origin, "size", c.Size)
		if err := l.anchor.Accept(origin, note, nil); err != nil {
			return err
		}
	}
	return nil
}

// succeed opens the successor of a log that was rolled back. The old log is
// never signed again; the new one names both its restored head and what
// was lost.
func (l *Ledger) succeed(ctx context.Context, r rollback) error {
	if r.done {
		return l.anchor.Accept(r.log.Origin, r.lost, r.head.Note)
	}
	var next *openLog
	err := l.control(ctx, func(ctx context.Context) error {
		var err error
		if next, err = l.newLog(store.LogRef{Tenant: r.log.Tenant, No: r.log.No + 1}); err != nil {
			return err
		}
		p := &plan{}
		err = l.openLogIn(ctx, p, next, nil, func(rec *evidence.Record) {
			rec.SetText("severity", "CRITICAL")
			rec.SetText("predecessor_log", predecessor(r.log.Origin, r.head.Size, r.head.Root))
			rec.SetSealed("/summary", evidence.QuoteJSON(fmt.Sprintf("A rollback of log %s was accepted: %v.", r.log.Origin, r.why)))
			setDetails(rec, "/details", map[string]string{"restored": string(r.head.Note), "anchored": string(r.lost)})
		})
		if err != nil {
			p.restore(l)
			return err
		}
		if err := l.commitNow(ctx, p); err != nil {
			return err
		}
		l.adopt(next)
		return nil
	})
	if err != nil {
		return fmt.Errorf("accept rollback of %s: %w", r.log.Origin, err)
	}
	l.log.Warn("rollback accepted", "log", r.log.Origin, "size", r.head.Size, "successor", next.Origin)
	return l.anchor.Accept(r.log.Origin, r.lost, r.head.Note)
}

// checkAnchor looks, at most once in PublishEvery, whether the anchor still
// is what this process knows. Another process that writes the same logs
// moves it forward; anything else stops the log.
func (l *Ledger) checkAnchor(o *openLog, now time.Time) error {
	err := l.compareWithAnchor(o, now)
	// An anchor that cannot be read now may be read later.
	if errors.Is(err, evidence.ErrTampered) || errors.Is(err, evidence.ErrNotFound) {
		o.fail(err)
	}
	return err
}

func (l *Ledger) compareWithAnchor(o *openLog, now time.Time) error {
	o.mu.Lock()
	anchored, due := o.anchored, now.Sub(o.anchorAt) >= l.cfg.PublishEvery
	st := o.durable
	o.mu.Unlock()
	if !due {
		return nil
	}
	note, err := l.anchor.Read(o.Origin)
	if err != nil {
		return fmt.Errorf("anchor of %s: %w", o.Origin, err)
	}
	if !slices.Equal(note, anchored) {
		a, err := c2sp.Verify(note, o.vkey)
		if err != nil {
			return fmt.Errorf("anchor of %s: %w: %w", o.Origin, evidence.ErrTampered, err)
		}
		if err := extends(&st.tree, a.Size, a.Root, l.tileOf(context.Background(), o.LogRef)); err != nil {
			return fmt.Errorf("anchor of %s: %w", o.Origin, err)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.anchored, o.anchorAt = note, now
	return nil
}
