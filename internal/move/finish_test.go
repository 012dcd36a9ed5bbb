package move_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/move"
	"github.com/runledger/runledger/internal/store"
)

// markedStore calls what is set around the moment at which it is marked as gone.
type markedStore struct {
	store.Store
	before, after func()
}

func (s *markedStore) SetSetting(ctx context.Context, name, value string) error {
	gone := name == store.SettingMove && strings.Contains(value, `"gone"`)
	if gone && s.before != nil {
		s.before()
	}
	err := s.Store.SetSetting(ctx, name, value)
	if gone && s.after != nil {
		s.after()
	}
	return err
}

// hidden is a server that the copy does not see: its connections have another name.
func hidden(t *testing.T, d deployment) *ledger.Ledger {
	t.Helper()
	l, _, err := d.at(postgresNamed(d.side, "other")).ledger(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func tryAppend(l *ledger.Ledger, line string) error {
	records, err := evidence.ParseNDJSON([]byte(line))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = l.Append(ctx, "acme", records, ledger.AppendOptions{Producer: "test"})
	return err
}

// inService sees that a store can be opened.
func inService(t *testing.T, s side) {
	t.Helper()
	if err := move.Check(context.Background(), s.mustOpen(t)); err != nil {
		t.Errorf("it is not in service: %v", err)
	}
}

// TestUnseenServer leaves a server running that the copy does not see. What it writes
// before the source is marked is seen; afterwards it writes nothing more.
func TestUnseenServer(t *testing.T) {
	t.Parallel()
	t.Run("before the mark", func(t *testing.T) {
		t.Parallel()
		d, other := source(t, "postgres"), sqliteSide(t)
		l := hidden(t, d)
		_, err := d.copyTo(t, other, func(cfg *move.Config) {
			cfg.From = &markedStore{Store: cfg.From, before: func() { appendTo(t, l, "acme", step(77, 1, "")) }}
		})
		if !errors.Is(err, move.ErrMoved) || !strings.Contains(err.Error(), "in service again") {
			t.Errorf("finished: %v", err)
		}
		refused(t, other)
		inService(t, d.side)
		appendTo(t, l, "acme", step(77, 2, ""))
		if _, err := d.copyTo(t, sqliteSide(t)); err != nil {
			t.Errorf("anew: %v", err)
		}
	})
	t.Run("behind the mark", func(t *testing.T) {
		t.Parallel()
		d, other := source(t, "postgres"), sqliteSide(t)
		l := hidden(t, d)
		var wrote error
		_, err := d.copyTo(t, other, func(cfg *move.Config) {
			cfg.From = &markedStore{Store: cfg.From, after: func() { wrote = tryAppend(l, step(77, 1, "")) }}
		})
		if err != nil {
			t.Fatal(err)
		}
		if !errors.Is(wrote, evidence.ErrUnavailable) {
			t.Errorf("written to what is marked: %v", wrote)
		}
		if err := tryAppend(l, step(77, 2, "")); !errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("written to what has moved: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := l.CreateTenant(ctx, "newcomer"); err == nil {
			t.Error("a tenant was made in what has moved")
		}
		goOn(t, d, d.at(other))
	})
}

// moveOn begins a transaction that moves a head, as a commit does that has seen no
// mark. It ends by end.
func moveOn(t *testing.T, d deployment) (end func()) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, d.name)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{`BEGIN`, `UPDATE runledger.heads SET note = note || 'x'::bytea WHERE tenant_id = 'acme' AND log_no = 3`} {
		if tag, err := conn.Exec(ctx, sql); err != nil || tag.Update() && tag.RowsAffected() != 1 {
			t.Fatal(tag, err)
		}
	}
	return func() {
		if _, err := conn.Exec(ctx, `COMMIT`); err != nil {
			t.Error(err)
		}
		_ = conn.Close(ctx)
	}
}

// TestCommitUnderWay marks the source while a commit is under way: the copy waits for
// what comes of it.
func TestCommitUnderWay(t *testing.T) {
	t.Parallel()
	d, other := source(t, "postgres"), sqliteSide(t)
	ended := make(chan struct{})
	_, err := d.copyTo(t, other, func(cfg *move.Config) {
		var end func()
		cfg.From = &markedStore{
			Store: cfg.From, before: func() { end = moveOn(t, d) },
			after: func() {
				go func() {
					defer close(ended)
					time.Sleep(300 * time.Millisecond)
					end()
				}()
			},
		}
	})
	<-ended
	if !errors.Is(err, move.ErrMoved) {
		t.Errorf("finished: %v", err)
	}
	refused(t, other)
	inService(t, d.side)
}

// TestCommitBehindTheEnd ends a copy when the source is marked. A commit that was
// under way then is found by the next call, which gives the source back.
func TestCommitBehindTheEnd(t *testing.T) {
	t.Parallel()
	d, other := source(t, "postgres"), sqliteSide(t)
	if !cut(t, d, other, 1, true, true) {
		t.Fatal("the source was not told")
	}
	refused(t, d.side)
	moveOn(t, d)()
	if _, err := d.copyTo(t, other, func(cfg *move.Config) { cfg.Rehearse = true }); !errors.Is(err, move.ErrMoved) {
		t.Errorf("rehearsed: %v", err)
	}
	refused(t, d.side)
	if _, err := d.copyTo(t, other); !errors.Is(err, move.ErrMoved) || !strings.Contains(err.Error(), "in service again") {
		t.Errorf("went on: %v", err)
	}
	refused(t, other)
	inService(t, d.side)
}

// calledOff is a store whose claims are called off.
type calledOff struct {
	store.Store
	stop context.CancelFunc
}

func (s *calledOff) Claim(ctx context.Context, log store.LogRef) (store.Claim, error) {
	s.stop()
	return nil, ctx.Err()
}

// TestCalledOffAtTheEnd calls a copy off behind the mark: the source stays in service.
func TestCalledOffAtTheEnd(t *testing.T) {
	t.Parallel()
	d, other := source(t, "sqlite"), sqliteSide(t)
	from, to := d.mustOpen(t), other.mustOpen(t)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	cfg := d.config(t, &calledOff{from, stop}, to, other)
	if _, err := move.Copy(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("finished: %v", err)
	}
	if err := errors.Join(from.Close(), to.Close()); err != nil {
		t.Fatal(err)
	}
	refused(t, other)
	inService(t, d.side)
}
