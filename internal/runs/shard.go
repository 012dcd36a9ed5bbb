package runs

import (
	"container/heap"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
)

// state says who has an entry.
type state uint8

const (
	waiting state = iota // in the heap of its shard
	queued               // in the queue of its tenant
	writing              // in the hands of a worker, and what is known of it too
)

type key struct{ tenant, run string }

// entry is a run that is followed. The mutex of its shard guards it.
type entry struct {
	key
	run *run // what is known of it; nil where it must be read back
	// unknown: records came before those that were seen, so neither are
	// hasSteps and hasRoot to be trusted, nor whether it has ended before.
	unknown           bool
	hasSteps, hasRoot bool
	// going: it was seen from its beginning, or read back, and had not ended. What is
	// missing of it then goes to another process.
	going bool
	next  int64     // n of the record after the last that was seen
	at    time.Time // when the last one was seen; zero: not known
	// completed: its producer wrote an llm_run record, as number completedN.
	completed  bool
	completedN int64

	// stale is how often in a row it had changed although it was read again, and
	// staleAt the number of records of the last such attempt; of the worker that has it.
	stale   int
	staleAt int64

	state state
	more  bool      // records came while it is with a worker
	due   time.Time // when the heap gives it out; it may have more time by then
	pos   int       // in the heap
}

// partial reports whether it is not known how the run began, or whether it has ended.
func (e *entry) partial() bool {
	if e.run == nil {
		return e.unknown
	}
	return !e.run.complete() && !e.going
}

// shard is a part of the runs that are followed.
type shard struct {
	t    *Tracker
	mu   sync.Mutex
	runs map[key]*entry
	heap timers
}

// shards is how many there are. Each is locked for some microseconds at a time,
// so few would do; many keep the maps and heaps small.
const shards = 32

var seed = maphash.MakeSeed()

func (t *Tracker) shardOf(run string) *shard {
	return &t.shards[maphash.String(seed, run)%shards]
}

// timers is a heap of entries by due.
type timers []*entry

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

// Push implements heap.Interface.
func (h *timers) Push(x any) {
	e := x.(*entry)
	e.pos = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	n := len(*h) - 1
	e := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	return e
}

// quiet is how long nothing must come for the run to end, or to be looked at. One that
// is partial is looked at soon, but not again and again because more of it goes to
// another process: who has seen its root ends it.
func (t *Tracker) quiet(e *entry) time.Duration {
	if e.completed || e.partial() {
		return min(t.cfg.RootQuiet, t.cfg.Idle)
	}
	return t.limit(e.hasSteps, e.hasRoot)
}

func (t *Tracker) limit(steps, root bool) time.Duration {
	switch {
	case root:
		return min(t.cfg.RootQuiet, t.cfg.Idle)
	case steps:
		return min(t.cfg.Quiet, t.cfg.Idle)
	default:
		return t.cfg.Idle
	}
}

// sealedBy says what ends a run.
func (t *Tracker) sealedBy(r *run) string {
	switch {
	case r.hasRoot && t.cfg.RootQuiet <= t.cfg.Idle:
		return byRoot
	case !r.hasRoot && len(r.steps) > 0 && t.cfg.Quiet <= t.cfg.Idle:
		return byQuiet
	default:
		return byTimeout
	}
}

// entry returns the entry of a run, a new one if there is none.
func (s *shard) entry(tenant, run string) (e *entry, isNew bool) {
	if e := s.runs[key{tenant, run}]; e != nil {
		return e, false
	}
	k := key{strings.Clone(tenant), strings.Clone(run)}
	e = &entry{key: k, pos: none}
	s.runs[k] = e
	s.t.open.Add(1)
	return e, true
}

// observe takes in records of one run.
func (s *shard) observe(tenant string, records []Observed, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var e *entry
	for i := range records {
		o := &records[i]
		if o.Receipt.Duplicate || o.Receipt.N < 0 {
			continue
		}
		if e == nil {
			isNew := false
			if e, isNew = s.entry(tenant, o.Record.Run); isNew {
				e.going = o.Receipt.N == 0
				if e.unknown = o.Receipt.Late; !e.unknown {
					e.run = newRun(e.tenant, e.key.run, s.t.cfg.NearThreshold)
					s.t.memory.Add(e.run.bytes)
				}
			}
		}
		s.take(e, o)
	}
	if e == nil {
		return
	}
	e.at = now
	if e.state == waiting {
		s.schedule(e)
	}
	s.evict(e)
}

// take notes one record.
func (s *shard) take(e *entry, o *Observed) {
	r := o.Record
	e.next = max(e.next, o.Receipt.N+1)
	e.more = true
	e.going = e.going && !o.Receipt.Late
	conflict := o.Receipt.ConflictOf != evidence.ID{} || r.Text("conflict_of") != ""
	switch {
	case conflict:
	case r.Kind == evidence.KindLLMRun:
		e.completed, e.completedN = true, max(e.completedN, o.Receipt.N)
		s.drop(e)
	case r.Kind == evidence.KindTraceStep:
		e.hasSteps = true
		if _, ok := r.Fact("parent_span_id"); !ok {
			e.hasRoot = true
		}
	}
	if e.run == nil {
		return
	}
	before := e.run.bytes
	e.run.add(r, place{id: o.Receipt.ID, n: o.Receipt.N, step: o.Receipt.StepIndex, conflict: conflict}, &o.Hints)
	s.t.memory.Add(e.run.bytes - before)
}

// schedule puts an entry into the heap, or forward in it. One that has got more
// time is left where it is: advance looks again when it comes out.
func (s *shard) schedule(e *entry) {
	e.state = waiting
	due := e.at.Add(s.t.quiet(e))
	switch {
	case e.pos == none:
		e.due = due
		heap.Push(&s.heap, e)
	case due.Before(e.due):
		e.due = due
		heap.Fix(&s.heap, e.pos)
	}
}

// advance takes out the entries that are due.
func (s *shard) advance(now time.Time) (due []*entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.heap) > 0 && !s.heap[0].due.After(now) {
		e := s.heap[0]
		if at := e.at.Add(s.t.quiet(e)); at.After(now) {
			e.due = at
			heap.Fix(&s.heap, 0)
			continue
		}
		heap.Pop(&s.heap)
		e.pos = none
		e.state = queued
		due = append(due, e)
	}
	return due
}

// drop forgets what is known of a run.
func (s *shard) drop(e *entry) {
	if e.run == nil {
		return
	}
	e.unknown = !e.run.complete()
	s.t.memory.Add(-e.run.bytes)
	e.run = nil
}

// remove stops following a run.
func (s *shard) remove(e *entry) {
	s.drop(e)
	if s.runs[e.key] == e {
		delete(s.runs, e.key)
		s.t.open.Add(-1)
	}
}

// maxSample bounds the search for what to drop.
const maxSample = 64

// evict drops runs from memory while there is too much of it: of a sample the
// one that has the longest to go. Maps are walked from a random place.
func (s *shard) evict(last *entry) {
	for s.t.memory.Load() > s.t.cfg.MaxMemory {
		victim, seen, looked := last, 0, 0
		for _, e := range s.runs {
			if looked++; looked > maxSample || seen == 8 {
				break
			}
			if e.run == nil {
				continue
			}
			seen++
			if victim.run == nil || e.due.After(victim.due) {
				victim = e
			}
		}
		if victim.run == nil {
			return
		}
		s.drop(victim)
		s.t.metrics.dropped.Inc()
	}
}

// park puts an entry into the heap, not before a time unless more comes.
func (s *shard) park(e *entry, until time.Time) {
	e.state, e.due = waiting, until
	heap.Push(&s.heap, e)
}
