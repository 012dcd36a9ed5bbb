package archive

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/anchor"
	"github.com/runledger/runledger/internal/store"
)

// Archive is a directory, or a prefix of a bucket. Its methods may be called from several
// goroutines.
type Archive struct {
	spec    string
	spool   string
	log     *slog.Logger
	dest    destination
	writing sync.Mutex // one unit at a time: memory and spool are of one
	cache   *cache

	cleaned sync.Once
}

// Config says which.
type Config struct {
	// Spec is a directory, or s3://BUCKET/PREFIX?… as of an anchor (package anchor).
	Spec string
	// Spool is a directory for what is being written and read. Required.
	Spool  string
	Logger *slog.Logger // default: none
	// Timeout bounds one request to a bucket, Patience one request with all its
	// repetitions. Default 60 s and 2 min.
	Timeout, Patience time.Duration
}

// rights is what an archive must be allowed to do in its bucket.
const rights = "s3:GetObject, s3:PutObject, s3:ListBucket and s3:AbortMultipartUpload"

// Open checks the specification. Nothing is asked of the storage yet.
func Open(cfg Config) (*Archive, error) {
	if cfg.Spool == "" {
		return nil, fmt.Errorf("archive: %w: a spool directory is needed", evidence.ErrInvalid)
	}
	spec, err := anchor.ParseSpec(cfg.Spec)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	a := &Archive{spec: cfg.Spec, spool: cfg.Spool, log: cfg.Logger, cache: newCache()}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if spec.S3 == nil {
		a.dest = &dir{root: filepath.Clean(spec.Dir)}
		return a, nil
	}
	spec.S3.Rights, spec.S3.Timeout, spec.S3.Patience = rights, cfg.Timeout, cfg.Patience
	if spec.S3.Timeout <= 0 {
		spec.S3.Timeout = time.Minute
	}
	if spec.S3.Patience <= 0 {
		spec.S3.Patience = 2 * time.Minute
	}
	c, err := anchor.NewClient(*spec.S3)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	a.dest = &bucket{c: c, partSize: partSize}
	return a, nil
}

// Afresh returns the archive with nothing remembered of what was read.
func (a *Archive) Afresh() *Archive {
	return &Archive{spec: a.spec, spool: a.spool, log: a.log, dest: a.dest, cache: newCache()}
}

// Present looks whether a unit that is on record is there: its manifest. Errors as of Leaves.
func (a *Archive) Present(ctx context.Context, u store.ArchiveUnit) error {
	_, err := a.readManifest(ctx, u)
	return err
}

// String returns the specification, which has no secrets: one with credentials is refused.
func (a *Archive) String() string { return a.spec }

// Problems says, a line each, what is wrong with the storage, or weaker than it could be
// (a bucket without object lock or versioning). An error means that it cannot be asked.
func (a *Archive) Problems(ctx context.Context) ([]string, error) {
	list, err := a.dest.problems(ctx)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", a.spec, err)
	}
	return list, nil
}

// staleSpool is how old what an interrupted process left in the spool is before it is
// removed: long behind the time that a unit takes.
const staleSpool = 24 * time.Hour

// workspace makes a directory below the spool.
func (a *Archive) workspace() (dir string, done func(), err error) {
	if err := os.MkdirAll(a.spool, 0o700); err != nil {
		return "", nil, fmt.Errorf("archive: spool: %w: %w", evidence.ErrUnavailable, err)
	}
	a.cleaned.Do(func() {
		old, _ := filepath.Glob(filepath.Join(a.spool, "archive-unit-*"))
		for _, name := range old {
			if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > staleSpool {
				_ = os.RemoveAll(name)
			}
		}
	})
	dir, err = os.MkdirTemp(a.spool, "archive-unit-*")
	if err != nil {
		return "", nil, fmt.Errorf("archive: spool: %w: %w", evidence.ErrUnavailable, err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

// Unit is what Write needs of a log. Its functions are called from one goroutine at a time.
type Unit struct {
	Log      store.Log
	From, To int64
	// Prev is the manifest's digest of the unit before; zero for the first.
	Prev evidence.Hash
	// Checkpoint is a signed note of the log with size >= To, and Tile gives the tiles of the tree
	// of that size: full ones, and with 0 < width < 256 partial ones.
	Checkpoint []byte
	Tile       func(ctx context.Context, level int, n int64, width int) ([]byte, error)
	// Leaves is asked from the start of the entry bundle that From lies in.
	Leaves func(ctx context.Context, from, to int64, fn func(seq int64, leaf []byte) error) error
	At     evidence.Micros
}

// CheckOptions say what to check.
type CheckOptions struct {
	// Keys are verifier keys that checkpoints must be signed by. Without the key of a log its
	// units are could-not-check: they are read all the same, and what is wrong is found, but
	// UnitReport.Signed is false.
	Keys []string
	// Name restricts it to one unit; "": all. Manifest is the digest that the manifest of that one must have, as
	// UnitReport has it, where it is known: nothing is believed of another.
	Name     string
	Manifest string
	Progress func(done, total int)
}

// Report is what Check found.
type Report struct {
	Units    []UnitReport `json:"units"`
	Findings []Finding    `json:"findings"`
	// Absent are the logs of which a key was given and no unit is there, by origin.
	Absent  []string `json:"logs_without_units,omitempty"`
	Records int64    `json:"records"`
}

// UnitReport is about one unit.
type UnitReport struct {
	Name     string `json:"name"`
	TenantID string `json:"tenant_id"`
	Log      string `json:"log"`
	From     int64  `json:"from"`
	To       int64  `json:"to"`
	Manifest string `json:"manifest"` // sha256:<hex>
	Size     int64  `json:"checkpoint_size"`
	Signed   bool   `json:"signed"` // by a key that was given
	OK       bool   `json:"ok"`     // signed, and nothing was found
}

// Codes of a Finding, with the meaning that they have for bundles (formats.md section 8).
const (
	CodeFile      = "E_FILE"      // an object is missing, superfluous, or not what it must be
	CodeLogSig    = "E_LOGSIG"    // the checkpoint is not signed by the log's key
	CodeLeaf      = "E_LEAF"      // a leaf is not in the form, or not where it belongs
	CodeInclusion = "E_INCLUSION" // a leaf or a tile is not in the signed tree
	CodeColumn    = "E_COLUMN"    // a line or a column does not say what its leaf says
	CodeGap       = "E_GAP"       // units do not follow one another
)

// Finding is one thing that is wrong.
type Finding struct {
	Code    string `json:"code"`
	Unit    string `json:"unit"`
	Object  string `json:"object,omitempty"`
	Message string `json:"message"`
}

// String is the finding in one line.
func (f Finding) String() string {
	where := f.Unit
	if f.Object != "" {
		where += "/" + f.Object
	}
	return f.Code + " " + where + ": " + f.Message
}
