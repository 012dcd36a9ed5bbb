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
	// DefaultMaxBytes bounds what all kept bundles have on the disk together.
	DefaultMaxBytes = 1 << 30

	maxKeys      = 1 << 14
	makeWithin   = 10 * time.Minute // an export that takes longer is given up
	maxKeyLength = 255
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
}

// Exports keeps finished bundles for those who asked for them. It may be used
// from several goroutines. Close it before the ledger.
type Exports struct {
	cfg    ExportsConfig
	ctx    context.Context // of the exports that are being made
	cancel context.CancelFunc
	making sync.WaitGroup

	mu     sync.Mutex // guards what follows
	kept   map[keptID]*kept
	order  []*kept // of those that have bytes, the oldest first
	bytes  int64   // of all of them
	recent map[fingerprint]*entry
	keys   map[idempotencyID]*entry
	closed bool
}

// IdempotencyKey is what a client sends to get the same export again, "" for
// none. It counts within a tenant and a credential.
type IdempotencyKey string

// Stored is a finished export. It is not to be changed.
type Stored struct {
	ExportID   string
	Tenant     string
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

	end store.Position // of what was in the log
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
}

// NewExports returns an empty registry.
func NewExports(cfg ExportsConfig) *Exports {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, DefaultMaxBytes)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	x := &Exports{
		cfg: cfg, kept: map[keptID]*kept{}, recent: map[fingerprint]*entry{}, keys: map[idempotencyID]*entry{},
	}
	x.ctx, x.cancel = context.WithCancel(context.Background())
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
	defer x.mu.Unlock()
	var errs []error
	for len(x.order) > 0 {
		errs = append(errs, x.drop(x.order[0]))
	}
	return errors.Join(errs...)
}

// Open makes an export and keeps its bytes, see [Exporter.Export], or returns
// the one that was made for the same: a request of the same credential with the
// same parameters within [SameWithin], or with the same idempotency key within
// [KeepKeys]. The same key with other parameters is evidence.ErrConflict. An
// export goes on when its caller's ctx ends; the next to ask for it gets it.
func (x *Exports) Open(ctx context.Context, req Request, key IdempotencyKey) (*Stored, error) {
	switch {
	case req.ExportID != "":
		return nil, invalid("export_id", "is chosen by the server")
	case req.Directory:
		return nil, invalid("format", "a directory has no bytes of its own")
	case len(key) > maxKeyLength || !printable(string(key)):
		return nil, invalid("Idempotency-Key", "must be at most 255 printable ASCII characters")
	}
	checked := req
	if _, err := x.cfg.Exporter.job(&checked); err != nil {
		return nil, err
	}
	if err := x.dropErased(ctx, req.Tenant); err != nil {
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
	ctx, cancel := context.WithTimeout(ctx, makeWithin)
	defer cancel()
	defer context.AfterFunc(x.ctx, cancel)()
	k, err := x.export(ctx, req)
	x.mu.Lock()
	defer x.mu.Unlock()
	defer close(e.done)
	e.at = x.cfg.Now()
	if e.err = err; err != nil {
		x.forget(func(other *entry) bool { return other == e })
		return
	}
	e.stored = &k.Stored
	k.MadeAt = e.at
	x.keep(k)
}

// export makes a bundle and puts its bytes into one spool.
func (x *Exports) export(ctx context.Context, req Request) (*kept, error) {
	b, err := x.cfg.Exporter.Export(ctx, req)
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
		ExportID: b.ExportID, Tenant: b.Tenant, Run: b.Run, Format: b.Format, Digest: b.Digest, Bytes: b.Bytes,
		Records: b.Records, Checkpoint: b.Checkpoint, Metadata: b.Metadata, NotPermitted: req.NotPermitted,
		Synthetic: req.Synthetic, end: b.end,
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
	for len(x.order) > 0 && (now.Sub(x.order[0].MadeAt) >= KeepContent || x.bytes > x.cfg.MaxBytes && len(x.order) > 1) {
		_ = x.drop(x.order[0]) // a file without a name, which goes with the process at the latest
	}
}

func fingerprintOf(req Request) (fingerprint, error) {
	sorted := func(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }
	b, err := json.Marshal([]any{
		req.Tenant, req.Profile, req.Run, cmp.Or(req.Format, FormatZIP), req.By, req.By.credential(),
		sorted(req.Disclose), sorted(req.Withhold), req.NotPermitted, req.Synthetic, req.Unrecorded, req.SinceSize,
	})
	return sha256.Sum256(b), err
}
