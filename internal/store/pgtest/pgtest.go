// Package pgtest gives tests a real PostgreSQL: a throw-away cluster per test
// process, of the binaries that the machine has, and a fresh database per test.
//
// The cluster listens on a unix socket in a temporary directory and nowhere
// else, and syncs as a real one does. PostgreSQL refuses to run as root, so a
// test that does starts it as postgres or nobody. It ends, and its directory
// goes, when the test process does, however that ends.
//
// RUNLEDGER_TEST_POSTGRES_DSN names a server to use instead, as a superuser.
// Without either, tests are skipped, loudly; where CI is set they fail.
//
// RUNLEDGER_TEST_INITDB names a directory that does not exist yet: the first cluster
// puts a copy of its data directory there before it begins, and all others, of whatever
// process, are copies of it. Whoever sets it removes it. Their system identifiers are
// the same, which matters to none that follows another.
package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/testneeds"
)

const (
	envDSN    = "RUNLEDGER_TEST_POSTGRES_DSN"
	envInitdb = "RUNLEDGER_TEST_INITDB"
)

// Roles of every database that this package makes.
const (
	OwnerRole = "runledger_owner"
	AppRole   = "runledger_app"
	password  = "runledger-test"
)

// DSNs name one database as each of its roles.
type DSNs struct {
	App, Owner string
	Super      string // the server's superuser, for what a test does to it
}

// Server is where databases are made.
type Server struct {
	super   string // DSN of a superuser's database
	cluster *Cluster

	mu        sync.Mutex // guards what follows, and CREATE DATABASE
	conn      *pgx.Conn
	made      int
	templates map[string]*template
}

// template is a database that is copied. On a server that is not ours it goes
// when nobody uses it, for no one else would remove it.
type template struct {
	name  string
	users int
}

var shared = sync.OnceValues(func() (*Server, error) {
	if dsn := os.Getenv(envDSN); dsn != "" {
		return connect(dsn, nil)
	}
	c, err := start()
	if err != nil {
		return nil, err
	}
	return connect(c.DSN(), c)
})

// Get returns the test process's server.
func Get(t testing.TB) *Server {
	t.Helper()
	s, err := shared()
	if err != nil {
		missing(t, err)
	}
	return s
}

// Database returns a new and empty database, which goes when the test ends.
func Database(t testing.TB) DSNs {
	t.Helper()
	return Get(t).database(t, "")
}

// Copy returns a new database that is a copy of one that prepare has filled; it
// is filled once per name and test process.
func Copy(t testing.TB, name string, prepare func(DSNs) error) DSNs {
	t.Helper()
	s := Get(t)
	from, err := s.template(name, prepare)
	if err != nil {
		t.Fatalf("pgtest: template %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := s.leave(name); err != nil {
			t.Logf("pgtest: %v", err)
		}
	})
	return s.database(t, from)
}

func missing(t testing.TB, err error) {
	t.Helper()
	testneeds.Missing(t, "no PostgreSQL, which is 15 or later or named by %s (%v)", envDSN, err)
}

// connect prepares a server: the roles are its, not a database's.
func connect(dsn string, c *Cluster) (*Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	for _, role := range []string{OwnerRole, AppRole} {
		// Another test process may do the same on a server that both use.
		_, err = conn.Exec(ctx, fmt.Sprintf(`DO $$ BEGIN CREATE ROLE %s LOGIN PASSWORD '%s';
			EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$`, role, password))
		if err != nil {
			return nil, err
		}
	}
	return &Server{super: dsn, cluster: c, conn: conn, templates: map[string]*template{}}, nil
}

// Cluster returns the cluster that was started, or nil where a server is named.
func (s *Server) Cluster() *Cluster { return s.cluster }

func (s *Server) database(t testing.TB, template string) DSNs {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	dsns, name, err := s.create(template)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.exec(`DROP DATABASE IF EXISTS ` + name + ` WITH (FORCE)`); err != nil {
			t.Logf("pgtest: %v", err)
		}
	})
	return dsns
}

// template returns the name of a database to copy, which is there until leave.
func (s *Server) template(name string, prepare func(DSNs) error) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.templates[name]
	if from == nil {
		dsns, database, err := s.create("")
		if err != nil {
			return "", err
		}
		if err := prepare(dsns); err != nil {
			return "", err
		}
		from = &template{name: database}
		s.templates[name] = from
	}
	from.users++
	return from.name, nil
}

func (s *Server) leave(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.templates[name]
	if from.users--; from.users > 0 || s.cluster != nil {
		return nil
	}
	delete(s.templates, name)
	return s.exec(`DROP DATABASE IF EXISTS ` + from.name + ` WITH (FORCE)`)
}

// create makes a database of the owner's. s.mu is held.
func (s *Server) create(template string) (dsns DSNs, name string, err error) {
	s.made++
	name = fmt.Sprintf("runledger_%d_%d", os.Getpid(), s.made)
	sql := `CREATE DATABASE ` + name + ` OWNER ` + OwnerRole
	if template != "" {
		sql += ` TEMPLATE ` + template
	}
	if err := s.exec(sql); err != nil {
		return DSNs{}, "", err
	}
	cfg := s.conn.Config()
	dsn := func(user, secret string) string {
		q := url.Values{"sslmode": {"disable"}}
		u := url.URL{Scheme: "postgres", User: url.UserPassword(user, secret), Path: "/" + name}
		if strings.HasPrefix(cfg.Host, "/") {
			q.Set("host", cfg.Host)
			q.Set("port", fmt.Sprint(cfg.Port))
		} else {
			u.Host = fmt.Sprintf("%s:%d", cfg.Host, cfg.Port)
			if cfg.TLSConfig != nil {
				q.Set("sslmode", "require")
			}
		}
		u.RawQuery = q.Encode()
		return u.String()
	}
	return DSNs{App: dsn(AppRole, password), Owner: dsn(OwnerRole, password), Super: dsn(cfg.User, cfg.Password)}, name, nil
}

// exec runs a statement as the superuser, over a new connection where the old
// one was lost: a test may have stopped the server.
func (s *Server) exec(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if s.conn.IsClosed() || s.conn.Ping(ctx) != nil {
		conn, err := pgx.Connect(ctx, s.super)
		if err != nil {
			return err
		}
		s.conn = conn
	}
	if _, err := s.conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}
