package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

func TestMoveLeaves(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.MoveAfter, c.UnitLeaves = 20*24*time.Hour, 256 })
	before := r.allProofs()
	res := r.expire(RunRequest{})
	if len(res.Archived) < 2 || res.Segments == 0 {
		t.Fatalf("%d units, %d segments", len(res.Archived), res.Segments)
	}
	list, err := r.Archives(context.Background(), tenant)
	if err != nil || !cmp.Equal(list.Units, res.Archived) {
		t.Errorf("%v: %s", err, cmp.Diff(list.Units, res.Archived))
	}
	for i, u := range list.Units {
		if i > 0 && u.From != list.Units[i-1].To || i == 0 && u.From != 0 {
			t.Errorf("unit %d begins at %d", i, u.From)
		}
	}
	var moved []store.Expiry
	err = r.db.Expiries(context.Background(), tenant, func(e store.Expiry) error {
		if e.Table == store.TableLeaves {
			moved = append(moved, e)
		}
		return nil
	})
	if err != nil || len(moved) == 0 || moved[0].From != 0 {
		t.Errorf("%+v %v", moved, err)
	}
	// From the archive they are read as before.
	r.sameLeaves(before)
	r.sound()
	again := r.expire(RunRequest{})
	if again.Segments != 0 || len(again.Archived) != 0 {
		t.Errorf("again: %+v", again)
	}
}

// TestMoveLeavesWhateverFails: an erasure that cannot be finished keeps no leaves in the database.
func TestMoveLeavesWhateverFails(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRig(t, func(c *Config) { c.MoveAfter, c.UnitLeaves = 20*24*time.Hour, 256 })
	if err := r.db.SetSetting(ctx, ledger.SettingErasure+tenant+"/erasure-000000000000", "no note"); err != nil {
		t.Fatal(err)
	}
	res, err := r.Expire(ctx, tenant, RunRequest{}, Actor{Human: "op"})
	if !errors.Is(err, evidence.ErrTampered) || res.Segments == 0 {
		t.Errorf("%d leaf segments left the database: %v", res.Segments, err)
	}
}

// TestRetire: the keys of days whose content is gone are destroyed.
func TestRetire(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	days := func() (out []string) {
		keys, err := r.db.DataKeys(context.Background(), tenant, "", "")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if k.Scope == store.ScopeDay {
				out = append(out, k.Label)
			}
		}
		return out
	}
	oldest, through := ago(historyDays).Format(time.DateOnly), ago(llmDays+1).Format(time.DateOnly)
	if !slices.Contains(days(), oldest) || !slices.Contains(days(), through) {
		t.Fatalf("%v", days())
	}
	res := r.expire(RunRequest{})
	for _, label := range days() {
		if label <= through && !strings.HasPrefix(label, "kept") {
			t.Errorf("the key of %s is there", label)
		}
	}
	if res.Retired == 0 || !slices.Contains(days(), ago(llmDays).Format(time.DateOnly)) {
		t.Errorf("%d keys retired, left: %v", res.Retired, days())
	}
	r.sound() // what is kept was sealed anew

	// With content in the archive they stay.
	r = newRig(t, nil)
	if _, err := r.SetPolicy(context.Background(), tenant, PolicyChange{Class: evidence.ClassLLMRuns, ArchiveContent: ptr(true), Reason: "x"}, Actor{}); err != nil {
		t.Fatal(err)
	}
	res = r.expire(RunRequest{})
	if res.Retired != 0 || !slices.Contains(days(), oldest) || !res.Archived[0].Sealed {
		t.Errorf("%d keys retired; %+v", res.Retired, res.Archived)
	}
	shown, err := r.Show(context.Background(), tenant, ShowRequest{Run: "run-100", Content: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(shown.Records) != 3 || shown.Records[0].Fields["/prompt"] != `"secret of run-100"` {
		t.Errorf("%+v", shown)
	}
	if plain, err := r.Show(context.Background(), tenant, ShowRequest{Run: "run-100"}); err != nil || len(plain.Records) != 3 || plain.Records[0].Fields != nil {
		t.Errorf("%v %+v", err, plain)
	}
}
