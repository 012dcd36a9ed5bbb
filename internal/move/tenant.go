package move

import (
	"context"
	"errors"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// batch is how many small rows go into one transaction.
const batch = 4096

// tenantCopier copies one tenant's logs. It keeps to an order that holds whatever
// the moment it is ended at: what is sealed comes behind its key, a removal behind
// the record that ordered it, a log's successor behind its signed head, what expired
// behind the records that ordered that.
type tenantCopier struct {
	*copier
	tenant string
	logs   []store.Log
	seen   map[string]bool // runs whose state is there, see runStates
	left   *lifecycle
}

func (t *tenantCopier) copy(ctx context.Context) error {
	have, err := t.cfg.To.Logs(ctx, t.tenant)
	if err != nil {
		return err
	}
	if len(have) > len(t.logs) {
		return fmt.Errorf("%w: it has %d logs, the source %d", ErrOccupied, len(have), len(t.logs))
	}
	if t.left, err = readLifecycle(ctx, t.cfg.From, t.tenant, t.logs); err != nil {
		return fmt.Errorf("lifecycle: %w", err)
	}
	newest := t.logs[len(t.logs)-1]
	for i, lg := range t.logs {
		var there *store.Log
		if i < len(have) {
			there = &have[i]
		}
		whole, err := t.log(ctx, lg, there, i+1 == len(t.logs))
		if err != nil {
			return fmt.Errorf("log %s: %w", lg.Origin, err)
		}
		if whole && i+1 == len(t.logs) {
			return nil // its head came last
		}
	}
	for _, step := range []func(context.Context) error{t.index, t.removals, t.said, t.lifecycle} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return t.extend(ctx, newest.LogRef, store.LogCommit{Next: t.heads[newest.LogRef]})
}

// log copies the leaves of a log, and what stands with them. whole reports that its
// signed head was there before.
func (t *tenantCopier) log(ctx context.Context, lg store.Log, there *store.Log, newest bool) (whole bool, err error) {
	want := t.heads[lg.LogRef]
	if there == nil {
		open := store.LogCommit{Log: lg.LogRef, Open: &lg, Next: underWay(&lg, 0, want.Size)}
		if err := t.cfg.To.Commit(ctx, &store.Commit{Logs: []store.LogCommit{open}}); err != nil {
			return false, err
		}
	} else if !sameLog(there, &lg) {
		return false, fmt.Errorf("%w: it has another log, %s, in its place", ErrOccupied, there.Origin)
	}
	have, err := t.cfg.To.Head(ctx, lg.LogRef)
	if err != nil {
		return false, err
	}
	t.copied(min(have.Size, want.Size))
	if sameHead(&have, &want) {
		return true, nil
	}
	if have.Size > want.Size {
		return false, fmt.Errorf("%w: it has %d leaves, the source %d", ErrOccupied, have.Size, want.Size)
	}
	if lg.No == 1 {
		if err := t.dataKeys(ctx, lg.LogRef); err != nil {
			return false, fmt.Errorf("data keys: %w", err)
		}
	}
	if err := t.leaves(ctx, lg, have.Size, want.Size); err != nil {
		return false, err
	}
	if newest {
		return false, nil
	}
	return false, t.extend(ctx, lg.LogRef, store.LogCommit{Next: want})
}

// underWay is the head of a log that is not whole. Nobody signed its note, so a
// ledger would not open it.
func underWay(lg *store.Log, size, of int64) store.Head {
	return store.Head{Size: size, Note: fmt.Appendf(nil, "%s\na copy is under way: %d of %d leaves are here, and nobody signed this head\n", lg.Origin, size, of)}
}

// extend commits to a log of the destination, whatever head it has. Where next has
// no note the head stays as it is.
func (t *tenantCopier) extend(ctx context.Context, ref store.LogRef, next store.LogCommit) error {
	head, err := t.cfg.To.Head(ctx, ref)
	if err != nil {
		return err
	}
	next.Log, next.Prev = ref, head
	if next.Next.Note == nil {
		next.Next = head
	}
	return t.cfg.To.Commit(ctx, &store.Commit{Logs: []store.LogCommit{next}})
}

// dataKeys copies the tenant's keys in the order in which they were made: the newest
// of a scope is the one in use.
func (t *tenantCopier) dataKeys(ctx context.Context, first store.LogRef) error {
	keys, err := t.cfg.From.DataKeys(ctx, t.tenant, "", "")
	if err != nil {
		return err
	}
	have, err := t.cfg.To.DataKeys(ctx, t.tenant, "", "")
	if err != nil {
		return err
	}
	if len(have) > len(keys) {
		return fmt.Errorf("%w: it has %d, the source %d", ErrOccupied, len(have), len(keys))
	}
	for i := range have {
		if have[i].ID != keys[i].ID {
			return fmt.Errorf("%w: key %d is another one", ErrOccupied, i)
		}
	}
	for keys = keys[len(have):]; len(keys) > 0; {
		n := min(len(keys), batch)
		if err := t.extend(ctx, first, store.LogCommit{Keys: keys[:n]}); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// each gathers what iterate yields into batches.
func each[T any](iterate func(fn func(T) error) error, flush func([]T) error) error {
	var list []T
	err := iterate(func(v T) error {
		if list = append(list, v); len(list) < batch {
			return nil
		}
		err := flush(list)
		list = nil
		return err
	})
	if err != nil || len(list) == 0 {
		return err
	}
	return flush(list)
}

// index copies the sealed index. An entry that is there is not stored twice.
func (t *tenantCopier) index(ctx context.Context) error {
	newest := t.logs[len(t.logs)-1].LogRef
	err := each(func(fn func(store.IndexEntry) error) error { return t.cfg.From.Index(ctx, t.tenant, fn) },
		func(list []store.IndexEntry) error { return t.extend(ctx, newest, store.LogCommit{Index: list}) })
	if err != nil {
		return fmt.Errorf("sealed index: %w", err)
	}
	return nil
}

// removals copies what is known of content that is gone.
func (t *tenantCopier) removals(ctx context.Context) error {
	err := each(func(fn func(store.Removed) error) error { return t.cfg.From.Removals(ctx, t.tenant, fn) },
		func(list []store.Removed) error { return t.cfg.To.KeepRemovals(ctx, t.tenant, list) })
	if err != nil {
		return fmt.Errorf("removals: %w", err)
	}
	return nil
}

// said copies checkpoints and attestations.
func (t *tenantCopier) said(ctx context.Context) error {
	for _, lg := range t.logs {
		err := each(func(fn func(store.Checkpoint) error) error { return t.cfg.From.Checkpoints(ctx, lg.LogRef, 0, fn) },
			func(list []store.Checkpoint) error { return t.cfg.To.KeepCheckpoints(ctx, lg.LogRef, list) })
		if err != nil {
			return fmt.Errorf("checkpoints of %s: %w", lg.Origin, err)
		}
		err = each(func(fn func(store.Attestation) error) error {
			return t.cfg.From.Attestations(ctx, lg.LogRef, everything, fn)
		},
			func(list []store.Attestation) error { return t.cfg.To.KeepAttestations(ctx, lg.LogRef, list) })
		if err != nil {
			return fmt.Errorf("attestations of %s: %w", lg.Origin, err)
		}
	}
	return nil
}

var everything = store.AttestationQuery{To: 1<<63 - 1}

func sameLog(a, b *store.Log) bool {
	return a.LogRef == b.LogRef && a.Origin == b.Origin && a.VKey == b.VKey && string(a.WrappedKey) == string(b.WrappedKey)
}

func sameHead(a, b *store.Head) bool {
	return a.Size == b.Size && a.Root == b.Root && string(a.Note) == string(b.Note)
}

// copyAnchors gives the destination's anchor the notes of the source's, where it is
// another one.
func (c *copier) copyAnchors() error {
	to := c.cfg.ToAnchor
	if to == nil {
		return nil
	}
	origins, err := c.cfg.Anchor.Origins()
	if err != nil {
		return err
	}
	for _, origin := range origins {
		if err := c.copyAnchor(origin); err != nil {
			return fmt.Errorf("anchor of %s: %w", origin, err)
		}
	}
	return nil
}

func (c *copier) copyAnchor(origin string) error {
	from, to := c.cfg.Anchor, c.cfg.ToAnchor
	lost, err := from.Lost(origin)
	if err != nil {
		return err
	}
	have, err := to.Lost(origin)
	if err != nil {
		return err
	}
	note, err := from.Read(origin)
	if err != nil && !errors.Is(err, evidence.ErrNotFound) {
		return err
	}
	// What is there must be the same: where it is newer the copy would be a rollback.
	there, err := to.Read(origin)
	switch {
	case errors.Is(err, evidence.ErrNotFound):
	case err != nil:
		return err
	case string(there) != string(note):
		return fmt.Errorf("%w: the anchor of the destination has another note", ErrOccupied)
	}
	if note != nil && there == nil {
		if err := to.Write(origin, note); err != nil {
			return err
		}
	}
	for _, l := range lost[min(len(have), len(lost)):] {
		if err := to.Accept(origin, l, note); err != nil {
			return err
		}
	}
	return copyForks(from, to, origin)
}

// copyForks copies the proofs of forks: notes, each by itself, since which two of
// them belong together can be seen from the notes.
func copyForks(from, to ledger.Anchor, origin string) error {
	forks, err := from.Forks(origin)
	if err != nil {
		return err
	}
	for _, note := range forks {
		if _, err := to.KeepFork(origin, note, nil); err != nil {
			return err
		}
	}
	return nil
}

func (cfg *Config) toAnchor() ledger.Anchor {
	if cfg.ToAnchor != nil {
		return cfg.ToAnchor
	}
	return cfg.Anchor
}
