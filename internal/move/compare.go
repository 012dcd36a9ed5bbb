package move

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Table says how much of something is on both sides.
type Table struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
}

// Names of Table, in the order of a report.
const (
	tableLogs         = "logs"
	tableHeads        = "heads"
	tableRecords      = "records"
	tableIDs          = "record ids"
	tableLeafSegments = "leaf segments"
	tableTiles        = "tiles"
	tableCheckpoints  = "checkpoints"
	tableAttestations = "attestations"
	tableKeys         = "data keys"
	tableSealed       = "sealed segments"
	tableIndex        = "sealed index"
	tableRemovals     = "removals"
	tableRuns         = "run states"
	tableExpiries     = "expiries"
	tableHolds        = "holds"
	tableHeld         = "held runs and records"
	tableArchives     = "archive units"
	tableSettings     = "settings"
	tableCredentials  = "credentials"
)

var tableNames = []string{
	tableLogs, tableHeads, tableRecords, tableIDs, tableLeafSegments, tableTiles, tableCheckpoints, tableAttestations,
	tableKeys, tableSealed, tableIndex, tableRemovals, tableRuns, tableExpiries, tableHolds, tableHeld, tableArchives, tableSettings, tableCredentials,
}

// sum is a digest of a set of rows, whatever the order they come in: each row is
// hashed with all that makes it this row, and the hashes are added up. It shows that
// two stores have the same, which is all it is for: that what they have is what was
// signed is shown by verification.
type sum struct {
	rows int64
	h    [4]uint64
}

func (s *sum) add(r row) {
	h := sha256.Sum256(r)
	for i := range s.h {
		s.h[i] += binary.BigEndian.Uint64(h[i*8:])
	}
	s.rows++
}

// row is a row as bytes: its values in order, each of which says where it ends.
type row []byte

func (r *row) int(list ...int64) {
	for _, v := range list {
		*r = binary.BigEndian.AppendUint64(*r, uint64(v))
	}
}

func (r *row) text(list ...string) {
	for _, s := range list {
		*r = append(binary.BigEndian.AppendUint64(*r, uint64(len(s))), s...)
	}
}

func (r *row) bytes(b []byte) {
	*r = append(binary.BigEndian.AppendUint64(*r, uint64(len(b))), b...)
}

func (r *row) log(lg *store.Log) {
	r.ref(lg.LogRef)
	r.text(lg.Origin, lg.VKey)
	r.bytes(lg.WrappedKey)
}

func (r *row) ref(ref store.LogRef) {
	r.text(ref.Tenant)
	r.int(int64(ref.No))
}

func (r *row) head(h *store.Head) {
	r.int(h.Size)
	r.bytes(h.Root[:])
	r.bytes(h.Note)
}

// digester reads a whole store.
type digester struct {
	read interface {
		store.Reader
		store.Mover
	}
	sums     map[string]*sum
	buf      row
	progress func(leaves int64)
}

// begin returns a row to be filled and given to put.
func (d *digester) begin(ref store.LogRef) *row {
	d.buf = d.buf[:0]
	d.buf.ref(ref)
	return &d.buf
}

func (d *digester) put(table string) error {
	s := d.sums[table]
	if s == nil {
		s = &sum{}
		d.sums[table] = s
	}
	s.add(d.buf)
	return nil
}

// compare sees that both sides have the same.
func (c *copier) compare(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	source := &digester{read: c.cfg.From, sums: map[string]*sum{}, progress: func(leaves int64) {
		c.done += leaves
		if time.Since(c.said) > 100*time.Millisecond {
			c.said = time.Now()
			c.say(StageCompare, c.done, c.total)
		}
	}}
	c.done = 0
	other := &digester{read: c.cfg.To, sums: map[string]*sum{}, progress: func(int64) {}}
	failed := make(chan error, 1)
	go func() {
		err := other.all(ctx)
		if err != nil {
			stop()
		}
		failed <- err
	}()
	err := source.all(ctx)
	if err != nil {
		stop()
	}
	otherErr := <-failed
	if err != nil && !errors.Is(err, context.Canceled) || otherErr == nil && err != nil {
		return fmt.Errorf("compare: %s: %w", c.cfg.FromName, err)
	}
	if otherErr != nil {
		return fmt.Errorf("compare: %s: %w", c.cfg.ToName, otherErr)
	}
	for _, name := range tableNames {
		var a, b sum
		if s := source.sums[name]; s != nil {
			a = *s
		}
		if s := other.sums[name]; s != nil {
			b = *s
		}
		if a != b {
			if err := c.unmoved(ctx); err != nil {
				return err
			}
			return fmt.Errorf("%s has other %s than %s (%d and %d): %w", c.cfg.ToName, name, c.cfg.FromName, b.rows, a.rows, evidence.ErrTampered)
		}
		c.report.Tables = append(c.report.Tables, Table{name, a.rows})
	}
	return nil
}

func (d *digester) all(ctx context.Context) error {
	logs, err := d.read.Logs(ctx, "")
	if err != nil {
		return err
	}
	for i, lg := range logs {
		if i == 0 || logs[i-1].Tenant != lg.Tenant {
			if err := d.tenant(ctx, lg.Tenant); err != nil {
				return err
			}
		}
		if err := d.log(ctx, lg); err != nil {
			return err
		}
	}
	return d.platform(ctx)
}

func (d *digester) log(ctx context.Context, lg store.Log) error {
	d.begin(lg.LogRef).log(&lg)
	if err := d.put(tableLogs); err != nil {
		return err
	}
	head, err := d.read.Head(ctx, lg.LogRef)
	if err != nil {
		return err
	}
	d.begin(lg.LogRef).head(&head)
	if err := d.put(tableHeads); err != nil {
		return err
	}
	for _, read := range []func(context.Context, store.LogRef) error{d.leafSegments, d.tree, d.said, d.content, d.archives} {
		if err := read(ctx, lg.LogRef); err != nil {
			return err
		}
	}
	return d.rows(ctx, lg.LogRef, head.Size)
}

func (d *digester) leafSegments(ctx context.Context, ref store.LogRef) error {
	return d.read.Segments(ctx, ref, 0, 1<<62, func(s store.LeafSegment) error {
		r := d.begin(ref)
		r.int(s.First, int64(s.Count))
		r.bytes(s.Data)
		d.progress(int64(s.Count))
		return d.put(tableLeafSegments)
	})
}

func (d *digester) tree(ctx context.Context, ref store.LogRef) error {
	err := d.read.Tiles(ctx, ref, func(t store.Tile) error {
		r := d.begin(ref)
		r.int(int64(t.Level), t.N)
		r.bytes(t.Data)
		return d.put(tableTiles)
	})
	if err != nil {
		return err
	}
	return d.read.Checkpoints(ctx, ref, 0, func(p store.Checkpoint) error {
		r := d.begin(ref)
		r.int(p.Size)
		r.bytes(p.Note)
		return d.put(tableCheckpoints)
	})
}

func (d *digester) said(ctx context.Context, ref store.LogRef) error {
	return d.read.Attestations(ctx, ref, everything, func(a store.Attestation) error {
		r := d.begin(ref)
		r.int(a.Size, int64(a.At))
		r.text(a.Kind, a.By, a.Key)
		r.bytes(a.Note)
		r.bytes(a.Data)
		return d.put(tableAttestations)
	})
}

func (d *digester) content(ctx context.Context, ref store.LogRef) error {
	return d.read.SealedSegments(ctx, ref, func(s store.SealedSegment) error {
		r := d.begin(ref)
		r.int(s.No)
		r.bytes(s.ID[:])
		r.bytes(s.Key[:])
		r.bytes(s.Data)
		return d.put(tableSealed)
	})
}

// rows reads the rows of records as they are, whatever their leaves say.
func (d *digester) rows(ctx context.Context, ref store.LogRef, size int64) error {
	for _, k := range evidence.Kinds() {
		err := d.read.Rows(ctx, ref, k, 0, size, func(e *store.Row) error {
			r := d.begin(ref)
			r.int(int64(k), e.Seq, int64(e.RecordedAt), int64(e.OccurredAt), e.N, e.Segment, e.ActorSegment)
			r.text(e.Run)
			for i := range e.Facts {
				r.int(int64(e.Facts[i].Field.Index()))
				*r = e.Facts[i].AppendJSON(*r)
			}
			return d.put(tableRecords)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *digester) tenant(ctx context.Context, tenant string) error {
	ref := store.LogRef{Tenant: tenant}
	keys, err := d.read.DataKeys(ctx, tenant, "", "")
	if err != nil {
		return err
	}
	for i, k := range keys { // their order counts
		r := d.begin(ref)
		r.int(int64(i))
		r.bytes(k.ID[:])
		r.text(k.Scope, k.Label)
		r.bytes(k.Wrapped)
		if err := d.put(tableKeys); err != nil {
			return err
		}
	}
	err = d.read.RecordIDs(ctx, tenant, func(id evidence.ID, p store.Position) error {
		r := d.begin(ref)
		r.bytes(id[:])
		r.int(int64(p.LogNo), p.Seq)
		return d.put(tableIDs)
	})
	if err != nil {
		return err
	}
	err = d.read.AllRuns(ctx, tenant, func(s store.RunState) error {
		d.begin(ref).run(&s)
		return d.put(tableRuns)
	})
	if err != nil {
		return err
	}
	if err := d.lifecycle(ctx, ref); err != nil {
		return err
	}
	return d.index(ctx, ref)
}

func (d *digester) index(ctx context.Context, ref store.LogRef) error {
	err := d.read.Index(ctx, ref.Tenant, func(e store.IndexEntry) error {
		r := d.begin(ref)
		r.text(e.Name, e.Trace)
		r.bytes(e.MAC[:])
		r.int(int64(e.LogNo), e.Seq)
		return d.put(tableIndex)
	})
	if err != nil {
		return err
	}
	return d.read.Removals(ctx, ref.Tenant, func(e store.Removed) error {
		r := d.begin(ref)
		r.text(e.What, e.Name)
		r.bytes(e.ID[:])
		r.int(int64(e.LogNo), e.No, int64(e.By.LogNo), e.By.Seq)
		return d.put(tableRemovals)
	})
}

func (r *row) run(s *store.RunState) {
	open := int64(0)
	if s.Open {
		open = 1
	}
	r.text(s.Run)
	r.int(s.NextN, s.NextStep, s.Revision, int64(s.Last.LogNo), s.Last.Seq, open)
}

// platform reads what is of no tenant.
func (d *digester) platform(ctx context.Context) error {
	err := d.read.Settings(ctx, func(name, value string) error {
		if store.IsLocal(name) {
			return nil
		}
		d.begin(store.LogRef{}).text(name, value)
		return d.put(tableSettings)
	})
	if err != nil {
		return err
	}
	return d.read.APIKeys(ctx, "*", func(k store.APIKey) error {
		r := d.begin(store.LogRef{Tenant: k.Tenant})
		r.text(k.ID, k.Role, k.Name, k.CreatedBy)
		r.text(k.Scopes...)
		r.bytes(k.Hash[:])
		r.int(int64(k.CreatedAt), int64(k.ExpiresAt), int64(k.RevokedAt), int64(k.UsedAt))
		if k.Recorded {
			r.int(1)
		}
		return d.put(tableCredentials)
	})
}
