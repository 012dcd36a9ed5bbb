package ledger

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/runledger/runledger/internal/store"
)

// storedRuns is a store that has these runs.
type storedRuns struct {
	store.Reader
	states map[string]store.RunState
}

func (s storedRuns) Runs(_ context.Context, _ string, runs []string) (map[string]store.RunState, error) {
	out := map[string]store.RunState{}
	for _, run := range runs {
		if st, ok := s.states[run]; ok {
			out[run] = st
		}
	}
	return out, nil
}

// TestRunCacheExpire: however often another process writes, a state that was checked and is still the same
// is not checked again, and one that is another is.
func TestRunCacheExpire(t *testing.T) {
	t.Parallel()
	s := storedRuns{states: map[string]store.RunState{}}
	for i := range 4 {
		run := fmt.Sprint("run ", i)
		s.states[run] = store.RunState{Run: run, NextN: 1}
	}
	c := newRunCache()
	checked := []string{}
	load := func(want []string, runs ...string) {
		t.Helper()
		checked = checked[:0]
		err := c.load(t.Context(), s, "acme", runs, func(st store.RunState) error {
			checked = append(checked, st.Run)
			return nil
		})
		if err != nil || !slices.Equal(checked, want) {
			t.Errorf("checked %q, want %q, %v", checked, want, err)
		}
	}
	load([]string{"run 0", "run 1"}, "run 0", "run 1")
	c.expire()
	load([]string{"run 2"}, "run 2")
	c.expire()
	load([]string{"run 3"}, "run 0", "run 3")
	s.states["run 1"] = store.RunState{Run: "run 1", NextN: 2} // by another process
	c.expire()
	c.expire()
	load([]string{"run 1"}, "run 0", "run 1", "run 2", "run 3")
	load([]string{}, "run 0", "run 1", "run 2", "run 3")
}
