package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/postgres"
)

func setMark(t testing.TB, db *postgres.DB, state store.MoveState) {
	t.Helper()
	text, err := json.Marshal(store.MoveMark{State: state, Other: "elsewhere"})
	if err == nil {
		err = db.SetSetting(t.Context(), store.SettingMove, string(text))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fenceWays are the ways to extend a log, or to open one.
var fenceWays = map[string]func(ctx context.Context, t *testing.T, db *postgres.DB, l *testLog) error{
	"commit": func(ctx context.Context, _ *testing.T, db *postgres.DB, l *testLog) error {
		return l.commit(ctx, db, l.next(record(evidence.KindAudit)))
	},
	"claim": func(ctx context.Context, t *testing.T, db *postgres.DB, l *testLog) error {
		c := l.next(record(evidence.KindAudit))
		err := claimOf(t, db, l).Commit(ctx, c)
		if err == nil {
			l.head = c.Logs[0].Next
		}
		return err
	},
	"successor": func(ctx context.Context, _ *testing.T, db *postgres.DB, l *testLog) error {
		n := &testLog{ref: store.LogRef{Tenant: l.ref.Tenant, No: l.ref.No + 1}}
		c := n.next(record(evidence.KindAudit))
		c.Logs[0].Open.Origin += "/2"
		return n.commit(ctx, db, c)
	},
	"first log": func(ctx context.Context, _ *testing.T, db *postgres.DB, _ *testLog) error {
		n := newLog("b")
		return n.commit(ctx, db, n.next(record(evidence.KindAudit)))
	},
}

// TestFence sees that a process which had the store open before it was marked
// commits nothing from then on, and goes on where the mark is taken back.
func TestFence(t *testing.T) {
	t.Parallel()
	for what, write := range fenceWays {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dsns := migrated(t)
			db, copying := open(t, dsns), open(t, dsns)
			l := newLog("a")
			l.append(t, db, record(evidence.KindAudit))
			for _, c := range []struct {
				state store.MoveState
				says  string
			}{
				{store.MoveGone, "moved to elsewhere"},
				{store.MoveArriving, "unfinished copy of elsewhere"},
				{store.MoveRehearsed, "rehearsal"},
				{"later", `"later"`},
			} {
				setMark(t, copying, c.state)
				before := l.head
				for _, ctx := range []context.Context{t.Context(), store.Copying(t.Context())} {
					if c.state == store.MoveArriving && store.IsCopying(ctx) {
						continue
					}
					err := write(ctx, t, db, l)
					if !errors.Is(err, evidence.ErrUnavailable) || !strings.Contains(err.Error(), c.says) {
						t.Fatalf("%s: %v", c.state, err)
					}
					wantHead(t, db, l, before)
					clients := (interface{ ForClients() string })(nil)
					if !errors.As(err, &clients) || strings.Contains(clients.ForClients(), "elsewhere") {
						t.Errorf("%s: a client is told where it went", c.state)
					}
				}
			}
			if err := copying.SetSetting(t.Context(), store.SettingMove, "{"); err != nil {
				t.Fatal(err)
			}
			if err := write(t.Context(), t, db, l); !errors.Is(err, evidence.ErrUnavailable) {
				t.Errorf("a mark that cannot be read: %v", err)
			}
			if logs, err := db.Logs(t.Context(), ""); err != nil || len(logs) != 1 {
				t.Fatalf("there are %d logs (%v)", len(logs), err)
			}
			setMark(t, copying, "")
			if err := write(t.Context(), t, db, l); err != nil {
				t.Errorf("back in service: %v", err)
			}
		})
	}
}

// TestFenceOpen sees that a copy which is complete takes commits, and one that is
// filled takes those of the copy.
func TestFenceOpen(t *testing.T) {
	t.Parallel()
	for what, write := range fenceWays {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			for state, ctx := range map[store.MoveState]context.Context{
				store.MoveArrived: t.Context(), store.MoveArriving: store.Copying(t.Context()),
			} {
				db := open(t, migrated(t))
				l := newLog("a")
				l.append(t, db, record(evidence.KindAudit))
				setMark(t, db, state)
				if err := write(ctx, t, db, l); err != nil {
					t.Errorf("%s: %v", state, err)
				}
			}
		})
	}
}

// TestFenceWaits sees that the mark waits for a tenant's first log that is being
// opened: there is no head yet at which a copy could wait for it.
func TestFenceWaits(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db, copying := open(t, dsns), open(t, dsns)
	other := shell(t, dsns.Super) // holds the opening up where it has looked for the mark
	run(t, other, `BEGIN`)
	run(t, other, `INSERT INTO origins (origin, tenant_id, log_no) VALUES ('test.example/a', 'z', 1)`)
	waiting := func(n int) bool {
		return len(texts(t, other, `SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)) == n
	}
	until := func(n int) {
		for deadline := time.Now().Add(5 * time.Second); !waiting(n); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("there are not %d that wait", n)
			}
			// Within a transaction the statistics stay as they were first read.
			run(t, other, `SELECT pg_stat_clear_snapshot()`)
		}
	}
	l := newLog("a")
	opened, marked := make(chan error, 1), make(chan error, 1)
	go func() { opened <- l.commit(context.Background(), db, l.next(record(evidence.KindAudit))) }()
	until(1)
	go func() {
		err := copying.SetSetting(context.Background(), store.SettingMove, `{"state":"gone"}`)
		if logs, lerr := copying.Logs(context.Background(), ""); err == nil && (lerr != nil || len(logs) != 1) {
			err = errors.Join(lerr, errors.New("it was marked, and the log was not seen"))
		}
		marked <- err
	}()
	until(2)
	run(t, other, `ROLLBACK`)
	if err := errors.Join(<-opened, <-marked); err != nil {
		t.Fatal(err)
	}
	if err := l.commit(t.Context(), db, l.next(record(evidence.KindAudit))); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("behind the mark: %v", err)
	}
}
