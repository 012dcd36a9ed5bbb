package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// Where several processes write the same logs, what this one knows of a log may be
// of the past. Writing finds out by the head's compare-and-swap; what reads, and what
// gives out checkpoints, asks the store here.

// latest returns a state of a log that has all that was committed before the call.
// Where this process is the only writer that is what it has in memory.
func (l *Ledger) latest(ctx context.Context, o *openLog) (logState, error) {
	st := o.state()
	if !l.shared {
		return st, nil
	}
	ctx = store.NoLag(ctx)
	head, err := l.store.Head(ctx, o.LogRef)
	if err != nil {
		return logState{}, fmt.Errorf("head of %s: %w", o.Origin, err)
	}
	if bytes.Equal(head.Note, st.note) {
		return st, nil
	}
	o.learning.Lock()
	defer o.learning.Unlock()
	if st = o.state(); bytes.Equal(head.Note, st.note) { // somebody else has just asked
		return st, nil
	}
	return l.learn(ctx, o)
}

// newer returns the state that the store has now, where what is known seems to be of
// the past.
func (l *Ledger) newer(ctx context.Context, o *openLog) (logState, error) {
	if l.shared {
		return l.latest(ctx, o)
	}
	// A transaction whose outcome was unknown; its committer will find out.
	known := o.state()
	st, err := l.loadState(ctx, o)
	if err == nil {
		err = extends(&st.tree, known.tree.size(), known.tree.root(), l.tileOf(ctx, o.LogRef))
	}
	if err != nil {
		return logState{}, err
	}
	return st, nil
}

// learn reads what the store has of a log and makes it known, if it extends what is
// known. It leaves alone what the committer owns.
func (l *Ledger) learn(ctx context.Context, o *openLog) (logState, error) {
	known := o.state() // first: this process may commit more while the store is read here
	st, err := l.loadState(ctx, o)
	if err != nil {
		return logState{}, err
	}
	if err := extends(&st.tree, known.tree.size(), known.tree.root(), l.tileOf(ctx, o.LogRef)); err != nil {
		return logState{}, fmt.Errorf("log %s: the database does not extend what this process knows: %w", o.Origin, err)
	}
	last, _, err := l.provenLeaf(ctx, o.Log, &st.tree, st.tree.size()-1)
	if err != nil {
		return logState{}, err
	}
	st.lastT = last.RecordedAt
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = o.closed || isClosing(last)
	if st.tree.size() > o.durable.tree.size() {
		o.durable = st
	}
	return o.durable, nil
}

// isClosing reports whether a leaf closes its log.
func isClosing(leaf *evidence.Leaf) bool {
	return leaf.Kind == evidence.KindSystem && leaf.Text("event_type") == eventClosed
}

// latestLog returns a tenant's newest log and its state, as of the call.
func (l *Ledger) latestLog(ctx context.Context, tenant string) (*openLog, logState, error) {
	for {
		o, err := l.current(ctx, tenant)
		if err != nil {
			return nil, logState{}, err
		}
		st, err := l.latest(ctx, o)
		if err != nil || !l.shared || !o.isClosed() {
			return o, st, err
		}
		// Another process may have rolled it over.
		logs, err := l.store.Logs(store.NoLag(ctx), tenant)
		if err != nil {
			return nil, logState{}, err
		}
		if n := len(logs); n == 0 || logs[n-1].No == o.No {
			return o, st, nil // its successor is missing: writing says so
		}
		l.forget(o)
	}
}

// standsOn reports whether a log's tree in the store has that of a head as a prefix.
func (l *Ledger) standsOn(o *openLog, head store.Head) (bool, error) {
	ctx := context.Background()
	st, err := l.loadState(ctx, o)
	if err != nil {
		return false, err
	}
	err = extends(&st.tree, head.Size, head.Root, l.tileOf(ctx, o.LogRef))
	if errors.Is(err, ErrRollback) {
		return false, nil
	}
	return err == nil, err
}

// refreshWait bounds how long refresh asks.
const refreshWait = 5 * time.Second

// refresh looks what other processes did to a tenant's log, as far as that is possible
// now.
func (l *Ledger) refresh(tenant string) {
	if !l.shared {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), refreshWait)
	defer cancel()
	o, _, err := l.latestLog(ctx, tenant)
	if err == nil {
		err = l.republish(ctx, o)
	}
	if err != nil && !errors.Is(err, evidence.ErrNotFound) {
		l.log.Warn("look at a log that other processes write", "tenant", tenant, "err", err)
	}
}

// republish publishes a log's newest head where another process may have given out a
// newer checkpoint than this one knows of: whoever asks one process and then another
// must not see a log that shrinks. A checkpoint is kept in the store before it is
// given out, so the store tells.
func (l *Ledger) republish(ctx context.Context, o *openLog) error {
	if !l.shared {
		return nil
	}
	ctx = store.NoLag(ctx)
	o.mu.Lock()
	from := o.publishedTo + 1
	o.mu.Unlock()
	newer := false
	err := l.store.Checkpoints(ctx, o.LogRef, from, func(store.Checkpoint) error {
		newer = true
		return errFound
	})
	if err != nil && !errors.Is(err, errFound) || !newer {
		return err
	}
	if _, err := l.latest(ctx, o); err != nil {
		return err
	}
	return l.publish(ctx, o)
}

// extendsAnchor compares the anchor with what is durable, asking the store where the
// anchor is ahead: another process has written and published.
func (l *Ledger) extendsAnchor(ctx context.Context, o *openLog, a c2sp.Checkpoint) error {
	st := o.state()
	if l.shared && a.Size > st.tree.size() {
		var err error
		if st, err = l.latest(ctx, o); err != nil {
			return err
		}
	}
	return extends(&st.tree, a.Size, a.Root, l.tileOf(ctx, o.LogRef))
}
