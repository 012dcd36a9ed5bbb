package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// Expire archives and removes what is due. Where a class cannot go, the others do: its
// result says why, and if something failed the error does, too.
func (s *Service) Expire(ctx context.Context, tenant string, r RunRequest, by Actor) (RunResult, error) {
	out := emptyResult(tenant)
	if err := checkClass(r.Class); err != nil {
		return out, err
	}
	if len(r.Reason) > maxReason {
		return out, checkReason(r.Reason)
	}
	if err := s.known(ctx, tenant); err != nil {
		return out, err
	}
	release, err := s.begin(ctx, tenant)
	if err != nil {
		return out, err
	}
	defer release()
	if r.ConfirmClock {
		if err := s.confirmClock(ctx, tenant, r.Reason, by); err != nil {
			return out, err
		}
	}
	e := s.newExpiry(tenant, r, by)
	e.do(ctx, e.order)
	e.do(ctx, e.wholeMonths)
	e.do(ctx, e.finish)
	if !errors.Is(e.err, errBusy) { // it says nothing of what is due
		e.end()
	}
	if e.removed > 0 {
		names, err := s.clean(ctx)
		e.out.Dropped, e.err = append(e.out.Dropped, names...), errors.Join(e.err, err)
	}
	return e.result(), e.err
}

// guards says whether the database may be trusted to refuse what must not go: nothing is
// removed from one whose own protection was changed, whoever opened it.
func (s *Service) guards(ctx context.Context) (blocked, error) {
	list, err := s.cfg.Store.Guards(ctx)
	if err != nil {
		return blocked{}, fmt.Errorf("guards of the database: %w", err)
	}
	if len(list) == 0 {
		return blocked{}, nil
	}
	return blocked{reasonGuards, fmt.Sprintf("the database does not protect evidence as it must (runledger doctor says more): %s", list[0])}, nil
}

func emptyResult(tenant string) RunResult {
	return RunResult{TenantID: tenant, Classes: []ClassResult{}, Archived: []UnitInfo{}, Dropped: []string{}}
}

// expiry is one go at what is due of a tenant.
type expiry struct {
	s        *Service
	tenant   string
	req      RunRequest
	by       Actor
	at       evidence.Micros
	classes  []string
	found    map[string]*chosen
	policies []Policy
	blocked  map[string]blocked // by class
	done     map[string]*ClassResult
	out      RunResult
	archive  *archiving
	failed   error // of the archive
	ordered  bool  // something was
	removed  int64 // rows, sealed and leaf segments, keys, partitions
	// over: nothing more is to be done in this go, for err or what blocks it.
	over bool
	err  error
}

func (s *Service) newExpiry(tenant string, r RunRequest, by Actor) *expiry {
	e := &expiry{
		s: s, tenant: tenant, req: r, by: by, at: s.now(), classes: removable(), blocked: map[string]blocked{},
		done: map[string]*ClassResult{}, out: emptyResult(tenant),
	}
	if r.Class != "" {
		e.classes = []string{r.Class}
	}
	for _, class := range e.classes {
		e.done[class] = &ClassResult{Class: class, Tables: []TablePreview{}, Records: []string{}, Kept: []Kept{}}
	}
	return e
}

func (e *expiry) block(b blocked, classes ...string) {
	if len(classes) == 0 {
		classes = e.classes
	}
	for _, class := range classes {
		if _, asked := e.done[class]; asked {
			e.blocked[class] = b
		}
	}
}

func (e *expiry) result() RunResult {
	for _, class := range e.classes {
		c := e.done[class]
		c.Blocked = e.blocked[class].text
		if f := e.found[class]; f != nil {
			c.Kept = f.keptList()
		}
		e.out.Classes = append(e.out.Classes, *c)
	}
	return e.out
}

// do does a part of it, unless one before was the last.
func (e *expiry) do(ctx context.Context, part func(ctx context.Context) error) {
	if e.over {
		return
	}
	if err := part(ctx); err != nil {
		e.err, e.over = errors.Join(e.err, err), true
	}
}

// end says why what is due does not go.
func (e *expiry) end() {
	b := blocked{}
	for _, class := range e.classes {
		if x := e.blocked[class]; x.reason != "" && (e.found[class] == nil || e.found[class].rows > 0) {
			b = x
		}
	}
	switch {
	case e.err == nil || b.reason != "":
	case e.failed != nil:
		b = blocked{reasonArchive, e.err.Error()}
	default:
		b = blocked{reasonFailed, e.err.Error()}
	}
	e.s.setBlocked(e.tenant, b)
}

// order orders the expiry of what is due, once what was begun before is done. Nothing of it is
// removed yet.
func (e *expiry) order(ctx context.Context) error {
	s := e.s
	why, err := s.see(ctx, e.req.ConfirmClock)
	if err != nil {
		return err
	}
	b := blocked{reasonClock, why}
	if why == "" {
		if b, err = s.guards(ctx); err != nil {
			return err
		}
	}
	if b.text != "" {
		e.block(b)
		e.over = true
		return nil
	}
	h, err := s.holdsOf(ctx, e.tenant)
	if err != nil {
		return err
	}
	if len(h.tenant) > 0 {
		e.block(heldTenant(h.tenant))
		e.over = true
		return nil
	}
	if err := e.settle(ctx); err != nil {
		return err
	}
	policies, err := s.policies(ctx, e.tenant)
	if err != nil {
		return err
	}
	e.policies = policies
	e.archive = &archiving{s: s, tenant: e.tenant, checked: map[string]bool{}}
	if s.cfg.Archive == nil {
		e.block(s.archiveBlocks(ctx), archived(policies)...)
	}
	if err := e.choose(ctx, policies, h); err != nil {
		return err
	}
	e.failed = e.archiveDue(ctx, policies)
	e.out.Archived = append(e.out.Archived, e.archive.infos()...)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e.failed != nil {
		e.block(blocked{reasonArchive, "the archive fails: " + e.failed.Error()}, archived(policies)...)
		// Again, without the classes that stay for it: no range may lie across what stays.
		if err := e.choose(ctx, policies, h); err != nil {
			return errors.Join(e.failed, err)
		}
	}
	if err := e.orderTimely(ctx, h); err != nil {
		return errors.Join(e.failed, err)
	}
	return nil
}

// finish carries out what was ordered and is left, and then what follows from it.
func (e *expiry) finish(ctx context.Context) error {
	if err := e.steps(ctx); err != nil {
		return errors.Join(e.failed, err)
	}
	for _, class := range e.classes {
		if e.ordered && e.blocked[class].reason == "" {
			c, d := e.found[class], e.done[class]
			d.Removed, d.Tables = c.rows, c.tables()
		}
	}
	err := errors.Join(e.failed, e.retire(ctx))
	if e.failed == nil { // leaves move to the archive, whatever keys stay
		err = errors.Join(err, e.moveLeaves(ctx))
	}
	return err
}

func archived(policies []Policy) []string {
	var out []string
	for _, p := range policies {
		if p.Archive {
			out = append(out, p.Class)
		}
	}
	return out
}

func (e *expiry) choose(ctx context.Context, policies []Policy, h holds) error {
	goes := func(class string) bool {
		return slices.Contains(e.classes, class) && e.blocked[class].reason == ""
	}
	var err error
	e.found, err = e.s.selectDue(ctx, e.tenant, e.at, policies, h, goes, e.classes)
	return err
}

// archiveDue archives each log as far as something is due that the archive must have, or
// leaves are to leave the database, and checks the units that were written before.
func (e *expiry) archiveDue(ctx context.Context, policies []Policy) error {
	s := e.s
	if s.cfg.Archive == nil {
		return nil
	}
	logs, err := s.cfg.Store.Logs(ctx, e.tenant)
	if err != nil {
		return err
	}
	for _, lg := range logs {
		var to int64
		var due [][]evidence.TargetRange
		for _, p := range policies {
			if c := e.found[p.Class]; p.Archive && c != nil {
				for _, d := range c.due {
					if d.log.LogRef != lg.LogRef {
						continue
					}
					due = append(due, d.ranges)
					end, err := s.firstAfter(ctx, lg, c.before)
					if err != nil {
						return err
					}
					to = max(to, end)
				}
			}
		}
		if s.cfg.MoveAfter > 0 && e.req.Class == "" {
			end, err := s.firstAfter(ctx, lg, e.moveBefore())
			if err != nil {
				return err
			}
			to = max(to, end)
		}
		if err := e.archive.upTo(ctx, lg, to); err != nil {
			return err
		}
		for _, ranges := range due {
			if _, err := e.archive.covering(ctx, lg, ranges); err != nil {
				return err
			}
		}
	}
	return nil
}

// orderDue orders the expiry of what was chosen.
func (e *expiry) orderDue(ctx context.Context) error {
	var orders []ledger.ExpiryOrder
	for _, class := range e.classes {
		c := e.found[class]
		if e.blocked[class].reason != "" {
			continue
		}
		for _, d := range c.due {
			o := ledger.ExpiryOrder{
				LogNo: d.log.No, Table: d.kind.Table(), Ranges: d.ranges, From: d.from, Before: c.before,
				Class: class, Days: c.policy.Days, Rows: d.rows, Reason: e.reason("older than the policy of " + class), By: e.by.Human,
			}
			if c.policy.Archive {
				var err error
				if o.Archive, err = e.archive.covering(ctx, d.log, d.ranges); err != nil {
					return err
				}
			}
			orders = append(orders, o)
		}
	}
	if len(orders) == 0 {
		return nil
	}
	err := e.place(ctx, orders)
	e.ordered = err == nil
	return err
}

// forgetRanges drops what is long and needed no more once it is ordered.
func (e *expiry) forgetRanges() {
	for _, c := range e.found {
		for _, d := range c.due {
			d.ranges = nil
		}
	}
}

func (e *expiry) reason(otherwise string) string {
	if e.req.Reason != "" {
		return e.req.Reason
	}
	return otherwise
}

// place has the ledger order these. By what they go is on record then, be it the defaults.
func (e *expiry) place(ctx context.Context, orders []ledger.ExpiryOrder) error {
	if err := e.s.Acknowledge(ctx, e.tenant); err != nil {
		return err
	}
	_, receipts, err := e.s.cfg.Ledger.OrderExpiry(ctx, e.tenant, orders)
	if err != nil {
		return fmt.Errorf("order an expiry: %w", err)
	}
	return e.sortReceipts(ctx, receipts)
}

// sortReceipts notes the record of each class.
func (e *expiry) sortReceipts(ctx context.Context, receipts []ledger.Receipt) error {
	at := make([]store.Found, len(receipts))
	for i, r := range receipts {
		at[i] = store.Found{Position: store.Position{LogNo: r.LogNo, Seq: r.LeafIndex}, Segment: store.NoSegment, ActorSegment: store.NoSegment}
	}
	records, err := e.s.cfg.Ledger.Fetch(ctx, e.tenant, at, false)
	if err != nil {
		return err
	}
	for _, r := range records {
		if c := e.done[r.Leaf.Text("rule_id")]; c != nil {
			c.Records = append(c.Records, r.Leaf.ID.String())
		}
	}
	return nil
}

// steps carries out what was ordered, in small steps, and counts what is done by that.
func (e *expiry) steps(ctx context.Context) error {
	n, err := e.s.resume(ctx, e.tenant)
	e.removed += n
	return err
}

func (s *Service) steps(ctx context.Context, tenant string) (int64, error) {
	var rows int64
	for {
		began := time.Now()
		step, err := s.cfg.Ledger.ExpireStep(ctx, tenant)
		rows += step.Rows + int64(step.Segments)
		if err != nil {
			return rows, fmt.Errorf("carry out an expiry: %w", err)
		}
		if !step.More {
			return rows, nil
		}
		if err := s.pause(ctx, time.Since(began)); err != nil {
			return rows, err
		}
	}
}

func isNotFound(err error) bool { return errors.Is(err, evidence.ErrNotFound) }
