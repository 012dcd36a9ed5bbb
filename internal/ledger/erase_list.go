package ledger

import (
	"context"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/verify"
)

const (
	// statementPage is how many records of erasures are read at once where statements are
	// looked for.
	statementPage = 64
	// fewOrders are rather read than passed over; more than manyOrders take too much memory.
	fewOrders, manyOrders = 16, 1 << 18
)

// Erasures returns the statements of a tenant's erasures, the newest first and opened, at most limit of
// them, and whether there are more. before is the id of the last one of the page before, or "".
// It reads these, and few of the orders that stand between them, of which an erasure has one for
// each run.
func (l *Ledger) Erasures(ctx context.Context, tenant, before string, limit int) (list []Fetched, more bool, err error) {
	ctx = store.NoLag(ctx)
	var last *Fetched // the statement that comes right before, in this order
	end := store.Position{}
	if before != "" {
		f, err := l.ErasureStatement(ctx, tenant, before)
		if err != nil {
			return nil, false, err
		}
		last, end = f, f.Position
	}
	q := erasureQuery(tenant, end)
	q.Limit = statementPage
	for len(list) <= limit {
		found, err := l.Find(ctx, q)
		if err != nil {
			return nil, false, err
		}
		statements, err := l.statementsAmong(ctx, tenant, found)
		if err != nil {
			return nil, false, err
		}
		var next *store.Position
		for i := range found {
			f := statements[found[i].Position]
			if f != nil {
				list = append(list, *f)
			} else if last != nil {
				next = l.firstOrder(ctx, last, found[i].Position)
			}
			if last = f; next != nil {
				break
			}
		}
		if next == nil && len(found) < q.Limit {
			break
		}
		if next == nil {
			next = &found[len(found)-1].Position
		}
		q.After = next
	}
	if more = len(list) > limit; more {
		list = list[:limit]
	}
	return list, more, nil
}

// statementsAmong are those of records that are statements, opened.
func (l *Ledger) statementsAmong(ctx context.Context, tenant string, found []store.Found) (map[store.Position]*Fetched, error) {
	leaves, err := l.Fetch(ctx, tenant, found, false)
	if err != nil {
		return nil, err
	}
	var places []store.Found
	for i := range leaves {
		if isStatement(leaves[i].Leaf) {
			places = append(places, found[i])
		}
	}
	opened, err := l.Fetch(ctx, tenant, places, true)
	out := make(map[store.Position]*Fetched, len(opened))
	for i := range opened {
		out[opened[i].Position] = &opened[i]
	}
	return out, err
}

// firstOrder returns where the first of the orders of a statement stands, if the last one
// stands there, and nil where that is not so, or there are few: the statement has the digest of their leaf
// hashes, so it proves that there is nothing else between.
func (l *Ledger) firstOrder(ctx context.Context, statement *Fetched, last store.Position) *store.Position {
	s, err := verify.ParseErasureStatement([]byte(statement.Open["/after_state"].JSON))
	if err != nil || s.Orders <= fewOrders || s.Orders > manyOrders || s.Orders > last.Seq+1 {
		return nil
	}
	from := last.Seq + 1 - s.Orders
	hashes, err := l.leafHashes(ctx, statement.Tenant, last.LogNo, from, last.Seq+1)
	if err != nil || verify.OrdersDigest(hashes) != s.OrdersDigest {
		return nil // who reads them says what is wrong, if something is
	}
	return &store.Position{LogNo: last.LogNo, Seq: from}
}

// leafHashes are those of from <= seq < to, from the tiles. They are not proven.
func (l *Ledger) leafHashes(ctx context.Context, tenant string, logNo int, from, to int64) ([]evidence.Hash, error) {
	o, err := l.logByNo(ctx, tenant, logNo)
	if err != nil {
		return nil, err
	}
	st, err := l.stateWith(ctx, o, to-1)
	if err != nil {
		return nil, err
	}
	read := hashReader{&st.tree, l.tileOf(ctx, o.LogRef)}
	const width = 1 << tileHeight
	var hashes []evidence.Hash
	for n := from / width; n*width < to; n++ {
		tile, err := read.hashes(0, n)
		if err != nil {
			return nil, err
		}
		begin, end := max(from-n*width, 0), min(to-n*width, width)
		if end > int64(len(tile)) {
			return nil, errNoHash
		}
		hashes = append(hashes, tile[begin:end]...)
	}
	return hashes, nil
}
