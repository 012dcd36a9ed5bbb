package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/archive"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// Config says how long evidence is kept where no policy says otherwise, and where it goes.
type Config struct {
	Ledger *ledger.Ledger
	Store  store.Store // as the ledger has it (archive.Cold)
	// Sealer wraps certificates that are kept.
	Sealer *seal.Sealer
	// Archive is where expiring records go. nil: classes that are archived do not expire.
	Archive *archive.Archive
	// Find returns where a unit stands that was archived before, as archive.Cold has it.
	// Default: Archive, whatever the unit says, for its name says where it is in there.
	Find func(u store.ArchiveUnit) (*archive.Archive, error)
	// Lease makes one of several processes do what all could do, see store.Store. Default:
	// this process is the only one.
	Lease func(ctx context.Context, name string, ttl time.Duration) (bool, error)
	// FloorDays and CeilingDays bound policies: 1 and 3650. HighRiskFloor is the least for runs
	// marked high risk: 183.
	FloorDays, CeilingDays, HighRiskFloor int
	// HighRiskPolicies and HighRiskAgents mark a run as high risk: it names one of these
	// policy ids (default: high-risk) or agents.
	HighRiskPolicies, HighRiskAgents []string
	// Every is how often the scheduler looks for what is due. 0: never by itself. Default of
	// the server: 1 h.
	Every time.Duration
	// MoveAfter is how old leaves are before they leave the database for the archive; 0: never.
	// Default of the server: 365 days.
	MoveAfter time.Duration
	// UnitLeaves bounds a unit of the archive. Default 1<<18.
	UnitLeaves int64
	Now        func() time.Time      // default: time.Now
	Logger     *slog.Logger          // default: none
	Metrics    prometheus.Registerer // default: none
}

func (c *Config) validate() error {
	if c.Ledger == nil || c.Store == nil || c.Sealer == nil {
		return fmt.Errorf("lifecycle: %w: Ledger, Store and Sealer are required", evidence.ErrInvalid)
	}
	setInt := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	setInt(&c.FloorDays, 1)
	setInt(&c.CeilingDays, 3650)
	setInt(&c.HighRiskFloor, 183)
	if c.FloorDays < 1 || c.CeilingDays < c.FloorDays || c.HighRiskFloor < 1 {
		return fmt.Errorf("lifecycle: %w: a floor of %d, a ceiling of %d and a floor of %d days for high risk", evidence.ErrInvalid, c.FloorDays, c.CeilingDays, c.HighRiskFloor)
	}
	if c.Every < 0 || c.MoveAfter < 0 || c.UnitLeaves < 0 {
		return fmt.Errorf("lifecycle: %w: a negative duration or size", evidence.ErrInvalid)
	}
	if c.HighRiskPolicies == nil {
		c.HighRiskPolicies = []string{"high-risk"}
	}
	if c.UnitLeaves == 0 {
		c.UnitLeaves = 1 << 18
	}
	if c.Find == nil {
		c.Find = func(u store.ArchiveUnit) (*archive.Archive, error) {
			if c.Archive == nil {
				return nil, fmt.Errorf("unit %s stands in %s: %w: no archive is configured", u.Name, u.Archive, evidence.ErrUnavailable)
			}
			return c.Archive, nil
		}
	}
	if c.Lease == nil {
		c.Lease = func(context.Context, string, time.Duration) (bool, error) { return true, nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Service is safe for concurrent use.
type Service struct {
	cfg     Config
	metrics *metrics
	working chan struct{} // holds a token while this process expires or archives
	// dropping is held while this process plans and drops, across what it carries out between.
	dropping sync.Mutex

	mu           sync.Mutex
	acknowledged map[string]bool    // tenants
	blocked      map[string]blocked // why what is due does not go, by tenant
	low          map[lowKey]int64
}

// New checks the configuration.
func New(cfg Config) (*Service, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Service{
		cfg: cfg, metrics: newMetrics(cfg.Metrics), working: make(chan struct{}, 1),
		acknowledged: map[string]bool{}, blocked: map[string]blocked{}, low: map[lowKey]int64{},
	}, nil
}

func (s *Service) now() evidence.Micros { return evidence.MicrosOf(s.cfg.Now()) }

// known is evidence.ErrNotFound where there is no such tenant.
func (s *Service) known(ctx context.Context, tenant string) error {
	_, err := s.cfg.Ledger.Logs(ctx, tenant)
	return err
}

func invalid(field, format string, args ...any) error {
	return &evidence.FieldError{Field: field, Reason: fmt.Sprintf(format, args...), Err: evidence.ErrInvalid}
}

const day = evidence.Micros(24 * time.Hour / time.Microsecond)

// cutoff returns the time before which a record was recorded that is due now: the
// beginning of the day so many days ago.
func cutoff(now evidence.Micros, days int) evidence.Micros {
	return startOfDay(now) - evidence.Micros(days)*day
}

// dueAt returns when a record is due: the first time whose cutoff is behind it.
func dueAt(recorded evidence.Micros, days int) evidence.Micros {
	return startOfDay(recorded) + evidence.Micros(days+1)*day
}

func startOfDay(t evidence.Micros) evidence.Micros {
	rest := t % day
	if rest < 0 {
		rest += day
	}
	return t - rest
}
