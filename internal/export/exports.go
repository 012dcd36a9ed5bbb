package export

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Bounds of what is kept.
const (
	// KeepContent is how long the bytes of a bundle are kept, at most.
	KeepContent = time.Hour
	// SameWithin is how long the same request of the same credential gives the
	// same export.
	SameWithin = time.Minute
	// KeepKeys is how long an idempotency key is known, as long as the process
	// lives and there are not more than maxKeys.
	KeepKeys = 24 * time.Hour
	// KeepPeriod is how long the bytes of an export of a period are: it is asked for
	// now and fetched later.
	KeepPeriod = 24 * time.Hour
	// DefaultMaxBytes bounds what all kept bundles have on the disk together.
	DefaultMaxBytes = 1 << 30

	maxKeys      = 1 << 14
	maxKeyLength = 255
	// An export that takes longer is given up; one of a period may have to wait.
	makeWithin       = 10 * time.Minute
	makePeriodWithin = 4 * time.Hour
)

// ExportsConfig says how finished bundles are kept. Exporter and Links are
// required.
type ExportsConfig struct {
	Exporter *Exporter
	// Links encrypts what signed links stand for: the master keyset.
	Links tink.AEAD
	// MaxBytes bounds what is kept on the disk; the oldest bundles go first, the
	// newest stays whatever its size. Default: DefaultMaxBytes.
	MaxBytes int64
	Now      func() time.Time // default time.Now
	// Waiting is how many exports of periods may wait for their turn, each tenant's
	// and four times as many of all: one is made at a time. Default 8.
	Waiting int
}

// Exports keeps finished bundles for those who asked for them. It may be used
// from several goroutines. Close it before the ledger.
type Exports struct {
	cfg    ExportsConfig
	ctx    context.Context // of the exports that are being made
	cancel context.CancelFunc
	making sync.WaitGroup
	// leaving are the leases of dropped bundles that are being given up.
	leaving sync.WaitGroup

	mu     sync.Mutex // guards what follows
	kept   map[keptID]*kept
	order  []*kept // of those that have bytes, the oldest first
	bytes  int64   // of all of them
	recent map[fingerprint]*entry
	keys   map[idempotencyID]*entry
	tasks  map[keptID]*task // exports of periods, as far as they are remembered
	closed bool

	turn chan struct{} // held by the export of a period that is being made
}

// IdempotencyKey is what a client sends to get the same export again, "" for
// none. It counts within a tenant and a credential.
type IdempotencyKey string

// Stored is a finished export. It is not to be changed.
type Stored struct {
	ExportID   string
	Tenant     string
	Profile    string
	Run        string
	Format     string
	Digest     string // "sha256:" and hex, of the bytes
	Bytes      int64
	Records    int64  // leaves in the bundle
	Checkpoint []byte // of logs/0
	Metadata   evidence.Metadata
	MadeAt     time.Time
	// NotPermitted: there is no sealed content in it, see [Request].
	NotPermitted bool
	// Synthetic: there are such correlated entries and such content in it only, see
	// [Request].
	Synthetic *bool
	// NoAudit: there are no audit entries in it but the run's own, see [Request].
	NoAudit bool

	// end is where the log ended, shared where the system log did whose records are in it; zero for none.
	end, shared store.Position
	// expiring: expiries were under way when it was made, and what they were about to remove may be in it.
	expiring bool
}

type keptID struct{ tenant, export string }

type idempotencyID struct{ tenant, credential, key string }

// fingerprint stands for a credential and all parameters of a request.
type fingerprint [sha256.Size]byte

// entry is an export that is being made, or was.
type entry struct {
	print fingerprint
	done  chan struct{} // closed when stored or err is set
	at    time.Time     // when it was done; zero before
	// stored and err may be read once done is closed.
	stored *Stored
	err    error
	// Of an export of a period: its task, and what is closed once its state pending
	// is recorded, or done is closed.
	task  *task
	begun chan struct{}
}

// NewExports returns an empty registry.
func NewExports(cfg ExportsConfig) *Exports {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, DefaultMaxBytes)
	cfg.Waiting = cmp.Or(cfg.Waiting, 8)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	x := &Exports{
		cfg: cfg, kept: map[keptID]*kept{}, recent: map[fingerprint]*entry{}, keys: map[idempotencyID]*entry{},
		tasks: map[keptID]*task{}, turn: make(chan struct{}, 1),
	}
	x.ctx, x.cancel = context.WithCancel(context.Background())
	if cfg.Exporter.cfg.Lease != nil {
		x.making.Add(1)
		go x.recoverAgain()
	}
	return x
}

// Close gives up the exports that are being made and frees all bundles. Those
// that are being read are freed when their readers are closed.
func (x *Exports) Close() error {
	x.cancel()
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.making.Wait()
	x.mu.Lock()
	var errs []error
	for len(x.order) > 0 {
		errs = append(errs, x.drop(x.order[0]))
	}
	x.mu.Unlock()
	x.leaving.Wait()
	return errors.Join(errs...)
}

// Open makes an export and keeps its bytes, see [Exporter.Export], or returns
// the one that was made for the same: a request of the same credential with the
// same parameters within [SameWithin], or with the same idempotency key within
// [KeepKeys]. The same key with other parameters is evidence.ErrConflict. An
// export goes on when its caller's ctx ends; the next to ask for it gets it.
func (x *Exports) Open(ctx context.Context, req Request, key IdempotencyKey) (*Stored, error) {
	ctx = store.NoLag(ctx)
	if req.Profile == ProfilePeriod {
		return nil, invalid("profile", "a period is exported in the background")
	}
	if err := x.check(ctx, req, key); err != nil {
		return nil, err
	}
	e, err := x.entry(ctx, req, key)
	if err != nil {
		return nil, err
	}
	select {
	case <-e.done:
		return e.stored, e.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// check refuses a request that cannot be kept, or makes no sense.
func (x *Exports) check(ctx context.Context, req Request, key IdempotencyKey) error {
	switch {
	case req.ExportID != "":
		return invalid("export_id", "is chosen by the server")
	case req.Directory:
		return invalid("format", "a directory has no bytes of its own")
	case len(key) > maxKeyLength || !printable(string(key)):
		return invalid("Idempotency-Key", "must be at most 255 printable ASCII characters")
	}
	if _, err := x.cfg.Exporter.job(&req); err != nil { // a copy: it gets no defaults
		return err
	}
	return x.dropErased(ctx, req.Tenant)
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// entry returns the export that a request is for, and begins it where there is
// none.
func (x *Exports) entry(ctx context.Context, req Request, key IdempotencyKey) (*entry, error) {
	print, err := fingerprintOf(req)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, fmt.Errorf("exports: %w: shutting down", evidence.ErrUnavailable)
	}
	now := x.cfg.Now()
	x.sweep(now)
	id := idempotencyID{req.Tenant, req.By.credential(), string(key)}
	if e := x.keys[id]; key != "" && e != nil {
		if e.print != print {
			return nil, fmt.Errorf("idempotency key %q: %w: it was used with other parameters", key, evidence.ErrConflict)
		}
		return e, nil
	}
	e := x.recent[print]
	if e == nil {
		e = &entry{print: print, done: make(chan struct{})}
		if req.Profile == ProfilePeriod {
			if err := x.addTask(e, &req); err != nil {
				return nil, err
			}
		}
		x.recent[print] = e
		x.making.Add(1)
		go x.make(context.WithoutCancel(ctx), e, req)
	}
	if key != "" {
		x.keys[id] = e
	}
	return e, nil
}

// make makes the export of an entry.
func (x *Exports) make(ctx context.Context, e *entry, req Request) {
	defer x.making.Done()
	within := makeWithin
	if e.task != nil {
		within = makePeriodWithin
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	defer context.AfterFunc(x.ctx, cancel)()
	req.ExportID = cmp.Or(req.ExportID, x.cfg.Exporter.NewID())
	k, err := x.export(ctx, req, e)
	x.mu.Lock()
	defer x.mu.Unlock()
	defer close(e.done)
	e.at = x.cfg.Now()
	if e.err = err; err != nil {
		x.forget(func(other *entry) bool { return other == e })
	} else {
		e.stored = &k.Stored
		k.MadeAt = e.at
		x.keep(k)
	}
	if e.task != nil {
		x.endTask(e.task, err)
	}
}

// export makes a bundle and puts its bytes into one spool.
func (x *Exports) export(ctx context.Context, req Request, e *entry) (_ *kept, err error) {
	defer x.caught(ctx, &err)
	// Until its bytes are dropped.
	alive := &x.cfg.Exporter.alive
	if err := alive.begin(ctx, req.ExportID); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			alive.end(req.ExportID)
		}
	}()
	var b *Bundle
	if e.task != nil {
		b, err = x.period(ctx, req, e)
	} else {
		b, err = x.cfg.Exporter.Export(ctx, req)
	}
	if err != nil {
		return nil, err
	}
	defer b.Close()
	s, err := NewSpool(x.cfg.Exporter.cfg.SpoolDir)
	if err != nil {
		return nil, err
	}
	if err = b.Write(s); err == nil {
		err = s.Flush()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &kept{spool: s, Stored: Stored{
		ExportID: b.ExportID, Tenant: b.Tenant, Profile: req.Profile, Run: b.Run, Format: b.Format, Digest: b.Digest, Bytes: b.Bytes,
		Records: b.Records, Checkpoint: b.Checkpoint, Metadata: b.Metadata, NotPermitted: req.NotPermitted,
		Synthetic: req.Synthetic, NoAudit: req.NoAudit, end: b.end, shared: b.shared, expiring: b.expiring,
	}}, nil
}

// forget drops the entries that a function names. The caller holds mu.
func (x *Exports) forget(which func(*entry) bool) {
	for k, e := range x.recent {
		if which(e) {
			delete(x.recent, k)
		}
	}
	for k, e := range x.keys {
		if which(e) {
			delete(x.keys, k)
		}
	}
}

// sweep drops what is too old, or too much. The caller holds mu.
func (x *Exports) sweep(now time.Time) {
	for k, e := range x.recent {
		if !e.at.IsZero() && now.Sub(e.at) >= SameWithin {
			delete(x.recent, k)
		}
	}
	for k, e := range x.keys {
		if !e.at.IsZero() && (now.Sub(e.at) >= KeepKeys || len(x.keys) > maxKeys) {
			delete(x.keys, k)
		}
	}
	for _, k := range slices.Clone(x.order) {
		if now.Sub(k.MadeAt) >= k.keepFor() || x.bytes > x.cfg.MaxBytes && len(x.order) > 1 {
			_ = x.drop(k) // a file without a name, which goes with the process at the latest
		}
	}
	x.sweepTasks(now)
}

func fingerprintOf(req Request) (fingerprint, error) {
	sorted := func(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }
	b, err := json.Marshal([]any{
		req.Tenant, req.Profile, req.Run, req.Scope, req.From, req.Until, sorted(req.Tags),
		cmp.Or(req.Format, FormatZIP), req.By, req.By.credential(), sorted(req.Disclose), sorted(req.Withhold),
		req.NotPermitted, req.Synthetic, req.NoAudit, req.Unrecorded, req.SinceSize,
	})
	return sha256.Sum256(b), err
}
