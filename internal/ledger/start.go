package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

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

// anchorsAtOnce is how many logs are compared with their anchors, or published, at the
// same time: an anchor may be far away.
const anchorsAtOnce = 16

// checkHeads compares the head of every log with its signature, its anchor, and what
// witnesses saw. It reads a head and a note of each log, and a few tiles where the
// anchor is behind, whatever the size of the logs.
func (l *Ledger) checkHeads(ctx context.Context) ([]rollback, error) {
	logs, err := l.store.Logs(ctx, "")
	if err != nil {
		return nil, err
	}
	checked := make([]checkedLog, len(logs))
	all := make([]SignedHead, len(logs))
	origins := map[string]bool{}
	var group errgroup.Group
	group.SetLimit(anchorsAtOnce)
	for i, lg := range logs {
		origins[lg.Origin] = true
		c := &checked[i]
		c.newest = i+1 == len(logs) || logs[i+1].Tenant != lg.Tenant
		if !c.newest {
			c.next = &logs[i+1]
		}
		group.Go(func() (err error) {
			all[i], err = l.checkHead(ctx, lg, c)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var heads []SignedHead
	for i := range checked {
		// Of a log with a successor witnesses may have seen what an operator gave up.
		if c := &checked[i]; c.why == nil && c.newest {
			heads = append(heads, all[i])
		}
	}
	seen := l.askWitnesses(ctx, heads)
	var back []rollback
	for i := range checked {
		c := &checked[i]
		s, ok := seen[c.log.Origin]
		if ok && l.shared && c.why == nil { // another process may have gone on meanwhile
			if ok, err = l.contradictsYet(ctx, c.log, &s); err != nil {
				return nil, err
			}
		}
		if ok && c.why == nil {
			c.why, c.lost = s.refusal(c.head.Size), s.Note
			if where := l.keepFork(c.log.Origin, c.head.Note, s); where != "" {
				c.kept = "; see the notes kept as " + where
			}
		}
		if c.why == nil {
			continue
		}
		r, err := l.rolledBack(ctx, c)
		if err != nil {
			return nil, err
		}
		back = append(back, r)
	}
	return back, l.checkUnknown(ctx, origins)
}

// checkedLog is a log with its head, and why it is not to be signed.
type checkedLog struct {
	log    store.Log
	next   *store.Log // its successor
	newest bool
	head   store.Head
	lost   []byte
	why    error  // wraps ErrRollback
	kept   string // where the notes are that prove it, for people
}

// checkHead compares one head with its signature and anchor. What it returns is
// anchored and may be shown to witnesses.
func (l *Ledger) checkHead(ctx context.Context, lg store.Log, c *checkedLog) (SignedHead, error) {
	c.log = lg
	o, err := l.openKey(lg)
	if err != nil {
		return SignedHead{}, err
	}
	// The head last: what was anchored and kept before it was read must be in it,
	// also while another process writes.
	anchored, missing := l.anchor.Read(o.Origin)
	if missing != nil && !errors.Is(missing, evidence.ErrNotFound) {
		return SignedHead{}, missing
	}
	newest, err := l.newestKept(ctx, o, anchored)
	if err != nil {
		return SignedHead{}, err
	}
	if c.head, err = checkedHead(ctx, l.store, o); err != nil {
		return SignedHead{}, err
	}
	c.lost, err = l.compareAnchor(ctx, o, c.head, anchored)
	if err == nil && c.newest {
		if c.lost, err = checkKept(c.head, newest); err == nil {
			c.lost, err = l.checkForks(ctx, o, c.head)
		}
		if err == nil && c.head.Size > 0 {
			return l.anchoredHead(o, c.head, anchored)
		}
	}
	if errors.Is(err, ErrRollback) {
		c.why, err = err, nil
	}
	return SignedHead{LogInfo: infoOf(lg), Size: c.head.Size, Root: c.head.Root, Note: c.head.Note}, err
}

// rolledBack says what to do with a log whose head does not extend what was signed,
// or why nothing is to be done.
func (l *Ledger) rolledBack(ctx context.Context, c *checkedLog) (rollback, error) {
	r := rollback{log: c.log, head: c.head, lost: c.lost, why: c.why}
	if !c.newest {
		if _, first, err := readLeaf(ctx, l.store, *c.next, 0); err == nil {
			r.done = first.Text("predecessor_log") == predecessor(c.log.Origin, c.head.Size, c.head.Root)
		}
		if !r.done {
			return r, fmt.Errorf("log %s of tenant %s, which has a successor: %w", c.log.Origin, c.log.Tenant, c.why)
		}
	}
	if !l.cfg.AcceptRollback {
		return r, fmt.Errorf("log %s of tenant %s: %w%s; find out why first: a start with --accept-rollback goes on from here, "+
			"in a successor log that names both states for good", c.log.Origin, c.log.Tenant, c.why, c.kept)
	}
	return r, nil
}

// kept is a checkpoint that the database keeps.
type kept struct {
	size int64
	note []byte
}

// newestKept returns the largest checkpoint that is kept of a log behind its anchor.
// They are in the same database as the head, so this only finds someone who cut a log
// and forgot them.
func (l *Ledger) newestKept(ctx context.Context, o *openLog, anchored []byte) (newest kept, err error) {
	from := int64(0)
	if a, err := c2sp.Verify(anchored, o.vkey); err == nil {
		from = a.Size + 1
	}
	err = l.store.Checkpoints(ctx, o.LogRef, from, func(p store.Checkpoint) error {
		if c, err := c2sp.Verify(p.Note, o.vkey); err == nil {
			newest = kept{c.Size, slices.Clone(p.Note)}
		}
		return nil
	})
	return newest, err
}

func checkKept(head store.Head, newest kept) ([]byte, error) {
	if newest.size <= head.Size {
		return nil, nil
	}
	return newest.note, fmt.Errorf("%w: the database has %d records and a checkpoint of more", ErrRollback, head.Size)
}

// checkForks compares the head with the notes that were kept as proof of a fork: a log
// that was stopped for one stays so, also where the witness is not there any more.
func (l *Ledger) checkForks(ctx context.Context, o *openLog, head store.Head) ([]byte, error) {
	notes, err := l.anchor.Forks(o.Origin)
	if err != nil || len(notes) == 0 {
		return nil, err
	}
	t, err := loadTree(ctx, l.store, o.LogRef, head.Size)
	if err != nil {
		return nil, fmt.Errorf("log %s: %w", o.Origin, err)
	}
	for _, note := range notes {
		c, err := c2sp.Verify(note, o.vkey)
		if err != nil || c.Origin != o.Origin {
			continue // not what the log signed: it proves nothing
		}
		if err := extends(&t, c.Size, c.Root, l.tileOf(ctx, o.LogRef)); err != nil {
			return note, fmt.Errorf("%w (a checkpoint that was kept as proof of a fork)", err)
		}
	}
	return nil, nil
}

// compareAnchor returns an error that wraps ErrRollback, and the anchored
// note, where the head does not extend the anchor; a nil note is a missing one.
func (l *Ledger) compareAnchor(ctx context.Context, o *openLog, head store.Head, note []byte) ([]byte, error) {
	if note == nil {
		return nil, fmt.Errorf("%w: its anchor is missing", ErrRollback)
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
func (l *Ledger) checkUnknown(ctx context.Context, known map[string]bool) error {
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
		if made, err := l.knownByNow(ctx, origin); err != nil || made {
			if err != nil {
				return err
			}
			continue
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

// knownByNow reports whether another process opened a log since the logs were listed.
func (l *Ledger) knownByNow(ctx context.Context, origin string) (bool, error) {
	if !l.shared {
		return false, nil
	}
	logs, err := l.store.Logs(ctx, "")
	return slices.ContainsFunc(logs, func(lg store.Log) bool { return lg.Origin == origin }), err
}

// succeed opens the successor of a log that was rolled back. The old log is
// never signed again; the new one names both its restored head and what
// was lost.
func (l *Ledger) succeed(ctx context.Context, r rollback) error {
	if r.done {
		return l.anchor.Accept(r.log.Origin, r.lost, r.head.Note)
	}
	var next *openLog
	err := l.control(ctx, r.log.Tenant, func(ctx context.Context, c *committer) error {
		var err error
		if next, err = l.newLog(store.LogRef{Tenant: r.log.Tenant, No: r.log.No + 1}); err != nil {
			return err
		}
		p := c.newPlan()
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
		if err := c.commitNow(ctx, p); err != nil {
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
	if err != nil {
		l.unpublished.Store(&err)
	}
	return err
}

func (l *Ledger) compareWithAnchor(o *openLog, now time.Time) error {
	o.mu.Lock()
	anchored, due := o.anchored, now.Sub(o.anchorAt) >= l.cfg.PublishEvery
	o.mu.Unlock()
	if !due {
		return nil
	}
	note, err := l.anchor.Read(o.Origin)
	if err != nil {
		return quiet(fmt.Errorf("anchor of %s: %w", o.Origin, err), quietAnchor)
	}
	if !slices.Equal(note, anchored) {
		a, err := c2sp.Verify(note, o.vkey)
		if err != nil {
			return fmt.Errorf("anchor of %s: %w: %w", o.Origin, evidence.ErrTampered, err)
		}
		if err := l.extendsAnchor(context.Background(), o, a.Checkpoint); err != nil {
			return fmt.Errorf("anchor of %s: %w", o.Origin, err)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.anchored, o.anchorAt = note, now
	return nil
}
