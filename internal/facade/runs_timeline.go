package facade

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// timeline reads records in order of time, ties by log number and leaf index,
// page by page. Its lanes are the queries that records come from; a list of an
// answer may be merged of several. It pins the ends of the logs when the first
// page is read, so that pages neither repeat nor skip while records arrive.
type timeline struct {
	f           *Facade
	r           Reader
	name        string         // digest of what is asked for
	own, shared store.Position // pins; shared is that of the system tenant's log
	lanes       []store.Query
	timelineState
}

// timelineState is what the cursor of a timeline carries.
type timelineState struct {
	Shared [2]int64 `json:"s,omitzero"`
	// Marks say for each lane where the page ended: occurred_at, log number and
	// leaf index of its last record; null where none has come, empty where no
	// more will.
	Marks [][]int64 `json:"m"`
	// Center and CenterSource are those of a replay: a run that ends between two
	// pages must not move its window.
	Center       int64  `json:"c,omitempty"`
	CenterSource string `json:"o,omitempty"`
}

// timeline begins or goes on with reading. name is the digest of what is asked
// for. withShared says that a lane of the system tenant's log will come.
func (f *Facade) timeline(ctx context.Context, r Reader, name, from string, withShared bool) (*timeline, error) {
	l := &timeline{f: f, r: r, name: name}
	if from != "" {
		c, err := parseCursor(from, name)
		if err != nil {
			return nil, err
		}
		if json.Unmarshal([]byte(c.Extra), &l.timelineState) != nil || !evidence.Micros(l.Center).InRange() {
			return nil, badCursor()
		}
		l.own = positionOf(c.Below)
		l.shared = positionOf(l.Shared)
		return l, nil
	}
	var err error
	if l.own, err = f.cfg.Ledger.End(ctx, r.Tenant); err != nil {
		return nil, err
	}
	if withShared {
		if l.shared, err = f.cfg.Ledger.End(ctx, evidence.SystemTenant); err != nil {
			return nil, err
		}
		l.Shared = pair(l.shared)
	}
	return l, nil
}

// lane adds a query and returns its number. Lanes are added in the same order
// for every page.
func (l *timeline) lane(q store.Query) int {
	q.Below = l.own
	if q.Tenant != l.r.Tenant {
		q.Below = l.shared
	}
	q.Order = store.ByTime
	l.lanes = append(l.lanes, q)
	if len(l.Marks) < len(l.lanes) {
		l.Marks = append(l.Marks, nil)
	}
	return len(l.lanes) - 1
}

// laneRecord is a record that was found in a lane.
type laneRecord struct {
	lane int
	store.Found
}

// read returns the next records of some lanes, merged, at most limit, and
// whether there are more.
func (l *timeline) read(ctx context.Context, limit int, lanes ...int) ([]record, bool, error) {
	var list []laneRecord
	for _, n := range lanes {
		found, err := l.find(ctx, n, limit+1)
		if err != nil {
			return nil, false, err
		}
		for _, one := range found {
			list = append(list, laneRecord{n, one})
		}
	}
	slices.SortFunc(list, func(a, b laneRecord) int {
		return cmp.Or(cmp.Compare(a.OccurredAt, b.OccurredAt), cmp.Compare(a.LogNo, b.LogNo), cmp.Compare(a.Seq, b.Seq), a.lane-b.lane)
	})
	more := len(list) > limit
	left := map[int]bool{}
	for _, one := range list[min(len(list), limit):] {
		left[one.lane] = true
	}
	list = list[:min(len(list), limit)]
	for _, n := range lanes {
		if !left[n] {
			l.Marks[n] = []int64{}
		}
	}
	for _, one := range list {
		if left[one.lane] {
			l.Marks[one.lane] = []int64{int64(one.OccurredAt), int64(one.LogNo), one.Seq}
		}
	}
	records, err := l.fetch(ctx, list)
	return records, more, err
}

// find asks for what comes next in a lane.
func (l *timeline) find(ctx context.Context, lane, limit int) ([]store.Found, error) {
	q := l.lanes[lane]
	q.Limit = limit
	if m := l.Marks[lane]; m != nil {
		if len(m) != 3 {
			return nil, nil // it has ended
		}
		q.AfterTime = evidence.Micros(m[0])
		q.After = &store.Position{LogNo: int(m[1]), Seq: m[2]}
	}
	return l.f.cfg.Ledger.Find(ctx, q)
}

// fetch reads records of several tenants' logs, in the order of the list.
func (l *timeline) fetch(ctx context.Context, list []laneRecord) ([]record, error) {
	out := make([]record, len(list))
	byTenant := map[string][]int{}
	var tenants []string
	for i, one := range list {
		tenant := l.lanes[one.lane].Tenant
		if byTenant[tenant] == nil {
			tenants = append(tenants, tenant)
		}
		byTenant[tenant] = append(byTenant[tenant], i)
	}
	for _, tenant := range tenants {
		found := make([]store.Found, 0, len(list))
		for _, i := range byTenant[tenant] {
			found = append(found, list[i].Found)
		}
		records, err := l.f.fetch(ctx, l.r.of(tenant), tenant, found)
		if err != nil {
			return nil, err
		}
		for n, i := range byTenant[tenant] {
			out[i] = records[n]
		}
	}
	return out, nil
}

// back gives back what of the last page of a lane was not used: the next one
// begins behind the last of these records, of which there is at least one.
func (l *timeline) back(lane int, used []record) {
	last := used[len(used)-1]
	l.Marks[lane] = []int64{int64(last.Leaf.OccurredAt), int64(last.LogNo), last.Seq}
}

// next is the cursor of the next page.
func (l *timeline) next() *string {
	b, err := json.Marshal(l.timelineState)
	if err != nil {
		panic("facade: " + err.Error()) // plain data
	}
	return cursor{Query: l.name, Below: pair(l.own), Extra: string(b)}.encode()
}
