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
	man := &verify.Manifest{Format: verify.Format, Profile: j.req.Profile, ExportID: j.req.ExportID}
	man.Scope = verify.Scope{TenantID: j.req.Tenant, RunID: j.req.Run}
	for _, l := range j.logs {
		man.Logs = append(man.Logs, verify.ManifestLog{Dir: l.dir, Origin: l.Origin, Size: l.head.Size})
	}
	switch {
	case j.run != nil:
		err = j.collectRun(ctx)
	case j.period != nil:
		err = j.collectPeriod(ctx, &man.Scope)
	default:
		err = j.collectLogs(ctx)
	}
	if err != nil {
		return file{}, err
	}
	if err := j.since(ctx); err != nil {
		return file{}, err
	}
	if err := j.closeViews(); err != nil {
		return file{}, err
	}
	if j.single() {
		return file{}, nil
	}
	for _, l := range j.logs {
		j.files = append(j.files, memoryFile(l.dir+"/checkpoint", l.note))
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

// collectLogs writes every record of the logs.
func (j *job) collectLogs(ctx context.Context) error {
	j.counts = newCompleteness(j.logs)
	j.counts.Runs = &runCompleteness{OpenIDs: []string{}}
	if err := j.readExpired(ctx); err != nil {
		return err
	}
	for k, l := range j.logs {
		if err := j.log(ctx, l, &j.counts.Logs[k]); err != nil {
			return fmt.Errorf("log %s: %w", l.Origin, err)
		}
		if err := j.anchors(ctx, &j.logs[k], 0, l.head.Size-1); err != nil {
			return err
		}
	}
	return nil
}

// since adds the proof that the log extends an older tree.
func (j *job) since(ctx context.Context) error {
	if j.single() {
		return nil
	}
	return j.link(ctx, &j.logs[0], j.req.SinceSize)
}

// collector reads one log once and writes its files side by side, each kind
// into a spool of its own.
type collector struct {
	j       *job
	part    logPart
	entries *fileWriter
	sealed  discloser
	tree    c2sp.Frontier
	line    []byte
}

// writers opens spools that the job closes.
func (j *job) writers(list ...**fileWriter) error {
	for _, w := range list {
		fw, err := newFileWriter(j.e.cfg.SpoolDir)
		if err != nil {
			return err
		}
		*w = fw
		j.spools = append(j.spools, fw.spool)
	}
	return nil
}

func (j *job) log(ctx context.Context, part logPart, counts *logCompleteness) error {
	c := &collector{j: j, part: part, sealed: discloser{choice: &j.choice, counts: counts}}
	if err := j.writers(&c.entries, &c.sealed.disclosed, &c.sealed.withheld); err != nil {
		return err
	}
	size := part.head.Size
	err := j.e.cfg.Ledger.Records(ctx, part.Tenant, part.No, 0, size, func(r ledger.LogRecord) error {
		if err := c.record(&r); err != nil {
			return fmt.Errorf("leaf %d: %w", r.Seq, err)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if c.tree.Size() != size || c.tree.Root() != part.head.Root {
		return tampered("the leaves do not make the tree that was signed")
	}
	j.files = append(j.files,
		c.sealed.disclosed.finish(part.dir+"/disclosures.jsonl"), c.sealed.withheld.finish(part.dir+"/withheld.jsonl"))
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
	c.j.counts.add(c.sealed.counts, r.Leaf)
	gone := func(path string) verify.Reason { return c.j.expired.reason(c.part.Origin, r.Leaf, path) }
	if _, err := c.sealed.record(r.Leaf, r.Open, gone); err != nil {
		return err
	}
	c.j.progress(1)
	return nil
}

// wasErased is why a field is gone where nobody looks for the record that says so:
// whoever verifies the bundle does.
func wasErased(string) verify.Reason { return verify.Erased }

func (j *job) progress(n int64) {
	j.done += n
	if j.req.Progress != nil && (j.done%c2sp.TileWidth == 0 || j.done == j.total) {
		j.req.Progress(j.done, j.total)
	}
}

func tampered(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{evidence.ErrTampered}, args...)...)
}

// smallest sorts and cuts a list.
func smallest(list []string, n int) []string {
	slices.Sort(list)
	return list[:min(n, len(list))]
}
