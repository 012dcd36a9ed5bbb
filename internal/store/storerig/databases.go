package storerig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
)

// nameFile is the file of a data directory that names its database.
const nameFile = "postgres.test.json"

func read(dir string) (pgtest.DSNs, error) {
	var d pgtest.DSNs
	b, err := os.ReadFile(filepath.Join(dir, nameFile))
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal(b, &d)
}

// registry knows the databases that this process made.
type registry struct {
	mu sync.Mutex
	// migrated has the schema and nothing in it: most of what a database costs is
	// the making of its tables.
	migrated pgtest.DSNs
	made     []*made
	free     []*made // emptied, for the next directory
}

type made struct {
	path    string // of the file that names it
	dsns    pgtest.DSNs
	altered bool      // its schema may not be ours any more
	conn    *pgx.Conn // the registry's own; nil: none yet
}

var databases registry

// make makes a database for a directory: an empty one, or a copy of another where from
// is not nil.
func (r *registry) make(dir string, from *pgtest.DSNs) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	server, err := pgtest.Shared()
	if err != nil {
		return err
	}
	if r.migrated.App == "" {
		if r.migrated, err = migrate(server); err != nil {
			return err
		}
	}
	if err := r.sweep(server); err != nil {
		return err
	}
	m := &made{}
	if n := len(r.free); n > 0 {
		m, r.free = r.free[n-1], r.free[:n-1]
	} else if m.dsns, err = server.Make(r.migrated); err != nil {
		return err
	}
	m.path = filepath.Join(dir, nameFile)
	defer func() {
		if err != nil {
			err = errors.Join(err, server.Drop(m.dsns))
		}
	}()
	if from != nil {
		if err := m.fill(r.of(*from)); err != nil {
			return err
		}
	}
	b, err := json.Marshal(m.dsns)
	if err != nil {
		return err
	}
	if err := os.WriteFile(m.path, b, 0o600); err != nil {
		return err
	}
	r.made = append(r.made, m)
	return nil
}

// sweep takes back the databases whose directories are gone. Emptying one costs a
// twentieth of what making one does.
func (r *registry) sweep(server *pgtest.Server) error {
	var errs []error
	kept := r.made[:0]
	for _, m := range r.made {
		b, err := os.ReadFile(m.path)
		want, jerr := json.Marshal(m.dsns)
		if err == nil && jerr == nil && bytes.Equal(b, want) {
			kept = append(kept, m)
			continue
		}
		if !m.altered && m.empty() == nil {
			r.free = append(r.free, m)
			continue
		}
		errs = append(errs, server.Drop(m.dsns))
	}
	clear(r.made[len(kept):])
	r.made = kept
	return errors.Join(errs...)
}

// of returns what is known of a database; another process may have made it.
func (r *registry) of(d pgtest.DSNs) *made {
	for _, m := range r.made {
		if m.dsns == d {
			return m
		}
	}
	return &made{dsns: d}
}

// alter notes that a database may have another schema than it was made with.
func (r *registry) alter(d pgtest.DSNs) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(d).altered = true
}

func migrate(server *pgtest.Server) (pgtest.DSNs, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dsns, err := server.Make(pgtest.DSNs{})
	if err != nil {
		return dsns, err
	}
	db, err := postgres.Open(ctx, postgres.Config{DSN: dsns.App, OwnerDSN: dsns.Owner})
	if err != nil {
		return dsns, errors.Join(err, server.Drop(dsns))
	}
	return dsns, db.Close()
}
