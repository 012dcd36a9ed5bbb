package export

import (
	"context"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/verify"
)

// collect writes all files but the receipt, and returns the manifest. For the
// same logs, checkpoints and request it makes the same bytes.
func (j *job) collect(ctx context.Context) (manifest file, err error) {
	j.counts = newCompleteness()
	man := &verify.Manifest{Format: verify.Format, Profile: j.req.Profile, ExportID: j.req.ExportID}
	man.Scope.TenantID = j.req.Tenant
	for _, l := range j.logs {
		man.Logs = append(man.Logs, verify.ManifestLog{Dir: l.dir, Origin: l.Origin, Size: l.head.Size})
		j.files = append(j.files, memoryFile(l.dir+"/checkpoint", l.note))
		if err := j.log(ctx, l); err != nil {
			return file{}, fmt.Errorf("log %s: %w", l.Origin, err)
		}
	}
	if err := j.since(ctx); err != nil {
		return file{}, err
	}
	counted, err := j.counts.marshal()
	if err != nil {
		return file{}, err
	}
	readme, err := j.readme()
	if err != nil {
		return file{}, err
	}
	j.files = append(j.files,
		memoryFile("completeness.json", counted), memoryFile("README.txt", readme), memoryFile("policy", j.policy()))
	return memoryFile("manifest.json", makeManifest(man, j.files)), nil
}

// since adds the proof that the log extends an older tree.
func (j *job) since(ctx context.Context) error {
	l, old := j.logs[0], j.req.SinceSize
	if old == 0 || old == l.head.Size {
		return nil
	}
	hashes, err := j.e.cfg.Ledger.Consistency(ctx, j.req.Tenant, l.No, old, l.head.Size)
	if err != nil {
		return err
	}
	c := c2sp.Consistency{Old: old, Hashes: hashes, Note: l.note}
	path := fmt.Sprintf("%s/consistency/%d-%d.add-checkpoint", l.dir, old, l.head.Size)
	j.files = append(j.files, memoryFile(path, c.Marshal()))
	return nil
}

// collector reads one log once and writes its files side by side, each kind
// into a spool of its own.
type collector struct {
	j         *job
	part      logPart
	counts    *logCompleteness
	entries   *fileWriter
	disclosed *fileWriter
	withheld  *fileWriter
	tree      c2sp.Frontier
	line      []byte
}

func (j *job) log(ctx context.Context, part logPart) error {
	c := &collector{j: j, part: part, counts: j.counts.log(part.dir, part.Origin)}
	for _, w := range []**fileWriter{&c.entries, &c.disclosed, &c.withheld} {
		fw, err := newFileWriter(j.e.cfg.SpoolDir)
		if err != nil {
			return err
		}
		*w = fw
		j.spools = append(j.spools, fw.spool)
	}
	size := part.head.Size
	err := j.e.cfg.Ledger.Records(ctx, j.req.Tenant, part.No, 0, size, func(r ledger.LogRecord) error {
		if err := c.record(&r); err != nil {
			return fmt.Errorf("leaf %d: %w", r.Seq, err)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if c.tree.Size() != size || c.tree.Root() != part.head.Root {
		return fmt.Errorf("%w: the leaves do not make the tree that was signed", evidence.ErrTampered)
	}
	c.counts.Size, c.counts.Root = size, part.head.Root.String()
	j.files = append(j.files,
		c.disclosed.finish(part.dir+"/disclosures.jsonl"), c.withheld.finish(part.dir+"/withheld.jsonl"))
	return nil
}

func (c *collector) record(r *ledger.LogRecord) error {
	entry, err := c2sp.AppendEntry(c.line[:0], r.Raw)
	if err != nil {
		return err
	}
	c.line = entry
	if _, err := c.entries.Write(entry); err != nil {
		return err
	}
	c.tree.Append(evidence.LeafHash(r.Raw), nil)
	size := c.part.head.Size
	if next := r.Seq + 1; next%c2sp.TileWidth == 0 || next == size {
		n := r.Seq / c2sp.TileWidth
		c.j.files = append(c.j.files, c.entries.finish(c.part.dir+"/"+c2sp.EntriesPath(n, int(next-n*c2sp.TileWidth))))
	}
	c.j.counts.add(c.counts, r.Leaf)
	for _, h := range r.Leaf.H { // sorted by path, as the lines must be
		if err := c.field(r, h); err != nil {
			return err
		}
	}
	c.j.done++
	if c.j.req.Progress != nil && (c.j.done%c2sp.TileWidth == 0 || c.j.done == c.j.total) {
		c.j.req.Progress(c.j.done, c.j.total)
	}
	return nil
}

// field discloses one sealed field, or says why not.
func (c *collector) field(r *ledger.LogRecord, h evidence.Commitment) error {
	open, ok := r.Open[h.Path]
	reason := verify.Erased
	if ok {
		// What was altered must not be passed off as a disclosure.
		if evidence.Commit(h.Path, open.Salt, []byte(open.JSON)) != h.Hash {
			return fmt.Errorf("%w: the stored content of %s is not what the leaf commits to", evidence.ErrTampered, h.Path)
		}
		if !c.j.withhold.has(h.Path) || alwaysDisclosed(r.Leaf, h.Path) {
			d := verify.Disclosure{Seq: r.Seq, Path: h.Path, Salt: open.Salt, Value: []byte(open.JSON)}
			c.line = d.Append(c.line[:0])
			c.counts.Disclosed++
			_, err := c.disclosed.Write(c.line)
			return err
		}
		reason = verify.Requested
	}
	w := verify.Withheld{Seq: r.Seq, Path: h.Path, Reason: reason}
	c.line = w.Append(c.line[:0])
	c.counts.Withheld[string(reason)]++
	_, err := c.withheld.Write(c.line)
	return err
}

// smallest sorts and cuts a list.
func smallest(list []string, n int) []string {
	slices.Sort(list)
	return list[:min(n, len(list))]
}
