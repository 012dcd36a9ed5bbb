package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// lateStatement is a store that fails once right behind the removal of an erasure, so that its statement
// comes later.
type lateStatement struct {
	finding
	id           string // of the first erasure
	noted, armed bool
}

func (s *lateStatement) SetSetting(ctx context.Context, name, value string) error {
	if strings.HasPrefix(name, ledger.SettingErasure) && value != "" && !s.noted {
		s.noted, s.armed = true, true
		s.id = name[strings.LastIndexByte(name, '/')+1:]
	}
	return s.Store.SetSetting(ctx, name, value)
}

var errLate = errors.New("later")

func (s *lateStatement) FindIDs(ctx context.Context, tenant string, ids []evidence.ID) (map[evidence.ID]store.Position, error) {
	if s.armed {
		s.armed = false
		return nil, errLate
	}
	return s.finding.FindIDs(ctx, tenant, ids)
}

// TestErasureFound: the orders of an erasure whose statement came late are found without a walk through
// those of others that stand between.
func TestErasureFound(t *testing.T) {
	ctx := context.Background()
	s := &lateStatement{}
	h := newHands()
	r := openRig(t, filepath.Join(t.TempDir(), "data"), h.clock, func(c *ledger.Config) { s.Store, c.Store = c.Store, s })
	r.tenant(t, "acme")
	const runs = 300
	lines := []string{step(9001, 1, content)}
	for run := range runs {
		lines = append(lines, step(1+run, 1, `,"prompt":"x","subject":"p"`))
	}
	r.append(t, "acme", lines...)
	first, err := r.Erase(ctx, "acme", ledger.Erasure{Run: fmt.Sprintf("%032x", 9001)})
	if !s.noted || s.armed {
		t.Fatalf("its statement is there: %+v %v", first, err)
	}
	h.move(time.Hour, time.Hour)
	second := r.erase(t, "acme", ledger.Erasure{Person: "p"})
	if _, err := r.FinishErasures(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	for id, orders := range map[string]int{s.id: 1, second.ID: runs} {
		s.found = 0
		got, err := r.Erasure(ctx, "acme", id)
		if err != nil || len(got.Receipts) != orders {
			t.Fatalf("%s: %d orders, not %d: %v", id, len(got.Receipts), orders, err)
		}
		if s.found > orders+2 {
			t.Errorf("%s: for %d orders %d records were found", id, orders, s.found)
		}
	}
}
