package ledger

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/verify"
)

// tenantFold takes the logs of one tenant in order. What spans logs (runs,
// ids, the sealed index, erasures) is compared when the last one is done.
type tenantFold struct {
	v        *liveVerifier
	tenant   string
	indexKey []byte
	keys     map[store.KeyID]bool // that the snapshot has

	read    store.Reader
	logs    []*logFold
	folds   map[int]*logFold // by log_no
	absent  absences
	missing []missingField
	targets []target
	orders  orders
	kept    verify.RetentionRules
	// Once all leaves were read:
	expiries expiryList
	coverage coverage
	runs     map[string]store.RunState
	byID     int64 // records that record_ids must have
	terms    map[termKey]termValue
	sizes    map[int]int64 // log_no -> size
	origins  map[int]string
	// erasedTerms are path and trace of erased fields: their entry may have
	// been that of the whole trace.
	erasedTerms map[string]bool
	// goneTerms are digests of a term's name and trace, of records whose rows are gone: the entry went
	// with the row, although others of the trace may stay.
	goneTerms map[uint64]struct{}
	seed      maphash.Seed // of goneTerms
}

type tileKey struct {
	level int
	n     int64
}

// termKey names an entry of the sealed index: a position, or a trace.
type termKey struct {
	name  string
	mac   [16]byte
	trace string
	pos   store.Position // zero where trace is set
}

type termValue struct {
	first     store.Position
	kind      evidence.Kind
	synthetic bool
	// more are further places of the entry of a trace, from the first
	// erasure on: one may have taken the entry that stood at an erased
	// record, and the next record of the trace made a new one.
	more  []store.Position
	found bool
}

// snapshotter is a reader that can give a view that does not change.
type snapshotter interface {
	Snapshot(ctx context.Context) (store.Snapshot, error)
}

// tenant verifies the logs of one tenant in two phases. The first reads the
// leaves up to the present heads, at whatever pace: what it reads never
// changes. The second reads what came since, and all that must agree with
// the head, from one snapshot.
func (v *liveVerifier) tenant(ctx context.Context, tenant string) error {
	t := &tenantFold{
		v: v, read: v.cfg.Reader, tenant: tenant, runs: map[string]store.RunState{}, terms: map[termKey]termValue{},
		sizes: map[int]int64{}, origins: map[int]string{}, erasedTerms: map[string]bool{},
		goneTerms: map[uint64]struct{}{}, seed: maphash.MakeSeed(),
		kept:  verify.RetentionRules{Defaults: true},
		folds: map[int]*logFold{}, absent: absences{list: map[absentKey][]stretch{}, shut: map[absentKey]bool{}}, orders: newOrders(),
	}
	if err := t.checkKeys(ctx); err != nil {
		return err
	}
	if err := t.eachLog(ctx, (*logFold).leaves); err != nil {
		return err
	}
	if err := t.readAnchors(); err != nil {
		return err
	}
	if s, ok := v.cfg.Reader.(snapshotter); ok {
		snap, err := s.Snapshot(ctx)
		if err != nil {
			return err
		}
		defer snap.Close()
		t.read = snap
		if err := t.eachLog(ctx, (*logFold).leaves); err != nil {
			return err
		}
	}
	if err := t.readKeys(ctx); err != nil {
		return err
	}
	if err := t.readExpiries(ctx); err != nil {
		return err
	}
	if err := t.cover(ctx); err != nil {
		return err
	}
	if err := t.eachLog(ctx, (*logFold).finish); err != nil {
		return err
	}
	if last := t.logs[len(t.logs)-1]; last.closed && last.done > 0 {
		last.finding(Finding{
			Code: CodeHead, Table: "logs", From: last.done - 1, To: last.done,
			Message: "the log was closed in favour of a successor, which is missing",
		})
	}
	t.checkMissing()
	for _, check := range []func(context.Context) error{
		t.checkAbsent, t.checkExpiries, t.checkHolds, t.checkErased, t.checkRuns, t.checkIDs, t.checkIndex,
	} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// eachLog calls fn for the tenant's logs in order, those that are new since
// the last call included.
func (t *tenantFold) eachLog(ctx context.Context, fn func(*logFold, context.Context) error) error {
	logs, err := t.read.Logs(ctx, t.tenant)
	if err != nil {
		return err
	}
	for i, lg := range logs {
		if i == len(t.logs) {
			if lg.No != i+1 {
				t.finding(Finding{Code: CodeHead, Table: "logs", Column: "log_no", Message: fmt.Sprintf("log %d of the tenant is missing", i+1)})
			}
			t.origins[lg.No] = lg.Origin
			f, err := t.newLogFold(ctx, lg)
			if err != nil {
				return err
			}
			t.logs = append(t.logs, f)
			t.folds[lg.No] = f
		}
		if f := t.logs[i]; f.usable {
			if err := fn(f, ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tenantFold) finding(f Finding) {
	f.Tenant = t.tenant
	t.v.add(f)
}

// checkKeys opens every data key of the tenant.
func (t *tenantFold) checkKeys(ctx context.Context) error {
	keys, err := t.read.DataKeys(ctx, t.tenant, "", "")
	if err != nil {
		return err
	}
	for _, k := range keys {
		if t.v.cfg.Sealer.CheckKey(t.tenant, k) != nil {
			t.finding(Finding{Code: CodeCommit, Table: "data_keys", Column: "wrapped", Found: fmt.Sprintf("%x", k.ID), Message: "a data key does not open under the master keyset"})
		}
	}
	t.indexKey, err = t.v.cfg.Sealer.IndexKey(ctx, t.read, t.tenant)
	if err != nil {
		t.indexKey = nil
		t.finding(Finding{Code: CodeIndex, Table: "data_keys", Message: "the tenant's key of index MACs is missing or does not open"})
	}
	return nil
}

// readKeys reads which data keys there are. The sealer of a running server
// still has those that were deleted behind its back.
func (t *tenantFold) readKeys(ctx context.Context) error {
	keys, err := t.read.DataKeys(ctx, t.tenant, "", "")
	if err != nil {
		return err
	}
	t.keys = make(map[store.KeyID]bool, len(keys))
	index := false
	for _, k := range keys {
		t.keys[k.ID] = true
		index = index || k.Scope == store.ScopeIndex
	}
	if !index && t.indexKey != nil {
		t.finding(Finding{Code: CodeIndex, Table: "data_keys", Message: "the tenant's key of index MACs is missing"})
	}
	return nil
}

// leaf takes one leaf of a log.
func (t *tenantFold) leaf(f *logFold, leaf *evidence.Leaf) {
	if leaf.Seq == 0 {
		f.opened = leaf
	}
	f.closed = leaf.Kind == evidence.KindSystem && leaf.Text("event_type") == eventClosed
	if !foundBySpan(leaf) {
		t.byID++
	}
	t.orders.leaf(f.lg.No, leaf)
	if early := t.kept.Next(leaf); early != nil {
		f.finding(Finding{
			Code: CodeUnaccounted, Table: "audit_ledger", Column: "valid_until", From: leaf.Seq, To: leaf.Seq + 1,
			Expected: early.Expected, Found: early.Found, Message: early.Message,
		})
	}
	f.dayOf(leaf)
	if leaf.Run == "" {
		return
	}
	st := t.runs[leaf.Run]
	if f.lg.No > 1 && leaf.N != st.NextN { // within one log the rules say so
		f.finding(Finding{
			Code: CodeGap, Table: "leaf_segments", From: leaf.Seq, To: leaf.Seq + 1, Expected: fmt.Sprint(st.NextN), Found: fmt.Sprint(leaf.N),
			Message: fmt.Sprintf("run %q does not go on where the log before left it", leaf.Run),
		})
	}
	st.Run = leaf.Run
	st.NextN = leaf.N + 1
	st.Last = store.Position{LogNo: f.lg.No, Seq: leaf.Seq}
	if leaf.Text("conflict_of") == "" {
		switch leaf.Kind {
		case evidence.KindTraceStep:
			n, _ := leaf.Int("step_index")
			if n != st.NextStep {
				f.finding(Finding{
					Code: CodeGap, Table: "aos_trace_steps", Column: "step_index", From: leaf.Seq, To: leaf.Seq + 1,
					Expected: fmt.Sprint(st.NextStep), Found: fmt.Sprint(n), Message: fmt.Sprintf("steps of run %q are not numbered without gaps", leaf.Run),
				})
			}
			st.NextStep = n + 1
		case evidence.KindLLMRun:
			rev, _ := leaf.Int("revision")
			st.Revision = max(st.Revision, rev)
		}
	}
	t.runs[leaf.Run] = st
}

func (t *tenantFold) term(logNo int, e expectedTerm) {
	pos := store.Position{LogNo: logNo, Seq: e.seq}
	k := termKey{name: e.name, mac: e.mac, trace: e.trace}
	if e.trace == "" {
		k.pos = pos
	}
	have, ok := t.terms[k]
	switch {
	case !ok:
		t.terms[k] = termValue{first: pos, kind: e.kind, synthetic: e.synthetic}
	case e.trace != "" && len(t.targets) > 0:
		have.more = append(have.more, pos)
		t.terms[k] = have
	}
}

// goneTerm notes what the index may have lost with a row.
func (t *tenantFold) goneTerm(leaf *evidence.Leaf) {
	trace := traceScope(leaf)
	if trace == "" || t.indexKey == nil {
		return
	}
	for _, h := range leaf.H {
		if name := seal.IndexName(leaf.Kind, h.Path); name != "" {
			t.goneTerms[t.termDigest(name, trace)] = struct{}{}
		}
	}
}

func (t *tenantFold) termDigest(name, trace string) uint64 {
	return maphash.Comparable(t.seed, [2]string{name, trace})
}

// cover puts together what the tenant's records say is gone.
func (t *tenantFold) cover(ctx context.Context) error {
	order := make(map[string]int, len(t.origins))
	for no, origin := range t.origins {
		order[origin] = no
	}
	type moment struct {
		log string
		at  evidence.Micros
	}
	firsts := map[moment]int64{} // the first leaf recorded then or later
	for i := range t.targets {
		x := &t.targets[i]
		f := t.folds[order[x.log]]
		if x.until == 0 || f == nil || !f.usable {
			continue
		}
		m := moment{x.log, x.until}
		first, known := firsts[m]
		if !known {
			var err error
			if first, err = f.recordedFrom(ctx, m.at); err != nil {
				return err
			}
			firsts[m] = first
		}
		x.young = first
	}
	t.coverage = newCoverage(t.targets, order)
	return nil
}

// checkMissing: content that is not there must be accounted for.
func (t *tenantFold) checkMissing() {
	for _, m := range t.missing {
		if t.coverage.covers(m) {
			t.v.report.Erased++
			t.erasedTerms[m.path+" "+m.trace] = true
			continue
		}
		t.finding(Finding{
			Code: CodeUnaccounted, Log: m.log, Table: "sealed_segments", From: m.seq, To: m.seq + 1,
			Message: fmt.Sprintf("sealed content at %s is gone and no record says that it was erased or expired", m.path),
		})
	}
}

// checkErased looks for content that is there although a record says that
// it was erased: someone put it back, or an erasure did not do its work.
func (t *tenantFold) checkErased(ctx context.Context) error {
	if len(t.targets) == 0 {
		return nil
	}
	type field struct {
		log  string
		seq  int64
		path string
	}
	gone := make(map[field]bool, len(t.missing))
	for _, m := range t.missing {
		gone[field{m.log, m.seq, m.path}] = true
	}
	for _, target := range t.targets {
		for _, f := range t.logs {
			if f.lg.Origin != target.log || len(target.Paths) == 0 {
				continue
			}
			for seq := target.From; seq < min(target.To, target.before, f.done); seq++ {
				for _, path := range target.Paths { // where all paths go, their number is not said
					if gone[field{target.log, seq, path}] {
						continue
					}
					if there, err := t.opens(ctx, f, seq, path); err != nil {
						return err
					} else if there {
						f.finding(Finding{
							Code: CodeCommit, Table: "sealed_segments", From: seq, To: seq + 1,
							Message: fmt.Sprintf("sealed content at %s is there although a record says that it was erased", path),
						})
					}
				}
			}
		}
	}
	return nil
}

// opens reports whether a field opens in the snapshot: it may have been
// erased since its record was read.
func (t *tenantFold) opens(ctx context.Context, f *logFold, seq int64, path string) (bool, error) {
	_, leaf, err := readLeaf(ctx, t.read, f.lg, seq)
	if errors.Is(err, evidence.ErrTampered) {
		return false, nil // said already
	}
	if err != nil {
		return false, err
	}
	row, err := t.read.Row(ctx, f.lg.LogRef, leaf.Kind, seq)
	if errors.Is(err, evidence.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	open, err := newContent(t.v.cfg.Sealer, t.read, f.lg).open(ctx, leaf, [2]int64{row.Segment, row.ActorSegment})
	if errors.Is(err, evidence.ErrTampered) {
		return false, nil
	}
	_, there := open[path]
	return there, err
}

// checkRuns compares the operational states of runs with the leaves.
func (t *tenantFold) checkRuns(ctx context.Context) error {
	err := t.read.AllRuns(ctx, t.tenant, func(s store.RunState) error {
		want, ok := t.runs[s.Run]
		delete(t.runs, s.Run)
		s.Open = false // says only whom to look at
		switch {
		case !ok:
			t.finding(Finding{Code: CodeColumn, Table: "run_states", Found: s.Run, Message: "a state of a run that has no records"})
		case want != s:
			t.finding(Finding{
				Code: CodeColumn, Table: "run_states", Log: t.origins[want.Last.LogNo], From: want.Last.Seq, To: want.Last.Seq + 1,
				Expected: fmt.Sprintf("%+v", want), Found: fmt.Sprintf("%+v", s), Message: "the state of a run is not what its records say",
			})
		}
		return nil
	})
	for run, s := range t.runs {
		t.finding(Finding{
			Code: CodeColumn, Table: "run_states", Log: t.origins[s.Last.LogNo], From: s.Last.Seq, To: s.Last.Seq + 1,
			Expected: run, Message: "the state of a run is missing",
		})
	}
	return err
}

// checkIDs looks for ids of no record. That each record has its id was
// looked up with its leaf.
func (t *tenantFold) checkIDs(ctx context.Context) error {
	n := int64(0)
	err := t.read.RecordIDs(ctx, t.tenant, func(id evidence.ID, pos store.Position) error {
		n++
		if size, ok := t.sizes[pos.LogNo]; !ok || pos.Seq >= size {
			t.finding(Finding{Code: CodeID, Table: "record_ids", Log: t.origins[pos.LogNo], From: pos.Seq, To: pos.Seq + 1, Found: id.String(), Message: "the id of a record that is not in the log"})
		}
		return nil
	})
	if n > t.byID {
		t.finding(Finding{
			Code: CodeID, Table: "record_ids", Expected: fmt.Sprint(t.byID), Found: fmt.Sprint(n),
			Message: "there are ids that are not those of any record",
		})
	}
	return err
}

// checkIndex compares the sealed index with what the openings call for.
func (t *tenantFold) checkIndex(ctx context.Context) error {
	if t.indexKey == nil {
		return nil
	}
	err := t.read.Index(ctx, t.tenant, func(e store.IndexEntry) error {
		k := termKey{name: e.Name, mac: e.MAC, trace: e.Trace}
		if e.Trace == "" {
			k.pos = e.Position
		}
		want, ok := t.terms[k]
		if ok && (want.found || want.first != e.Position && !(slices.Contains(want.more, e.Position) && t.erasedTerm(k, want))) {
			ok = false
		}
		if !ok {
			t.finding(Finding{
				Code: CodeIndex, Table: "sealed_index", Log: t.origins[e.LogNo], From: e.Seq, To: e.Seq + 1, Found: e.Name,
				Message: "an index entry that no sealed content calls for",
			})
			return nil
		}
		want.found = true
		t.terms[k] = want
		return nil
	})
	if err != nil {
		return err
	}
	for k, want := range t.terms {
		if !want.found && !t.erasedTerm(k, want) {
			t.finding(Finding{
				Code: CodeIndex, Table: "sealed_index", Log: t.origins[want.first.LogNo], From: want.first.Seq, To: want.first.Seq + 1,
				Expected: k.name, Message: "the index entry of sealed content is missing",
			})
		}
	}
	return nil
}

// erasedTerm reports whether an erasure took the entry: that of the record
// since it was read, or that of its trace; or it went with the row of another record of the trace. (That the
// row is gone lawfully is looked at by itself.)
func (t *tenantFold) erasedTerm(k termKey, want termValue) bool {
	path := "/" + k.name
	m := missingField{log: t.origins[want.first.LogNo], seq: want.first.Seq, path: path, kind: want.kind, synthetic: want.synthetic}
	if t.coverage.covers(m) {
		return true
	}
	if k.trace == "" {
		return false
	}
	_, gone := t.goneTerms[t.termDigest(k.name, k.trace)]
	return gone || t.erasedTerms[path+" "+k.trace]
}

// unknownAnchors finds logs that the anchor has and the database does not.
func (v *liveVerifier) unknownAnchors(ctx context.Context) ([]Finding, error) {
	if v.cfg.Anchor == nil || v.cfg.Tenant != "" {
		return nil, nil
	}
	origins, err := v.cfg.Anchor.Origins()
	if err != nil {
		return nil, err
	}
	// Notes before logs: a log is in the database before its anchor has
	// leaves.
	notes := map[string][]byte{}
	for _, origin := range origins {
		// Not found: it is lost with an accepted rollback.
		if notes[origin], err = v.cfg.Anchor.Read(origin); err != nil && !errors.Is(err, evidence.ErrNotFound) {
			return nil, err
		}
	}
	logs, err := v.cfg.Reader.Logs(ctx, "")
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, lg := range logs {
		known[lg.Origin] = true
	}
	var out []Finding
	for _, origin := range origins {
		if known[origin] {
			continue
		}
		if notes[origin] == nil {
			out = append(out, Finding{
				Code: CodeRollback, Log: origin, Table: "anchor",
				Message: "an operator accepted a rollback that lost this log as a whole",
			})
			continue
		}
		if c, _, err := c2sp.ParseNote(notes[origin]); err == nil && c.Size > 0 {
			out = append(out, Finding{
				Code: CodeFork, Log: origin, Table: "logs", From: 0, To: c.Size,
				Message: "the anchor has a log that the database does not know: the log was removed, or a backup was restored",
			})
		}
	}
	return out, nil
}
