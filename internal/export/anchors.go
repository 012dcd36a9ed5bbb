package export

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
)

const (
	// cosignWithin bounds how long an export waits for witnesses.
	cosignWithin = 10 * time.Second
	// maxAnchors is how many time stamps a bundle of profile log has of one log.
	maxAnchors = 64
)

// checkpoint publishes the checkpoint of a log, has it cosigned, and returns it with
// what witnesses said. They are asked for the newest one that is published, which may
// have grown meanwhile: then that one is returned, if more of them have signed it.
func (j *job) checkpoint(ctx context.Context, tenant string, logNo int) (c2sp.Checkpoint, []byte, error) {
	l := j.e.cfg.Ledger
	head, note, err := l.PublishNow(ctx, tenant, logNo)
	if err != nil || head.Size == 0 {
		return head, note, err
	}
	if ask := j.e.cfg.Cosign; ask != nil {
		within, cancel := context.WithTimeout(ctx, cosignWithin)
		// Without witnesses a bundle is worth less, but not nothing: its checkpoint
		// says who has signed.
		if err := ask(within, tenant, logNo); err != nil {
			j.e.cfg.Logger.WarnContext(ctx, "witnesses of an export", "export", j.req.ExportID, "log", head.Origin, "err", err)
		}
		cancel()
	}
	list, err := l.Attestations(ctx, tenant, logNo, head.Size)
	if err != nil {
		return head, nil, err
	}
	best := bestCosigned(list, head.Size)
	if best != nil && best.Size != head.Size {
		if head, _, err = c2sp.ParseNote(best.Note); err != nil {
			return head, nil, fmt.Errorf("%w: %w", evidence.ErrTampered, err)
		}
		note = best.Note
	}
	note, err = l.Cosigned(ctx, tenant, logNo, note)
	return head, note, err
}

// bestCosigned returns a cosignature of the tree that most witnesses have signed, of
// several the smallest; nil where none has signed any.
func bestCosigned(list []ledger.Attestation, size int64) (best *ledger.Attestation) {
	by := map[int64]int{}
	for i := range list {
		a := &list[i]
		if a.Kind != ledger.AttestCosignature || a.Size < size {
			continue
		}
		by[a.Size]++
		if best == nil || by[a.Size] > by[best.Size] || by[a.Size] == by[best.Size] && a.Size < best.Size {
			best = a
		}
	}
	return best
}

// stamp is a time stamp that goes into a bundle.
type stamp struct {
	ledger.Attestation
	part *logPart
}

// anchors adds to a bundle the time stamps that say most of the records from first to
// last of a log, and of each tree that was stamped the way to the checkpoint.
func (j *job) anchors(ctx context.Context, part *logPart, first, last int64) error {
	if j.single() && !j.reports() {
		return nil
	}
	around := j.nearest
	if j.req.Profile == ProfileLog {
		around = j.spread
	}
	list, err := around(ctx, part, first, last)
	if err != nil {
		return fmt.Errorf("time stamps of %s: %w", part.Origin, err)
	}
	for _, a := range list {
		j.stamped = append(j.stamped, stamp{a, part})
		if j.single() {
			continue
		}
		name := fmt.Sprintf("%s/anchors/%d", part.dir, a.Size)
		j.files = append(j.files, memoryFile(name+".note", a.Note), memoryFile(name+".tsr", a.Data))
		if err := j.link(ctx, part, a.Size); err != nil {
			return err
		}
	}
	return nil
}

// nearest returns of the stamps of a log, by size, the latest that covers none of the
// records from first on, the earliest that covers all of them up to last, and the
// newest.
func (j *job) nearest(ctx context.Context, part *logPart, first, last int64) (out []ledger.Attestation, err error) {
	for _, want := range []struct {
		from, to int64
		newest   bool
	}{{1, first, true}, {last + 1, part.head.Size, false}, {1, part.head.Size, true}} {
		if out, err = j.stamp(ctx, part, out, want.from, want.to, want.newest); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// spread returns stamps of a log evenly over its size, the newest among them.
func (j *job) spread(ctx context.Context, part *logPart, _, _ int64) (out []ledger.Attestation, err error) {
	size := part.head.Size
	for i := range int64(maxAnchors - 1) {
		// The first one from there on; size is far below 2^63 / maxAnchors.
		if out, err = j.stamp(ctx, part, out, 1+i*size/(maxAnchors-1), size, false); err != nil {
			return nil, err
		}
	}
	return j.stamp(ctx, part, out, 1, size, true)
}

// stamp adds the first, or with newest the last, stamp of trees of from to to leaves to
// a list by size, if it is larger than those.
func (j *job) stamp(ctx context.Context, part *logPart, out []ledger.Attestation, from, to int64, newest bool) ([]ledger.Attestation, error) {
	if from > to {
		return out, nil
	}
	one, err := j.e.cfg.Ledger.Stamps(ctx, part.Tenant, part.No, from, to, newest, 1)
	if err == nil && len(one) > 0 && (len(out) == 0 || out[len(out)-1].Size < one[0].Size) {
		out = append(out, one[0])
	}
	return out, err
}

// link adds the proof that the log's checkpoint extends its tree of an older size,
// once.
func (j *job) link(ctx context.Context, part *logPart, old int64) error {
	path := fmt.Sprintf("%s/consistency/%d-%d.add-checkpoint", part.dir, old, part.head.Size)
	if old == 0 || old == part.head.Size || slices.ContainsFunc(j.files, func(f file) bool { return f.path == path }) {
		return nil
	}
	hashes, err := j.e.cfg.Ledger.Consistency(ctx, part.Tenant, part.No, old, part.head.Size)
	if err != nil {
		return err
	}
	c := c2sp.Consistency{Old: old, Hashes: hashes, Note: part.note}
	j.files = append(j.files, memoryFile(path, c.Marshal()))
	return nil
}
