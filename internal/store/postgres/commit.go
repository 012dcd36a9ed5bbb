package postgres

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/runledger/runledger/internal/store"
)

const (
	sqlAddCheckpoint = `INSERT INTO checkpoints (tenant_id, log_no, size, note) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`
	sqlCheckpoint    = `SELECT note FROM checkpoints WHERE tenant_id = $1 AND log_no = $2 AND size = $3`

	// In the order of the list, which is that of first_seen.
	sqlSetRuns = `INSERT INTO run_states (tenant_id, run_id, next_n, next_step, revision, last_log, last_leaf, open)
		SELECT $1, u.run_id, u.next_n, u.next_step, u.revision, u.last_log, u.last_leaf, u.open
		FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::boolean[])
			WITH ORDINALITY AS u (run_id, next_n, next_step, revision, last_log, last_leaf, open, place)
		ORDER BY u.place
		ON CONFLICT (tenant_id, run_id) DO UPDATE SET next_n = excluded.next_n, next_step = excluded.next_step,
			revision = excluded.revision, last_log = excluded.last_log, last_leaf = excluded.last_leaf, open = excluded.open`
)

// Commit implements store.Store.
func (db *DB) Commit(ctx context.Context, c *store.Commit) error {
	loads, err := db.prepareCommit(ctx, c)
	if err != nil {
		return err
	}
	// Not by transact: moveHead begins the transaction, which saves a round trip.
	err = db.lend(ctx, func(conn *pooled) error {
		return db.end(ctx, conn, db.writeCommit(ctx, conn, c, loads))
	})
	return db.committed(c, err)
}

// prepareCommit checks and encodes a commit, and makes the partitions that it
// needs: all that can be done before its transaction begins, which holds heads.
func (db *DB) prepareCommit(ctx context.Context, c *store.Commit) ([]*load, error) {
	loads := make([]*load, len(c.Logs))
	for i := range c.Logs {
		if err := checkLogCommit(&c.Logs[i]); err != nil {
			return nil, err
		}
		var err error
		if loads[i], err = newLoad(&c.Logs[i]); err != nil {
			return nil, err
		}
	}
	return loads, db.ensurePartitionsFor(ctx, c)
}

// writeCommit writes a prepared commit within the transaction that is open, or
// that it begins. db.end has to end it.
func (db *DB) writeCommit(ctx context.Context, conn *pooled, c *store.Commit, loads []*load) error {
	for _, i := range lockOrder(c.Logs) {
		if err := db.writeLog(ctx, conn, &c.Logs[i], loads[i]); err != nil {
			return err
		}
	}
	return nil
}

// committed is what a commit's transaction returned, once the store's caches have
// learnt from it.
func (db *DB) committed(c *store.Commit, err error) error {
	err = retried(err)
	db.metrics.commit(err)
	if err == nil {
		db.places.committed(c)
	}
	if sqlState(err) == codeCheck { // a partition has gone, or somebody's constraint
		db.months.forget()
		return unavailable(err)
	}
	return err
}

// lockOrder is the order in which logs are written, one for all processes: two
// that hold a head each and wait for the other's would both be in vain.
func lockOrder(logs []store.LogCommit) []int {
	order := make([]int, len(logs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := logs[a].Log, logs[b].Log
		return cmp.Or(strings.Compare(x.Tenant, y.Tenant), cmp.Compare(x.No, y.No))
	})
	return order
}

// checkLogCommit refuses what would leave holes. It is cheap, and a mistake
// above would otherwise be signed and for ever.
func checkLogCommit(c *store.LogCommit) error {
	switch {
	case c.Prev.Size < 0 || c.Next.Size < c.Prev.Size:
		return invalid("head of log %d moves from %d to %d", c.Log.No, c.Prev.Size, c.Next.Size)
	case int64(len(c.Entries)) != c.Next.Size-c.Prev.Size:
		return invalid("%d entries for leaves %d to %d", len(c.Entries), c.Prev.Size, c.Next.Size)
	case c.Open != nil && (c.Open.LogRef != c.Log || c.Prev.Size != 0 || c.Log.No < 1):
		return invalid("log %d is opened wrongly", c.Log.No)
	case len(c.Entries) == 0 && len(c.Sealed) > 0:
		return invalid("sealed segment %d of log %d comes without a record", c.Sealed[0].No, c.Log.No)
	}
	if err := checkLifecycle(c); err != nil {
		return err
	}
	for i := range c.Entries {
		if seq := c.Entries[i].Leaf.Seq; seq != c.Prev.Size+int64(i) {
			return invalid("entry %d has leaf index %d, not %d", i, seq, c.Prev.Size+int64(i))
		}
	}
	return nil
}

func (db *DB) writeLog(ctx context.Context, conn *pooled, c *store.LogCommit, l *load) error {
	if err := moveHead(ctx, conn, c); err != nil {
		return err
	}
	// Keys before what is sealed under them: one that was removed is found here.
	if err := addKeys(ctx, conn, c.Log.Tenant, c.Keys); err != nil {
		return err
	}
	if c.Removal != nil {
		if err := addKeys(ctx, conn, c.Log.Tenant, c.Removal.NewKeys); err != nil {
			return err
		}
	}
	if err := db.places.addMonths(ctx, conn, c); err != nil {
		return err
	}
	if err := l.send(ctx, conn, c); err != nil {
		return err
	}
	if c.KeepCheckpoint {
		if err := keepCheckpoint(ctx, conn, c.Log, store.Checkpoint{Size: c.Next.Size, Note: c.Next.Note}); err != nil {
			return err
		}
	}
	if err := addLifecycle(ctx, conn, c); err != nil {
		return err
	}
	if c.Removal != nil {
		return remove(ctx, conn, c.Log, c.Removal)
	}
	return nil
}

// send writes the rows of a commit, and what is sent with them: many rows of a table by
// COPY, and all else together in one flight.
func (l *load) send(ctx context.Context, conn *pooled, c *store.LogCommit) error {
	f := &flight{conn: conn}
	for _, rows := range l.all() {
		if err := rows.send(ctx, f); err != nil {
			return err
		}
	}
	addIndex(ctx, f, c.Log.Tenant, c.Index)
	setRuns(ctx, f, c.Log.Tenant, c.Runs)
	return f.fly(ctx)
}

// note makes a missing note an empty one: nil would be NULL.
func note(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// wantLog returns evidence.ErrNotFound for a log that is not open.
func wantLog(ctx context.Context, conn *pooled, log store.LogRef) error {
	var one int
	found, err := (&reader{conn: conn.Conn}).one(ctx, sqlLog, []any{log.Tenant, log.No}, &one)
	if err == nil && !found {
		err = notFound("log %d of tenant %s", log.No, log.Tenant)
	}
	return err
}

// KeepCheckpoint implements store.Store.
func (db *DB) KeepCheckpoint(ctx context.Context, log store.LogRef, c store.Checkpoint) error {
	return db.transact(ctx, func(ctx context.Context, conn *pooled) error {
		if err := wantLog(ctx, conn, log); err != nil {
			return err
		}
		return keepCheckpoint(ctx, conn, log, c)
	})
}

func keepCheckpoint(ctx context.Context, conn *pooled, log store.LogRef, c store.Checkpoint) error {
	if c.Size < 0 {
		return invalid("checkpoint of size %d", c.Size)
	}
	tag, err := conn.Exec(ctx, sqlAddCheckpoint, log.Tenant, log.No, c.Size, note(c.Note))
	if err != nil || tag.RowsAffected() == 1 {
		return err
	}
	var have []byte
	if err := conn.QueryRow(ctx, sqlCheckpoint, log.Tenant, log.No, c.Size).Scan(&have); err != nil {
		return err
	}
	if !bytes.Equal(have, c.Note) {
		return fmt.Errorf("%w: a checkpoint of size %d with other bytes is kept", store.ErrHeadMoved, c.Size)
	}
	return nil
}

// setRuns writes run states. A run that is named twice has the later one, at
// the place of the earlier.
func setRuns(ctx context.Context, f *flight, tenant string, list []store.RunState) {
	if len(list) == 0 {
		return
	}
	var runs []string
	var nextN, nextStep, revision, lastLog, lastLeaf []int64
	var open []bool
	places := make(map[string]int, len(list))
	for i := range list {
		r := &list[i]
		at, again := places[r.Run]
		if !again {
			at = len(runs)
			places[r.Run] = at
			runs = append(runs, r.Run)
			nextN, nextStep, revision = append(nextN, 0), append(nextStep, 0), append(revision, 0)
			lastLog, lastLeaf, open = append(lastLog, 0), append(lastLeaf, 0), append(open, false)
		}
		nextN[at], nextStep[at], revision[at] = r.NextN, r.NextStep, r.Revision
		lastLog[at], lastLeaf[at], open[at] = int64(r.Last.LogNo), r.Last.Seq, r.Open
	}
	f.query(ctx, sqlSetRuns, tenant, runs, nextN, nextStep, revision, lastLog, lastLeaf, open)
}
