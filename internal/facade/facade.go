// Package facade answers what is under /api/v1/logs: three topics, a list and
// five depths of each (contract sections 1 to 3). It reads and never writes.
//
// Records are found by the columns of the store and answered from the leaves
// and their sealed content, so every answer carries what the log signed.
// Everything is asked for one tenant; system-wide records reach a tenant only
// where they are shared.
//
// It knows no HTTP: routes and OpenAPI are the server's. Who may read is
// decided before; a Reader says what was decided.
package facade

import (
	"context"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// Ledger is what the facade needs of a ledger.Ledger.
type Ledger interface {
	Find(ctx context.Context, q store.Query) ([]store.Found, error)
	Finder() store.Finder
	Fetch(ctx context.Context, tenant string, at []store.Found, content bool) ([]ledger.Fetched, error)
	End(ctx context.Context, tenant string) (store.Position, error)
	FilterName(ctx context.Context, tenant, field, name string) (string, error)
	AskedName(ctx context.Context, tenant, field, name string) (string, error)
	IndexTerm(ctx context.Context, tenant, name, text string) (store.IndexTerm, error)
	ResolveRun(ctx context.Context, tenant, id string) (string, error)
	RunState(ctx context.Context, tenant, run string) (store.RunState, error)
	ExpiredRun(ctx context.Context, tenant, run string) (*evidence.Leaf, error)
	Integrity(tenant string) ledger.Integrity
	Logs(ctx context.Context, tenant string) ([]ledger.LogInfo, error)
	Newest(ctx context.Context, tenant string, logNo int) ([]ledger.Attestation, error)
	Cosigned(ctx context.Context, tenant string, logNo int, note []byte) ([]byte, error)
}

// Runs knows the runs whose end has not been seen; runs.Tracker is one.
type Runs interface {
	Live(ctx context.Context, tenant, run string) (*evidence.Record, error)
}

// Config says what the facade reads. Ledger and Runs are required.
type Config struct {
	Ledger Ledger
	Runs   Runs
	Now    func() time.Time // default time.Now
	// Witnesses tells what the witnesses of the server's policy have said of a
	// tenant's newest log, and what keeps that from being enough. Default: what is
	// kept of witnesses is shown.
	Witnesses func(tenant string) (list []answer.Witness, why string)
}

// Facade answers. It may be used from several goroutines.
type Facade struct {
	cfg Config
}

// New returns a facade.
func New(cfg Config) *Facade {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Facade{cfg: cfg}
}

// Reader is for whom something is read, and what they may see.
type Reader struct {
	Tenant string
	// Content: sealed content is shown; else its withheld form.
	Content bool
	// IncludeSynthetic: synthetic records may be asked for. SyntheticOnly: no
	// others are shown.
	IncludeSynthetic, SyntheticOnly bool
	MaxRows                         int           // of a page
	MaxRange                        time.Duration // of the window of a list; 0: no bound
}

func (f *Facade) now() evidence.Micros { return evidence.MicrosOf(f.cfg.Now()) }
