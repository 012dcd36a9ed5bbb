package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// Kinds of an attestation.
const (
	AttestCosignature = store.KindCosignature
	AttestTimestamp   = store.KindTimestamp
)

// Attestation is what somebody outside said about a log's tree of one size: a
// witness by a cosignature, an authority by a time stamp.
type Attestation struct {
	Size int64
	Kind string
	By   string          // key name of the witness, or name of the authority in the configuration
	Key  string          // of a witness: the id of its key, 8 hex digits
	At   evidence.Micros // as they say
	// Note is the checkpoint with the log's own signature alone: what was stamped.
	Note []byte
	// Data is the signature line with its newline, or the DER of the response.
	Data []byte
}

// Attestations returns those of a tenant's log with from <= size, by size, kind and
// name.
func (l *Ledger) Attestations(ctx context.Context, tenant string, logNo int, from int64) ([]Attestation, error) {
	return l.attestations(ctx, store.LogRef{Tenant: tenant, No: logNo}, store.AttestationQuery{From: from, To: math.MaxInt64})
}

// Stamps returns the time stamps of a log with from <= size <= to, at most limit
// (0: all) of them: the smallest sizes first, or with newest the largest.
func (l *Ledger) Stamps(ctx context.Context, tenant string, logNo int, from, to int64, newest bool, limit int) ([]Attestation, error) {
	return l.attestations(ctx, store.LogRef{Tenant: tenant, No: logNo}, store.AttestationQuery{
		Kind: AttestTimestamp, From: from, To: to, Newest: newest, Limit: limit,
	})
}

// recentAttestations bounds what Newest looks through.
const recentAttestations = 256

// Newest returns the newest attestation of each witness and authority of a log,
// among the last few hundred.
func (l *Ledger) Newest(ctx context.Context, tenant string, logNo int) ([]Attestation, error) {
	ref := store.LogRef{Tenant: tenant, No: logNo}
	var out []Attestation
	for _, kind := range []string{AttestCosignature, AttestTimestamp} {
		list, err := l.attestations(ctx, ref, store.AttestationQuery{Kind: kind, To: math.MaxInt64, Newest: true, Limit: recentAttestations})
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			if !slices.ContainsFunc(out, func(b Attestation) bool { return a.Kind == b.Kind && a.By == b.By && a.Key == b.Key }) {
				out = append(out, a)
			}
		}
	}
	return out, nil
}

func (l *Ledger) attestations(ctx context.Context, ref store.LogRef, q store.AttestationQuery) ([]Attestation, error) {
	var out []Attestation
	bare := map[int64][]int{} // by size, those without a note of their own
	err := l.store.Attestations(ctx, ref, q, func(a store.Attestation) error {
		if len(a.Note) == 0 {
			bare[a.Size] = append(bare[a.Size], len(out))
		}
		out = append(out, Attestation{
			Size: a.Size, Kind: a.Kind, By: a.By, Key: a.Key, At: a.At, Note: slices.Clone(a.Note), Data: slices.Clone(a.Data),
		})
		return nil
	})
	if err != nil || len(bare) == 0 {
		return out, err
	}
	first, last := int64(math.MaxInt64), int64(0)
	for size := range bare {
		first, last = min(first, size), max(last, size)
	}
	err = l.store.Checkpoints(ctx, ref, first, func(p store.Checkpoint) error {
		for _, i := range bare[p.Size] {
			out[i].Note = slices.Clone(p.Note)
		}
		if p.Size >= last {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return out, err
}

// Attest keeps what somebody outside said of a log, once it is checked that it is
// about a tree of this log: the note is signed by it and extended by what is durable.
// Where one of the same size and name is kept already, that one stays.
func (l *Ledger) Attest(ctx context.Context, tenant string, logNo int, list []Attestation) error {
	if len(list) == 0 {
		return nil
	}
	o, err := l.logByNo(ctx, tenant, logNo)
	if err != nil {
		return err
	}
	st := o.state()
	rows := make([]store.Attestation, 0, len(list))
	seen := map[string]bool{}
	for _, a := range list {
		if !seen[string(a.Note)] {
			c, err := c2sp.Verify(a.Note, o.vkey)
			if err == nil && (c.Origin != o.Origin || c.Size != a.Size) {
				err = fmt.Errorf("%w: it is of another size", evidence.ErrInvalid)
			}
			if err == nil {
				err = extends(&st.tree, c.Size, c.Root, l.tileOf(ctx, o.LogRef))
			}
			if err != nil {
				return fmt.Errorf("attestation of %s, %d leaves: %w", o.Origin, a.Size, err)
			}
			seen[string(a.Note)] = true
		}
		row := store.Attestation{Size: a.Size, Kind: a.Kind, By: a.By, Key: a.Key, At: a.At, Data: a.Data}
		if a.Kind == AttestTimestamp {
			row.Note = a.Note
		} else if err := l.store.KeepCheckpoint(ctx, o.LogRef, store.Checkpoint{Size: a.Size, Note: a.Note}); err != nil {
			return err
		}
		rows = append(rows, row)
	}
	return l.store.KeepAttestations(ctx, o.LogRef, rows)
}

// Cosigned returns a published note of a log with the cosignatures that are kept for
// its size behind the log's own signature, in order of their names; without any it
// is the note itself.
func (l *Ledger) Cosigned(ctx context.Context, tenant string, logNo int, note []byte) ([]byte, error) {
	c, sigs, err := c2sp.ParseNote(note)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(note)
	err = l.store.Attestations(ctx, store.LogRef{Tenant: tenant, No: logNo}, store.AttestationQuery{
		Kind: AttestCosignature, From: c.Size, To: c.Size, Limit: c2sp.MaxSignatures,
	}, func(a store.Attestation) error {
		lines, err := c2sp.ParseSignatures(a.Data)
		if err != nil || len(lines) != 1 {
			return fmt.Errorf("cosignature of %s, %d leaves: %w: it is not one signature line", c.Origin, c.Size, evidence.ErrTampered)
		}
		has := func(s c2sp.Signature) bool { return s.Name == lines[0].Name && s.KeyID == lines[0].KeyID }
		if len(sigs) < c2sp.MaxSignatures && !slices.ContainsFunc(sigs, has) {
			sigs = append(sigs, lines[0])
			out = append(out, a.Data...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
