package lifecycle

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
}

// TestNothingOpensWhatExpired: the archive has a run's leaves and nothing of its content, no key is left that opened it,
// even where a policy of an earlier version asked to archive content, and so nothing is left of it to be erased.
func TestNothingOpensWhatExpired(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRig(t, nil)
	old := r.auditRecord(eventPolicy, evidence.ClassLLMRuns, Actor{}, "a duty")
	old.SetText("limit_value", "90")
	old.SetText("limit_unit", "days")
	old.SetSealed("/after_state", []byte(`{"archive":true,"archive_content":true,"class":"llm_runs","days":90}`))
	if _, err := r.append(ctx, tenant, old); err != nil {
		t.Fatal(err)
	}
	copies := map[string]store.SealedSegment{} // of before, as a backup has them
	err := r.db.RunRecords(ctx, tenant, "run-100", func(x store.RunRecord) error {
		seg, err := r.db.SealedSegment(ctx, tenant, store.SegmentRef{LogNo: x.LogNo, No: x.Segment})
		seg.Data = slices.Clone(seg.Data)
		copies[fmt.Sprint(x.Segment)] = seg
		return err
	})
	if err != nil || len(copies) == 0 {
		t.Fatal(len(copies), err)
	}
	if res := r.expire(RunRequest{}); len(res.Archived) == 0 || res.Retired == 0 {
		t.Fatalf("%+v", res)
	}
	logs, err := r.db.Logs(ctx, tenant)
	if err != nil {
		t.Fatal(err)
	}
	for no, seg := range copies {
		if open, err := r.sealer.Open(ctx, r.db, tenant, logs[0].Origin, seg); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("segment %s: %v, %v", no, open, err)
		}
	}
	shown, err := r.Show(ctx, tenant, ShowRequest{Run: "run-100"})
	if err != nil || len(shown.Records) != 3 || !strings.Contains(shown.Records[0].Leaf, `"run":"run-100"`) {
		t.Fatalf("%+v, %v", shown, err)
	}
	err = filepath.WalkDir(filepath.Join(r.base, "archive"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, seg := range copies {
			if bytes.Contains(b, seg.Data) || bytes.Contains(b, []byte(base64.StdEncoding.EncodeToString(seg.Data)[:64])) || strings.Contains(path, "sealed") {
				t.Errorf("%s has content", path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []ErasureRequest{{Run: "run-100"}, {Subject: "sue-run-100"}} {
		q.Reason = "asked for"
		if _, err := r.Erase(ctx, tenant, q, Actor{"op"}); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	r.sound()
}

// TestArchiveGone: behind units that are not there nothing is written, and nothing is shown from a memory of them.
func TestArchiveGone(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRig(t, nil)
	if _, err := r.Archive(ctx, tenant, ArchiveRequest{}, Actor{"op"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Show(ctx, tenant, ShowRequest{Run: "run-050"}); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(r.base, "archive")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	r.add(step("later", today, 1, ""))
	if out, err := r.Archive(ctx, tenant, ArchiveRequest{}, Actor{"op"}); !errors.Is(err, evidence.ErrUnavailable) || len(out.Units) > 0 {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := os.Stat(filepath.Join(dir, tenant)); err == nil {
		t.Error("a new archive was begun")
	}
	if out, err := r.Show(ctx, tenant, ShowRequest{Run: "run-050"}); err == nil {
		t.Errorf("shown: %+v", out)
	}
	if err := errors.Join(os.RemoveAll(dir), os.Rename(dir+".away", dir)); err != nil {
		t.Fatal(err)
	}
	if out, err := r.Archive(ctx, tenant, ArchiveRequest{}, Actor{"op"}); err != nil || len(out.Units) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
}
