package facade

import (
	"context"
	"math"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/store"
)

// source is one log's part of an answer: a query, and as whose reader its
// records are shown.
type source struct {
	reader Reader
	query  store.Query
}

// merge is one page of a list over the log of the reader's tenant and, second,
// the system tenant's.
type merge struct {
	f       *Facade
	r       Reader
	sources []source // with their pins and where the page begins
	w       Window
	limit   int
	name    string // digest of the query
	applied map[string]any
}

// openMerge settles size, range and pins of a page: from the cursor, or anew.
func (f *Facade) openMerge(ctx context.Context, r Reader, sources []source, w Window, p Paging, applied map[string]any) (*merge, error) {
	m := &merge{f: f, r: r, sources: sources, applied: applied}
	var err error
	if m.limit, err = r.limit(p.Limit, defaultLimit); err != nil {
		return nil, err
	}
	m.name = digest("merge", sources[0].query.Kind, sources[0].query.Where, w, r.SyntheticOnly)
	if p.Cursor == "" {
		err = m.begin(ctx, w)
	} else {
		err = m.resume(p.Cursor)
	}
	if err != nil {
		return nil, err
	}
	m.w.tell(applied)
	for i := range sources {
		m.w.apply(&sources[i].query)
		sources[i].query.Limit = m.limit + 1
	}
	return m, nil
}

func (m *merge) begin(ctx context.Context, w Window) (err error) {
	if m.w, err = m.r.window(w, m.f.now()); err != nil {
		return err
	}
	return m.f.pin(ctx, m.sources)
}

// pin bounds each source to what its log holds now.
func (f *Facade) pin(ctx context.Context, sources []source) (err error) {
	for i := range sources {
		q := &sources[i].query
		if q.Below, err = f.cfg.Ledger.End(ctx, q.Tenant); err != nil {
			return err
		}
	}
	return nil
}

// resume takes pins and places from a cursor: those of the own log stand where
// those of other lists do, those of the second log in Extra. A place of 0, 0 says
// that nothing of that log has been shown yet.
func (m *merge) resume(text string) error {
	c, err := parseCursor(text, m.name)
	if err != nil {
		return err
	}
	paged := m.r // as for other lists: a cursor may be somewhat old
	if paged.MaxRange > 0 {
		paged.MaxRange += cursorAge
	}
	if m.w, err = paged.window(Window{c.From, c.Until}, m.f.now()); err != nil {
		return err
	}
	below, after := [][2]int64{c.Below}, [][2]int64{c.After}
	if len(m.sources) > 1 {
		n, err := parseNumbers(c.Extra, 4)
		if err != nil {
			return err
		}
		below, after = append(below, [2]int64{n[0], n[1]}), append(after, [2]int64{n[2], n[3]})
	}
	for i := range m.sources {
		q := &m.sources[i].query
		q.Below = positionOf(below[i])
		if after[i] != [2]int64{} {
			at := positionOf(after[i])
			q.After = &at
		}
	}
	return nil
}

func (m *merge) cursor() *string {
	after := func(i int) [2]int64 {
		if a := m.sources[i].query.After; a != nil {
			return pair(*a)
		}
		return [2]int64{}
	}
	c := cursor{Query: m.name, Below: pair(m.sources[0].query.Below), After: after(0), From: m.w.After, Until: m.w.Before}
	if len(m.sources) > 1 {
		below, last := m.sources[1].query.Below, after(1)
		c.Extra = formatNumbers(int64(below.LogNo), below.Seq, last[0], last[1])
	}
	return c.encode()
}

// page reads the page, and moves the sources to where the next one begins.
func (m *merge) page(ctx context.Context) (*listing, error) {
	heads := make([]head, len(m.sources))
	for i, s := range m.sources {
		found, err := m.f.cfg.Ledger.Find(ctx, s.query)
		if err != nil {
			return nil, err
		}
		// recorded_at is in the leaf. Content is opened of what is shown only.
		if heads[i].leaves, err = m.f.fetch(ctx, closed(s.reader), s.query.Tenant, found); err != nil {
			return nil, err
		}
		heads[i].found = found
	}
	chosen := takeNewest(heads, m.limit)
	l := &listing{}
	for _, h := range heads {
		l.HasMore = l.HasMore || len(h.found) > h.taken
	}
	for i, h := range heads {
		if h.taken > 0 {
			last := h.found[h.taken-1].Position
			m.sources[i].query.After = &last
		}
	}
	if l.HasMore {
		l.NextCursor = m.cursor()
	}
	var err error
	if l.records, err = m.open(ctx, heads, chosen); err != nil {
		return nil, err
	}
	if l.Total, err = m.f.countAll(ctx, m.sources); err != nil {
		return nil, err
	}
	l.TotalIsExact = l.Total < countLimit
	l.FiltersApplied = m.applied
	l.Metadata = m.f.union(m.r, "", metadataOf(l.records))
	return l, nil
}

// head is what one source has for a page.
type head struct {
	found  []store.Found
	leaves []record
	taken  int // of them
}

// takeNewest merges: it returns for each record of the page whose it is.
func takeNewest(heads []head, limit int) (chosen []int) {
	for len(chosen) < limit {
		best := newestHead(heads)
		if best < 0 {
			break
		}
		heads[best].taken++
		chosen = append(chosen, best)
	}
	return chosen
}

// newestHead returns which source has the next record, or -1 where none has any.
func newestHead(heads []head) int {
	best := -1
	var newest evidence.Micros
	for i, h := range heads {
		if h.taken == len(h.leaves) {
			continue
		}
		if at := h.leaves[h.taken].Leaf.RecordedAt; best < 0 || at > newest {
			best, newest = i, at
		}
	}
	return best
}

// open returns the records of a page as the reader may see them.
func (m *merge) open(ctx context.Context, heads []head, chosen []int) ([]record, error) {
	bySource := make([][]record, len(heads))
	for i, h := range heads {
		bySource[i] = h.leaves
		if reader := m.sources[i].reader; reader.Content && h.taken > 0 {
			var err error
			if bySource[i], err = m.f.fetch(ctx, reader, reader.Tenant, h.found[:h.taken]); err != nil {
				return nil, err
			}
		}
	}
	out := make([]record, 0, len(chosen))
	for _, i := range chosen {
		out = append(out, bySource[i][0])
		bySource[i] = bySource[i][1:]
	}
	return out, nil
}

// countAll counts what the sources hold together, up to countLimit.
func (f *Facade) countAll(ctx context.Context, sources []source) (total int64, err error) {
	for _, s := range sources {
		if total >= countLimit {
			break
		}
		q := s.query
		q.After, q.AfterTime = nil, 0
		n, err := f.cfg.Ledger.Finder().Count(ctx, q, countLimit-total)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// closed returns the reader as one who sees no sealed content.
func closed(r Reader) Reader {
	r.Content = false
	return r
}

func positionOf(p [2]int64) store.Position { return store.Position{LogNo: int(p[0]), Seq: p[1]} }

// formatNumbers and parseNumbers write and read the Extra of a cursor.
func formatNumbers(numbers ...int64) string {
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = strconv.FormatInt(n, 10)
	}
	return strings.Join(texts, ".")
}

func parseNumbers(text string, count int) ([]int64, error) {
	parts := strings.Split(text, ".")
	numbers := make([]int64, 0, count)
	for _, part := range parts {
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil || n < 0 || n == math.MaxInt64 || part != strconv.FormatInt(n, 10) {
			return nil, badCursor()
		}
		numbers = append(numbers, n)
	}
	if len(numbers) != count {
		return nil, badCursor()
	}
	return numbers, nil
}

func badCursor() error { return problem.Malformed("cursor", "is not one that this server gave out") }
