package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
)

// proxy stands between a store and its server and can lose the connection when
// a COMMIT comes by.
type proxy struct {
	listener        net.Listener
	network, server string
	mode            atomic.Int32
	wg              sync.WaitGroup
}

const (
	pass       = iota
	loseCommit // the server never sees it
	loseAnswer // the server commits, and nobody hears of it
)

// through returns dsns by way of a proxy.
func through(t *testing.T, dsns pgtest.DSNs) (*proxy, pgtest.DSNs) {
	t.Helper()
	u, err := url.Parse(dsns.App)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	p := &proxy{network: "unix", server: filepath.Join(q.Get("host"), ".s.PGSQL."+q.Get("port"))}
	switch {
	case q.Get("sslmode") != "disable":
		t.Skip("SKIPPED: the server that is named speaks TLS, in which no COMMIT can be seen")
	case u.Host != "":
		p.network, p.server = "tcp", u.Host
		u.Host = ""
		q.Set("port", "5432")
	}
	dir, err := os.MkdirTemp("", "proxy") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	if p.listener, err = net.Listen("unix", filepath.Join(dir, ".s.PGSQL."+q.Get("port"))); err != nil {
		t.Fatal(err)
	}
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		closeIt(t, p.listener)
		p.wg.Wait()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	q.Set("host", dir)
	u.RawQuery = q.Encode()
	dsns.App = u.String()
	return p, dsns
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial(p.network, p.server)
		if err != nil {
			client.Close()
			continue
		}
		deaf := &atomic.Bool{}
		p.wg.Go(func() { p.toServer(client, server, deaf) })
		p.wg.Go(func() { toClient(client, server, deaf) })
	}
}

func (p *proxy) toServer(client, server net.Conn, deaf *atomic.Bool) {
	defer server.Close()
	defer client.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if bytes.Contains(buf[:n], []byte("COMMIT\x00")) {
			switch p.mode.Load() {
			case loseCommit:
				return
			case loseAnswer:
				deaf.Store(true)
			}
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// toClient brings answers back; when it is deaf it waits for the next one,
// which says that the server has done its work, and hangs up.
func toClient(client, server net.Conn, deaf *atomic.Bool) {
	defer server.Close()
	defer client.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil || deaf.Load() {
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

// sentinels are the errors after which nothing of a commit is stored.
var sentinels = []error{
	store.ErrDuplicate, store.ErrHeadMoved, evidence.ErrUnavailable, evidence.ErrInvalid,
	evidence.ErrConflict, evidence.ErrForbidden, evidence.ErrNotFound, evidence.ErrTampered,
}

func wantUnknown(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("a commit without an answer succeeded")
	}
	for _, s := range sentinels {
		if errors.Is(err, s) {
			t.Fatalf("a commit without an answer says %v", err)
		}
	}
}

// TestConnectionLostInCommit sees that an outcome nobody heard of is unknown,
// and told by the head.
func TestConnectionLostInCommit(t *testing.T) {
	t.Parallel()
	p, dsns := through(t, migrated(t))
	db := open(t, dsns)
	l := newLog("a")
	l.append(t, db, record(evidence.KindAudit))
	for range 3 {
		p.mode.Store(loseCommit)
		c := l.next(record(evidence.KindAudit))
		wantUnknown(t, l.commit(t.Context(), db, c))
		p.mode.Store(pass)
		wantHead(t, db, l, l.head)
		if err := l.commit(t.Context(), db, c); err != nil {
			t.Fatalf("the same commit again: %v", err)
		}

		p.mode.Store(loseAnswer)
		c = l.next(record(evidence.KindAudit))
		wantUnknown(t, l.commit(t.Context(), db, c))
		p.mode.Store(pass)
		wantHead(t, db, l, c.Logs[0].Next)
		if err := l.commit(t.Context(), db, c); !errors.Is(err, store.ErrHeadMoved) {
			t.Fatalf("the same commit again: %v", err)
		}
		l.head = c.Logs[0].Next
	}
}

// TestConnectionKilled ends sessions that wait in the middle of a commit.
func TestConnectionKilled(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db := open(t, dsns)
	l := newLog("a")
	l.append(t, db, record(evidence.KindAudit))
	owner, super := shell(t, dsns.Owner), shell(t, dsns.Super)
	for _, table := range []string{"heads", "record_ids", "leaf_segments", "checkpoints"} {
		run(t, owner, "BEGIN")
		run(t, owner, "LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE")
		c := l.next(record(evidence.KindAudit))
		c.Logs[0].KeepCheckpoint = true
		done := make(chan error, 1)
		go func() { done <- db.Commit(context.Background(), c) }()
		killWaiting(t, func() []string {
			return texts(t, super, `SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock'`)
		})
		if err := <-done; !errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("killed while it waited for %s: %v", table, err)
		}
		run(t, owner, "ROLLBACK")
		wantHead(t, db, l, l.head)
		if err := l.commit(t.Context(), db, c); err != nil {
			t.Errorf("the same commit again: %v", err)
		}
	}
}

func killWaiting(t *testing.T, kill func() []string) {
	t.Helper()
	for range 500 {
		if len(kill()) > 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("nobody waits")
}

// TestServerKilled stops the server at once under four writers, several times.
// What was acknowledged is there; what was not is there whole or not at all.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	dsns := server.Database(t)
	first, err := postgres.Open(t.Context(), config(dsns))
	if err != nil {
		t.Fatal(err)
	}
	closeIt(t, first)
	db := open(t, dsns)
	logs := make([]*testLog, 4)
	for i := range logs {
		logs[i] = newLog(fmt.Sprint("tenant-", i))
		logs[i].append(t, db, record(evidence.KindAudit))
	}
	for range 3 {
		var wg sync.WaitGroup
		for _, l := range logs {
			wg.Go(func() { l.writeUntilFailure(t, db) })
		}
		time.Sleep(300 * time.Millisecond)
		if err := server.Cluster().Kill(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if _, err := db.Head(t.Context(), logs[0].ref); !errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("reading while the server is down: %v", err)
		}
		if err := server.Cluster().Restart(); err != nil {
			t.Fatal(err)
		}
		for _, l := range logs {
			l.wantWhole(t, db)
		}
	}
}

// writeUntilFailure commits until that fails. If the outcome is unknown it
// takes the head from the store when that is up again: see wantWhole.
func (l *testLog) writeUntilFailure(t *testing.T, db *postgres.DB) {
	for {
		c := l.next(record(evidence.KindAudit), record(evidence.KindSystem))
		if err := l.commit(context.Background(), db, c); err != nil {
			if errors.Is(err, store.ErrHeadMoved) || errors.Is(err, evidence.ErrTampered) || errors.Is(err, store.ErrDuplicate) {
				t.Errorf("writing: %v", err)
			}
			l.pending, l.unknown = c.Logs[0].Next, !errors.Is(err, evidence.ErrUnavailable)
			return
		}
	}
}

func (l *testLog) wantWhole(t *testing.T, db *postgres.DB) {
	t.Helper()
	head, err := db.Head(t.Context(), l.ref)
	if err != nil {
		t.Fatal(err)
	}
	if l.unknown && head.Root == l.pending.Root {
		l.head = l.pending
	}
	wantHead(t, db, l, l.head)
	rows := int64(0)
	for _, k := range evidence.Kinds() {
		if err := db.Rows(t.Context(), l.ref, k, 0, 1<<50, func(*store.Row) error { rows++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if rows != head.Size {
		t.Errorf("%d rows under a head of size %d", rows, head.Size)
	}
}

// TestTwoProcesses has two stores append to the same log and to their own. The
// head lets one of them win each time.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	stores := []*postgres.DB{open(t, dsns), open(t, dsns)}
	shared := newLog("shared")
	shared.append(t, stores[0], record(evidence.KindAudit))
	var wg sync.WaitGroup
	var won atomic.Int64
	for i, db := range stores {
		wg.Go(func() {
			own := newLog(fmt.Sprint("own-", i))
			for range 20 {
				if err := own.commit(context.Background(), db, own.next(record(evidence.KindAudit))); err != nil {
					t.Error(err)
					return
				}
				l := *shared
				head, err := db.Head(context.Background(), l.ref)
				if err != nil {
					t.Error(err)
					return
				}
				l.head = head
				switch err := l.commit(context.Background(), db, l.next(record(evidence.KindAudit))); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, store.ErrHeadMoved):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	head, err := stores[1].Head(t.Context(), shared.ref)
	if err != nil || head.Size != won.Load()+1 {
		t.Errorf("size %d, %v after %d commits", head.Size, err, won.Load())
	}
}

// TestMissingMonth sees that a commit makes the partitions it needs, in two
// stores at once, and finds them again when they have gone.
func TestMissingMonth(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	var wg sync.WaitGroup
	for i := range 2 {
		db := open(t, dsns)
		wg.Go(func() {
			l := newLog(fmt.Sprint("t", i))
			for month := range 4 {
				e := record(evidence.KindAudit)
				e.Leaf.RecordedAt = evidence.Micros(time.Date(2031, time.Month(month+1), 31, 23, 59, 59, 0, time.UTC).UnixMicro())
				if err := l.commit(context.Background(), db, l.next(e)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	db := open(t, dsns)
	l := newLog("later")
	l.append(t, db, record(evidence.KindAudit))
	run(t, shell(t, dsns.Owner), "DROP TABLE audit_ledger_p202511")
	c := l.next(record(evidence.KindAudit))
	if err := l.commit(t.Context(), db, c); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("a partition has gone: %v", err)
	}
	if err := l.commit(t.Context(), db, c); err != nil {
		t.Errorf("the same commit again: %v", err)
	}
	if list, err := db.Guards(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("guards say %q, %v", list, err)
	}
}
