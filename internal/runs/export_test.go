package runs

import "time"

// Drain does what is due now and waits for workers that are at it.
func (t *Tracker) Drain() {
	for {
		t.advance()
		for {
			j, ok := t.queue.take(t.cfg.Now())
			if !ok {
				break
			}
			t.do(j)
		}
		t.queue.mu.Lock()
		idle := t.queue.busy == 0
		t.queue.mu.Unlock()
		if idle {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// Rescan looks for runs that nobody follows.
func (t *Tracker) Rescan() error { return t.scan(t.ctx) }

// Following returns how many runs are followed, and how many bytes are kept.
func (t *Tracker) Following() (runs, bytes int64) { return t.open.Load(), t.memory.Load() }

// Leaks returns by how much the count of bytes is off.
func (t *Tracker) Leaks() int64 {
	sum := t.memory.Load()
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, e := range s.runs {
			if e.run != nil {
				sum -= e.run.bytes
			}
		}
		s.mu.Unlock()
	}
	return sum
}
