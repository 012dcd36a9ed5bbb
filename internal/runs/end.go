package runs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// ending is a run on its way to an llm_run record.
type ending struct {
	e   *entry
	run *run
	// ours: run is the entry's, to be given back; else it was read for this.
	ours   bool
	prev   *revision // the newest one there is, or nil
	erased bool
	by     string
	rev    int64
	n      int64 // how many records it was made from
}

// record makes the llm_run record.
func (x *ending) record() (*evidence.Record, error) {
	r := x.run.facts(x.by, x.rev)
	if x.prev != nil && x.erased {
		carry(x.prev, r)
	}
	return r, r.Complete()
}

// work does what is due, one tenant at a time.
func (t *Tracker) work() {
	for {
		j, ok := t.queue.wait(t.cfg.Now)
		if !ok {
			return
		}
		t.do(j)
	}
}

func (t *Tracker) do(j job) {
	began := time.Now()
	var failed bool
	if j.read {
		failed = t.readBack(j)
	} else {
		failed = t.end(j)
	}
	t.queue.done(j, t.cfg.Now(), failed, time.Since(began))
}

// end writes the records of runs that are due. What turns out not to be due, or
// must be read back first, is put where it belongs.
func (t *Tracker) end(j job) (failed bool) {
	var out []*ending
	var read []*entry
	settle, counts := map[string]*entry{}, map[string]int64{}
	for _, e := range j.list {
		s := t.shardOf(e.key.run)
		s.mu.Lock()
		switch {
		case e.at.Add(t.quiet(e)).After(t.cfg.Now()):
			s.schedule(e)
		case e.completed && e.next == e.completedN+1:
			s.remove(e) // nothing came after its completion
		case e.completed:
			e.state, e.more = writing, false
			settle[e.key.run], counts[e.key.run] = e, e.next
		case e.run == nil || !e.run.complete():
			read = append(read, e)
		default:
			x := &ending{e: e, run: e.run, ours: true, by: t.sealedBy(e.run), rev: 1, n: e.run.records}
			e.run, e.state, e.more = nil, writing, false
			out = append(out, x)
		}
		s.mu.Unlock()
	}
	t.queue.addRead(j.tenant, read)
	failed = t.settle(j.tenant, settle, counts)
	return t.append(j.tenant, out) || failed
}

// append writes records, each on condition that nothing has come since it was
// made. It reports whether the ledger takes none now.
func (t *Tracker) append(tenant string, list []*ending) (failed bool) {
	records := make([]*evidence.Record, 0, len(list))
	expect := make(map[string]int64, len(list))
	good := list[:0]
	for _, x := range list {
		record, err := x.record()
		if err != nil {
			t.fail(x, err)
			continue
		}
		good = append(good, x)
		records = append(records, record)
		expect[x.e.key.run] = x.n
	}
	if len(good) == 0 {
		return false
	}
	receipts, err := t.cfg.Ledger.Append(t.ctx, tenant, records, ledger.AppendOptions{RunRecords: expect})
	var stale *ledger.StaleError
	switch {
	case err == nil:
		for i, x := range good {
			t.ended(x, receipts[i].Duplicate)
		}
	case errors.As(err, &stale):
		t.stale(good, stale.Runs)
	case unavailable(err):
		if t.ctx.Err() == nil {
			t.cfg.Logger.Warn("cannot end runs now", "tenant", tenant, "runs", len(good), "err", err)
		}
		t.again(good)
		return true
	case len(good) == 1:
		t.fail(good[0], err)
	default:
		for i, x := range good { // one of them is to blame
			if failed = t.append(tenant, []*ending{x}); failed {
				t.again(good[i+1:])
				break
			}
		}
	}
	return failed
}

// unavailable reports whether trying again later may help. Tampered evidence
// stops the writing of a log until someone has looked.
func unavailable(err error) bool {
	return errors.Is(err, evidence.ErrUnavailable) || errors.Is(err, evidence.ErrTampered) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// ended notes that a run's record is durable; another process may have written it.
func (t *Tracker) ended(x *ending, duplicate bool) {
	switch {
	case duplicate:
	case x.rev == 1:
		t.metrics.ended.WithLabelValues(x.by).Inc()
	default:
		t.metrics.revisions.Inc()
	}
	s := t.shardOf(x.e.key.run)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(x)
	s.finish(x.e)
}

// finish stops following a run, unless more of it has come.
func (s *shard) finish(e *entry) {
	if !e.more {
		s.remove(e)
		return
	}
	s.schedule(e)
}

// forget accounts for what a worker had in hands and gives up.
func (s *shard) forget(x *ending) {
	if x.ours {
		s.t.memory.Add(-x.run.bytes)
	}
}

// maxStale is how often in a row a run may be found changed although the last attempt
// was made from as many records: the database contradicts itself. That it has more
// each time is honest, however often: another process takes in records of it.
const maxStale = 5

// stale puts runs back that have got another record meanwhile, which this
// process may have yet to see, or which another process wrote because it has
// ended the run. The others of the batch are tried again at once.
func (t *Tracker) stale(list []*ending, runs []string) {
	changed := make(map[string]bool, len(runs))
	for _, run := range runs {
		changed[run] = true
	}
	var others []*ending
	for _, x := range list {
		if !changed[x.e.key.run] {
			others = append(others, x)
			continue
		}
		if x.n != x.e.staleAt {
			x.e.stale, x.e.staleAt = 0, x.n
		}
		if x.e.stale++; x.e.stale >= maxStale {
			t.fail(x, fmt.Errorf("read %d times, and each time it has another number of records than it should", maxStale))
			continue
		}
		s := t.shardOf(x.e.key.run)
		s.mu.Lock()
		s.forget(x)
		x.e.unknown = true
		x.e.at = t.cfg.Now()
		s.schedule(x.e)
		s.mu.Unlock()
	}
	t.again(others)
}

// again queues runs once more, with what is known of them.
func (t *Tracker) again(list []*ending) {
	for _, x := range list {
		s := t.shardOf(x.e.key.run)
		s.mu.Lock()
		if x.ours && !x.e.more {
			x.e.run = x.run
		} else {
			s.forget(x)
		}
		x.e.state = queued
		t.queue.add(x.e.tenant, x.e)
		s.mu.Unlock()
	}
}

// fail gives up a run for a while: it is tried again after the idle time, when
// its newest records, or a newer server, may make the difference.
func (t *Tracker) fail(x *ending, err error) {
	t.metrics.failed.Inc()
	t.cfg.Logger.Error("cannot end a run", "tenant", x.e.tenant, "run", x.e.key.run, "err", err)
	s := t.shardOf(x.e.key.run)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(x)
	x.e.stale, x.e.staleAt = 0, 0
	s.park(x.e, t.cfg.Now().Add(t.cfg.Idle))
}
