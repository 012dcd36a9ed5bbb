package access

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// Store is what the gate needs of a store.Store.
type Store interface {
	APIKey(ctx context.Context, id string) (store.APIKey, error)
	APIKeys(ctx context.Context, tenant string, fn func(store.APIKey) error) error
	PutAPIKey(ctx context.Context, k store.APIKey) error
	Setting(ctx context.Context, name string) (string, error)
	SetSetting(ctx context.Context, name, value string) error
	Lease(ctx context.Context, name, holder string, ttl time.Duration) (bool, error)
}

// Ledger is what the gate needs of a ledger.Ledger.
type Ledger interface {
	Append(ctx context.Context, tenant string, records []*evidence.Record, opts ledger.AppendOptions) ([]ledger.Receipt, error)
	FindIDs(ctx context.Context, tenant string, ids []evidence.ID) (map[evidence.ID]store.Position, error)
	Logs(ctx context.Context, tenant string) ([]ledger.LogInfo, error)
	Tenants(ctx context.Context) ([]ledger.LogInfo, error)
	CreateTenant(ctx context.Context, tenant string) (ledger.LogInfo, error)
	KnownPerson(ctx context.Context, tenant, name string) (known bool, pseudonym string, err error)
	WrapSecret(name string, text []byte) ([]byte, error)
	UnwrapSecret(name string, wrapped []byte) ([]byte, error)
}

// Config says what a gate stands on. Store and Ledger are required.
type Config struct {
	Store  Store
	Ledger Ledger
	// Dev lets requests from this machine that have no credential do all that a
	// user of a tenant may, as tenant default, which New makes where it is not
	// there.
	Dev bool
	// Rules say what requests Guard lets in. Default: DefaultRules.
	Rules *Rules
	// Environment is which of the rules count: production or preflight. Default
	// production.
	Environment string
	// OIDC are the identity providers whose bearer tokens are taken, and Verifier
	// makes what checks the signatures of one's; it is needed where there are any.
	OIDC     []Issuer
	Verifier func(Issuer) (TokenVerifier, error)
	// Fail answers a request that Guard does not let in, or whose answer may not
	// leave. The pattern of the route is in the request; nothing is written yet.
	// Default: package problem's form, and a line in the log where the server is
	// at fault.
	Fail   func(w http.ResponseWriter, r *http.Request, err error)
	Logger *slog.Logger     // default: none
	Now    func() time.Time // default: time.Now
	// CacheSize is how many keys are remembered. Default 10000.
	CacheSize int
	// CacheTTL is how long, and so after how long at most a key that another process
	// revoked is refused here. Default 5 s.
	CacheTTL time.Duration
	// MaxSources is how many sources of unauthenticated requests get a record
	// of their own a minute; all others get one together. Default 64.
	MaxSources int
	// Tick is how often what waits to be recorded is looked at. Default 5 s.
	Tick time.Duration
}

func (c *Config) complete() error {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.CacheSize <= 0 {
		c.CacheSize = 10000
	}
	if c.CacheTTL <= 0 {
		c.CacheTTL = 5 * time.Second
	}
	if c.MaxSources <= 0 {
		c.MaxSources = 64
	}
	if c.Tick <= 0 {
		c.Tick = 5 * time.Second
	}
	if c.Rules == nil {
		c.Rules = DefaultRules()
	}
	if c.Environment == "" {
		c.Environment = Production
	}
	if !slices.Contains(Environments(), c.Environment) {
		return invalid("environment", "must be one of %s", strings.Join(Environments(), ", "))
	}
	return nil
}

// DevTenant is the tenant of requests without a credential in Dev mode.
const DevTenant = "default"

// Gate authenticates requests and manages keys. Its methods may be called from
// several goroutines. Close it before the ledger, and before the record that
// the server stops.
type Gate struct {
	cfg     Config
	cache   *cache
	loading singleflight.Group
	nobody  [32]byte // compared with where there is no key: of no secret
	denied  *denials
	issuers map[string]*issuer // by the claim iss
	logins  *seen              // that have their records

	admin sync.Mutex  // held while rows change
	dirty atomic.Bool // something may lack its record

	stop     chan struct{}
	ended    chan struct{}
	stopOnce sync.Once
}

// New returns a gate. It appends the records that a process which died did not
// get to. Where the ledger takes none now, that is tried again later, and a
// revocation counts meanwhile.
func New(ctx context.Context, cfg Config) (*Gate, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	issuers, err := openIssuers(ctx, cfg)
	if err != nil {
		return nil, err
	}
	g := &Gate{
		cfg: cfg, cache: newCache(cfg.CacheSize, cfg.CacheTTL), denied: newDenials(cfg.MaxSources),
		issuers: issuers, logins: newSeen(cfg.CacheSize),
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
	if g.cfg.Fail == nil {
		g.cfg.Fail = g.fail
	}
	rand.Read(g.nobody[:])
	if cfg.Dev {
		if _, err := cfg.Ledger.CreateTenant(ctx, DevTenant); err != nil && !errors.Is(err, evidence.ErrConflict) {
			return nil, err
		}
	}
	if err := g.reconcile(ctx); errors.Is(err, evidence.ErrUnavailable) {
		cfg.Logger.WarnContext(ctx, "credentials: records are outstanding", "err", err)
	} else if err != nil {
		return nil, err
	}
	go g.run()
	return g, nil
}

// run records what waits, until Close.
func (g *Gate) run() {
	defer close(g.ended)
	tick := time.NewTicker(g.cfg.Tick)
	defer tick.Stop()
	for {
		select {
		case <-g.stop:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
		if g.dirty.Load() {
			if err := g.reconcile(ctx); err != nil {
				g.cfg.Logger.WarnContext(ctx, "credentials: records are outstanding", "err", err)
			}
		}
		if err := g.flush(ctx, false); err != nil {
			g.cfg.Logger.WarnContext(ctx, "denied requests are not recorded yet", "err", err)
		}
		cancel()
	}
}

// recordTimeout bounds what is recorded in the background, and in the
// foreground once a request must not break it off any more.
const recordTimeout = 10 * time.Second

// Close records the denied requests that were counted so far and stops the
// background work. Requests may still be authenticated; what is denied is not
// counted any more.
func (g *Gate) Close() error {
	var err error
	g.stopOnce.Do(func() {
		close(g.stop)
		<-g.ended
		ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
		defer cancel()
		err = g.flush(ctx, true)
	})
	return err
}

func (g *Gate) now() evidence.Micros { return evidence.MicrosOf(g.cfg.Now()) }

// lookup returns what is known of an id, from memory where it is fresh.
func (g *Gate) lookup(ctx context.Context, id string) (*entry, error) {
	if e := g.cache.get(id); e != nil {
		return e, nil
	}
	// One load for all that wait for it, which none of them can break off.
	v, err, _ := g.loading.Do(id, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
		defer cancel()
		return g.load(ctx, id)
	})
	if err != nil {
		return nil, unavailable("credential", err)
	}
	return v.(*entry), nil
}

func (g *Gate) load(ctx context.Context, id string) (*entry, error) {
	change, used := g.cache.begin(id)
	e := &entry{loaded: time.Now()}
	k, err := g.cfg.Store.APIKey(ctx, id)
	switch {
	case errors.Is(err, evidence.ErrNotFound):
		e.absent = true
	case err != nil:
		return nil, err
	default:
		e.key, e.permissions = k, permissionsIn(k.Tenant, k.Role, k.Scopes)
		if k.UsedAt != 0 && !used { // the row is written before its record
			if used, err = g.recorded(ctx, k, eventUsed); err != nil {
				return nil, err
			}
		}
		e.used.Store(used)
	}
	g.cache.put(id, e, change)
	return e, nil
}

// forget makes a change of a key count at once in this process, also for those
// who wait for a load that began before it.
func (g *Gate) forget(id string) {
	g.cache.forget(id)
	g.loading.Forget(id)
}
