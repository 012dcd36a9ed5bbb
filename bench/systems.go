package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	store "github.com/runledger/runledger/internal/store/sqlite"
)

// system is something that makes batches of records durable.
type system interface {
	append(ctx context.Context, batch []*evidence.Record) error
	close() error
}

// ours is the ledger over the embedded store.
type ours struct {
	*ledger.Ledger
	db     *store.DB
	sealer *seal.Sealer
	anchor *ledger.DirAnchor
	tenant string
}

func openOurs(ctx context.Context, dir string) (*ours, error) {
	db, err := store.Open(ctx, store.Config{Dir: dir})
	if err != nil {
		return nil, err
	}
	master, err := seal.OpenMaster(filepath.Join(dir, "master.keyset.json"), true)
	if err != nil {
		return nil, err
	}
	anchor, err := ledger.NewDirAnchor(dir + ".anchor")
	if err != nil {
		return nil, err
	}
	o := &ours{db: db, sealer: seal.New(db, master), anchor: anchor, tenant: "bench"}
	o.Ledger, err = ledger.Open(ctx, ledger.Config{
		Store: db, Sealer: o.sealer, Anchor: anchor, Instance: "bench.example", Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return nil, err
	}
	if _, err := o.CreateTenant(ctx, o.tenant); err != nil && !errors.Is(err, evidence.ErrConflict) {
		return nil, err
	}
	return o, nil
}

func (o *ours) append(ctx context.Context, batch []*evidence.Record) error {
	_, err := o.Append(ctx, o.tenant, batch, ledger.AppendOptions{Producer: "bench"})
	return err
}

func (o *ours) close() error { return errors.Join(o.Ledger.Close(), o.db.Close()) }

// bare inserts the same bytes into one table: same driver, WAL, FULL. It is
// the least that any store on SQLite must do; it proves and seals nothing.
type bare struct {
	mu   sync.Mutex
	conn *sqlite.Conn
}

func openBare(dir string) (*bare, error) {
	conn, err := sqlite.OpenConn(filepath.Join(dir, "bare.db"))
	if err != nil {
		return nil, err
	}
	if err := sqlitex.ExecuteTransient(conn, "PRAGMA synchronous=FULL", nil); err != nil {
		return nil, err
	}
	return &bare{conn: conn}, sqlitex.ExecuteTransient(conn, "CREATE TABLE r (n INTEGER PRIMARY KEY, id BLOB, body BLOB)", nil)
}

func (b *bare) append(_ context.Context, batch []*evidence.Record) (err error) {
	rows := make([][]byte, len(batch))
	for i, r := range batch {
		rows[i] = flat(r)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	end, err := sqlitex.ImmediateTransaction(b.conn)
	if err != nil {
		return err
	}
	defer end(&err)
	stmt := b.conn.Prep("INSERT INTO r (id, body) VALUES (?, ?)")
	var id [16]byte
	for _, row := range rows {
		rand.Read(id[:])
		stmt.BindBytes(1, id[:])
		stmt.BindBytes(2, row)
		if _, err := stmt.Step(); err != nil {
			return err
		}
		if err := stmt.Reset(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bare) close() error { return b.conn.Close() }

// peer is Tessera on POSIX files; a record counts when it is integrated in
// the tree. It seals nothing, indexes nothing and has no duplicates.
type peer struct {
	appender *tessera.Appender
	shutdown func(context.Context) error
	size     atomic.Uint64
	stop     context.CancelFunc
}

// quietPeer: Tessera logs to stderr, and for ever after its shutdown.
func quietPeer() {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
}

func openPeer(ctx context.Context, dir string) (_ *peer, err error) {
	quietPeer()
	ctx, stop := context.WithCancel(ctx)
	defer func() {
		if err != nil {
			stop()
		}
	}()
	skey, _, err := note.GenerateKey(rand.Reader, "bench.example")
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		return nil, err
	}
	opts := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithCheckpointInterval(time.Second).
		WithBatching(1024, 5*time.Millisecond).WithPushback(100_000)
	a, shutdown, reader, err := tessera.NewAppender(ctx, driver, opts)
	if err != nil {
		return nil, err
	}
	p := &peer{appender: a, shutdown: shutdown, stop: stop}
	go func() {
		for ctx.Err() == nil {
			if n, err := reader.IntegratedSize(ctx); err == nil {
				p.size.Store(n)
			}
			time.Sleep(500 * time.Microsecond)
		}
	}()
	return p, nil
}

func (p *peer) append(ctx context.Context, batch []*evidence.Record) error {
	futures := make([]tessera.IndexFuture, len(batch))
	for i, r := range batch {
		futures[i] = p.appender.Add(ctx, tessera.NewEntry(flat(r)))
	}
	last := uint64(0)
	for _, f := range futures {
		index, err := f()
		if err != nil {
			return err
		}
		last = max(last, index.Index)
	}
	for p.size.Load() <= last {
		time.Sleep(200 * time.Microsecond)
	}
	return nil
}

func (p *peer) close() error {
	defer p.stop()
	return p.shutdown(context.Background())
}

// diskBytes returns what a directory takes on disk.
func diskBytes(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

func mustTemp(base, name string) string {
	dir, err := os.MkdirTemp(base, name+"-*")
	if err != nil {
		panic(fmt.Sprint("bench: ", err))
	}
	return dir
}
