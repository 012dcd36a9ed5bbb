package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/verify"
)

const (
	// targetsRanges and targetsBytes bound the /targets of one record.
	targetsRanges = 4000
	targetsBytes  = 512 << 10
	// rangeBytes is the most that one range takes in JSON: two numbers of 16 digits.
	rangeBytes = len(`{"from":9007199254740991,"to":9007199254740991},`)
)

// OrderExpiry appends one RetentionApplied for each order (several where /targets would be
// too long), and writes down the expiries with it, in one transaction. Nothing is removed yet.
// The error is store.ErrHeld, evidence.ErrForbidden where the database refuses an order, or
// evidence.ErrConflict where what was chosen is too young by now: see judgeOrders.
func (l *Ledger) OrderExpiry(ctx context.Context, tenant string, orders []ExpiryOrder) ([]store.Expiry, []Receipt, error) {
	orders, err := l.splitOrders(ctx, tenant, orders)
	if err != nil || len(orders) == 0 {
		return nil, nil, err
	}
	known := map[store.Position]*evidence.Leaf{} // so that nobody waits for what an archive has
	if _, err := l.policiesOf(ctx, tenant, orders, known); err != nil {
		return nil, nil, fmt.Errorf("order expiry: %w", err)
	}
	var expiries []store.Expiry
	var receipts []Receipt
	err = l.control(ctx, tenant, func(ctx context.Context, c *committer) error {
		o, err := c.newest(tenant)
		if err != nil {
			return err
		}
		policies, err := l.policiesOf(ctx, tenant, orders, known)
		if err != nil {
			return err
		}
		records := make([]*evidence.Record, len(orders))
		for i := range orders {
			about, err := l.logByNo(ctx, tenant, orders[i].LogNo)
			if err != nil {
				return err
			}
			if records[i], err = l.retentionRecord(&orders[i], about, o); err != nil {
				return err
			}
		}
		p := c.newPlan()
		first := o.next.tree.size()
		if receipts, err = l.planOwn(ctx, p, o, records...); err != nil {
			p.restore(l)
			return err
		}
		lp := p.logPlan(o)
		if err = judgeOrders(policies, orders, lp.commit.Entries); err != nil {
			p.restore(l)
			return err
		}
		for i := range orders {
			by := store.Position{LogNo: o.No, Seq: first + int64(i)}
			for _, r := range orders[i].Ranges {
				lp.commit.Expiries = append(lp.commit.Expiries, store.Expiry{
					By: by, Table: orders[i].Table, LogNo: orders[i].LogNo, From: r.From, To: r.To,
					Before: orders[i].Before, Synthetic: orders[i].Class == evidence.ClassSynthetic,
				})
			}
		}
		expiries = lp.commit.Expiries
		return c.commitNow(ctx, p)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("order expiry: %w", err)
	}
	return expiries, receipts, nil
}

// judgeOrders judges the records of orders as verification will, by the policies of now and the time that
// they got. Since what is due was chosen a policy may have become longer, or the clock been set back; the database
// has a clock of its own, and what it lets pass would be a finding for ever.
func judgeOrders(policies []*evidence.Leaf, orders []ExpiryOrder, records []store.Entry) error {
	rules := verify.RetentionRules{Defaults: true}
	for _, leaf := range policies {
		rules.Next(leaf)
	}
	for i := range orders {
		if early := rules.Next(records[i].Leaf); early != nil {
			o := &orders[i]
			return &EarlyError{o.Table, o.Class, o.Before}
		}
	}
	return nil
}

// policiesOf returns the RetentionPolicyChanged records that hold for orders, where there are any. known has
// what was read before.
func (l *Ledger) policiesOf(ctx context.Context, tenant string, orders []ExpiryOrder, known map[store.Position]*evidence.Leaf) ([]*evidence.Leaf, error) {
	var out []*evidence.Leaf
	asked := map[string]bool{"": true} // no class
	for i := range orders {
		for _, class := range []string{evidence.KindOfTable(orders[i].Table).Class(), evidence.ClassSynthetic} {
			if asked[class] {
				continue
			}
			asked[class] = true
			leaf, err := l.newestPolicy(ctx, tenant, class, known)
			if err != nil {
				return nil, fmt.Errorf("policy of %s: %w", class, err)
			}
			if leaf != nil {
				out = append(out, leaf)
			}
		}
	}
	return out, nil
}

func (l *Ledger) newestPolicy(ctx context.Context, tenant, class string, known map[store.Position]*evidence.Leaf) (*evidence.Leaf, error) {
	found, err := l.Find(ctx, store.Query{
		Tenant: tenant, Kind: evidence.KindAudit, Order: store.Newest, Limit: 1,
		Where: []store.Condition{
			{Field: "event_type", Values: []string{eventPolicy}},
			{Field: "entity_type", Values: []string{"RETENTION"}},
			{Field: "entity_id", Values: []string{class}},
		},
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	at := found[0].Position
	if known[at] == nil {
		list, err := l.Fetch(ctx, tenant, found, false)
		if err != nil {
			return nil, err
		}
		known[at] = list[0].Leaf
	}
	return known[at], nil
}

// splitOrders makes several of an order whose /targets would be too long.
func (l *Ledger) splitOrders(ctx context.Context, tenant string, orders []ExpiryOrder) ([]ExpiryOrder, error) {
	most := min(targetsRanges, targetsBytes/rangeBytes)
	var out []ExpiryOrder
	for _, o := range orders {
		if len(o.Ranges) == 0 {
			return nil, &evidence.FieldError{Field: "ranges", Reason: "must not be empty", Err: evidence.ErrInvalid}
		}
		if len(o.Ranges) <= most {
			out = append(out, o)
			continue
		}
		for at := 0; at < len(o.Ranges); at += most {
			part := o
			part.Ranges = o.Ranges[at:min(at+most, len(o.Ranges))]
			n, err := l.countDue(ctx, tenant, &part)
			if err != nil {
				return nil, err
			}
			part.Rows = n
			out = append(out, part)
		}
	}
	return out, nil
}

// countDue counts the rows that an order is about.
func (l *Ledger) countDue(ctx context.Context, tenant string, o *ExpiryOrder) (n int64, err error) {
	kind := evidence.KindOfTable(o.Table)
	if kind == 0 {
		return o.Rows, nil
	}
	for _, r := range o.Ranges {
		err := l.store.Marks(ctx, store.LogRef{Tenant: tenant, No: o.LogNo}, kind, r.From, r.To, func(m *store.RowMark) error {
			if m.RecordedAt < o.Before && (m.Synthetic || o.Class != evidence.ClassSynthetic) {
				n++
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// retentionRecord makes the RetentionApplied of an order about a log. It will stand in
// the log newest.
func (l *Ledger) retentionRecord(o *ExpiryOrder, about, newest *openLog) (*evidence.Record, error) {
	r := l.auditRecord(evidence.MicrosOf(l.clock.Now()), eventRetention, "RETENTION", o.Table)
	r.SetText("rule_id", o.Class)
	r.SetText("limit_value", strconv.Itoa(o.Days))
	r.SetText("limit_unit", "days")
	if o.From != 0 {
		r.SetInt("valid_from", int64(o.From))
	}
	r.SetInt("valid_until", int64(o.Before))
	r.SetInt("record_count", o.Rows)
	if o.Table != store.TableLeaves {
		t := evidence.Targets{Ranges: o.Ranges}
		if about != newest {
			t.Log = about.Origin
		}
		r.SetSealed("/targets", t.JSON())
	}
	if len(o.Archive) > 0 {
		type unit struct {
			Unit     string `json:"unit"`
			Manifest string `json:"manifest"`
			Archive  string `json:"archive"`
		}
		var list []unit
		for _, u := range o.Archive {
			list = append(list, unit{u.Name, evidence.Checksum(u.Manifest), u.Archive})
		}
		text, err := json.Marshal(map[string]any{"archive": list})
		if err != nil {
			return nil, err
		}
		r.SetSealed("/after_state", text)
	}
	if o.Reason != "" {
		r.SetSealed("/action_reason", evidence.QuoteJSON(o.Reason))
	}
	if o.By != "" {
		r.SetHumanActor(o.By)
	}
	return r, nil
}
