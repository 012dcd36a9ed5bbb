package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Shared returns the test process's server, as Get does, to who has no test at hand:
// what several tests share outlives each of them. A server that is missing is an error.
func Shared() (*Server, error) { return shared() }

// Make returns a new database that is a copy of another, or an empty one where from
// is the zero value. It stays until Drop, or until the cluster ends. Nobody may be
// connected to the other: Make waits a little for those who are going.
func (s *Server) Make(from DSNs) (DSNs, error) {
	template := ""
	if from.Super != "" {
		name, err := databaseOf(from)
		if err != nil {
			return DSNs{}, err
		}
		template = name
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		dsns, _, err := s.create(template)
		var busy *pgconn.PgError
		if !errors.As(err, &busy) || busy.Code != "55006" || time.Now().After(end) { // object in use
			return dsns, err
		}
	}
}

// Drop removes a database, whoever is connected to it.
func (s *Server) Drop(d DSNs) error {
	name, err := databaseOf(d)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exec(`DROP DATABASE IF EXISTS ` + name + ` WITH (FORCE)`)
}

// databaseOf returns the name of a database that this package made.
func databaseOf(d DSNs) (string, error) {
	u, err := url.Parse(d.Super)
	if err != nil {
		return "", err
	}
	name := strings.TrimPrefix(u.Path, "/")
	if !strings.HasPrefix(name, "runledger_") {
		return "", fmt.Errorf("pgtest: %q is no database of a test", name)
	}
	return name, nil
}

// As connects to a database as the role that the DSN names, with the given schema
// first in its search path.
func As(ctx context.Context, dsn, schema string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["search_path"] = schema + ", pg_catalog"
	return pgx.ConnectConfig(ctx, cfg)
}
