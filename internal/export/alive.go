package export

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// LeaseFunc makes this process, for ttl from now, the one that a name belongs to, unless
// it is another's: then it returns false. With ttl 0 it is given up. See store.Lease.
type LeaseFunc func(ctx context.Context, name string, ttl time.Duration) (held bool, err error)

const (
	// aliveFor is how long an export counts as that of a live process after its lease
	// was last extended, aliveEvery how often that is done.
	aliveFor   = 2 * time.Minute
	aliveEvery = 30 * time.Second
)

// alive says to other processes which exports this one is making, or keeps the bytes of:
// each has a lease. Without a lease function there are no others.
type alive struct {
	lease LeaseFunc
	warn  func(export string, err error)

	mu   sync.Mutex
	held map[string]int // by export, how many times
	stop chan struct{}  // of the goroutine that extends; nil: none runs
}

func leaseName(exportID string) string { return "export/" + exportID }

// begin says that an export is this process's. It is called before the first record of
// the export is appended, so that nobody finds that record and nobody's lease.
func (a *alive) begin(ctx context.Context, exportID string) error {
	if a.lease == nil || a.here(exportID) {
		a.count(exportID)
		return nil
	}
	held, err := a.lease(ctx, leaseName(exportID), aliveFor)
	if err != nil {
		return fmt.Errorf("lease of export %s: %w", exportID, err)
	}
	if !held {
		return invalid("export_id", "is one that another process is making")
	}
	a.count(exportID)
	return nil
}

func (a *alive) count(exportID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held == nil {
		a.held = map[string]int{}
	}
	a.held[exportID]++
	if a.stop == nil && a.lease != nil {
		a.stop = make(chan struct{})
		go a.extend(a.stop)
	}
}

// end takes one begin back. The last one gives the lease up.
func (a *alive) end(exportID string) {
	if a.uncount(exportID) && a.lease != nil {
		a.giveUp(exportID)
	}
}

// uncount reports whether it was the last.
func (a *alive) uncount(exportID string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held[exportID]--; a.held[exportID] > 0 {
		return false
	}
	delete(a.held, exportID)
	if len(a.held) == 0 && a.stop != nil {
		close(a.stop)
		a.stop = nil
	}
	return true
}

func (a *alive) giveUp(exportID string) {
	ctx, cancel := context.WithTimeout(context.Background(), aliveEvery)
	defer cancel()
	if _, err := a.lease(ctx, leaseName(exportID), 0); err != nil {
		a.warn(exportID, err) // it ends by itself
	}
}

// here reports whether an export is this process's.
func (a *alive) here(exportID string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.held[exportID] > 0
}

// elsewhere reports whether an export is that of another live process. Where it is
// nobody's it is this process's until done is called, so that of several that look one
// acts on it.
func (a *alive) elsewhere(ctx context.Context, exportID string) (yes bool, done func(), err error) {
	none := func() {}
	if a.lease == nil || a.here(exportID) {
		return false, none, nil
	}
	held, err := a.lease(ctx, leaseName(exportID), aliveFor)
	if err != nil || !held {
		return !held, none, err
	}
	return false, func() { a.giveUp(exportID) }, nil
}

// extend extends the leases until stop is closed.
func (a *alive) extend(stop chan struct{}) {
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		a.mu.Lock()
		ids := make([]string, 0, len(a.held))
		for id := range a.held {
			ids = append(ids, id)
		}
		a.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), aliveEvery)
		for _, id := range ids {
			held, err := a.lease(ctx, leaseName(id), aliveFor)
			if err == nil && !held && a.here(id) {
				err = errors.New("another process has it")
			}
			if err != nil {
				a.warn(id, err)
			}
		}
		cancel()
	}
}
