package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// sweepEvery is how many rounds of publishing pass before the store is asked for what
// another process wrote and did not live to publish.
const sweepEvery = 60

// publishLoop gives out the newest checkpoint of each log that changed, at
// most once in PublishEvery, and looks at the clock meanwhile.
func (l *Ledger) publishLoop() {
	tick := time.NewTicker(l.cfg.PublishEvery)
	defer tick.Stop()
	for round := 1; ; round++ {
		select {
		case <-tick.C:
			if l.shared && round%sweepEvery == 0 {
				l.sweep(context.Background())
			}
			if _, err := l.clock.look(); err != nil {
				continue // said once by the clock guard
			}
			if l.halted.Load() != nil {
				continue
			}
			err := l.publishAll(context.Background())
			if err != nil {
				l.log.Error("publish checkpoints", "err", err)
			}
			l.unpublished.Store(&err)
		case <-l.stop:
			return
		}
	}
}

// openLogs are the logs in memory.
func (l *Ledger) openLogs() []*openLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.logs))
}

// sweep looks at every log in memory for what other processes wrote.
func (l *Ledger) sweep(ctx context.Context) {
	for _, o := range l.openLogs() {
		if _, err := l.latest(ctx, o); err != nil {
			l.log.Warn("look at a log that other processes write", "log", o.Origin, "err", err)
		}
	}
}

// Publishing returns nil, or why a checkpoint could not be given out of late, or a head
// not be signed: an anchor that cannot be read or written.
func (l *Ledger) Publishing() error {
	if err := l.unpublished.Load(); err != nil && *err != nil {
		return fmt.Errorf("checkpoints are not published: %w: %w", *err, evidence.ErrUnavailable)
	}
	return nil
}

// PublishAll publishes the newest head of every log in memory at once. One that cannot
// be published keeps no other from it.
func (l *Ledger) PublishAll(ctx context.Context) error { return l.publishAll(ctx) }

func (l *Ledger) publishAll(ctx context.Context) error {
	logs := l.openLogs()
	errs := make([]error, len(logs))
	var group errgroup.Group
	group.SetLimit(anchorsAtOnce)
	for i, o := range logs {
		group.Go(func() error {
			errs[i] = l.publish(ctx, o)
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	return errors.Join(errs...)
}

// publish anchors and keeps a log's newest head, and only then gives it
// out.
func (l *Ledger) publish(ctx context.Context, o *openLog) error {
	if err := l.running(); err != nil {
		return err
	}
	// One at a time: an older note must not come after a newer one.
	o.publishing.Lock()
	defer o.publishing.Unlock()
	o.mu.Lock()
	note, size, broken := o.durable.note, o.durable.tree.size(), o.broken
	done := bytes.Equal(note, o.published)
	o.mu.Unlock()
	// An anchor that could not be read is looked at again although nothing changed.
	if broken != nil || done && l.Publishing() == nil {
		return nil
	}
	if err := l.checkAnchor(o, time.Now()); err != nil || done {
		return err
	}
	if err := l.anchor.Write(o.Origin, note); err != nil {
		err = quiet(fmt.Errorf("anchor of %s: %w", o.Origin, err), quietAnchor)
		if errors.Is(err, evidence.ErrTampered) {
			o.fail(err)
		}
		return err
	}
	if err := l.store.KeepCheckpoint(ctx, o.LogRef, store.Checkpoint{Size: size, Note: note}); err != nil {
		if errors.Is(err, store.ErrHeadMoved) {
			err = fmt.Errorf("checkpoint %d of %s: %w: another note is kept at that size", size, o.Origin, evidence.ErrTampered)
			o.fail(err)
		}
		if errors.Is(err, store.ErrSync) {
			l.halt(err)
		}
		return quiet(err, quietKept)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.anchored, o.anchorAt = note, time.Now()
	o.published, o.publishedTo = note, size
	close(o.wake)
	o.wake = make(chan struct{})
	return nil
}

// Checkpoint returns the newest published checkpoint of a tenant's newest
// log. Where none is published yet it publishes one.
func (l *Ledger) Checkpoint(ctx context.Context, tenant string) ([]byte, error) {
	o, err := l.current(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return l.publishedNote(ctx, o)
}

func (l *Ledger) publishedNote(ctx context.Context, o *openLog) ([]byte, error) {
	if err := l.republish(ctx, o); err != nil {
		return nil, err
	}
	o.mu.Lock()
	note := o.published
	o.mu.Unlock()
	if note != nil {
		return note, nil
	}
	if err := l.publish(ctx, o); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.published, nil
}

// PublishNow publishes the newest head of a log at once, as an export does,
// and returns its checkpoint.
func (l *Ledger) PublishNow(ctx context.Context, tenant string, logNo int) (c2sp.Checkpoint, []byte, error) {
	o, err := l.logByNo(ctx, tenant, logNo)
	if err != nil {
		return c2sp.Checkpoint{}, nil, err
	}
	if _, err := l.latest(ctx, o); err != nil {
		return c2sp.Checkpoint{}, nil, err
	}
	if err := l.publish(ctx, o); err != nil {
		return c2sp.Checkpoint{}, nil, err
	}
	o.mu.Lock()
	note := o.published
	o.mu.Unlock()
	c, _, err := c2sp.ParseNote(note)
	return c, note, err
}
