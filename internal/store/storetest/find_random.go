package storetest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/runledger/runledger/internal/store"
)

// FindRandom compares what Find and Count say to random queries with what
// looking at every row says: a test of Run, and for a backend to run again with
// its choices forced.
func FindRandom(t *testing.T, s store.Store) {
	revision := map[string]int64{}
	for no := 1; no <= 3; no++ { // logs of tenants take turns
		var logs []*testLog
		for _, tenant := range []string{"a", "b"} {
			logs = append(logs, openLogNo(t, s, store.LogRef{Tenant: tenant, No: no}))
		}
		fill(revision, uint64(no), 150, logs...)
	}
	models := map[string]*model{"nobody": {}}
	for _, tenant := range []string{"a", "b"} {
		models[tenant] = modelOf(t, s, tenant)
	}
	some := 0
	rapid.Check(t, func(rt *rapid.T) {
		q := drawQuery(rt, rapid.SampledFrom([]string{"a", "a", "b", "nobody"}).Draw(rt, "tenant"))
		m := models[q.Tenant]
		want := m.find(q)
		got, err := foundBy(s, q)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			rt.Fatalf("%+v (-want +got):\n%s", q, diff)
		}
		some += min(1, len(got))
		limit := rapid.SampledFrom([]int64{0, 1, 3, 1000}).Draw(rt, "count to")
		all := q
		all.After, all.Limit = nil, 1000
		n, err := s.Count(ctx, q, limit)
		if wanted := min(limit, int64(len(m.find(all)))); err != nil || n != wanted {
			rt.Fatalf("count of %+v to %d: %d, %v, want %d", q, limit, n, err, wanted)
		}
	})
	if some == 0 {
		t.Error("no query has found anything")
	}
}
