package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// allProofs proves leaves of all the log.
func (r *rig) allProofs() []*ledger.Proof {
	r.t.Helper()
	end, _, err := r.ledger.PublishNow(context.Background(), tenant, 1)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []*ledger.Proof
	for seq := int64(0); seq < end.Size; seq += 7 {
		p, err := r.ledger.ProveSeq(context.Background(), tenant, 1, seq)
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// sameLeaves checks that what was proven is proven still, and that the old proofs verify
// with their own checkpoints.
func (r *rig) sameLeaves(before []*ledger.Proof) {
	r.t.Helper()
	logs, err := r.ledger.Logs(context.Background(), tenant)
	if err != nil {
		r.t.Fatal(err)
	}
	key, err := c2sp.ParseVKey(logs[0].VKey)
	if err != nil {
		r.t.Fatal(err)
	}
	for i, p := range r.allProofs()[:len(before)] {
		old := before[i]
		if !bytes.Equal(p.Leaf, old.Leaf) || p.Index != old.Index {
			r.t.Errorf("leaf %d is another one", old.Index)
		}
		c, err := c2sp.Verify(old.Note, key)
		if err == nil {
			err = c2sp.CheckInclusion(old.Hashes, c.Size, c.Root, old.Index, evidence.LeafHash(p.Leaf))
		}
		if err != nil {
			r.t.Errorf("the old proof of leaf %d: %v", old.Index, err)
		}
	}
}

func TestExpire(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	before := r.allProofs()
	hold, err := r.PlaceHold(context.Background(), tenant, HoldRequest{Run: "run-095", Reason: "a case"}, Actor{Human: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	preview, err := r.Preview(context.Background(), tenant, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	res := r.expire(RunRequest{})

	// Removed is what is due, and what is kept has its reason.
	want := map[string]struct {
		removed int64
		kept    map[string]int64
	}{
		evidence.ClassLLMRuns:    {9 * 3, map[string]int64{whyHold: 3, whyHighRisk: 3, whyGoesOn: 3, whyOpen: 1}},
		evidence.ClassSystemLogs: {70 + 1, map[string]int64{whyBaseline: 3}},
		evidence.ClassLogExports: {0, map[string]int64{}},
		evidence.ClassSynthetic:  {3, map[string]int64{}},
	}
	for class, w := range want {
		got := r.class(res, class)
		if got.Removed != w.removed || got.Blocked != "" {
			t.Errorf("%s: %d removed (%s), not %d", class, got.Removed, got.Blocked, w.removed)
		}
		if d := cmp.Diff(w.kept, keptOf(got.Kept)); d != "" {
			t.Errorf("%s kept: %s", class, d)
		}
		if w.removed > 0 && len(got.Records) == 0 {
			t.Errorf("%s: no RetentionApplied is named", class)
		}
		for _, p := range preview.Classes {
			if p.Class == class && (p.Due != w.removed || !cmp.Equal(keptOf(p.Kept), w.kept) || p.Blocked != "") {
				t.Errorf("preview said %+v", p)
			}
		}
	}
	// So it is in the tables.
	runs, kinds := r.rows()
	for d := historyDays; d > 0; d-- {
		n, young := runs[fmt.Sprintf("run-%03d", d)], d <= llmDays || d == 95
		if d == 92 || d == 93 {
			n-- // what was said about it since
		}
		if young && n != 3 || !young && n != 0 {
			t.Errorf("the run of %d days ago has %d rows", d, n)
		}
	}
	for name, n := range map[string]int{"risky": 3, "late": 5, "open": 1, "made-up": 0, "made-up-now": 3} {
		if runs[name] != n {
			t.Errorf("run %s has %d rows, not %d", name, runs[name], n)
		}
	}
	if kinds[evidence.KindSystem] != 30+3+2 || kinds[evidence.KindExport] != 1 {
		t.Errorf("%v", kinds)
	}
	if kinds[evidence.KindAudit] < historyDays {
		t.Errorf("%d audit rows are left", kinds[evidence.KindAudit])
	}
	r.sound()
	r.noText("secret of run-091")
	r.sameLeaves(before)
	// A second go has nothing to do.
	again := r.expire(RunRequest{})
	for _, c := range again.Classes {
		if c.Removed != 0 || len(c.Records) != 0 {
			t.Errorf("again: %+v", c)
		}
	}
	// Released, it goes.
	if _, err := r.ReleaseHold(context.Background(), tenant, hold.ID, "closed", Actor{Human: "ada"}); err != nil {
		t.Fatal(err)
	}
	if got := r.class(r.expire(RunRequest{}), evidence.ClassLLMRuns); got.Removed != 3 {
		t.Errorf("released: %+v", got)
	}
	r.sound()
}

// noText checks that the database's files do not have a text. Content is encrypted, so it
// is for the day that it is not.
func (r *rig) noText(text string) {
	r.t.Helper()
	err := filepath.WalkDir(filepath.Join(r.base, "data"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), text) {
			r.t.Errorf("%s has %q", path, text)
		}
		return err
	})
	if err != nil {
		r.t.Error(err)
	}
}

// TestRangesLeaveOutWhatStays: no record of a kind that stays is covered by an order about
// that kind.
func TestRangesLeaveOutWhatStays(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "no rule of a database is in it")
	r := newRig(t, nil)
	r.expire(RunRequest{})
	ref := store.LogRef{Tenant: tenant, No: 1}
	var list []store.Expiry
	err := r.db.Expiries(context.Background(), tenant, func(e store.Expiry) error { list = append(list, e); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatal("no expiry")
	}
	for _, e := range list {
		if !e.Done {
			t.Errorf("not done: %+v", e)
		}
		k := evidence.KindOfTable(e.Table)
		err := r.db.Marks(context.Background(), ref, k, e.From, e.To, func(m *store.RowMark) error {
			t.Errorf("%+v covers leaf %d, which stays", e, m.Seq)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestExpireOneClass(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "no rule of a database is in it")
	r := newRig(t, nil)
	res := r.expire(RunRequest{Class: evidence.ClassSynthetic, Reason: "tidy"})
	if len(res.Classes) != 1 || res.Classes[0].Removed != 3 || len(res.Archived) != 0 || res.Retired != 0 {
		t.Errorf("%+v", res)
	}
	if runs, _ := r.rows(); runs["run-100"] != 3 || runs["made-up"] != 0 {
		t.Errorf("%v", runs)
	}
	for class, field := range map[string]string{"audit": "class", "nonsense": "class"} {
		_, err := r.Expire(context.Background(), tenant, RunRequest{Class: class}, Actor{})
		isFieldError(t, err, field)
	}
	if _, err := r.Expire(context.Background(), "nobody", RunRequest{}, Actor{}); !errors.Is(err, evidence.ErrNotFound) {
		t.Error(err)
	}
}

func isFieldError(t testing.TB, err error, field string) {
	t.Helper()
	var fe *evidence.FieldError
	if !errors.As(err, &fe) || fe.Field != field || !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("%v is not about %s", err, field)
	}
}

func TestNoArchive(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.Archive = nil })
	p, err := r.Preview(context.Background(), tenant, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Blocked != "" || p.Classes[0].Due != 30 || !strings.Contains(p.Classes[0].Blocked, "no archive") || p.Classes[1].Blocked != "" {
		t.Errorf("%+v", p)
	}
	res := r.expire(RunRequest{})
	if c := r.class(res, evidence.ClassLLMRuns); c.Removed != 0 || !strings.Contains(c.Blocked, "no archive") {
		t.Errorf("%+v", c)
	}
	if c := r.class(res, evidence.ClassSystemLogs); c.Removed != 71 || c.Blocked != "" {
		t.Errorf("%+v", c)
	}
	if res.Retired != 0 || r.Blocked() == "" {
		t.Errorf("%d keys retired; blocked: %q", res.Retired, r.Blocked())
	}
	if runs, _ := r.rows(); runs["run-100"] != 3 {
		t.Error("what is not archived has gone")
	}
	if _, err := r.Archive(context.Background(), tenant, ArchiveRequest{}, Actor{}); !errors.Is(err, evidence.ErrUnavailable) {
		t.Error(err)
	}
	r.sound()
}

// TestArchiveFails: whatever is wrong with the archive, nothing goes that must be in there.
func TestArchiveFails(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "no rule of a database is in it")
	// A file stands where a directory must be made.
	blocks := func(r *rig) func() {
		path := filepath.Join(r.base, "archive", tenant)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			r.t.Fatal(err)
		}
		return func() { _ = os.Remove(path) }
	}
	archived := func(r *rig) {
		if _, err := r.Archive(context.Background(), tenant, ArchiveRequest{}, Actor{}); err != nil {
			r.t.Fatal(err)
		}
	}
	one := func(r *rig, name string) string {
		found, err := filepath.Glob(filepath.Join(r.base, "archive", tenant, "*", "*", name))
		if err != nil || len(found) == 0 {
			r.t.Fatalf("no %s: %v", name, err)
		}
		return found[0]
	}
	for name, harm := range map[string]func(r *rig) (mend func()){
		"cannot be written": blocks,
		"a missing object": func(r *rig) func() {
			archived(r)
			path := one(r, "log.zip")
			if err := os.Rename(path, path+".away"); err != nil {
				r.t.Fatal(err)
			}
			return func() { _ = os.Rename(path+".away", path) }
		},
		"a byte": func(r *rig) func() {
			archived(r)
			path := one(r, "trace_step.jsonl.gz")
			b, err := os.ReadFile(path)
			if err != nil {
				r.t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				r.t.Fatal(err)
			}
			return func() {
				b[len(b)/2] ^= 1
				_ = os.WriteFile(path, b, 0o600)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			mend := harm(r)
			res, err := r.Expire(context.Background(), tenant, RunRequest{}, Actor{})
			if err == nil {
				t.Fatal("no error")
			}
			t.Log(err)
			c := r.class(res, evidence.ClassLLMRuns)
			if c.Removed != 0 || !strings.Contains(c.Blocked, "archive") || !strings.Contains(r.Blocked(), "archive") {
				t.Errorf("%+v; blocked: %q", c, r.Blocked())
			}
			if runs, _ := r.rows(); runs["run-100"] != 3 || runs["made-up"] != 0 {
				t.Errorf("run-100 has %d rows, made-up %d", runs["run-100"], runs["made-up"])
			}
			r.sound()
			mend()
			if c := r.class(r.expire(RunRequest{}), evidence.ClassLLMRuns); c.Removed != 30 || r.Blocked() != "" {
				t.Errorf("mended: %+v; blocked: %q", c, r.Blocked())
			}
			r.sound()
		})
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "no rule of a database is in it")
	r := newRig(t, nil)
	if err := r.Acknowledge(context.Background(), tenant); err != nil {
		t.Fatal(err)
	}
	r.expire(RunRequest{Class: evidence.ClassLogExports}) // the clock is seen
	r.clock.move(365 * 24 * time.Hour)
	p, err := r.Preview(context.Background(), tenant, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	res := r.expire(RunRequest{})
	for _, c := range res.Classes {
		if c.Removed != 0 || !strings.Contains(c.Blocked, "clock") {
			t.Errorf("%+v", c)
		}
	}
	if !strings.Contains(p.Blocked, "clock") || !strings.Contains(r.Blocked(), "clock") {
		t.Errorf("preview blocked: %q, service: %q", p.Blocked, r.Blocked())
	}
	if runs, _ := r.rows(); runs["run-100"] != 3 {
		t.Error("it has gone")
	}
	// Nor does it by looking often.
	r.round(context.Background(), r.expireAll)
	if runs, _ := r.rows(); runs["run-100"] != 3 || runs["made-up"] != 3 {
		t.Error("it has gone")
	}
	r.clock.move(-365 * 24 * time.Hour)
	// As if the machine had been off for three days.
	if err := r.db.SetSetting(context.Background(), settingSeen, strconv.FormatInt(ago(3).UnixMicro(), 10)); err != nil {
		t.Fatal(err)
	}
	if c := r.class(r.expire(RunRequest{}), evidence.ClassLLMRuns); c.Removed != 0 || c.Blocked == "" {
		t.Errorf("%+v", c)
	}
	if c := r.class(r.expire(RunRequest{ConfirmClock: true}), evidence.ClassLLMRuns); c.Removed != 30 || c.Blocked != "" {
		t.Errorf("%+v", c)
	}
	found, err := r.ledger.Find(context.Background(), store.Query{
		Tenant: tenant, Kind: evidence.KindAudit, Limit: 9, Where: []store.Condition{{Field: "event_type", Values: []string{eventClock}}},
	})
	if err != nil || len(found) != 1 {
		t.Errorf("%d records of the operator's word: %v", len(found), err)
	}
	// A day is nothing.
	r.clock.move(24 * time.Hour)
	if why, err := r.Service.clock(context.Background(), false); why != "" || err != nil {
		t.Error(why, err)
	}
}

// TestClockAhead: with the operator's word the service believes it; the database does not.
func TestClockAhead(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.clock.move(365 * 24 * time.Hour)
	_, err := r.Expire(context.Background(), tenant, RunRequest{ConfirmClock: true}, Actor{})
	if !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("the database says %v", err)
	}
	if runs, _ := r.rows(); runs["run-001"] != 3 {
		t.Error("it has gone")
	}
}
