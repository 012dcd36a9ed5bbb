package sqlite

import (
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const sqlSetRun = `INSERT INTO run_states (run_no, next_n, next_step, revision, last_row, open, tenant_no)
	VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (run_no) DO UPDATE
	SET next_n = ?2, next_step = ?3, revision = ?4, last_row = ?5, open = ?6`

// writeCommit writes all logs of a commit into the open transaction.
func (w *writer) writeCommit(c *store.Commit) error {
	for i := range c.Logs {
		if err := w.writeLog(&c.Logs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) writeLog(c *store.LogCommit) error {
	if err := checkLogCommit(c); err != nil {
		return err
	}
	// The head first: whoever moved it meanwhile, the rest is in vain.
	key, tenant, err := w.moveHead(c)
	if err != nil {
		return err
	}
	for i := range c.Entries {
		if err := w.addEntry(key, tenant, &c.Entries[i]); err != nil {
			return err
		}
	}
	if err := w.addTree(key, c); err != nil {
		return err
	}
	if err := w.addContent(key, tenant, c); err != nil {
		return err
	}
	for i := range c.Runs {
		if err := w.setRun(c.Log.Tenant, tenant, &c.Runs[i]); err != nil {
			return err
		}
	}
	if err := w.addLifecycle(tenant, c); err != nil {
		return err
	}
	if c.Removal != nil {
		return w.remove(c.Log.Tenant, tenant, c.Removal)
	}
	return nil
}

// checkLogCommit refuses what would leave holes. It is cheap, and a mistake
// above would otherwise be signed and for ever.
func checkLogCommit(c *store.LogCommit) error {
	switch {
	case c.Prev.Size < 0 || c.Next.Size < c.Prev.Size || !inRange(c.Next.Size):
		return invalid("head of log %d moves from %d to %d", c.Log.No, c.Prev.Size, c.Next.Size)
	case int64(len(c.Entries)) != c.Next.Size-c.Prev.Size:
		return invalid("%d entries for leaves %d to %d", len(c.Entries), c.Prev.Size, c.Next.Size)
	case c.Open != nil && (c.Open.LogRef != c.Log || c.Prev.Size != 0 || c.Log.No < 1):
		return invalid("log %d is opened wrongly", c.Log.No)
	case len(c.Entries) == 0 && len(c.Sealed) > 0:
		return invalid("sealed segment %d of log %d comes without a record", c.Sealed[0].No, c.Log.No)
	}
	for i := range c.Entries {
		if seq := c.Entries[i].Leaf.Seq; seq != c.Prev.Size+int64(i) {
			return invalid("entry %d has leaf index %d, not %d", i, seq, c.Prev.Size+int64(i))
		}
	}
	return nil
}

// moveHead swaps the head, or opens the log with it.
func (w *writer) moveHead(c *store.LogCommit) (key, tenant int64, err error) {
	if c.Open != nil {
		return w.openLog(c.Open, c.Next)
	}
	if key, tenant, err = w.logKey(c.Log); err != nil {
		return 0, 0, err
	}
	s := w.st.lastLog
	s.BindInt64(1, tenant)
	switch last, _, err := number(s); {
	case err != nil:
		return 0, 0, err
	case last > int64(c.Log.No):
		return 0, 0, fmt.Errorf("%w: log %d of tenant %s has a successor, log %d", store.ErrHeadMoved, c.Log.No, c.Log.Tenant, last)
	}
	s = w.st.moveHead
	s.BindInt64(1, key)
	s.BindInt64(2, c.Next.Size)
	s.BindBytes(3, c.Next.Root[:])
	s.BindBytes(4, c.Next.Note)
	s.BindInt64(5, c.Prev.Size)
	s.BindBytes(6, c.Prev.Root[:])
	s.BindBytes(7, c.Prev.Note)
	if err := step(s); err != nil {
		return 0, 0, err
	}
	if w.conn.Changes() != 1 {
		return 0, 0, fmt.Errorf("%w: log %d of tenant %s is not at size %d with that root and note", store.ErrHeadMoved, c.Log.No, c.Log.Tenant, c.Prev.Size)
	}
	return key, tenant, nil
}

// addTree writes leaf segments, tiles and the kept checkpoint.
func (w *writer) addTree(key int64, c *store.LogCommit) error {
	for i := range c.Segments {
		seg := &c.Segments[i]
		if !inRange(seg.First) {
			return invalid("leaf segment at %d", seg.First)
		}
		s := w.st.addSegment
		s.BindInt64(1, rowKey(key, seg.First))
		s.BindInt64(2, int64(seg.Count))
		s.BindBytes(3, seg.Data)
		if err := step(s); err != nil {
			return occupied(err, fmt.Sprintf("leaf segment %d", seg.First))
		}
	}
	for i := range c.Tiles {
		t := &c.Tiles[i]
		if t.Level < 0 || t.Level >= maxLevels || t.N < 0 || t.N > tileMask {
			return invalid("tile %d/%d", t.Level, t.N)
		}
		s := w.st.addTile
		s.BindInt64(1, tileKey(key, t.Level, t.N))
		s.BindBytes(2, t.Data)
		if err := step(s); err != nil {
			return occupied(err, fmt.Sprintf("tile %d/%d", t.Level, t.N))
		}
	}
	if c.KeepCheckpoint {
		return w.keepCheckpoint(key, store.Checkpoint{Size: c.Next.Size, Note: c.Next.Note})
	}
	return nil
}

func (w *writer) keepCheckpoint(key int64, c store.Checkpoint) error {
	if !inRange(c.Size) {
		return invalid("checkpoint of size %d", c.Size)
	}
	find := w.st.findCheckpoint
	find.BindInt64(1, rowKey(key, c.Size))
	found, err := find.Step()
	if err != nil {
		return err
	}
	same := found && string(blob(find, 0)) == string(c.Note)
	if err := find.Reset(); err != nil {
		return err
	}
	switch {
	case same:
		return nil
	case found:
		return fmt.Errorf("%w: a checkpoint of size %d with other bytes is kept", store.ErrHeadMoved, c.Size)
	}
	s := w.st.addCheckpoint
	s.BindInt64(1, rowKey(key, c.Size))
	s.BindBytes(2, c.Note)
	return step(s)
}

func (w *writer) setRun(tenant string, tenantNo int64, r *store.RunState) error {
	no, err := w.spineNo(tenantNo, r.Run)
	if err != nil {
		return err
	}
	last, err := w.position(tenant, r.Last)
	if err != nil {
		return err
	}
	s := w.st.setRun
	s.BindInt64(1, no)
	s.BindInt64(2, r.NextN)
	s.BindInt64(3, r.NextStep)
	s.BindInt64(4, r.Revision)
	s.BindInt64(5, last)
	s.BindBool(6, r.Open)
	s.BindInt64(7, tenantNo)
	return step(s)
}

// position returns the row key of a record of the tenant.
func (w *writer) position(tenant string, p store.Position) (int64, error) {
	key, _, err := w.logKey(store.LogRef{Tenant: tenant, No: p.LogNo})
	if err != nil {
		return 0, err
	}
	if !inRange(p.Seq) {
		return 0, invalid("leaf index %d", p.Seq)
	}
	return rowKey(key, p.Seq), nil
}

func (w *writer) setSetting(name, value string) error {
	if value == "" { // what it was may have been a secret
		if err := w.removing(); err != nil {
			return err
		}
	}
	return w.putSetting(name, value)
}

func (w *writer) putSetting(name, value string) error {
	s := w.st.setSetting
	s.BindText(1, name)
	s.BindText(2, value)
	return step(s)
}

// addEntry writes a record's topic row and id.
func (w *writer) addEntry(key, tenant int64, e *store.Entry) error {
	l := e.Leaf
	t := topicOf(l.Kind)
	if t == nil {
		return invalid("%s", l.Kind)
	}
	row := rowKey(key, l.Seq)
	byOwnKey, err := w.addRow(t, row, tenant, e)
	if err != nil || byOwnKey {
		return err
	}
	s := w.st.addID
	s.BindInt64(1, tenant)
	s.BindBytes(2, l.ID[:])
	s.BindInt64(3, row)
	if err := step(s); err != nil {
		if isKey(err) || isUnique(err) || isGuard(err) {
			err = fmt.Errorf("%w: id %s: %w", store.ErrDuplicate, l.ID, err)
		}
		return err
	}
	return nil
}

// addRow writes a topic row. byOwnKey says that it is a step that is found by
// its span.
func (w *writer) addRow(t *topic, row, tenant int64, e *store.Entry) (byOwnKey bool, err error) {
	l := e.Leaf
	s := w.st.addTopic[t.kind]
	if err := s.ClearBindings(); err != nil {
		return false, err
	}
	s.BindInt64(colRow+1, row)
	s.BindInt64(colRecordedAt+1, int64(l.RecordedAt))
	s.BindInt64(colOccurredAt+1, int64(l.OccurredAt))
	if l.Run != "" {
		no, err := w.spineNo(tenant, l.Run)
		if err != nil {
			return false, err
		}
		s.BindInt64(colRun+1, no)
		s.BindInt64(colN+1, l.N)
	}
	if e.Segment >= 0 {
		s.BindInt64(colSegment+1, e.Segment)
	}
	if e.ActorSegment >= 0 {
		s.BindInt64(colActorSegment+1, e.ActorSegment)
	}
	var hasSpan, conflicts bool
	var trace, span int64
	for i := range l.Pub {
		f := &l.Pub[i]
		at := f.Field.Index()
		if at >= len(t.fields) || t.fields[at] != f.Field {
			return false, invalid("%s has no field %s", t.kind, f.Field.Name)
		}
		param := colFields + at + 1
		n := f.Int
		switch t.encoding[at] {
		case encText:
			conflicts = conflicts || f.Field.Name == "conflict_of"
			s.BindText(param, f.Str)
			continue
		case encName:
			n, err = w.name(f.Str)
		case encNames:
			n, err = w.list(f)
		case encSpine:
			if n, err = w.spineNo(tenant, f.Str); f.Field.Name == "trace_id" {
				trace = n
			}
		case encSpan:
			if n, err = spanBits(f.Str); f.Field.Name == "span_id" {
				hasSpan, span = true, n
			}
		}
		if err != nil {
			return false, err
		}
		s.BindInt64(param, n)
	}
	byOwnKey = t.kind == evidence.KindTraceStep && hasSpan && !conflicts
	if byOwnKey && trace <= w.expiredTo {
		if err := w.notExpired(trace, span); err != nil {
			return false, err
		}
	}
	if err := step(s); err != nil {
		return false, w.refused(err, t, row)
	}
	return byOwnKey, nil
}

// notExpired refuses a step whose first row has gone.
func (w *writer) notExpired(trace, span int64) error {
	s := w.st.findExpired
	s.BindInt64(1, trace)
	s.BindInt64(2, span)
	row, found, err := number(s)
	if err == nil && found {
		err = fmt.Errorf("%w: span %s stood in row %d, which has expired", store.ErrDuplicate, spanText(span), row&numberMask)
	}
	return err
}

// refused tells a record that is stored already from a row behind the head.
func (w *writer) refused(err error, t *topic, row int64) error {
	switch {
	case isHeld(err):
		return fmt.Errorf("sqlite: %s: %w: %w", t.kind, store.ErrHeld, err)
	case !isUnique(err) && !isKey(err) && !isGuard(err):
		return err
	}
	s, perr := w.conn.Prepare("SELECT row FROM " + t.table + " WHERE row = ?1")
	if perr != nil {
		return perr
	}
	s.BindInt64(1, row)
	_, found, qerr := number(s)
	switch {
	case qerr != nil:
		return qerr
	case found:
		return occupied(err, fmt.Sprintf("%s row %d", t.kind, row&numberMask))
	default:
		return fmt.Errorf("%w: %s: %w", store.ErrDuplicate, t.kind, err)
	}
}
