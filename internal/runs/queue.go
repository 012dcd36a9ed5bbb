package runs

import (
	"sync"
	"time"
)

// queue holds the runs that are due, by tenant. One worker at a time works for a
// tenant, so that its runs are written in large batches.
type queue struct {
	mu      sync.Mutex
	cond    *sync.Cond
	tenants map[string]*tenantQueue
	closed  bool
	busy    int // workers at work
	nFound  int // how many of them wait in the lists of found ones
}

// tenantQueue is what is due of a tenant.
type tenantQueue struct {
	ready []*entry // known, or not yet looked at
	read  []*entry // to be read back
	found []*entry // the same, but nobody waits for them: they were open at start
	busy  bool
	// After a failure nothing is done before notBefore.
	notBefore time.Time
	failures  int
	// Reading back what was found leaves time for others.
	foundAfter time.Time
}

const (
	maxBatch = 500 // runs that are written together
	maxRead  = 32  // runs that are read back in one go

	minBackoff = 100 * time.Millisecond
	maxBackoff = 30 * time.Second
)

func (q *queue) init() {
	q.cond = sync.NewCond(&q.mu)
	q.tenants = map[string]*tenantQueue{}
}

// add queues entries of a tenant.
func (q *queue) add(tenant string, list ...*entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	tq := q.of(tenant)
	tq.ready = append(tq.ready, list...)
}

// addFound queues an entry of a run that was found open.
func (q *queue) addFound(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	tq := q.of(e.tenant)
	tq.found = append(tq.found, e)
	q.nFound++
}

// addRead queues entries that must be read back.
func (q *queue) addRead(tenant string, list []*entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	tq := q.of(tenant)
	tq.read = append(tq.read, list...)
}

func (q *queue) of(tenant string) *tenantQueue {
	tq := q.tenants[tenant]
	if tq == nil {
		tq = &tenantQueue{}
		q.tenants[tenant] = tq
	}
	return tq
}

// foundLeft returns how many found runs have not been looked at yet.
func (q *queue) foundLeft() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.nFound
}

func (q *queue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cond.Broadcast()
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.cond.Broadcast()
}

// job is what a worker takes: runs of one tenant.
type job struct {
	tenant      string
	list        []*entry
	read, found bool
}

// take returns the next job, or ok false where there is none now. The caller
// must call done.
func (q *queue) take(now time.Time) (j job, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.takeLocked(now)
}

func (q *queue) takeLocked(now time.Time) (j job, ok bool) {
	if q.closed {
		return job{}, false
	}
	for tenant, tq := range q.tenants { // from a random place: nobody starves
		switch {
		case tq.busy || now.Before(tq.notBefore):
			continue
		case len(tq.ready) > 0:
			j = job{tenant: tenant, list: cut(&tq.ready, maxBatch)}
		case len(tq.read) > 0:
			j = job{tenant: tenant, list: cut(&tq.read, maxRead), read: true}
		case len(tq.found) > 0 && !now.Before(tq.foundAfter):
			j = job{tenant: tenant, list: cut(&tq.found, maxRead), read: true, found: true}
			q.nFound -= len(j.list)
		default:
			if len(tq.found) == 0 && tq.failures == 0 {
				delete(q.tenants, tenant)
			}
			continue
		}
		tq.busy = true
		q.busy++
		return j, true
	}
	return job{}, false
}

func cut(from *[]*entry, n int) []*entry {
	n = min(n, len(*from))
	list := (*from)[:n:n]
	*from = (*from)[n:]
	return list
}

// done gives the tenant back. failed says that the ledger could not be reached
// or does not take records now; rest is for how
// long no found run shall be read back.
func (q *queue) done(j job, now time.Time, failed bool, rest time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	tq := q.of(j.tenant)
	tq.busy = false
	q.busy--
	if j.found {
		tq.foundAfter = now.Add(rest)
	}
	if failed {
		tq.notBefore = now.Add(min(minBackoff<<min(tq.failures, 10), maxBackoff))
		tq.failures++
	} else {
		tq.failures = 0
	}
	q.cond.Broadcast()
}

// wait returns the next job, or false when the queue is closed.
func (q *queue) wait(clock func() time.Time) (job, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed {
		if j, ok := q.takeLocked(clock()); ok {
			return j, true
		}
		q.cond.Wait()
	}
	return job{}, false
}
