package move_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/archive"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/lifecycle"
	"github.com/runledger/runledger/internal/move"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// TestLeavesFromTheArchive copies a deployment whose old leaves have left its database, as
// the lifecycle itself does it. The copy has them in its database again.
func TestLeavesFromTheArchive(t *testing.T) {
	t.Parallel()
	ctx, dir := context.Background(), t.TempDir()
	cold, err := archive.Open(archive.Config{Spec: filepath.Join(dir, "archive"), Spool: dir})
	if err != nil {
		t.Fatal(err)
	}
	find := func(store.ArchiveUnit) (*archive.Archive, error) { return cold, nil }
	base := sqliteIn(filepath.Join(dir, "data"))
	d := deployment{side{base.name, func() (store.Store, error) {
		db, err := base.open()
		if err != nil {
			return nil, err
		}
		return archive.Cold(db, find), nil
	}}, master(t, filepath.Join(dir, "master.json")), filepath.Join(dir, "anchor")}
	d.useAt(t, old, func(l *ledger.Ledger, _ store.Store) {
		age(t, l)
		for i := range 20 {
			appendTo(t, l, "acme", step(2000, i+1, "")) // segments of one leaf each
		}
	})
	d.use(t, func(l *ledger.Ledger, db store.Store) {
		ended := map[string]int64{fmt.Sprintf("%032x", 2000): 20}
		for run := expiredRun; run <= otherRun; run++ {
			ended[fmt.Sprintf("%032x", run)] = perRun
		}
		if err := l.SettleRuns(ctx, "acme", ended); err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, "acme", step(1, 1, fmt.Sprintf(content, 1, 1)))
		s, err := lifecycle.New(lifecycle.Config{Ledger: l, Store: db, Sealer: seal.New(db, d.master), Archive: cold, Find: find, MoveAfter: 100 * 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.Expire(ctx, "acme", lifecycle.RunRequest{ConfirmClock: true}, lifecycle.Actor{})
		if err != nil || res.Segments == 0 || len(res.Archived) == 0 {
			t.Fatalf("%+v %v", res, err)
		}
	})
	other := sqliteSide(t)
	bare := deployment{base, d.master, d.anchor}
	if _, err := bare.copyTo(t, sqliteSide(t)); err == nil {
		t.Error("copied without the archive")
	}
	for n := 2; n < 12; n += 4 {
		cut(t, d, other, n, n%8 == 2, false)
	}
	report, err := d.copyTo(t, other, func(cfg *move.Config) { cfg.ChunkLeaves = 7 })
	if err != nil {
		t.Fatal(err)
	}
	got := tables(report)
	if absent := report.Leaves - got["records"]; absent < 20+3*perRun || got["archive units"] == 0 || got["expiries"] == 0 {
		t.Errorf("%d rows are absent of %d; %v", absent, report.Leaves, got)
	}
	db := other.mustOpen(t) // without an archive
	defer db.Close()
	first := int64(-1)
	err = db.Segments(ctx, store.LogRef{Tenant: "acme", No: 1}, 0, 1, func(s store.LeafSegment) error { first = s.First; return nil })
	if err != nil || first != 0 {
		t.Errorf("leaf 0 is not in the copy's database: %d, %v", first, err)
	}
}
