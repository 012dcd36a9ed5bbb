package ledger_test

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// hands are a wall clock and a boot-time clock that a test moves.
type hands struct {
	mu   sync.Mutex
	wall time.Time
	boot time.Duration
}

func newHands() *hands {
	return &hands{wall: time.Date(2026, 11, 23, 16, 0, 0, 123456789, time.UTC), boot: time.Hour}
}

func (h *hands) move(wall, boot time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wall, h.boot = h.wall.Add(wall), h.boot+boot
}

func (h *hands) clock(c *ledger.Config) {
	c.Clock.Now = func() time.Time {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.wall
	}
	c.Clock.Boot = func() time.Duration {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.boot
	}
	c.PublishEvery = time.Hour // it looks at the clock too; here only appends do
}

// monotone checks that t never decreases within a log.
func (c *contents) monotone(t *testing.T) {
	t.Helper()
	for i := 1; i < len(c.leaves); i++ {
		a, b := c.leaves[i-1], c.leaves[i]
		if a.Log == b.Log && b.RecordedAt < a.RecordedAt {
			t.Errorf("t goes from %d to %d at leaf %d", a.RecordedAt, b.RecordedAt, b.Seq)
		}
	}
}

func TestClockJumps(t *testing.T) {
	for _, test := range []struct {
		name       string
		wall, boot time.Duration
		stops      bool
	}{
		{"61 s ahead", 61 * time.Second, 0, true},
		{"61 s back", -61 * time.Second, 0, true},
		{"a day ahead", 24 * time.Hour, time.Minute, true},
		{"years back", -20 * 365 * 24 * time.Hour, 0, true},
		{"59 s ahead", 59 * time.Second, 0, false},
		{"59 s back", -59 * time.Second, 0, false},
		{"60 s exactly", 60 * time.Second, 0, false},
		{"60 s and a bit", 60*time.Second + time.Nanosecond, 0, true},
		{"suspended for a night", 8 * time.Hour, 8 * time.Hour, false},
		{"suspended, and set meanwhile", 8*time.Hour + 61*time.Second, 8 * time.Hour, true},
		{"boot clock goes on alone", 0, 61 * time.Second, true},
		{"no time passes", 0, 0, false},
	} {
		for _, dev := range []bool{false, true} {
			name := test.name
			if dev {
				name += ", dev"
			}
			t.Run(name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "data")
				h := newHands()
				f := &faults{}
				r := openFaulty(t, dir, f, h.clock, func(c *ledger.Config) { c.Dev = dev })
				r.tenant(t, "acme")
				r.append(t, "acme", event(1, ""))
				h.move(test.wall, test.boot)
				before := f.count("Commit", "anchor.Write")
				_, err := r.tryAppend(t, "acme", event(2, ""))
				if !test.stops || dev {
					if err != nil {
						t.Fatalf("append: %v", err)
					}
				} else {
					if !errors.Is(err, evidence.ErrUnavailable) {
						t.Fatalf("append after the jump: %v", err)
					}
					if err := r.Writable(); !errors.Is(err, evidence.ErrUnavailable) {
						t.Errorf("writable: %v", err)
					}
					// Moving it back does not help: it takes an operator.
					h.move(-test.wall, -test.boot)
					for name, do := range map[string]func() error{
						"append":   func() error { _, err := r.tryAppend(t, "acme", event(3, "")); return err },
						"create":   func() error { _, err := r.CreateTenant(patient(t), "late"); return err },
						"rollover": func() error { _, err := r.Rollover(patient(t), "acme"); return err },
					} {
						if err := do(); !errors.Is(err, evidence.ErrUnavailable) {
							t.Errorf("%s while the clock is in doubt: %v", name, err)
						}
					}
					h.move(test.wall, test.boot)
					if n := f.count("Commit", "anchor.Write") - before; n != 0 {
						t.Errorf("%d writes while the clock is in doubt", n)
					}
					r.ConfirmClock()
					if _, err := r.tryAppend(t, "acme", event(2, "")); err != nil {
						t.Fatalf("append after confirmation: %v", err)
					}
					h.move(test.wall, test.boot) // another jump needs another
					if _, err := r.tryAppend(t, "acme", event(4, "")); !errors.Is(err, evidence.ErrUnavailable) {
						t.Errorf("append after a second jump: %v", err)
					}
					r.ConfirmClock()
				}
				for i := range 4 {
					r.append(t, "acme", event(10+i, ""), event(20+i, ""))
					h.move(time.Duration(i)*time.Microsecond, time.Duration(i)*time.Microsecond)
				}
				r.contents(t, "acme").monotone(t)
				r.verifyClean(t)
				if dev {
					return
				}
				if _, err := r.Rollover(patient(t), "acme"); err != nil {
					t.Fatal(err)
				}
				r.contents(t, "acme").monotone(t)
				r.verifyClean(t)
			})
		}
	}
}

// TestClockStandsBehindAtStart: the machine came up with an old time.
func TestClockStandsBehindAtStart(t *testing.T) {
	for _, test := range []struct {
		behind time.Duration
		stops  bool
	}{{59 * time.Second, false}, {60 * time.Second, false}, {61 * time.Second, true}, {365 * 24 * time.Hour, true}} {
		t.Run(test.behind.String(), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			h := newHands()
			r := openRig(t, dir, h.clock)
			r.tenant(t, "acme")
			newest := r.append(t, "acme", event(1, ""))
			r.close()
			h = newHands()
			h.move(-test.behind, 0)
			r = openRig(t, dir, h.clock)
			_, err := r.tryAppend(t, "acme", event(2, ""))
			if test.stops {
				if !errors.Is(err, evidence.ErrUnavailable) {
					t.Fatalf("append: %v", err)
				}
				if _, err := r.Rollover(patient(t), "acme"); !errors.Is(err, evidence.ErrUnavailable) {
					t.Errorf("rollover: %v", err)
				}
				r.ConfirmClock()
				if _, err = r.tryAppend(t, "acme", event(2, "")); err != nil {
					t.Fatalf("append after confirmation: %v", err)
				}
			} else if err != nil {
				t.Fatalf("append: %v", err)
			}
			c := r.contents(t, "acme")
			c.monotone(t)
			// t stands still until the clock has caught up.
			if a, b := c.leaves[newest[0].LeafIndex], c.leaves[len(c.leaves)-1]; a.RecordedAt != b.RecordedAt {
				t.Errorf("t went from %d to %d with a clock that stands behind", a.RecordedAt, b.RecordedAt)
			}
			h.move(test.behind+time.Second, test.behind+time.Second)
			r.append(t, "acme", event(3, ""))
			c = r.contents(t, "acme")
			if last := c.leaves[len(c.leaves)-1]; time.Duration(last.RecordedAt-c.leaves[1].RecordedAt)*time.Microsecond != time.Second {
				t.Errorf("t is %d after the clock caught up, %d before", last.RecordedAt, c.leaves[1].RecordedAt)
			}
			r.verifyClean(t)
		})
	}
}

// TestTimesToTheMicrosecond: what is recorded is the clock, cut to the
// microsecond, and records of one microsecond are in order.
func TestTimesToTheMicrosecond(t *testing.T) {
	h := newHands()
	r := openRig(t, filepath.Join(t.TempDir(), "data"), h.clock)
	r.tenant(t, "acme")
	r.append(t, "acme", event(1, ""))
	r.append(t, "acme", event(2, ""))
	h.move(time.Nanosecond, time.Nanosecond)
	r.append(t, "acme", event(3, ""))
	h.move(time.Microsecond, time.Microsecond)
	r.append(t, "acme", event(4, ""))
	c := r.contents(t, "acme")
	want := evidence.MicrosOf(time.Date(2026, 11, 23, 16, 0, 0, 123456000, time.UTC))
	for i, leaf := range c.leaves {
		if i == 4 {
			want++
		}
		if leaf.RecordedAt != want {
			t.Errorf("leaf %d: t is %d, not %d", i, leaf.RecordedAt, want)
		}
	}
	r.verifyClean(t)
}

// TestRolloverOnANewDay: both records of a rollover may be the first under
// the key of the day.
func TestRolloverOnANewDay(t *testing.T) {
	h, f := newHands(), &faults{}
	r := openFaulty(t, filepath.Join(t.TempDir(), "data"), f, h.clock)
	r.tenant(t, "acme")
	r.append(t, "acme", event(1, `,"body":1`))
	for day := range 2 {
		h.move(24*time.Hour, 24*time.Hour)
		if _, err := r.Rollover(patient(t), "acme"); err != nil {
			t.Fatalf("rollover on day %d: %v", day+2, err)
		}
		r.append(t, "acme", event(2+day, `,"body":1`))
	}
	f.keysOnce(t)
	r.verifyClean(t)
	r.close()
	h.move(24*time.Hour, 24*time.Hour)
	r = openRig(t, r.dir, h.clock)
	r.append(t, "acme", event(20, `,"body":1`))
	keys, err := r.db.DataKeys(patient(t), "acme", store.ScopeDay, "2026-11-26")
	if err != nil || len(keys) != 1 {
		t.Errorf("keys of the day: %d, %v", len(keys), err)
	}
	r.verifyClean(t)
}
