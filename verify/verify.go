package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// ZIP checks a bundle in a ZIP of that size in bytes. The report says what
// is wrong with the bundle; the error says that it could not be read, that
// ctx has ended, or, wrapping evidence.ErrInvalid, that the options are of
// no use.
func ZIP(ctx context.Context, r io.ReaderAt, size int64, opts Options) (*Report, error) {
	return check(ctx, opts, func() (*source, error) { return zipSource(r, size) })
}

// Dir checks a bundle in a directory: the same files, for logs that a ZIP
// cannot hold. It must hold no others. Errors are as of [ZIP].
func Dir(ctx context.Context, fsys fs.FS, opts Options) (*Report, error) {
	return check(ctx, opts, func() (*source, error) { return dirSource(fsys) })
}

// checker runs the checks over one bundle.
type checker struct {
	ctx     context.Context
	opts    Options
	trust   *trust
	workers int
	src     *source
	rep     *Report

	man       *Manifest
	manDigest string // SHA-256 of manifest.json, hex
	dirs      []dirFiles
	entries   map[string]*ManifestFile // whose digest is checked with their leaves
	logs      []*logState              // by directory; nil where there is no key
	covers    []cover                  // erasures and expiries that any log records
	inScope   runScope                 // of a bundle of profile run
	order     []int                    // directories of the tenant's logs that LOG_OPENED leads to, newest first
}

// logState is what is known of one log of the bundle whose key is pinned.
type logState struct {
	*ManifestLog
	files  *dirFiles
	report *LogReport
	key    c2sp.VKey
	note   []byte
	head   c2sp.Verified // the directory's checkpoint

	anchors []c2sp.Checkpoint // verified notes of anchors/, by size
	proofs  []linkProof       // of consistency/
	marks   map[int64]*mark   // sizes whose roots and times other checks need
	opened  firstLeaf         // what leaf 0 says
	held    Report            // of checks 9 and 10, until 1 to 5 are through
	claims  []claim           // fields that are said to be erased or expired

	retention []retentionFact // in order of seq
	next      int64           // after the last leaf that is here
	apart     bool            // leaves are missing before that, behind the last of retention

	stamps []stampTime // that hold, by size

	// Of a directory that does not hold every leaf:
	sparse   bool
	own      []ownRecord             // records of the bundle's run, by seq
	linked   map[int64]evidence.Hash // trees that are proven to be of this log, by size
	stretch  stretch                 // of its records
	end      int64                   // seq of the last record
	unshared bool                    // holds a record that is no shared one of the system
}

// mark is what the log itself says of its tree at one size.
type mark struct {
	root          evidence.Hash   // not of a sparse directory
	before, after evidence.Micros // t of the last leaf before, and of the first from there on
	early, late   bool            // whether there are such leaves in the bundle

	beforeSeq, afterSeq int64
}

// last returns the seq of the last record in the bundle, if there is one.
func (l *logState) last() int64 {
	if l.sparse {
		return l.end
	}
	return l.Size - 1
}

// want makes the pass over the leaves keep what it sees at that size. Of a
// sparse directory it keeps times only.
func (l *logState) want(size int64) {
	if size >= 0 && size <= l.Size && l.marks[size] == nil {
		l.marks[size] = &mark{root: c2sp.EmptyRoot}
	}
}

func check(ctx context.Context, opts Options, open func() (*source, error)) (*Report, error) {
	trust, err := opts.parse()
	if err != nil {
		return nil, err
	}
	c := &checker{ctx: ctx, opts: opts, trust: trust, workers: opts.Workers, rep: &Report{
		Findings: []Finding{}, Logs: []LogReport{}, Counts: map[string]int64{}, NotProven: []string{},
	}}
	if c.workers <= 0 {
		c.workers = runtime.GOMAXPROCS(0)
	}
	src, err := open()
	switch {
	case err == nil:
		c.src = src
		err = c.run()
	case broken(err):
		c.rep.add(Finding{Code: EContainer, Message: err.Error()})
		err = nil
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	c.rep.finish()
	return c.rep, nil
}

// run does the checks in their order. It stops at the first failure in 1 to
// 5; after that it collects.
func (c *checker) run() error {
	for _, step := range []func() error{c.container, c.digests} {
		if err := step(); err != nil || c.rep.stopped() {
			return err
		}
	}
	before := c.rep.fresh()
	for _, step := range []func() error{c.checkpoints, c.leaves} {
		if err := step(); err != nil {
			return err
		}
		if c.rep.stopped() {
			return c.settle(before)
		}
	}
	c.chain()
	c.expiredEarly()
	for _, l := range c.logs {
		if l != nil {
			c.quorum(l)
			if err := c.times(l); err != nil {
				return err
			}
			c.links(l)
			c.accountFor(l)
			c.rep.add(l.held.Findings...)
			c.rep.dropped += l.held.dropped
		}
	}
	switch c.man.Profile {
	case ProfileRun:
		c.runComplete()
	case ProfilePeriod:
		c.periodComplete()
	}
	c.predecessors()
	c.since()
	if err := c.receipt(); err != nil {
		return err
	}
	c.notProven()
	return nil
}

// container is check 1.
func (c *checker) container() error {
	fail := func(err error) error {
		if !broken(err) && !errors.Is(err, evidence.ErrInvalid) {
			return err
		}
		c.rep.add(Finding{Code: EContainer, Message: err.Error()})
		return nil
	}
	b, err := c.src.read(manifestPath, maxManifest)
	if err != nil {
		return fail(err)
	}
	m, err := ParseManifest(b)
	var other errFormat
	if errors.As(err, &other) {
		c.rep.add(Finding{Code: UFormat, Path: manifestPath, Message: err.Error()})
		return nil
	}
	if err != nil {
		return fail(err)
	}
	c.man = m
	sum := sha256.Sum256(b)
	c.manDigest = hex.EncodeToString(sum[:])
	c.rep.Profile, c.rep.Scope = m.Profile, &m.Scope
	switch m.Profile {
	case ProfileLog, ProfileRun, ProfilePeriod:
	default:
		c.rep.add(Finding{Code: UProfile, Path: manifestPath, Message: "a bundle of an unknown profile: this version cannot check it"})
		return nil
	}
	if c.dirs, err = c.src.layout(m); err != nil {
		return fail(err)
	}
	for _, l := range m.Logs {
		c.rep.Logs = append(c.rep.Logs, LogReport{Dir: l.Dir, Origin: l.Origin, Size: l.Size})
	}
	c.rep.Logs[0].ExportID = m.ExportID
	return nil
}

// checkpoints is check 3: each checkpoint is strict, of the expected origin
// and signed by the pinned key; those of anchors and consistency proofs too.
func (c *checker) checkpoints() error {
	c.logs = make([]*logState, len(c.man.Logs))
	for k := range c.man.Logs {
		l := &logState{ManifestLog: &c.man.Logs[k], files: &c.dirs[k], report: &c.rep.Logs[k], marks: map[int64]*mark{}}
		l.sparse = c.man.Profile != ProfileLog
		var ok bool
		if l.key, ok = c.trust.keys[l.Origin]; !ok {
			if k == 0 {
				c.rep.add(Finding{Code: UNoKey, Log: l.Origin, Dir: l.Dir, Message: "no key was given for this log, so nobody's signature can be checked; ask its operator for the key, by another way than this bundle"})
				return nil
			}
			c.rep.add(Finding{Code: WNoKey, Log: l.Origin, Dir: l.Dir, Message: "no key was given for this log: its records were left out"})
			continue
		}
		l.report.Key = l.key.String()
		if err := c.checkpoint(l); err != nil || c.rep.class('E') {
			return err
		}
		c.logs[k] = l
	}
	return nil
}

func (c *checker) checkpoint(l *logState) (err error) {
	if l.note, l.head, err = c.note(l, l.Dir+"/checkpoint"); err != nil || c.rep.class('E') {
		return err
	}
	if l.head.Size != l.Size {
		return c.badSignature(l, l.Dir+"/checkpoint", errContainer("the checkpoint has another size than the manifest says"))
	}
	l.report.Root = l.head.Root.String()
	return c.readLinks(l)
}

// note reads a checkpoint of a log and verifies its signature.
func (c *checker) note(l *logState, path string) (note []byte, v c2sp.Verified, err error) {
	note, err = c.src.read(path, c2sp.MaxNoteSize)
	if err == nil {
		v, err = c2sp.Verify(note, l.key)
	}
	if err == nil && v.Origin != l.Origin {
		err = errContainer("the checkpoint is of the log " + v.Origin)
	}
	return note, v, c.badSignature(l, path, err)
}

// badSignature turns an error about a checkpoint into a finding.
func (c *checker) badSignature(l *logState, path string, err error) error {
	if err == nil {
		return nil
	}
	if !broken(err) && !errors.Is(err, evidence.ErrInvalid) && !errors.Is(err, evidence.ErrTampered) {
		return err
	}
	c.rep.add(Finding{Code: ELogSig, Log: l.Origin, Dir: l.Dir, Path: path, Message: err.Error()})
	return nil
}

// leaves runs checks 4 and 5, and gathers 9 and 10, over each log.
func (c *checker) leaves() error {
	if c.man.Profile != ProfileLog {
		return c.sparseLeaves()
	}
	if s := c.trust.since; s != nil {
		for _, l := range c.logs {
			if l != nil && l.Origin == s.Origin {
				l.want(s.Size)
			}
		}
	}
	for k, l := range c.logs {
		if l == nil {
			continue
		}
		if err := c.pass(l); err != nil {
			return err
		}
		if c.rep.class('E') {
			return nil
		}
		l.report.Checked = true
		// Predecessors stand behind their successors.
		for _, older := range c.logs[k+1:] {
			if p := l.opened.predecessor; p != nil && older != nil && older.Origin == p.Origin {
				older.want(p.Size)
			}
		}
	}
	return nil
}

// sparseLeaves is [checker.leaves] for bundles that hold some leaves with their
// proofs.
func (c *checker) sparseLeaves() error {
	for _, l := range c.logs {
		if l == nil {
			continue
		}
		if err := c.records(l); err != nil || c.rep.class('E') {
			return err
		}
		l.report.Checked = true
	}
	if c.man.Profile == ProfileRun {
		c.strangers()
	}
	return nil
}

func (c *checker) progress(stage string, done, total int64) {
	if c.opts.Progress != nil {
		c.opts.Progress(Progress{stage, done, total})
	}
}

func (c *checker) notProven() {
	c.rep.NotProven = append(c.rep.NotProven,
		"that a producer told the truth: a record proves what was said and when it was recorded, not that it is so",
		"that events which were never sent do not exist")
	if c.trust.policy == nil || c.trust.policy.quorum == nil {
		c.rep.NotProven = append(c.rep.NotProven,
			"that everybody is shown the same log: without a witness quorum its operator may keep another one for others")
	}
	if text := c.viewsHere(); text != "" {
		c.rep.NotProven = append(c.rep.NotProven, text)
	}
	switch c.man.Profile {
	case ProfileRun:
		c.rep.NotProven = append(c.rep.NotProven,
			"that no later record and no later revision of the run exists, in the log or elsewhere: a bundle of profile log proves that",
			"that the records beside those of the run itself, in the window around its turning point, of the accesses to it, or with its correlation id, are all that there are: a bundle of profile log proves that",
			"what other runs did in that window: their records are not in this bundle")
	case ProfilePeriod:
		c.rep.NotProven = append(c.rep.NotProven,
			"what happened before and after the period, and whether the runs seen in it have other records")
		if slices.ContainsFunc(c.rep.Logs, func(l LogReport) bool { return l.System }) {
			c.rep.NotProven = append(c.rep.NotProven,
				"that the records of the system's log are all that it shared in the period: only the tenant's own logs are without gaps")
		}
	default:
		for _, l := range c.logs {
			if l != nil && l.opened.predecessor != nil {
				c.rep.NotProven = append(c.rep.NotProven,
					"that runs which began in the log "+l.opened.predecessor.Origin+" went on in "+l.Origin+" without a gap")
			}
		}
	}
}

// views are files for people.
var views = []string{"report.pdf", "report.html", "completeness.json"}

// viewsHere says that the views which are in the bundle are not proven; "" where none is.
func (c *checker) viewsHere() string {
	var here []string
	for _, view := range views {
		if _, ok := c.src.size[view]; ok {
			here = append(here, view)
		}
	}
	switch len(here) {
	case 0:
		return ""
	case 1:
		return "that " + here[0] + " says what the records say: it is a view, made by who exported it"
	}
	return "that " + strings.Join(here, ", ") + " say what the records say: they are views, made by who exported them"
}

func unixTime(sec int64) string { return time.Unix(sec, 0).UTC().Format(time.RFC3339) }
