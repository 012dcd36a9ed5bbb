package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/store"
)

// task is an export of a period that this process makes, or made. Its state is in the
// log; here is what is not.
type task struct {
	id          keptID
	done, total atomic.Int64 // leaves
	// Guarded by the registry's mutex.
	ended  time.Time // zero: it is being made, or waits
	reason string    // why it failed
}

// maxTasks bounds the tasks that are remembered once they have ended.
const maxTasks = 1024

// addTask makes the task of an entry, and names the export. The caller holds mu.
func (x *Exports) addTask(e *entry, req *Request) error {
	all, own := 0, 0
	for id, t := range x.tasks {
		if !t.ended.IsZero() {
			continue
		}
		if all++; id.tenant == req.Tenant {
			own++
		}
	}
	if own >= x.cfg.Waiting || all >= 4*x.cfg.Waiting {
		return fmt.Errorf("exports: %w: %d of this tenant are being made or wait", problem.ErrTooMany, own)
	}
	req.ExportID = x.cfg.Exporter.NewID()
	t := &task{id: keptID{req.Tenant, req.ExportID}}
	req.Progress = func(done, total int64) { t.done.Store(done); t.total.Store(total) }
	e.task, e.begun = t, make(chan struct{})
	x.tasks[t.id] = t
	return nil
}

// endTask says that a task has ended. The caller holds mu.
func (x *Exports) endTask(t *task, err error) {
	t.ended = x.cfg.Now()
	if err != nil {
		_, p := problem.Answer(err) // what is wrong inside is for the log
		t.reason = p.Detail
		x.cfg.Exporter.cfg.Logger.Warn("an export of a period failed", "export", t.id.export, "tenant", t.id.tenant, "err", err)
	}
}

// sweepTasks forgets tasks that ended long ago, or are too many. The caller holds mu.
func (x *Exports) sweepTasks(now time.Time) {
	var ended []*task
	for _, t := range x.tasks {
		if !t.ended.IsZero() {
			ended = append(ended, t)
		}
	}
	slices.SortFunc(ended, func(a, b *task) int { return a.ended.Compare(b.ended) })
	for i, t := range ended {
		if now.Sub(t.ended) < KeepPeriod && len(ended)-i <= maxTasks {
			break
		}
		delete(x.tasks, t.id)
	}
}

// caught makes an error of a panic: one export must not end the server.
func (x *Exports) caught(ctx context.Context, err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("export: broke off: %v", v)
		x.cfg.Exporter.cfg.Logger.ErrorContext(ctx, "an export broke off", "panic", v, "stack", string(debug.Stack()))
	}
}

// Start begins an export of a period and returns its state, which is pending: it is
// made in the background, one at a time. Which requests give the same export is as
// [Exports.Open] says. A failed one is begun anew by the same request. The error
// wraps problem.ErrTooMany where too many wait.
func (x *Exports) Start(ctx context.Context, req Request, key IdempotencyKey) (*State, error) {
	ctx = store.NoLag(ctx)
	if req.Profile != ProfilePeriod {
		return nil, invalid("profile", "must be period")
	}
	if err := x.check(ctx, req, key); err != nil {
		return nil, err
	}
	e, err := x.entry(ctx, req, key)
	if err != nil {
		return nil, err
	}
	select {
	case <-e.begun:
		return x.State(ctx, req.Tenant, e.task.id.export)
	case <-e.done:
		if e.err != nil {
			return nil, e.err
		}
		return x.State(ctx, req.Tenant, e.task.id.export)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// period records that an export is asked for, waits for its turn, and makes it. Where
// it does not come to that, the failure is recorded.
func (x *Exports) period(ctx context.Context, req Request, e *entry) (b *Bundle, err error) {
	j, err := x.cfg.Exporter.job(&req)
	if err != nil {
		return nil, err
	}
	logs, err := x.cfg.Exporter.cfg.Ledger.Logs(ctx, req.Tenant)
	if err != nil {
		return nil, err
	}
	alive := &x.cfg.Exporter.alive
	if err := alive.begin(ctx, req.ExportID); err != nil {
		return nil, err
	}
	defer alive.end(req.ExportID)
	if _, err := j.state(ctx, pending, func(*evidence.Record) {}); err != nil {
		return nil, fmt.Errorf("record the export: %w", err)
	}
	close(e.begun)
	defer func() {
		if err != nil {
			j.failed(ctx, err)
		}
	}()
	defer x.caught(ctx, &err)
	select {
	case x.turn <- struct{}{}:
		defer func() { <-x.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return j.bundle(ctx, logs)
}

// State is what is known of an export.
type State struct {
	Tenant string
	// Leaf is the record of its newest state, and Hash that leaf's.
	Leaf *evidence.Leaf
	Hash evidence.Hash
	// Status is pending, completed or failed. An export whose record says that it is
	// completed is pending until its bytes can be had.
	Status      string
	Done, Total int64  // leaves, of a pending one; 0 where not known
	Reason      string // why it failed, where this process knows
	// Stored describes its bytes; nil where they are not kept.
	Stored *Stored
}

// State returns the state of an export of a tenant; the error wraps
// evidence.ErrNotFound where the tenant's log knows none of this id.
func (x *Exports) State(ctx context.Context, tenant, exportID string) (*State, error) {
	ctx = store.NoLag(ctx)
	if err := x.dropErased(ctx, tenant); err != nil {
		return nil, err
	}
	// First what is in memory: a task that ends meanwhile is shown as it was.
	s := x.known(tenant, exportID)
	l := x.cfg.Exporter.cfg.Ledger
	found, err := l.Find(ctx, store.Query{
		Tenant: tenant, Kind: evidence.KindExport, NewestState: true, Limit: 1,
		Where: []store.Condition{{Field: "export_id", Values: []string{exportID}}},
	})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("export %q: %w", exportID, evidence.ErrNotFound)
	}
	records, err := l.Fetch(ctx, tenant, found, false)
	if err != nil {
		return nil, err
	}
	s.Leaf, s.Hash = records[0].Leaf, records[0].Hash
	s.Status = cmp.Or(s.Status, s.Leaf.Text("status"))
	return s, nil
}

// known returns what memory has of an export: a status only where the log's may be
// ahead of it.
func (x *Exports) known(tenant, exportID string) *State {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sweep(x.cfg.Now())
	s, id := &State{Tenant: tenant}, keptID{tenant, exportID}
	if k := x.kept[id]; k != nil {
		s.Stored = &k.Stored
	}
	t := x.tasks[id]
	if t == nil {
		return s
	}
	s.Done, s.Total, s.Reason = t.done.Load(), t.total.Load(), t.reason
	if t.ended.IsZero() {
		s.Status = pending
	}
	return s
}

// Recover records of every export that is still pending, and is made by no live
// process, that it failed. It is for the start; where there are other processes it is
// done again and again.
func (x *Exports) Recover(ctx context.Context) error {
	tenants, err := x.cfg.Exporter.cfg.Ledger.Tenants(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range tenants {
		if err := x.recoverTenant(ctx, t.Tenant); err != nil {
			errs = append(errs, fmt.Errorf("exports of %s: %w", t.Tenant, err))
		}
	}
	return errors.Join(errs...)
}

func (x *Exports) recoverTenant(ctx context.Context, tenant string) error {
	l := x.cfg.Exporter.cfg.Ledger
	end, err := l.End(ctx, tenant)
	if err != nil {
		return err
	}
	q := store.Query{
		Tenant: tenant, Kind: evidence.KindExport, NewestState: true, Below: end, Limit: 100,
		Where: []store.Condition{{Field: "status", Values: []string{pending}}},
	}
	for {
		page, err := l.Find(ctx, q)
		if err != nil || len(page) == 0 {
			return err
		}
		records, err := l.Fetch(ctx, tenant, page, true)
		if err != nil {
			return err
		}
		for i := range records {
			if err := x.recoverOne(ctx, tenant, &records[i]); err != nil {
				return err
			}
		}
		if len(page) < q.Limit {
			return nil
		}
		q.After = &page[len(page)-1].Position
	}
}

// recoverOne records that an export failed, unless a live process makes it.
func (x *Exports) recoverOne(ctx context.Context, tenant string, was *ledger.Fetched) error {
	exportID := was.Leaf.Text("export_id")
	alive := &x.cfg.Exporter.alive
	if alive.here(exportID) {
		return nil
	}
	elsewhere, done, err := alive.elsewhere(ctx, exportID)
	if err != nil || elsewhere {
		return err
	}
	defer done()
	// It may have ended between the two looks.
	if now, err := x.State(ctx, tenant, exportID); err != nil || now.Leaf.ID != was.Leaf.ID {
		return err
	}
	r, err := x.lost(tenant, was)
	if err != nil {
		return err
	}
	_, err = x.cfg.Exporter.cfg.Ledger.Append(ctx, tenant, []*evidence.Record{r}, ledger.AppendOptions{})
	return err
}

// recoverEvery is how often it is looked for exports of processes that died.
const recoverEvery = 5 * time.Minute

// recoverAgain does what Recover does, of all processes in one, until Close.
func (x *Exports) recoverAgain() {
	defer x.making.Done()
	tick := time.NewTicker(recoverEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-x.ctx.Done():
			return
		}
		held, err := x.cfg.Exporter.cfg.Lease(x.ctx, "exports/recover", recoverEvery-time.Second)
		if err == nil && held {
			err = x.Recover(x.ctx)
		}
		if err != nil && x.ctx.Err() == nil {
			x.cfg.Exporter.cfg.Logger.Warn("exports of other processes that were not finished are not recorded as failed", "err", err)
		}
	}
}

// lost returns the record that an export failed, after that of its state pending.
func (x *Exports) lost(tenant string, was *ledger.Fetched) (*evidence.Record, error) {
	now := x.cfg.Exporter.now()
	r := &evidence.Record{Kind: evidence.KindExport, ID: ledger.NewID(now), OccurredAt: now}
	r.SetText("source_domain", "LOGS")
	r.SetText("source_component", "LogExportService")
	r.SetText("system_id", "LogExportService")
	setSynthetic(r, tenant)
	for _, f := range was.Leaf.Pub {
		switch f.Field.Name {
		case "export_id", "scope", "format", "about_run", "from", "until", "retention_class", "compliance_tags":
			r.PutFact(f)
		}
	}
	r.SetText("status", failedNow)
	for _, path := range []string{"/requested_by", "/request", "/subject"} {
		if o, ok := was.Open[path]; ok { // else it is erased
			r.SetSealed(path, []byte(o.JSON))
		}
	}
	return r, r.Complete()
}
