package ledger

import (
	"bytes"
	"context"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// SignedHead is a log with its newest signed note.
type SignedHead struct {
	LogInfo
	Size int64
	Root evidence.Hash
	Note []byte // with the log's signature alone
}

// Seen is what a witness knows of a log that the log's head does not extend, as the
// witness says.
type Seen struct {
	Origin string
	By     string // key name of the witness
	Size   int64  // of the tree that it has seen
	// Note is the checkpoint that it has seen, signed by the log: the proof. Empty
	// where the witness does not show it; then there is only its word.
	Note []byte
	// Refuses: it refuses the tree of Size leaves that the log has; else it only knows
	// a larger one than was shown to it.
	Refuses bool
	// Says is the witness's answer, for people.
	Says string
}

// WitnessFunc asks witnesses whether heads extend what they last saw. It returns
// what contradicts; a witness that cannot be reached says nothing.
type WitnessFunc func(ctx context.Context, heads []SignedHead) []Seen

// askWitnesses compares the heads of all logs with what witnesses saw. What is shown
// to them is anchored first, as everything that leaves the process.
func (l *Ledger) askWitnesses(ctx context.Context, heads []SignedHead) map[string]Seen {
	out := map[string]Seen{}
	if l.cfg.Witnesses == nil || len(heads) == 0 {
		return out
	}
	for _, s := range l.cfg.Witnesses(ctx, heads) {
		for _, h := range heads {
			if h.Origin != s.Origin {
				continue
			}
			key, err := c2sp.ParseVKey(h.VKey)
			if err == nil && contradicts(&s, key, h.Size, h.Root) {
				if _, have := out[s.Origin]; !have || len(s.Note) > 0 {
					out[s.Origin] = s
				}
			}
		}
	}
	return out
}

// contradicts judges what a witness says against a head. A note that it shows must be
// the log's own, else it is as if it had shown none.
func contradicts(s *Seen, key c2sp.VKey, size int64, root evidence.Hash) bool {
	if len(s.Note) > 0 {
		c, err := c2sp.Verify(s.Note, key)
		if err != nil || c.Origin != s.Origin {
			s.Note = nil
		} else {
			s.Size = c.Size
			return c.Size > size || c.Size == size && c.Root != root
		}
	}
	return true // the caller saw that it refuses; the sizes are in the message
}

// refusal is the error of a head that does not extend what a witness saw.
func (s *Seen) refusal(size int64) error {
	proof := "and shows the checkpoint"
	if len(s.Note) == 0 {
		proof = "but does not show the checkpoint"
	}
	if s.Size > size {
		return fmt.Errorf("%w: the database has %d records where the witness %s has seen %d, %s", ErrRollback, size, s.By, s.Size, proof)
	}
	return fmt.Errorf("%w: the witness %s has seen another tree of %d records, %s (%s)", ErrRollback, s.By, s.Size, proof, s.Says)
}

// anchoredHead returns a head once the anchor has it too.
func (l *Ledger) anchoredHead(o *openLog, head store.Head, anchored []byte) (SignedHead, error) {
	if !bytes.Equal(anchored, head.Note) {
		if err := l.anchor.Write(o.Origin, head.Note); err != nil {
			return SignedHead{}, fmt.Errorf("anchor of %s: %w", o.Origin, err)
		}
	}
	return SignedHead{LogInfo: infoOf(o.Log), Size: head.Size, Root: head.Root, Note: head.Note}, nil
}

// Published returns the logs that are in memory, each with its newest published
// checkpoint. A log that has a successor is among them only where it was closed in
// order: of another, witnesses may have seen what an operator gave up.
func (l *Ledger) Published() []SignedHead {
	l.mu.Lock()
	logs := make([]*openLog, 0, len(l.logs))
	newest := map[*openLog]bool{}
	for _, o := range l.logs {
		logs = append(logs, o)
		newest[o] = l.newest[o.Tenant] == o
	}
	l.mu.Unlock()
	var out []SignedHead
	for _, o := range logs {
		o.mu.Lock()
		note, broken, closed := o.published, o.broken, o.closed
		o.mu.Unlock()
		if note == nil || broken != nil || !closed && !newest[o] {
			continue
		}
		if c, _, err := c2sp.ParseNote(note); err == nil && c.Size > 0 {
			out = append(out, SignedHead{LogInfo: infoOf(o.Log), Size: c.Size, Root: c.Root, Note: note})
		}
	}
	return out
}

// Contradicted is told that a witness has seen a tree that ours does not extend. It
// asks the store again, for another process may have written meanwhile. If the
// contradiction stands, the log is not signed any more, both notes are kept beside
// the anchor, and INTEGRITY_ANOMALY says so; the error wraps ErrRollback.
func (l *Ledger) Contradicted(ctx context.Context, tenant string, logNo int, s Seen) error {
	o, err := l.logByNo(ctx, tenant, logNo)
	if err != nil {
		return err
	}
	if s.Origin != o.Origin {
		return fmt.Errorf("witness %s: %w: it speaks of log %s, not %s", s.By, evidence.ErrInvalid, s.Origin, o.Origin)
	}
	st, err := l.loadState(ctx, o)
	if err != nil {
		return err
	}
	if err = l.stillContradicts(ctx, o, &st, &s); err == nil {
		return nil
	}
	l.keepFork(o.Origin, st.note, s)
	l.anomalies(ctx, []Finding{{
		Code: CodeFork, Tenant: tenant, Log: o.Origin, Table: "witnesses", From: 0, To: s.Size,
		Expected: fmt.Sprintf("a tree that extends the %d records that %s has seen", s.Size, s.By),
		Found:    fmt.Sprintf("%d records, root %s", st.tree.size(), st.tree.root()), Message: err.Error(),
	}})
	return err
}

// contradictsYet asks the store again whether a log's tree extends what a witness saw.
func (l *Ledger) contradictsYet(ctx context.Context, lg store.Log, s *Seen) (bool, error) {
	o, err := l.openKey(lg)
	if err != nil {
		return false, err
	}
	st, err := l.loadState(ctx, o)
	if err != nil {
		return false, err
	}
	return l.stillContradicts(ctx, o, &st, s) != nil, nil
}

// stillContradicts returns nil where the store's tree extends what the witness saw.
func (l *Ledger) stillContradicts(ctx context.Context, o *openLog, st *logState, s *Seen) error {
	if len(s.Note) > 0 {
		c, err := c2sp.Verify(s.Note, o.vkey)
		if err == nil && c.Origin == o.Origin {
			s.Size = c.Size
			if err := extends(&st.tree, c.Size, c.Root, l.tileOf(ctx, o.LogRef)); err != nil {
				return fmt.Errorf("%w (the witness %s shows its checkpoint)", err, s.By)
			}
			return nil
		}
		s.Note = nil // not this log's: it proves nothing
	}
	if !s.Refuses && s.Size <= st.tree.size() {
		return nil // another process has written and published it
	}
	return s.refusal(st.tree.size())
}

// keepFork keeps two notes that contradict each other, beside the anchor. That it
// cannot is no reason to go on. It returns where they are; "" where they are not.
func (l *Ledger) keepFork(origin string, ours []byte, s Seen) string {
	where, err := l.anchor.KeepFork(origin, ours, s.Note)
	if err != nil {
		l.log.Error("keep the notes of a fork", "log", origin, "err", err)
		return ""
	}
	return where
}

// Stamped keeps a time stamp of a log and records CHECKPOINT_ANCHORED, which is for
// the tenant alone. It returns where that record stands.
func (l *Ledger) Stamped(ctx context.Context, tenant string, logNo int, a Attestation, serial string) (Receipt, error) {
	a.Kind = AttestTimestamp
	if err := l.Attest(ctx, tenant, logNo, []Attestation{a}); err != nil {
		return Receipt{}, err
	}
	o, err := l.logByNo(ctx, tenant, logNo)
	if err != nil {
		return Receipt{}, err
	}
	r := l.systemRecord(evidence.MicrosOf(l.clock.Now()), eventAnchored, "INFO",
		fmt.Sprintf("The checkpoint of %d records of log %s was time-stamped by %s.", a.Size, o.Origin, a.By))
	r.SetText("visibility", "tenant")
	setDetails(r, "/details", map[string]any{"log": o.Origin, "size": a.Size, "authority": a.By, "time": a.At.String(), "serial": serial})
	if err := r.Complete(); err != nil {
		return Receipt{}, err
	}
	receipts, err := l.Append(ctx, tenant, []*evidence.Record{r}, AppendOptions{})
	if err != nil {
		return Receipt{}, err
	}
	return receipts[0], nil
}

// OnlyAnchors reports whether the leaves of a log from <= seq < to are nothing but
// records of its own time stamps: such a log has not changed.
func (l *Ledger) OnlyAnchors(ctx context.Context, tenant string, logNo int, from, to int64) (bool, error) {
	const few = 4 // one comes after each stamp
	if to-from > few {
		return false, nil
	}
	o, err := l.logByNo(ctx, tenant, logNo)
	if err != nil {
		return false, err
	}
	for seq := from; seq < to; seq++ {
		_, leaf, err := readLeaf(ctx, l.store, o.Log, seq)
		if err != nil || leaf.Kind != evidence.KindSystem || leaf.Text("event_type") != eventAnchored {
			return false, err
		}
	}
	return true, nil
}
