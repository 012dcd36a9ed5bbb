package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// maxTries is how often a request is sequenced anew before it is answered
// with evidence.ErrUnavailable.
const maxTries = 5

// committer is the one goroutine that sequences the records of a tenant, or, in a
// store that has one writer anyway, of all of them. While a plan is being
// written it fills the next one, and closes it when the writer is free: so
// plans are as large as the disk is slow, with no wait of its own.
type committer struct {
	l       *Ledger
	tenant  string // "" for all
	queue   chan *request
	ended   chan struct{} // closed once it has answered all it ever will
	users   int           // requests on their way to it or in it; guarded by committers.mu
	runs    *runCache
	counted *openLog   // the log whose records runs was last used for
	waiting []*request // taken from the queue
	redo    []*request // taken back, to be resolved with care
	writing *plan
	next    *plan
	claim   store.Claim // for the next plan; nil: it races
	written chan error
	// careUntil: after a duplicate was met, requests are looked up before
	// they are sequenced for a while, since retries come in crowds.
	careUntil time.Time
	// claimUntil: after another process was faster, the log is claimed before a
	// plan is made, for a while.
	claimUntil time.Time
}

// careFor is how long the committer stays careful, and claims.
const careFor = 2 * time.Second

func (c *committer) run() {
	defer close(c.ended)
	for {
		c.fill()
		c.start()
		if c.writing == nil && len(c.waiting)+len(c.redo) > 0 {
			continue
		}
		select {
		case r := <-c.queue:
			c.waiting = append(c.waiting, r)
			c.drain()
		case err := <-c.written:
			c.finish(err)
		case <-c.stopped():
			c.shut()
			return
		case <-c.idle():
			if c.l.committers.leave(c) {
				return
			}
		}
	}
}

// write gives a commit to the store. What comes of it arrives in written.
func (c *committer) write(commit *store.Commit) {
	claim := c.claim
	c.claim = nil
	go func() {
		start := time.Now()
		var err error
		if claim != nil {
			err = claim.Commit(context.Background(), commit)
		} else {
			err = c.l.store.Commit(context.Background(), commit)
		}
		c.l.metrics.commit(time.Since(start), err)
		c.written <- err
	}()
}

// stopped yields only when nothing is in flight: what was taken is written.
func (c *committer) stopped() <-chan struct{} {
	if c.writing != nil {
		return nil
	}
	return c.l.stop
}

// shut answers what is left in the queue.
func (c *committer) shut() {
	for {
		select {
		case r := <-c.queue:
			r.fail(errStopped)
		default:
			return
		}
	}
}

func (c *committer) drain() {
	for len(c.waiting) < cap(c.queue) {
		select {
		case r := <-c.queue:
			c.waiting = append(c.waiting, r)
		default:
			return
		}
	}
}

// fill sequences what waits into the next plan, as far as it has room.
func (c *committer) fill() {
	if c.writing == nil && c.next == nil && len(c.redo) > 0 {
		c.fillCarefully()
		return
	}
	for len(c.waiting) > 0 {
		r := c.waiting[0]
		careful := r.control == nil && (r.careful || time.Now().Before(c.careUntil))
		if careful {
			c.waiting = c.waiting[1:]
			c.redo = append(c.redo, r)
			continue
		}
		full := c.next != nil && (c.next.records >= c.l.cfg.MaxCommitRecords || c.next.ids != nil)
		if full || len(c.redo) > 0 {
			return
		}
		if r.control != nil {
			if c.writing != nil || c.next != nil {
				return
			}
			c.waiting = c.waiting[1:]
			c.control(r)
			continue
		}
		if c.next == nil {
			if c.writing != nil && c.contended() {
				return // a claim waits for what is being written
			}
			if err := c.claimIfContended(r.log.Tenant); err != nil {
				c.refuse(err)
				return
			}
			c.next = c.newPlan()
		}
		c.waiting = c.waiting[1:]
		c.take(c.next, r)
	}
}

// fillCarefully makes a plan of requests whose records are looked up first.
// Nothing is in flight, so the store knows all there is.
func (c *committer) fillCarefully() {
	if err := c.claimIfContended(c.redo[0].log.Tenant); err != nil {
		c.refuse(err)
		return
	}
	p := c.newPlan()
	p.ids = map[evidence.ID]store.Position{}
	for len(c.redo) > 0 && p.records < c.l.cfg.MaxCommitRecords {
		r := c.redo[0]
		// What failed twice goes alone: it must not take others with it.
		if alone := r.tries >= 2; alone && p.records > 0 || len(p.done) > 0 && p.done[0].req.tries > 2 {
			break
		}
		c.redo = c.redo[1:]
		if r.tries++; r.tries > maxTries {
			r.fail(fmt.Errorf("the record could not be sequenced: %w", evidence.ErrUnavailable))
			continue
		}
		if err := c.resolve(r.ctx, p, r); err != nil {
			if !errors.Is(err, errPlanned) {
				r.fail(err)
			}
			continue
		}
		if len(r.batch.Records) == 0 {
			r.settle()
			r.done <- result{receipts: r.receipts, err: r.partialErr}
			continue
		}
		c.take(p, r)
	}
	if p.records > 0 {
		c.next = p
		return
	}
	c.release()
}

// control runs a control function. Where other processes write, it has the log to
// itself, if there is one yet.
func (c *committer) control(r *request) {
	err := c.l.running() // what signs may have stopped since it was queued
	if err == nil && c.l.shared {
		if err = c.claimLog(c.tenant); errors.Is(err, evidence.ErrNotFound) {
			err = nil
		}
	}
	if err == nil {
		err = r.control(r.ctx, c)
	}
	c.release()
	r.done <- result{err: err}
}

// take sequences one request into a plan.
func (c *committer) take(p *plan, r *request) {
	// The log may have been rolled over since the request was sealed.
	o, err := c.newest(r.log.Tenant)
	if err != nil {
		r.fail(err)
		return
	}
	if o != r.log || !c.l.sealer.Live(r.batch) {
		if err := c.l.sealAnew(r, o); err != nil {
			r.fail(err)
			return
		}
	}
	receipts, err := p.add(context.Background(), c.l, o, r.batch, r.opts.RunRecords)
	if err != nil {
		r.fail(err)
		return
	}
	p.done = append(p.done, planned{req: r, receipts: receipts})
}

// newest returns a tenant's newest log, ready to be extended. Reading it anew
// may show that it was rolled over: by a transaction whose outcome was
// unknown, or by another process.
func (c *committer) newest(tenant string) (*openLog, error) {
	for tries := range 3 {
		o, err := c.l.current(context.Background(), tenant)
		if errors.Is(err, evidence.ErrNotFound) {
			return nil, err
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", evidence.ErrUnavailable, err)
		}
		if tries > 0 || !o.isClosed() {
			if err := c.ready(o); err != nil {
				return nil, err
			}
		}
		if !o.isClosed() {
			return o, nil
		}
		c.l.forget(o)
	}
	return nil, fmt.Errorf("the newest log of tenant %s is closed: %w", tenant, evidence.ErrUnavailable)
}

func (c *committer) ready(o *openLog) error {
	if err := c.l.Writable(); err != nil && !errors.Is(err, errStopped) {
		return err
	}
	if err := o.writable(); err != nil {
		return err
	}
	// Whoever closed the log before may have numbered records in it that this process has
	// not seen. What is in flight is of that log, too: it is in the store, or will fail.
	if changed := c.counted != o; c.l.shared && (changed || o.reload || c.overtaken(o)) {
		c.counted = o
		c.runs.expire()
	}
	if o.reload || c.overtaken(o) {
		if err := c.l.reloadLog(context.Background(), o); err != nil {
			if errors.Is(err, evidence.ErrTampered) {
				o.fail(err)
			}
			return fmt.Errorf("%w: %w", evidence.ErrUnavailable, err)
		}
	}
	return nil
}

// start closes the next plan and gives it to the writer, if that is free.
func (c *committer) start() {
	if c.writing != nil || c.next == nil {
		return
	}
	p := c.next
	c.next = nil
	if p.records == 0 {
		c.release()
		return
	}
	commit, err := p.close(c.l, time.Now())
	if err != nil {
		c.release()
		p.restore(c.l)
		for _, d := range p.done {
			if p.bad != nil && d.req.log != p.bad {
				c.redo = append(c.redo, d.req) // another log's trouble
				continue
			}
			d.req.fail(fmt.Errorf("%w: %w", evidence.ErrUnavailable, err))
		}
		return
	}
	c.writing = p
	c.write(commit)
}

// finish handles the outcome of a write.
func (c *committer) finish(err error) {
	p := c.writing
	c.writing = nil
	if err == nil {
		c.acknowledge(p)
		return
	}
	// The next plan stands on this one: both are taken back.
	next := c.next
	c.next = nil
	if next != nil {
		next.restore(c.l)
	}
	switch {
	case errors.Is(err, store.ErrDuplicate):
		p.restore(c.l)
		c.careUntil = time.Now().Add(careFor)
		c.again(p)
	case errors.Is(err, store.ErrHeadMoved):
		p.restore(c.l)
		p.markReload()
		if c.l.shared {
			c.claimUntil = time.Now().Add(careFor)
			c.overtake(p, next)
			return
		}
		c.again(p)
	case errors.Is(err, store.ErrKeyGone):
		p.restore(c.l)
		p.markReload()
		if err := c.l.forgetKeys(p); err != nil {
			p.fail(fmt.Errorf("%w: %w", evidence.ErrUnavailable, err))
			break
		}
		c.again(p)
	case errors.Is(err, evidence.ErrUnavailable):
		p.restore(c.l)
		p.fail(err)
	default:
		c.unknown(p, err)
	}
	if next != nil {
		c.again(next)
	}
}

// unknown handles a write that may or may not have happened. A failed sync
// leaves nothing to rely on: the ledger stops. Otherwise the heads are read
// back: they tell, since they moved in the same transaction.
func (c *committer) unknown(p *plan, err error) {
	if errors.Is(err, store.ErrSync) {
		p.restore(c.l)
		p.markReload()
		c.l.halt(err)
		p.fail(fmt.Errorf("%w: %w", evidence.ErrUnavailable, err))
		return
	}
	if errors.Is(err, evidence.ErrTampered) && len(p.logs) == 1 {
		p.logs[0].log.fail(err) // a broken invariant
		p.restore(c.l)
		p.markReload()
		p.fail(fmt.Errorf("%w: %w", evidence.ErrUnavailable, err))
		return
	}
	persisted, rerr := c.readBack(p)
	if rerr != nil {
		c.l.log.Error("outcome of a commit is unknown", "err", err, "read_back", rerr)
		p.restore(c.l)
		p.markReload()
		p.fail(quiet(fmt.Errorf("%w: %w", evidence.ErrUnavailable, err), quietOutcome))
		return
	}
	c.l.log.Warn("commit failed", "err", err, "persisted", persisted)
	if persisted {
		c.acknowledge(p)
		return
	}
	p.restore(c.l)
	p.markReload()
	c.again(p)
}

func (c *committer) readBack(p *plan) (persisted bool, err error) {
	n, err := c.persisted(p)
	if err == nil && n != 0 && n != len(p.logs) {
		n, err = c.persisted(p) // it was committed only now, between two of the heads
	}
	if err != nil {
		return false, err
	}
	if n != 0 && n != len(p.logs) {
		err := fmt.Errorf("%w: a transaction was stored in part", evidence.ErrTampered)
		c.l.halt(err)
		return false, err
	}
	return n > 0, nil
}

// persisted returns of how many logs of a plan the store has what the plan wrote.
func (c *committer) persisted(p *plan) (n int, err error) {
	for _, lp := range p.logs {
		head, err := c.l.store.Head(context.Background(), lp.log.LogRef)
		if errors.Is(err, evidence.ErrNotFound) && lp.commit.Open != nil {
			continue
		}
		if err != nil {
			return 0, err
		}
		persisted := bytes.Equal(head.Note, lp.commit.Next.Note)
		if !persisted && c.l.shared && head.Size > lp.commit.Next.Size {
			if persisted, err = c.l.standsOn(lp.log, lp.commit.Next); err != nil {
				return 0, err
			}
		}
		if persisted {
			n++
		}
	}
	return n, nil
}

func (p *plan) markReload() {
	for _, lp := range p.logs {
		lp.log.reload = true
	}
}

func (p *plan) fail(err error) {
	for _, d := range p.done {
		d.req.fail(err)
	}
}

// overtake puts the requests of a plan that another process was faster than, and of the
// one that stood on it, before all others: under the claim that comes now they are
// sequenced as they are. What that process wrote of the same records shows as a
// duplicate, as ever. Who loses again under a claim has not lost a race: those requests
// are resolved with care, and at last alone.
func (c *committer) overtake(plans ...*plan) {
	var first []*request
	for _, p := range plans {
		switch {
		case p == nil:
		case p.ids != nil: // resolved against what was stored then
			c.again(p)
		default:
			for _, d := range p.done {
				if d.req.tries > 0 {
					c.redo = append(c.redo, d.req)
					continue
				}
				d.req.tries++
				first = append(first, d.req)
			}
		}
	}
	c.waiting = append(first, c.waiting...)
}

// again puts a plan's requests back, to be resolved with care.
func (c *committer) again(p *plan) {
	for _, d := range p.done {
		c.redo = append(c.redo, d.req)
	}
}

// acknowledge gives out receipts: the plan is durable.
func (c *committer) acknowledge(p *plan) {
	p.committed(c.l, time.Now())
	for _, d := range p.done {
		if d.refused != nil {
			d.req.fail(d.refused)
			continue
		}
		out := d.receipts
		if d.req.receipts != nil {
			out = d.req.receipts
			for i, r := range d.receipts {
				at := d.req.place[i]
				r.ConflictOf = out[at].ConflictOf
				out[at] = r
			}
			d.req.settle()
		}
		d.req.done <- result{receipts: out, err: d.req.partialErr}
	}
	c.l.metrics.appended(p)
	c.l.state.appended(p)
}
