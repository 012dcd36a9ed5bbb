package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// watched is a store that is seen to drop and delete.
type watched struct {
	*mortal
	deleted      int64    // rows, by themselves
	went, gaveUp []string // partitions, as planned or not
	planned      bool     // some are
	before       func()   // called once before these are dropped
}

func (w *watched) PlanDrop(ctx context.Context) ([]string, error) {
	list, err := w.mortal.PlanDrop(ctx)
	w.planned = len(list) > 0
	return list, err
}

func (w *watched) Expire(ctx context.Context, tenant string, list []store.Expiry, from, to int64, done bool, r *store.Removal) (int64, error) {
	n, err := w.mortal.Expire(ctx, tenant, list, from, to, done, r)
	w.deleted += n
	return n, err
}

func (w *watched) DropPlanned(ctx context.Context) (dropped, left []string, err error) {
	if f := w.before; f != nil && w.planned {
		w.before = nil
		f()
	}
	dropped, left, err = w.mortal.DropPlanned(ctx)
	w.went, w.gaveUp = append(w.went, dropped...), append(w.gaveUp, left...)
	return dropped, left, err
}

// months is a deployment of three tenants with runs of a month that is due as a whole, but
// for one run that goes on, and one of the month after it.
type months struct {
	*rig
	base    string
	clk     *clock
	over    *watched
	old     time.Time // the first of that month
	tenants []string
	close   func()
}

func newMonths(t *testing.T) *months {
	t.Helper()
	return newMonthsBeside(t, func(int, time.Time) []string { return nil })
}

// newMonthsBeside has each run come together with other records, of a number.
func newMonthsBeside(t *testing.T, beside func(n int, at time.Time) []string) *months {
	t.Helper()
	storerig.Only(t, storerig.Postgres, "there are no partitions")
	end := today.AddDate(0, 0, -llmDays-10)
	m := &months{
		base: t.TempDir(), old: time.Date(end.Year(), end.Month()-1, 1, 0, 0, 0, 0, time.UTC),
		tenants: []string{"acme", "bolt", "corp"},
	}
	m.clk = &clock{at: m.old.AddDate(0, 0, 2)}
	m.open(t)
	t.Cleanup(func() { m.close() })
	for _, name := range m.tenants {
		if _, err := m.ledger.CreateTenant(context.Background(), name); err != nil {
			t.Fatal(err)
		}
	}
	for d := range 6 {
		at := m.clk.now()
		for _, name := range m.tenants {
			m.addTo(name, append(ended(fmt.Sprintf("%s-%d", name, d), at, ""), beside(d, at)...)...)
		}
		if d == 3 {
			m.addTo("corp", step("goes-on", at, 1, ""))
		}
		m.clk.move(4 * 24 * time.Hour)
	}
	m.clk.move(m.old.AddDate(0, 1, 1).Sub(m.clk.now()))
	m.addTo("acme", ended("next-month", m.clk.now(), "")...)
	m.clk.move(today.AddDate(0, 0, -5).Sub(m.clk.now()))
	m.addTo("corp", completion("goes-on", m.clk.now(), ""))
	m.clk.move(today.Sub(m.clk.now()))
	return m
}

// open starts the process over what the one before left.
func (m *months) open(t *testing.T) {
	t.Helper()
	r := openRigOver(t, m.base, m.clk, func(c *Config) { c.Every = time.Hour }, func(s store.Store) store.Store {
		m.over = &watched{mortal: &mortal{Store: s, left: -1}}
		return m.over
	})
	m.rig, m.close = r, r.close
}

// part is the partition of the old month of a table.
func (m *months) part(table string) string { return table + "_p" + m.old.Format("200601") }

// wantRuns checks how many steps runs of tenants have left, all others none.
func (m *months) wantSteps(want map[string]int) {
	m.t.Helper()
	got := map[string]int{}
	for _, name := range m.tenants {
		ref := store.LogRef{Tenant: name, No: 1}
		err := m.db.Marks(context.Background(), ref, evidence.KindTraceStep, 0, 1<<40, func(k *store.RowMark) error {
			got[k.Run]++
			return nil
		})
		if err != nil {
			m.t.Fatal(err)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		m.t.Errorf("steps are left of %v, want %v", got, want)
	}
}

// pending is how many expiries are not done.
func (m *months) pending() (n int) {
	m.t.Helper()
	for _, name := range m.tenants {
		err := m.db.Expiries(context.Background(), name, func(e store.Expiry) error {
			if !e.Done {
				n++
			}
			return nil
		})
		if err != nil {
			m.t.Fatal(err)
		}
	}
	return n
}

// unread checks that nothing is readable of what has expired, and that the content of
// these runs is.
func (m *months) unread(stay ...string) {
	m.t.Helper()
	for _, name := range m.tenants {
		c, _, err := m.ledger.PublishNow(context.Background(), name, 1)
		if err != nil {
			m.t.Fatal(err)
		}
		err = m.ledger.Records(context.Background(), name, 1, 0, c.Size, func(r ledger.LogRecord) error {
			text := r.Open["/prompt"].JSON
			for _, run := range stay {
				if strings.Contains(text, "secret of "+run) {
					return nil
				}
			}
			if strings.Contains(text, "secret of "+name) {
				m.t.Errorf("%s can be read still", text)
			}
			return nil
		})
		if err != nil {
			m.t.Fatal(err)
		}
	}
}

// TestWholeMonth: a month of three tenants goes as a whole, with what must stay moved
// first, while one of them appends, and another places a hold in between.
func TestWholeMonth(t *testing.T) {
	t.Parallel()
	m := newMonths(t)
	ctx := context.Background()
	if _, err := m.PlaceHold(ctx, "bolt", HoldRequest{Run: "bolt-2", Reason: "a case"}, Actor{"ada"}); err != nil {
		t.Fatal(err)
	}
	m.over.before = func() {
		// Content has gone, rows are there: in between all is read and verified as after an erasure.
		if m.over.deleted > 0 || m.pending() == 0 {
			t.Errorf("%d rows were deleted; %d expiries wait", m.over.deleted, m.pending())
		}
		m.unread("bolt-2")
		m.sound()
		if _, err := m.PlaceHold(ctx, "corp", HoldRequest{Run: "corp-4", Reason: "a case"}, Actor{"ada"}); err != nil {
			t.Error(err)
		}
		appended := make(chan error, 1)
		go func() {
			records, err := evidence.ParseNDJSON([]byte(strings.Join(ended("now", m.clk.now(), ""), "\n")))
			if err == nil {
				_, err = m.ledger.Append(ctx, "acme", records, ledger.AppendOptions{Producer: "test"})
			}
			appended <- err
		}()
		t.Cleanup(func() {
			if err := <-appended; err != nil {
				t.Error(err)
			}
		})
	}
	m.round(ctx, m.expireAll)
	if m.over.before != nil {
		t.Fatal("nothing was dropped as planned")
	}
	for _, table := range []string{"aos_trace_steps", "llm_run_records"} {
		if !slices.Contains(m.over.went, m.part(table)) {
			t.Errorf("%s is not among what was dropped: %v", m.part(table), m.over.went)
		}
	}
	if len(m.over.gaveUp) > 0 {
		t.Errorf("given up were %v", m.over.gaveUp)
	}
	m.wantSteps(map[string]int{"bolt-2": 2, "corp-4": 2, "goes-on": 1, "now": 2})
	m.unread("bolt-2")
	m.sound()
	if list, err := m.db.Guards(ctx); err != nil || len(list) > 0 {
		t.Errorf("guards: %v, %v", list, err)
	}
	// What the second hold covers waits for its release, and goes then.
	if n := m.pending(); n == 0 {
		t.Error("no expiry waits")
	}
	holds, err := m.Holds(ctx, "corp", false)
	if err != nil || len(holds.Holds) != 1 {
		t.Fatal(holds, err)
	}
	if _, err := m.ReleaseHold(ctx, "corp", holds.Holds[0].ID, "closed", Actor{"ada"}); err != nil {
		t.Fatal(err)
	}
	m.round(ctx, m.expireAll)
	m.wantSteps(map[string]int{"bolt-2": 2, "goes-on": 1, "now": 2})
	if n := m.pending(); n != 0 {
		t.Errorf("%d expiries wait", n)
	}
	m.sound()
}

// TestWholeMonthOfMixedRequests: a month goes as a whole where each request also brought a record that stays, whose
// content is in the segments of what goes. Of a tenant with a hold the rows go one by one.
func TestWholeMonthOfMixedRequests(t *testing.T) {
	t.Parallel()
	m := newMonthsBeside(t, func(n int, at time.Time) []string { return []string{audit(at, n, "")} })
	ctx := context.Background()
	if _, err := m.PlaceHold(ctx, "bolt", HoldRequest{Run: "bolt-2", Reason: "a case"}, Actor{"ada"}); err != nil {
		t.Fatal(err)
	}
	m.round(ctx, m.expireAll)
	for _, table := range []string{"aos_trace_steps", "llm_run_records"} {
		if !slices.Contains(m.over.went, m.part(table)) {
			t.Errorf("%s is not among what was dropped: %v", m.part(table), m.over.went)
		}
	}
	if len(m.over.gaveUp) > 0 {
		t.Errorf("given up were %v", m.over.gaveUp)
	}
	m.wantSteps(map[string]int{"bolt-2": 2, "goes-on": 1})
	m.unread("bolt-2")
	m.sound()
	// The records that stay can be read.
	for _, name := range m.tenants {
		c, _, err := m.ledger.PublishNow(ctx, name, 1)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = m.ledger.Records(ctx, name, 1, 0, c.Size, func(r ledger.LogRecord) error {
			if r.Open["/action_reason"].JSON == `"reason of audit"` {
				n++
			}
			return nil
		})
		if err != nil || n != 6 {
			t.Errorf("%d audit entries of %s can be read, want 6: %v", n, name, err)
		}
	}
}

// TestMonthOfOneTenant: an operator's run of one tenant takes nothing of others, and while the
// scheduler has planned a month it does not drop that, nor order again what waits for it.
func TestMonthOfOneTenant(t *testing.T) {
	t.Parallel()
	m := newMonths(t)
	ctx := context.Background()
	run := func(tenant string) error {
		_, err := m.Expire(ctx, tenant, RunRequest{Reason: "now"}, Actor{"ada"})
		return err
	}
	if err := run("acme"); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"aos_trace_steps", "llm_run_records"} {
		if slices.Contains(m.over.went, m.part(table)) {
			t.Errorf("%s went, of which others have most", m.part(table))
		}
	}
	m.over.went = nil // the month after, which is its own
	want := map[string]int{"goes-on": 1}
	for d := range 6 {
		want[fmt.Sprint("bolt-", d)], want[fmt.Sprint("corp-", d)] = 2, 2
	}
	m.wantSteps(want)
	m.over.before = func() {
		had := m.pending()
		if err := run("bolt"); !errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("bolt's content has gone, and its rows wait: %v", err)
		}
		if err := run("acme"); err != nil { // it has nothing that waits
			t.Error(err)
		}
		if len(m.over.went)+len(m.over.gaveUp) > 0 || m.pending() != had {
			t.Errorf("%v went, %v were given up, and %d of %d expiries wait", m.over.went, m.over.gaveUp, m.pending(), had)
		}
	}
	m.round(ctx, m.expireAll)
	if m.over.before != nil || len(m.over.went) == 0 || len(m.over.gaveUp) > 0 {
		t.Errorf("%v went, %v were given up", m.over.went, m.over.gaveUp)
	}
	m.wantSteps(map[string]int{"goes-on": 1})
	if n := m.pending(); n != 0 {
		t.Errorf("%d expiries wait", n)
	}
	m.sound()
}

// TestWholeMonthDies: the process dies at each of its writes in turn, and the next goes on. What
// there is in between verifies, and in the end the month is gone, as a whole or not.
func TestWholeMonthDies(t *testing.T) {
	t.Parallel()
	m := newMonths(t)
	ctx := context.Background()
	drops := 0
	for n := 0; ; n++ {
		m.over.left = n / 2 * 2
		m.over.after = n%2 == 1
		m.round(ctx, m.finishAll)
		m.round(ctx, m.expireAll)
		died := m.over.mortal.dead
		m.close()
		drops += len(m.over.went)
		m.open(t)
		m.sound()
		if !died {
			break
		}
	}
	m.wantSteps(map[string]int{"goes-on": 1})
	m.unread()
	if n := m.pending(); n != 0 || drops == 0 {
		t.Errorf("%d expiries wait; %d partitions went as a whole", n, drops)
	}
}
