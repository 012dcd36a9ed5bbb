package facade

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/store"
)

// Paging says which page of an answer is wanted.
type Paging struct {
	Cursor string // of the page before; "" for the first
	Limit  int    // 0: the default
}

const (
	defaultLimit = 50
	countLimit   = 10_000 // counting stops here
)

// Window is a range of occurred_at: After <= occurred_at < Before. nil: open.
type Window struct {
	After, Before *evidence.Micros
}

// cursor is what a next_cursor holds. It names no tenant and gives no right:
// changing one changes which of the own records are asked for, no more.
type cursor struct {
	Query string           `json:"q"` // digest of the query it belongs to
	Below [2]int64         `json:"b"` // the pin
	After [2]int64         `json:"a"`
	Time  evidence.Micros  `json:"t"`
	From  *evidence.Micros `json:"f,omitempty"`
	Until *evidence.Micros `json:"u,omitempty"`
	Extra string           `json:"x,omitempty"` // of answers that page in their own way
}

func (c cursor) encode() *string {
	b, err := json.Marshal(c)
	if err != nil {
		panic("facade: " + err.Error()) // plain data
	}
	s := base64.RawURLEncoding.EncodeToString(b)
	return &s
}

const (
	maxCursor = 1024
	// cursorAge is how long a cursor of a range that ends now can be used.
	cursorAge = 24 * time.Hour
)

func parseCursor(s, query string) (cursor, error) {
	var c cursor
	bad := problem.Malformed("cursor", "is not one that this server gave out")
	if len(s) > maxCursor {
		return c, bad
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || json.Unmarshal(b, &c) != nil || c.Below[0] < 1 || c.Below[1] < 0 {
		return cursor{}, bad
	}
	if c.Query != query {
		return cursor{}, problem.Malformed("cursor", "belongs to a query with other parameters")
	}
	return c, nil
}

// digest names a query, so that a cursor is used with no other.
func digest(parts ...any) string {
	b, err := json.Marshal(parts)
	if err != nil {
		panic("facade: " + err.Error()) // plain data
	}
	h := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(h[:9])
}

// limit checks the size of a page. byDefault is what is given where none is
// asked for, as far as the rules allow.
func (r Reader) limit(asked, byDefault int) (int, error) {
	switch {
	case asked == 0:
		return max(1, min(byDefault, r.MaxRows)), nil
	case asked < 0:
		return 0, problem.Invalid("limit", "must be at least 1")
	case asked > r.MaxRows:
		return 0, problem.Invalid("limit", fmt.Sprintf("must be at most %d for this credential", r.MaxRows))
	}
	return asked, nil
}

// window settles the range of a list: what is asked for, within what the rules
// allow.
func (r Reader) window(w Window, now evidence.Micros) (Window, error) {
	if w.After != nil && w.Before != nil && *w.After >= *w.Before {
		return w, problem.Invalid("occurred_before", "must be later than occurred_after")
	}
	if r.MaxRange == 0 {
		return w, nil
	}
	wide := evidence.Micros(r.MaxRange / time.Microsecond)
	end := now
	if w.Before != nil {
		end = *w.Before
	}
	if w.After == nil {
		after := end - wide
		w.After = &after
		return w, nil
	}
	if end-*w.After > wide {
		return w, problem.Invalid("occurred_after", fmt.Sprintf(
			"the range is longer than the %d days that this credential may ask for at once; give occurred_before too", r.MaxRange/(24*time.Hour)))
	}
	return w, nil
}

// laterWindow settles the range of a further page, which its cursor says. A cursor
// cannot widen what the rules allow; it may be somewhat old.
func (r Reader) laterWindow(w Window, now evidence.Micros) (Window, error) {
	if r.MaxRange > 0 {
		r.MaxRange += cursorAge
	}
	return r.window(w, now)
}

// apply puts a window into a query.
func (w Window) apply(q *store.Query) {
	q.From = w.After
	if w.Before != nil {
		until := *w.Before - 1
		q.Until = &until
	}
}

// tell says in filters_applied what the window is.
func (w Window) tell(applied map[string]any) {
	if w.After != nil {
		applied["occurred_after"] = *w.After
	}
	if w.Before != nil {
		applied["occurred_before"] = *w.Before
	}
}

// listing is one page of a list.
type listing struct {
	records []record
	answer.Page
}

// list reads one page of a list, newest first. q has the conditions and, where
// it has a range, that; applied is told to the reader.
func (f *Facade) list(ctx context.Context, r Reader, q store.Query, w Window, p Paging, applied map[string]any) (*listing, error) {
	limit, err := r.limit(p.Limit, defaultLimit)
	if err != nil {
		return nil, err
	}
	name := digest(q.Kind, q.Where, w, q.NewestRevision, q.NewestState, r.SyntheticOnly)
	if p.Cursor == "" {
		if w, err = r.window(w, f.now()); err != nil {
			return nil, err
		}
		if q.Below, err = f.cfg.Ledger.End(ctx, q.Tenant); err != nil {
			return nil, err
		}
	} else {
		c, err := parseCursor(p.Cursor, name)
		if err != nil {
			return nil, err
		}
		if w, err = r.laterWindow(Window{c.From, c.Until}, f.now()); err != nil {
			return nil, err
		}
		q.Below = store.Position{LogNo: int(c.Below[0]), Seq: c.Below[1]}
		q.After = &store.Position{LogNo: int(c.After[0]), Seq: c.After[1]}
	}
	w.apply(&q)
	w.tell(applied)
	q.Limit = limit + 1
	found, err := f.cfg.Ledger.Find(ctx, q)
	if err != nil {
		return nil, err
	}
	l := &listing{}
	var counting errgroup.Group // beside reading what was found
	if q.After == nil && len(found) <= limit {
		l.Total = int64(len(found))
	} else {
		counted := q
		counted.After = nil
		counting.Go(func() (err error) {
			l.Total, err = f.cfg.Ledger.Finder().Count(ctx, counted, countLimit)
			return err
		})
	}
	if len(found) > limit {
		found = found[:limit]
		last := found[limit-1].Position
		l.HasMore = true
		l.NextCursor = cursor{
			Query: name, Below: pair(q.Below), After: pair(last), From: w.After, Until: w.Before,
		}.encode()
	}
	l.records, err = f.fetch(ctx, r, q.Tenant, found)
	if err := errors.Join(err, counting.Wait()); err != nil {
		return nil, err
	}
	l.TotalIsExact = l.Total < countLimit
	l.FiltersApplied = applied
	parts := make([]evidence.Metadata, len(l.records))
	for i, rec := range l.records {
		parts[i] = rec.metadata()
	}
	l.Metadata = f.union(r, "", parts)
	return l, nil
}

func pair(p store.Position) [2]int64 { return [2]int64{int64(p.LogNo), p.Seq} }

// maxContent bounds the sealed content that is opened for one list of an answer, in
// bytes, unless it is that of one record: each may have 64 MiB, which may take no
// room at all where it is stored. firstOpened is how many records are opened before
// it is known how much they have.
const (
	maxContent  = 64 << 20
	firstOpened = 8
)

// fetch reads records that were found in a tenant's log. Where they have too much
// content for one answer the error is evidence.ErrTooLarge.
func (f *Facade) fetch(ctx context.Context, r Reader, tenant string, found []store.Found) ([]record, error) {
	out := make([]record, 0, len(found))
	room := maxContent
	for n := firstOpened; len(found) > 0; {
		if !r.Content {
			n = len(found)
		}
		part := found[:min(n, len(found))]
		found = found[len(part):]
		fetched, err := f.cfg.Ledger.Fetch(ctx, tenant, part, r.Content)
		if err != nil {
			return nil, err
		}
		for i := range fetched {
			out = append(out, record{&fetched[i], r})
			for _, o := range fetched[i].Open {
				room -= len(o.JSON)
			}
		}
		switch {
		case room < 0 && len(out) > 1:
			return nil, &evidence.FieldError{
				Field: "limit", Err: evidence.ErrTooLarge,
				Reason: fmt.Sprintf("takes in records with over %d MiB of content; ask for fewer at once", maxContent>>20),
			}
		case room > maxContent*3/4: // they have little
			n *= 8
		}
	}
	return out, nil
}
