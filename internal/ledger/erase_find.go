package ledger

import (
	"context"
	"fmt"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/verify"
)

// erasurePage is how many records of erasures are read at once.
const erasurePage = 512

// erasureID begins the ids of erasures; the entity of an order is the order's own id.
const erasureID = "erasure-"

// ErrNotExecuted says that there is no such erasure: none was executed under that id.
var ErrNotExecuted = fmt.Errorf("it was not executed: %w", evidence.ErrNotFound)

// Erasure returns an erasure as the log has it, by its id: for a certificate that could not
// be made when it was executed. Keys of the result is what the statement says; ScrubLater is not known.
// The error wraps ErrNotExecuted where no statement has that id, and evidence.ErrTampered
// where its orders are not there.
func (l *Ledger) Erasure(ctx context.Context, tenant, id string) (Erased, error) {
	ctx = store.NoLag(ctx)
	f, err := l.ErasureStatement(ctx, tenant, id)
	if err != nil {
		return Erased{}, err
	}
	body, ok := f.Open["/after_state"]
	if !ok {
		return Erased{}, fmt.Errorf("erasure %s: %w: its statement does not open", id, evidence.ErrTampered)
	}
	s, err := verify.ParseErasureStatement([]byte(body.JSON))
	if err == nil && (s.ErasureID != id || s.TenantID != tenant) {
		err = fmt.Errorf("it is about %s of %s", s.ErasureID, s.TenantID)
	}
	if err != nil {
		return Erased{}, fmt.Errorf("erasure %s: %w: leaf %d is no statement of it: %w", id, evidence.ErrTampered, f.Seq, err)
	}
	out := Erased{
		Records: int(s.Records), Fields: int(s.Fields), Keys: int(s.KeysDestroyed), Runs: int(s.Runs),
		ID: id, At: s.ExecutedAt, Statement: receiptFound(f), Body: body.JSON,
	}
	if out.Receipts, err = l.ordersOf(ctx, tenant, f.Position, s); err != nil {
		return Erased{}, fmt.Errorf("erasure %s: %w", id, err)
	}
	return out, nil
}

// ErasureStatement returns the record of an erasure as a whole, by its id, with what of it opens. The error
// wraps ErrNotExecuted where there is none.
func (l *Ledger) ErasureStatement(ctx context.Context, tenant, id string) (*Fetched, error) {
	if _, err := l.current(ctx, tenant); err != nil {
		return nil, err
	}
	rid := evidence.NaturalID(tenant, evidence.KindAudit, statementKey(id))
	found, err := l.store.FindIDs(ctx, tenant, []evidence.ID{rid})
	if err != nil {
		return nil, err
	}
	at, ok := found[rid]
	if !ok {
		return nil, fmt.Errorf("erasure %q: %w", id, ErrNotExecuted)
	}
	place, err := l.Place(ctx, tenant, at)
	if err != nil {
		return nil, err
	}
	list, err := l.Fetch(ctx, tenant, []store.Found{place}, true)
	if err != nil {
		return nil, err
	}
	f := &list[0]
	if !ServerErasure(f.Leaf) || f.Leaf.Text("entity_id") != id {
		return nil, fmt.Errorf("erasure %s: %w: leaf %d does not state it", id, evidence.ErrTampered, f.Seq)
	}
	return f, nil
}

// madeBefore is how long before ExecutedAt of its statement the records of an erasure were made, at
// most: right before it, unless the clock was set.
const madeBefore = evidence.Micros(10 * 60 * 1e6)

// ordersOf returns the records with targets that a statement sums up: they were
// appended together, so they stand side by side before it, and their leaf hashes make its digest.
// They are looked for where they belong by time, however far before the statement that is, and everywhere
// only where they are not there.
func (l *Ledger) ordersOf(ctx context.Context, tenant string, statement store.Position, s *verify.ErasureStatement) ([]Receipt, error) {
	from, until := s.ExecutedAt-madeBefore, s.ExecutedAt
	q := erasureQuery(tenant, statement)
	q.From, q.Until = &from, &until
	list, err := l.ordersAmong(ctx, q, s)
	if err == nil && list == nil {
		list, err = l.ordersAmong(ctx, erasureQuery(tenant, statement), s)
	}
	if err == nil && list == nil {
		err = fmt.Errorf("%w: its %d orders are not in the log", evidence.ErrTampered, s.Orders)
	}
	return list, err
}

// ordersAmong returns the orders of a statement if they are among what a query finds, and else nil.
func (l *Ledger) ordersAmong(ctx context.Context, q store.Query, s *verify.ErasureStatement) ([]Receipt, error) {
	n := int(s.Orders)
	var back []Fetched // newest first
	for {
		page, err := l.fetchFound(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range page {
			if isStatement(page[i].Leaf) {
				continue
			}
			page[i].Raw = nil
			back = append(back, page[i])
			if len(back) < n || n == 0 {
				continue
			}
			if list := back[len(back)-n:]; together(list) && digestOf(list) == s.OrdersDigest {
				return receiptsOf(list), nil
			}
		}
		if len(page) < q.Limit {
			return nil, nil
		}
		q.After = &page[len(page)-1].Position
	}
}

// together reports whether records, newest first, stand side by side.
func together(list []Fetched) bool {
	first, last := list[len(list)-1].Position, list[0].Position
	return first.LogNo == last.LogNo && last.Seq-first.Seq == int64(len(list)-1)
}

func digestOf(list []Fetched) evidence.Hash {
	hashes := make([]evidence.Hash, 0, len(list))
	for i := range list {
		hashes = append(hashes, list[len(list)-1-i].Hash)
	}
	return verify.OrdersDigest(hashes)
}

func receiptsOf(list []Fetched) []Receipt {
	out := make([]Receipt, 0, len(list))
	for i := range list {
		out = append(out, receiptFound(&list[len(list)-1-i]))
	}
	return out
}

func receiptFound(f *Fetched) Receipt {
	return receiptOf(&openLog{Log: store.Log{LogRef: store.LogRef{Tenant: f.Tenant, No: f.LogNo}, Origin: f.Leaf.Log}}, f.Leaf, f.Hash)
}

func isStatement(leaf *evidence.Leaf) bool {
	return ServerErasure(leaf) && strings.HasPrefix(leaf.Text("entity_id"), erasureID)
}

func erasureQuery(tenant string, below store.Position) store.Query {
	return store.Query{
		Tenant: tenant, Kind: evidence.KindAudit, Order: store.Newest, Limit: erasurePage, Below: below,
		Where: []store.Condition{{Field: "event_type", Values: []string{eventErased}}},
	}
}

func (l *Ledger) fetchFound(ctx context.Context, q store.Query) ([]Fetched, error) {
	found, err := l.Find(ctx, q)
	if err != nil {
		return nil, err
	}
	return l.Fetch(ctx, q.Tenant, found, false)
}
