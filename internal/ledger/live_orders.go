package ledger

import (
	"context"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Events of legal holds.
const (
	eventHoldPlaced   = "LegalHoldPlaced"
	eventHoldReleased = "LegalHoldReleased"
)

// orders are what a tenant's records of lifecycle say, by which the tables that the
// database's own guards believe are judged.
type orders struct {
	expiries map[store.Position]expiryOrder // by the place of the RetentionApplied
	placed   map[string]placedHold          // by id
	released map[string]store.Position
}

// expiryOrder is what a RetentionApplied says in the open.
type expiryOrder struct {
	table     string
	before    evidence.Micros
	synthetic bool
}

type placedHold struct {
	at          store.Position
	scope, run  string
	from, until evidence.Micros
}

func newOrders() orders {
	return orders{map[store.Position]expiryOrder{}, map[string]placedHold{}, map[string]store.Position{}}
}

// leaf notes the records of lifecycle.
func (o *orders) leaf(logNo int, l *evidence.Leaf) {
	if l.Kind != evidence.KindAudit {
		return
	}
	at := store.Position{LogNo: logNo, Seq: l.Seq}
	from, _ := l.Int("valid_from")
	until, _ := l.Int("valid_until")
	id := l.Text("entity_id")
	switch l.Text("event_type") {
	case eventRetention:
		o.expiries[at] = expiryOrder{id, evidence.Micros(until), l.Text("rule_id") == evidence.ClassSynthetic}
	case eventHoldPlaced:
		h := placedHold{at: at, scope: l.Text("rule_id"), run: l.Text("about_run")}
		if h.scope == store.HoldTime {
			h.from, h.until = evidence.Micros(from), evidence.Micros(until)
		}
		if _, twice := o.placed[id]; !twice {
			o.placed[id] = h
		}
	case eventHoldReleased:
		if _, twice := o.released[id]; !twice {
			o.released[id] = at
		}
	}
}

// readExpiries reads what may have left the tables, before that is judged.
func (t *tenantFold) readExpiries(ctx context.Context) (err error) {
	t.expiries, err = readExpiries(ctx, t.read, t.tenant)
	return err
}

// segmentReach bounds behind the first record of a sealed segment its others: they came
// in one batch.
const segmentReach = 1 << 17

// leaving reports whether content of a segment that begins at a leaf may be left over
// because rows are still being removed.
func (t *tenantFold) leaving(logNo int, first int64) bool {
	return slices.ContainsFunc(t.expiries, func(x store.Expiry) bool {
		return !x.Done && x.LogNo == logNo && first < x.To && x.From < first+segmentReach && x.Table != store.TableLeaves
	})
}

// checkExpiries compares what the database lets go with the records that order it.
func (t *tenantFold) checkExpiries(context.Context) error {
	type named struct {
		by  store.Position
		log string
	}
	targets := map[named][]stretch{}
	for _, x := range t.targets {
		if x.kind != 0 && len(x.Paths) == 0 {
			k := named{x.by, x.log}
			targets[k] = append(targets[k], stretch{x.From, min(x.To, x.before)})
		}
	}
	for k, list := range targets {
		targets[k] = joined(list)
	}
	for _, x := range t.expiries {
		bad := func(column, expected, found, message string) {
			t.finding(Finding{
				Code: CodeColumn, Log: t.origins[x.LogNo], Table: "expiries", Column: column, From: x.From, To: x.To,
				Expected: expected, Found: found, Message: message,
			})
		}
		order, known := t.orders.expiries[x.By]
		rows := evidence.KindOfTable(x.Table) != 0
		switch whole := (stretch{x.From, x.To}); {
		case !known:
			bad("by", "", fmt.Sprint(x.By), "what may leave a table is ordered by no RetentionApplied")
		case order.table != x.Table || !rows && x.Table != store.TableLeaves:
			bad("table", order.table, x.Table, "the table that something may leave is not the one that the record names")
		case rows && len(whole.without(targets[named{x.By, t.origins[x.LogNo]}])) > 0:
			bad("", "", "", "more may leave a table than the record names")
		case order.before != x.Before && rows:
			bad("before", order.before.String(), x.Before.String(), "what may leave a table is younger or older than the record says")
		case order.synthetic != x.Synthetic:
			bad("synthetic", fmt.Sprint(order.synthetic), fmt.Sprint(x.Synthetic), "the record says otherwise whether only synthetic records may go")
		}
	}
	return nil
}

// checkHolds compares the holds that the database believes with the records of their
// placing and release: what is held must not go because a row was altered.
func (t *tenantFold) checkHolds(ctx context.Context) error {
	var holds []store.Hold
	err := t.read.Holds(ctx, t.tenant, func(h store.Hold) error {
		holds = append(holds, h)
		return nil
	})
	if err != nil {
		return err
	}
	bad := func(at store.Position, column, expected, found, message string) {
		t.finding(Finding{
			Code: CodeColumn, Log: t.origins[at.LogNo], Table: "holds", Column: column, From: at.Seq, To: at.Seq + 1,
			Expected: expected, Found: found, Message: message,
		})
	}
	seen := map[string]bool{}
	runs := map[string]store.Position{} // that holds in force of scope run name
	for _, h := range holds {
		want, known := t.orders.placed[h.ID]
		released := t.orders.released[h.ID]
		if h.Scope != store.HoldTime {
			h.From, h.Until = 0, 0
		}
		seen[h.ID] = true
		switch {
		case !known:
			bad(h.Placed, "", "", h.ID, "a legal hold that no record places")
			continue
		case h.Placed != want.at:
			bad(want.at, "placed", fmt.Sprint(want.at), fmt.Sprint(h.Placed), "the legal hold was placed elsewhere")
		case h.Scope != want.scope || h.From != want.from || h.Until != want.until:
			bad(want.at, "scope", fmt.Sprint(want.scope, " ", want.from, " ", want.until), fmt.Sprint(h.Scope, " ", h.From, " ", h.Until),
				"the legal hold covers something else than its record says")
		case h.Released != released:
			message := "the release of the legal hold is not written down"
			if h.Released.LogNo != 0 {
				message = "the legal hold is ended, and no record there releases it"
			}
			bad(want.at, "released", fmt.Sprint(released), fmt.Sprint(h.Released), message)
		}
		if want.scope == store.HoldRun && released.LogNo == 0 {
			runs[want.run] = want.at
		}
	}
	for id, want := range t.orders.placed {
		if !seen[id] {
			bad(want.at, "", id, "", "the legal hold that a record places is missing")
		}
	}
	return t.checkHeldRuns(ctx, runs, bad)
}

// checkHeldRuns: the runs that holds in force are about are held.
func (t *tenantFold) checkHeldRuns(ctx context.Context, runs map[string]store.Position, bad func(at store.Position, column, expected, found, message string)) error {
	if len(runs) == 0 {
		return nil
	}
	names := make([]string, 0, len(runs))
	for run := range runs {
		names = append(names, run)
	}
	held, err := t.read.HeldRuns(ctx, t.tenant, names)
	if err != nil {
		return err
	}
	for run, at := range runs {
		if held[run] == "" {
			bad(at, "runs", run, "", "the run that the legal hold is about is not held")
		}
	}
	return nil
}
