// Package move copies a whole deployment from one store to another, byte for byte:
// the same leaves in the same segments, the same tiles, signed heads, checkpoints and
// attestations, the same sealed content under the same data keys, and what was erased
// stays erased. Backends may differ. It does not translate, repair or leave out: a
// source that does not verify is not copied.
//
// # What is written when
//
// The destination is filled through store.Commit, as a ledger fills it, so its
// guards and keys are in force from the first row on. Of each tenant, log after log:
// the log and its data keys, then its leaves in stretches of whole leaf segments,
// each in one transaction with rows, tiles, sealed content and run states. Then the
// sealed index, what is known of removals, checkpoints and attestations, and at last
// the signed head of the newest log. Until then a head has a note that nobody signed,
// so what is there could not be served even if it were tried.
//
// A copy that ended anywhere is resumed by the same call: each transaction leaves a
// state that says how far it came.
//
// # One of two may write
//
// A copy has the signing keys of its original. Were both to go on, each would sign a
// tree of its own under one key: a fork, for ever, whoever meant well. So exactly one
// store may be opened by a ledger at any time ([Check]): the source until the copy
// has been verified, the destination from then on. A rehearsal leaves the source as
// it is, and its copy can be read and verified, and not be opened by a ledger.
//
// A process that has a store open already is asked to stop, where it can be seen
// ([store.Mover].Others); where it cannot, the backend refuses its commits from the
// moment on at which the store is marked ([store.MoveMark.Fence]). What it committed
// before that is seen in the heads, and then the mark is taken back.
package move

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// Defaults of Config.
const (
	DefaultChunkLeaves = 8192
	DefaultChunkBytes  = 16 << 20
)

// Config says what to copy.
type Config struct {
	// From is read, and at the end told that it has moved. To is written.
	From, To store.Store
	// FromName and ToName name the two for people, in the marks that both get. A copy
	// is resumed, and taken back, under the same names.
	FromName, ToName string
	// Master is the keyset of both: what is sealed is not sealed anew.
	Master tink.AEAD
	// Anchor is the source's. ToAnchor is what the destination will be opened with;
	// nil is the same one. Another one gets the notes of the source's.
	Anchor, ToAnchor ledger.Anchor
	// Rehearse makes a copy that is not to be opened by a ledger, and leaves the
	// source in service.
	Rehearse bool
	// ChunkLeaves and ChunkBytes bound one transaction, about. 0 is the default.
	ChunkLeaves, ChunkBytes int
	// Progress is told from time to time what is done, of a total of the same unit.
	Progress func(stage string, done, total int64)
	Logger   *slog.Logger     // default: none
	Now      func() time.Time // default: time.Now
}

// Stages of Config.Progress.
const (
	StageSource  = "verify source"
	StageCopy    = "copy"
	StageCompare = "compare"
	StageVerify  = "verify copy"
)

// Report says what a copy did.
type Report struct {
	// Resumed: the destination had a part of it already.
	Resumed bool `json:"resumed,omitempty"`
	// Rehearsal: the source stays in service.
	Rehearsal bool  `json:"rehearsal,omitempty"`
	Tenants   int   `json:"tenants"`
	Logs      int   `json:"logs"`
	Leaves    int64 `json:"leaves"`
	Copied    int64 `json:"copied"` // leaves that this call wrote
	// Tables are what was compared, and is the same on both sides.
	Tables []Table `json:"tables"`
	// Source and Destination are the verifications before and after.
	Source      *ledger.LiveReport `json:"-"`
	Destination *ledger.LiveReport `json:"-"`
}

// Errors of Copy, beside those of the stores.
var (
	// ErrOccupied: the destination holds something that is no part of this copy.
	ErrOccupied = fmt.Errorf("the destination is not empty: %w", evidence.ErrConflict)
	// ErrMoved: the source changed while it was copied, or since.
	ErrMoved = fmt.Errorf("the source has changed since the copy began: %w", evidence.ErrConflict)
)

// UnsoundError says that a store does not match what was signed.
type UnsoundError struct {
	Where  string // its name
	Source bool
	Report *ledger.LiveReport
}

// Error implements error.
func (e *UnsoundError) Error() string {
	what := "the copy"
	if e.Source {
		what = "the source"
	}
	for _, f := range e.Report.Findings {
		if f.Code[0] == 'E' {
			return fmt.Sprintf("%s, %s, does not verify: %s (%d findings)", what, e.Where, f, len(e.Report.Findings))
		}
	}
	return fmt.Sprintf("%s, %s, does not verify", what, e.Where)
}

// Unwrap makes it evidence.ErrTampered.
func (e *UnsoundError) Unwrap() error { return evidence.ErrTampered }

// copier is one Copy under way.
type copier struct {
	cfg    Config
	logs   []store.Log // of the source
	heads  map[store.LogRef]store.Head
	digest string // of logs and heads
	report *Report
	total  int64
	done   int64
	said   time.Time
}

// Copy copies a deployment. Errors wrap ErrOccupied, ErrMoved, store.ErrLocked where
// another program has one of the two open, an UnsoundError, or are of the stores.
// After any of them the source is what it was, and the same call goes on from where
// it came, but after ErrOccupied and an unsound copy, which begin anew elsewhere.
func Copy(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	c := &copier{cfg: cfg, report: &Report{Rehearsal: cfg.Rehearse}}
	if err := c.alone(ctx); err != nil {
		return nil, err
	}
	if err := c.readSource(ctx); err != nil {
		return nil, err
	}
	complete, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	if c.report.Source, err = c.verify(ctx, true); err != nil {
		return nil, err
	}
	if !complete {
		if err := c.arrive(ctx); err != nil {
			return nil, err
		}
		if err := c.copy(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.copyAnchors(); err != nil {
		return nil, err
	}
	if err := c.compare(ctx); err != nil {
		return nil, err
	}
	if c.report.Destination, err = c.verify(ctx, false); err != nil {
		return nil, err
	}
	if err := c.alone(ctx); err != nil {
		return nil, err
	}
	return c.report, c.finish(ctx)
}

func (cfg *Config) complete() error {
	switch {
	case cfg.From == nil || cfg.To == nil:
		return errors.New("move: a store is missing")
	case cfg.FromName == "" || cfg.ToName == "" || cfg.FromName == cfg.ToName:
		return fmt.Errorf("move: %w: from %q to %q", evidence.ErrInvalid, cfg.FromName, cfg.ToName)
	case cfg.Master == nil || cfg.Anchor == nil:
		return errors.New("move: the master keyset or the anchor is missing")
	}
	if cfg.ChunkLeaves <= 0 {
		cfg.ChunkLeaves = DefaultChunkLeaves
	}
	if cfg.ChunkBytes <= 0 {
		cfg.ChunkBytes = DefaultChunkBytes
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return nil
}

// alone refuses stores that other programs have open, as far as that can be seen.
// Where it cannot, a head that moves tells.
func (c *copier) alone(ctx context.Context) error {
	for name, s := range map[string]store.Store{c.cfg.FromName: c.cfg.From, c.cfg.ToName: c.cfg.To} {
		others, err := s.Others(ctx)
		if err != nil {
			return err
		}
		if len(others) > 0 {
			return fmt.Errorf("%s is open in other programs, which must be stopped first (%q): %w", name, others, store.ErrLocked)
		}
	}
	return nil
}

// readSource reads what there is to copy.
func (c *copier) readSource(ctx context.Context) (err error) {
	if c.logs, err = c.cfg.From.Logs(ctx, ""); err != nil {
		return err
	}
	if len(c.logs) == 0 {
		return fmt.Errorf("%s: %w: there is no ledger in it", c.cfg.FromName, evidence.ErrNotFound)
	}
	if c.heads, c.digest, err = headsOf(ctx, c.cfg.From, c.logs); err != nil {
		return err
	}
	c.report.Logs = len(c.logs)
	for i, lg := range c.logs {
		if i == 0 || c.logs[i-1].Tenant != lg.Tenant {
			c.report.Tenants++
		}
		c.total += c.heads[lg.LogRef].Size
	}
	c.report.Leaves = c.total
	return nil
}

// moved is the error that the source went on.
func (c *copier) moved() error {
	return fmt.Errorf("%s: %w: something wrote to it; stop that, and begin anew with an empty destination", c.cfg.FromName, ErrMoved)
}

// unmoved refuses a source whose heads are not those that were copied.
func (c *copier) unmoved(ctx context.Context) error {
	logs, err := c.cfg.From.Logs(ctx, "")
	if err != nil {
		return err
	}
	_, digest, err := headsOf(ctx, c.cfg.From, logs)
	if err == nil && digest != c.digest {
		err = c.moved()
	}
	return err
}

// verify checks one side against what was signed.
func (c *copier) verify(ctx context.Context, source bool) (*ledger.LiveReport, error) {
	side, name, anchor, stage := c.cfg.To, c.cfg.ToName, c.cfg.toAnchor(), StageVerify
	if source {
		side, name, anchor, stage = c.cfg.From, c.cfg.FromName, c.cfg.Anchor, StageSource
	}
	report, err := ledger.Verify(ctx, ledger.LiveConfig{
		Reader: side, Sealer: seal.New(side, c.cfg.Master), Anchor: anchor,
		Progress: func(done, total int64) { c.say(stage, done, total) },
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("verify %s: %w", name, err)
	case !report.OK():
		return nil, &UnsoundError{Where: name, Source: source, Report: report}
	}
	return report, nil
}

func (c *copier) say(stage string, done, total int64) {
	if c.cfg.Progress != nil {
		c.cfg.Progress(stage, done, total)
	}
}

// copied notes leaves that are there.
func (c *copier) copied(leaves int64) {
	c.done += leaves
	if now := time.Now(); now.Sub(c.said) > 100*time.Millisecond || c.done == c.total {
		c.said = now
		c.say(StageCopy, c.done, c.total)
	}
}

// copy fills the destination.
func (c *copier) copy(ctx context.Context) error {
	ctx = store.Copying(ctx)
	for from := 0; from < len(c.logs); {
		to := from + 1
		for to < len(c.logs) && c.logs[to].Tenant == c.logs[from].Tenant {
			to++
		}
		t := &tenantCopier{copier: c, tenant: c.logs[from].Tenant, logs: c.logs[from:to], seen: map[string]bool{}}
		if err := t.copy(ctx); err != nil {
			return fmt.Errorf("copy tenant %s: %w", t.tenant, err)
		}
		from = to
	}
	return c.copyPlatform(ctx)
}

// copyPlatform copies what is of no tenant: settings and credentials.
func (c *copier) copyPlatform(ctx context.Context) error {
	type pair struct{ name, value string }
	var settings []pair
	have := map[string]string{}
	err := c.cfg.To.Settings(ctx, func(name, value string) error { have[name] = value; return nil })
	if err != nil {
		return err
	}
	err = c.cfg.From.Settings(ctx, func(name, value string) error {
		if was, ok := have[name]; !store.IsLocal(name) && (!ok || was != value) {
			settings = append(settings, pair{name, value})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range settings {
		if err := c.cfg.To.SetSetting(ctx, s.name, s.value); err != nil {
			return fmt.Errorf("setting %s: %w", s.name, err)
		}
	}
	keys := map[string]store.APIKey{}
	if err := c.cfg.To.APIKeys(ctx, "*", func(k store.APIKey) error { keys[k.ID] = k; return nil }); err != nil {
		return err
	}
	var missing []store.APIKey
	err = c.cfg.From.APIKeys(ctx, "*", func(k store.APIKey) error {
		if was, ok := keys[k.ID]; !ok || !sameKey(&was, &k) {
			missing = append(missing, k)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range missing {
		if err := c.cfg.To.PutAPIKey(ctx, k); err != nil {
			return fmt.Errorf("credential %s: %w", k.ID, err)
		}
	}
	return nil
}

func sameKey(a, b *store.APIKey) bool {
	x, y := *a, *b
	scopes := slices.Equal(x.Scopes, y.Scopes)
	x.Scopes, y.Scopes = nil, nil
	return scopes && fmt.Sprint(x) == fmt.Sprint(y)
}
