package registry

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// maxApart is how far the end of an observation may be from when it was recorded, by two
// clocks. An old one that is recorded again, in another log, would else be the newest.
const maxApart = time.Hour

// What the leaf of a record OBSERVATION says besides the digest.
const (
	observationEvent     = "OBSERVATION"
	observationComponent = "registry"
)

// observationID returns the id of an observation's record: a UUID of version 5 (RFC
// 9562), whose name is the digest and whose name space is made from the tenant. So a
// record is of one tenant, although the origin of a log names none. Version 8 is for
// natural keys, and cannot be sent.
func observationID(tenant, digest string) evidence.ID {
	space := evidence.NaturalID(tenant, evidence.KindSystem, "observations")
	sum := sha1.Sum(append(space[:], digest...)) // names, and keeps no secret
	id := evidence.ID(sum[:16])
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id
}

// Verify checks that the observation of the file is the one that its leaf names, and
// that the leaf is in a tree which one of the keys has signed: the key of the log that
// the leaf says it is in. Keys must come from where the deployment's operator gives
// them, never from the file. The error wraps evidence.ErrTampered where something does
// not hold, else evidence.ErrInvalid: no key, no receipt, a file that is none, an observation that was kept back.
func (f *File) Verify(keys []string) error {
	_, err := f.verify(keys)
	return err
}

// verify is Verify, and returns the leaf.
func (f *File) verify(keys []string) (*evidence.Leaf, error) {
	r := f.Receipt
	switch {
	case len(keys) == 0:
		return nil, fmt.Errorf("observation: no verifier key was given, and none is taken from the file: %w", evidence.ErrInvalid)
	case r == nil:
		return nil, fmt.Errorf("observation: it has no receipt, so it stands in no ledger: %w", evidence.ErrInvalid)
	}
	vkeys := make([]c2sp.VKey, 0, len(keys))
	for _, key := range keys {
		k, err := c2sp.ParseVKey(strings.TrimSpace(key))
		if err != nil {
			return nil, fmt.Errorf("observation: %w", err)
		}
		vkeys = append(vkeys, k)
	}
	leaf, err := r.leaf(vkeys)
	if err != nil {
		return nil, fmt.Errorf("observation: receipt: %w", err)
	}
	if err := f.Observation.matches(leaf); err != nil {
		return nil, fmt.Errorf("observation: %w", err)
	}
	return leaf, f.Observation.check()
}

// leaf checks a receipt by itself, and returns what it proves.
func (r *Receipt) leaf(keys []c2sp.VKey) (*evidence.Leaf, error) {
	leaf, err := evidence.ParseLeaf([]byte(r.Leaf))
	if err != nil {
		return nil, receiptTampered("%v", err)
	}
	p, err := c2sp.ParseProof([]byte(r.Proof))
	if err != nil {
		return nil, receiptTampered("%v", err)
	}
	v, err := c2sp.Verify(p.Note, keys...)
	if err != nil {
		return nil, err
	}
	// Signatures that nobody checks could be changed without anybody's notice.
	own, err := c2sp.OnlyLogSignature(p.Note, v.Log)
	if err != nil {
		return nil, err
	}
	switch {
	case !bytes.Equal(own, p.Note):
		return nil, receiptTampered("its checkpoint has other signatures than the log's")
	case r.VKey != v.Log.String():
		return nil, receiptTampered("it names the key %s, and the checkpoint is signed by %s", r.VKey, v.Log)
	case leaf.Log != v.Origin || r.Log != v.Origin:
		return nil, receiptTampered("the leaf is of log %s, the receipt of %s, the checkpoint of %s", leaf.Log, r.Log, v.Origin)
	case leaf.Seq != p.Index || r.LeafIndex != p.Index:
		return nil, receiptTampered("the leaf is number %d, the receipt's %d, the proof's %d", leaf.Seq, r.LeafIndex, p.Index)
	case leaf.ID.String() != r.ID:
		return nil, receiptTampered("it is of record %s, and the leaf of %s", r.ID, leaf.ID)
	}
	return leaf, c2sp.CheckInclusion(p.Hashes, v.Size, v.Root, p.Index, evidence.LeafHash([]byte(r.Leaf)))
}

// matches checks that a leaf is that of this observation.
func (o *Observation) matches(leaf *evidence.Leaf) error {
	if leaf.Kind != evidence.KindSystem || leaf.Text("event_type") != observationEvent || leaf.Text("component") != observationComponent {
		return receiptTampered("record %s is no %s of component %s", leaf.ID, observationEvent, observationComponent)
	}
	digest := o.Digest()
	if said := leaf.Text("correlation_id"); said != digest {
		return receiptTampered("the file was edited, or the receipt is of another: its observation has the digest %s, and the ledger has %s", digest, said)
	}
	if synthetic, _ := leaf.Int("is_synthetic"); synthetic != 1 {
		return receiptTampered("record %s is not marked as synthetic", leaf.ID)
	}
	if want := observationID(o.Tenant, digest); leaf.ID != want {
		return receiptTampered("record %s is not that of tenant %q, which has the id %s", leaf.ID, o.Tenant, want)
	}
	if leaf.OccurredAt != o.FinishedAt {
		return receiptTampered("it ended at %s, and the ledger says %s", o.FinishedAt, leaf.OccurredAt)
	}
	if apart := leaf.RecordedAt.Time().Sub(leaf.OccurredAt.Time()).Abs(); apart > maxApart {
		return fmt.Errorf("it ended at %s and was recorded at %s, more than %s apart: the clock of one of them is wrong, or it was kept back; observe again: %w",
			leaf.OccurredAt, leaf.RecordedAt, maxApart, evidence.ErrInvalid)
	}
	return nil
}

func receiptTampered(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, evidence.ErrTampered)...)
}
