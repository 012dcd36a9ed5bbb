package postgres

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
)

const (
	// connectTimeout bounds an attempt to connect, where the DSN does not.
	connectTimeout = 10 * time.Second
	// restTimeout: a connection that lay idle for longer is asked whether it is
	// still one before it is lent.
	restTimeout = time.Second
	// connLifetime: older ones are not lent again, so that a server behind a
	// name or balancer can be replaced.
	connLifetime = time.Hour
	// closeTimeout bounds goodbyes and rollbacks, which nobody's context bounds.
	closeTimeout = 5 * time.Second
)

// connConfig returns how to connect. The settings that evidence depends on are
// made for the session, for those of the role or database may be anything.
func (cfg Config) connConfig(dsn string, reading bool) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err) // pgx leaves the password out
	}
	params := c.RuntimeParams
	params["search_path"] = pgx.Identifier{cfg.Schema}.Sanitize() + ", pg_temp"
	params["default_transaction_isolation"] = "read committed"
	params["default_transaction_read_only"] = "off"
	params["timezone"] = "UTC"
	if reading {
		params["default_transaction_read_only"] = "on"
		maps.Copy(params, planner)
		c.StatementCacheCapacity = maxStatements
	}
	if params["application_name"] == "" {
		params["application_name"] = "runledger"
	}
	params["statement_timeout"] = strconv.FormatInt(max(cfg.StatementTimeout.Milliseconds(), 0), 10)
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	// A commit waits for its answer without a bound of its own, so a machine that
	// went away without a word has to show as an error.
	c.DialFunc = (&net.Dialer{Timeout: c.ConnectTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4,
	}}).DialContext
	return c, nil
}

// connect opens a connection on which a commit is durable when it returns.
// remote_apply, which waits for more than on does, stays.
func connect(ctx context.Context, cfg *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false)
		WHERE current_setting('synchronous_commit') <> 'remote_apply'`)
	if err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// pooled is a connection of a pool.
type pooled struct {
	*pgx.Conn
	opened, used time.Time
}

// pool lends connections, at most as many as slots has places. pgxpool would
// do, but it brings another module for what is little: no health checks in the
// background and no least number of connections are wanted here.
type pool struct {
	cfg   *pgx.ConnConfig
	slots chan struct{}
	gone  chan struct{} // closed by close

	mu     sync.Mutex // guards what follows
	idle   []*pooled  // the last one used is the first one lent
	closed bool
}

func newPool(cfg *pgx.ConnConfig, size int) *pool {
	return &pool{cfg: cfg, slots: make(chan struct{}, size), gone: make(chan struct{})}
}

// acquire lends a connection, which must be released. Its errors have their
// sentinels: nothing has been asked of the database yet.
func (p *pool) acquire(ctx context.Context) (*pooled, error) {
	if ctx.Err() != nil {
		return nil, calledOff(ctx)
	}
	select {
	case <-p.gone:
		return nil, errClosed
	default:
	}
	select {
	case p.slots <- struct{}{}:
	case <-p.gone:
		return nil, errClosed
	case <-ctx.Done():
		return nil, calledOff(ctx)
	}
	c, err := p.take(ctx)
	if err != nil {
		<-p.slots
		return nil, err
	}
	return c, nil
}

// take returns an idle connection, or a new one.
func (p *pool) take(ctx context.Context) (*pooled, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, errClosed
		}
		var c *pooled
		if n := len(p.idle); n > 0 {
			c, p.idle = p.idle[n-1], p.idle[:n-1]
		}
		p.mu.Unlock()
		if c == nil {
			break
		}
		if c.fit(ctx) {
			return c, nil
		}
		c.discard()
	}
	conn, err := connect(ctx, p.cfg)
	switch {
	case err == nil:
		now := time.Now()
		return &pooled{Conn: conn, opened: now, used: now}, nil
	case ctx.Err() != nil:
		return nil, calledOff(ctx)
	default:
		return nil, unavailable(err)
	}
}

// fit reports whether an idle connection can still be lent.
func (c *pooled) fit(ctx context.Context) bool {
	now := time.Now()
	switch {
	case c.IsClosed() || now.Sub(c.opened) > connLifetime:
		return false
	case now.Sub(c.used) > restTimeout:
		return c.Ping(ctx) == nil
	default:
		return true
	}
}

func (c *pooled) discard() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = c.Close(ctx) // it is of no use either way
}

// release takes a connection back. One that is not at rest is closed.
func (p *pool) release(c *pooled) {
	c.used = time.Now()
	p.mu.Lock()
	keep := !p.closed && !c.IsClosed() && c.PgConn().TxStatus() == 'I' && !c.PgConn().IsBusy()
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		c.discard()
	}
	<-p.slots
}

// with lends a connection to f for reading.
func (p *pool) with(ctx context.Context, f func(*reader) error) error {
	c, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer p.release(c)
	return f(&reader{conn: c.Conn})
}

// close lends nothing any more, waits for what is lent and closes all.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	close(p.gone)
	p.mu.Unlock()
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		c.discard()
	}
	p.idle = nil
}

// calledOff is the error of what did not begin, or was undone, because its
// caller gave up.
func calledOff(ctx context.Context) error {
	return fmt.Errorf("postgres: %w: %w", evidence.ErrUnavailable, context.Cause(ctx))
}
