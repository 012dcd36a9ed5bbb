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
	st, last, err := l.extended(ctx, o, known)
	if err != nil {
		return logState{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = o.closed || last != nil && isClosing(last)
	if st.tree.size() > o.durable.tree.size() {
		o.durable = st
	}
	return o.durable, nil
}

// nearBehind is how many leaves are read rather than the right edge of the tree.
const nearBehind = 4096

// extended returns the state of a log that the store has, which must extend the one that
// is known, and its last leaf; that is nil where nothing came.
//
// Where little came since, only that is read: its leaves, put to the tree that is known,
// must have the root that is signed now. That proves them, and that the one tree extends
// the other, with nothing read anew of what was proven before. If they do not, or if they
// are many, the edge of the tree is read, and says what is wrong.
func (l *Ledger) extended(ctx context.Context, o *openLog, known logState) (logState, *evidence.Leaf, error) {
	if st, last, err := l.grown(ctx, o, known); err == nil {
		return st, last, nil
	} else if !errors.Is(err, errNotGrown) {
		return logState{}, nil, err
	}
	st, err := l.loadState(ctx, o)
	if err != nil {
		return logState{}, nil, err
	}
	if err := extends(&st.tree, known.tree.size(), known.tree.root(), l.tileOf(ctx, o.LogRef)); err != nil {
		return logState{}, nil, fmt.Errorf("log %s: the database does not extend what this process knows: %w", o.Origin, err)
	}
	last, _, err := l.provenLeaf(ctx, o.Log, &st.tree, st.tree.size()-1)
	if err != nil {
		return logState{}, nil, err
	}
	st.lastT = last.RecordedAt
	return st, last, nil
}

var errNotGrown = errors.New("the leaves since do not make up the signed tree")

// grown is extended by the leaves that came since, or errNotGrown.
func (l *Ledger) grown(ctx context.Context, o *openLog, known logState) (st logState, last *evidence.Leaf, err error) {
	head, err := checkedHead(ctx, l.store, o)
	if err != nil {
		return st, nil, err
	}
	from := known.tree.size()
	if from == 0 || head.Size < from || head.Size-from > nearBehind {
		return st, nil, errNotGrown
	}
	st = logState{tree: known.tree.fork(), note: head.Note, lastT: known.lastT}
	var raw []byte
	err = eachLeaf(ctx, l.store, o.LogRef, from, head.Size, func(seq int64, leaf []byte) error {
		st.tree.append(evidence.LeafHash(leaf), func(store.Tile) {})
		if seq+1 == head.Size {
			raw = bytes.Clone(leaf)
		}
		return nil
	})
	switch {
	case errors.Is(err, evidence.ErrTampered) || err == nil && st.tree.root() != head.Root:
		return st, nil, errNotGrown
	case err != nil || raw == nil:
		return st, nil, err
	}
	last, err = evidence.ParseLeaf(raw)
	if err != nil || last.Seq != head.Size-1 || last.Log != o.Origin {
		return st, nil, errNotGrown
	}
	st.lastT = last.RecordedAt
	return st, last, nil
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
