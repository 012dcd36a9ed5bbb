package ledger_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// finding is a store that counts what it finds.
type finding struct {
	store.Store
	found int
}

func (s *finding) Find(ctx context.Context, q store.Query, fn func(store.Found) error) error {
	return s.Store.Find(ctx, q, func(f store.Found) error {
		s.found++
		return fn(f)
	})
}

// TestErasureList: a page of the list costs what is in it, however many records the erasures
// have; and has all of them, also where their records do not stand right before the statement.
func TestErasureList(t *testing.T) {
	s := &finding{}
	r := openRig(t, filepath.Join(t.TempDir(), "data"), func(c *ledger.Config) { s.Store, c.Store = c.Store, s })
	r.tenant(t, "acme")
	const people, runs = 4, 300
	var want []string
	for p := range people {
		var lines []string
		for run := range runs {
			lines = append(lines, step(1+run+p*runs, 1, fmt.Sprintf(`,"prompt":"x","subject":"p%d"`, p)))
		}
		r.append(t, "acme", lines...)
	}
	r.append(t, "acme", step(9001, 1, content), step(9002, 1, content))
	erase := func(e ledger.Erasure) {
		t.Helper()
		want = append(want, r.erase(t, "acme", e).ID)
	}
	for p := range people {
		erase(ledger.Erasure{Person: fmt.Sprintf("p%d", p)})
		if p == 1 {
			erase(ledger.Erasure{Run: fmt.Sprintf("%032x", 9001)})
		}
	}
	erase(ledger.Erasure{Run: fmt.Sprintf("%032x", 9002)})
	slices.Reverse(want)
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []string
		for before, more := "", true; more; {
			s.found = 0
			list, rest, err := r.Erasures(context.Background(), "acme", before, limit)
			if err != nil {
				t.Fatal(err)
			}
			if s.found > 64*(len(list)+2) {
				t.Errorf("for a page of %d, %d records were found", len(list), s.found)
			}
			for i := range list {
				if list[i].Open["/after_state"].JSON == "" {
					t.Errorf("%s is not opened", list[i].Leaf.Text("entity_id"))
				}
				got = append(got, list[i].Leaf.Text("entity_id"))
			}
			before, more = got[len(got)-1], rest
			if more && len(list) != limit {
				t.Fatalf("a page of %d of %d, and there is more", len(list), limit)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("by %d: %v, not %v", limit, got, want)
		}
	}
}
