package postgres

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/evidence"
)

const (
	// connectTimeout bounds an attempt to connect, where the DSN does not.
	connectTimeout = 10 * time.Second
	// pingTimeout bounds how long a connection that lay idle may take to say that
	// it is still one, so that there is time to try another.
	pingTimeout = 5 * time.Second
	// connLifetime: older ones are replaced, within lifetimeJitter of each other,
	// so that a server behind a name or balancer can be.
	connLifetime   = time.Hour
	lifetimeJitter = 5 * time.Minute
	// idleLifetime: connections that nobody needed for longer are closed.
	idleLifetime = 10 * time.Minute
	// closeTimeout bounds goodbyes and rollbacks, which nobody's context bounds.
	closeTimeout = 5 * time.Second
	// defaultStandstill bounds how long a transaction that writes may rest between two
	// statements: a process that hangs must not keep a log from all others.
	defaultStandstill = 30 * time.Second
)

// role is what a connection is for.
type role int

const (
	reading role = iota
	writing
	owning    // of Migrate
	replaying // reading, from a replica
)

// poolConfig returns how to connect. The settings that evidence depends on are
// made for the session, for those of the role or database may be anything.
func (cfg Config) poolConfig(dsn string, as role) (*pgxpool.Config, error) {
	pc, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err) // pgx leaves the password out
	}
	pc.MaxConnLifetime, pc.MaxConnLifetimeJitter, pc.MaxConnIdleTime = connLifetime, lifetimeJitter, idleLifetime
	pc.PingTimeout = pingTimeout
	pc.AfterConnect = durable
	c := pc.ConnConfig
	params := c.RuntimeParams
	params["search_path"] = pgx.Identifier{cfg.Schema}.Sanitize() + ", pg_temp"
	params["default_transaction_isolation"] = "read committed"
	params["default_transaction_read_only"] = "off"
	params["timezone"] = "UTC"
	if params["application_name"] == "" {
		params["application_name"] = "runledger"
	}
	params["statement_timeout"] = milliseconds(cfg.StatementTimeout)
	switch as {
	case reading, replaying:
		params["default_transaction_read_only"] = "on"
		maps.Copy(params, planner)
		c.StatementCacheCapacity = maxStatements
		pc.MaxConns = int32(cfg.Readers)
	case writing:
		params["lock_timeout"] = milliseconds(cfg.LockTimeout)
		params["idle_in_transaction_session_timeout"] = milliseconds(cfg.standstill)
		pc.MaxConns = int32(cfg.Writers)
	case owning: // an index of a large table takes what it takes
		params["statement_timeout"] = "0"
	}
	if as != owning {
		// Statements here follow an index to some rows. Where the planner guesses more of
		// them it would compile, or start parallel workers, for longer than they take.
		params["jit"], params["max_parallel_workers_per_gather"] = "off", "0"
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	cfg.validate(c, as)
	// A commit waits for its answer without a bound of its own, so a machine that
	// went away without a word has to show as an error.
	c.DialFunc = (&net.Dialer{Timeout: c.ConnectTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4,
	}}).DialContext
	return pc, nil
}

// validate has a new connection say whether its server is the one that is meant.
// A DSN that names several hosts finds the primary among them, also behind a
// failover; a standby would answer with the past. A store that is open for
// reading takes what the DSN names.
func (cfg Config) validate(c *pgx.ConnConfig, as role) {
	switch {
	case as == replaying:
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsStandby
	case c.ValidateConnect == nil && !cfg.ReadOnly:
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
}

// connConfig is poolConfig for a connection outside of a pool.
func (cfg Config) connConfig(dsn string, as role) (*pgx.ConnConfig, error) {
	pc, err := cfg.poolConfig(dsn, as)
	if err != nil {
		return nil, err
	}
	return pc.ConnConfig, nil
}

// milliseconds is a time-out as the server takes it; 0 is none.
func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(d.Milliseconds(), 0), 10)
}

// connect opens a connection outside of a pool.
func connect(ctx context.Context, cfg *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := durable(ctx, conn); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// durable sees to it that a commit is durable when it returns. remote_apply,
// which waits for more than on does, stays.
func durable(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false)
		WHERE current_setting('synchronous_commit') <> 'remote_apply'`)
	return err
}

// pooled is a connection that somebody has for himself.
type pooled struct {
	*pgx.Conn
	lent *pgxpool.Conn // nil outside of a pool
	// spread: the database is one of a Citus cluster.
	spread bool
}

// release gives a connection back to its pool, which closes one that is not at
// rest.
func (c *pooled) release() { c.lent.Release() }

// discard closes a connection that is of no pool.
func (c *pooled) discard() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = c.Close(ctx) // it is of no use either way
}

// pool lends connections, of one role to one server.
type pool struct {
	*pgxpool.Pool
	closed atomic.Bool
	spread atomic.Bool
}

func newPool(cfg *pgxpool.Config) (*pool, error) {
	p, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	return &pool{Pool: p}, nil
}

// close lends nothing any more, waits for what is lent and closes all.
func (p *pool) close() {
	p.closed.Store(true)
	p.Pool.Close()
}

// acquire lends a connection, which must be released. Its errors have their
// sentinels: nothing has been asked of the database yet.
func (p *pool) acquire(ctx context.Context) (*pooled, error) {
	if ctx.Err() != nil {
		return nil, calledOff(ctx)
	}
	c, err := p.Acquire(ctx)
	switch {
	case err == nil:
		return &pooled{Conn: c.Conn(), lent: c, spread: p.spread.Load()}, nil
	case p.closed.Load():
		return nil, errClosed
	case ctx.Err() != nil:
		return nil, calledOff(ctx)
	default:
		return nil, unavailable(err)
	}
}

// with lends a connection to f for reading.
func (p *pool) with(ctx context.Context, f func(*reader) error) error {
	c, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer c.release()
	return f(&reader{conn: c.Conn})
}

// calledOff is the error of what did not begin, or was undone, because its
// caller gave up.
func calledOff(ctx context.Context) error {
	return fmt.Errorf("postgres: %w: %w", evidence.ErrUnavailable, context.Cause(ctx))
}
