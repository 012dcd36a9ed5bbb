package pgtest

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// Standby starts a server that follows this one by streaming replication, and
// answers reads.
func (s *Server) Standby(t testing.TB) *Standby {
	t.Helper()
	if s.cluster == nil {
		t.Skipf("SKIPPED: the server that %s names is not ours to copy, so replicas were NOT tested", envDSN)
	}
	c, err := s.cluster.standby()
	if err != nil {
		t.Fatalf("pgtest: standby: %v", err)
	}
	t.Cleanup(func() {
		if err := c.end.Close(); err != nil {
			t.Logf("pgtest: %v", err)
		}
	})
	return &Standby{c}
}

// Standby is a server that follows another.
type Standby struct{ *Cluster }

// Of returns dsns with this server in the place of the one that it follows.
func (s *Standby) Of(t testing.TB, dsns DSNs) DSNs {
	t.Helper()
	here := func(dsn string) string {
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set("host", s.dir)
		u.RawQuery = q.Encode()
		return u.String()
	}
	return DSNs{App: here(dsns.App), Owner: here(dsns.Owner), Super: here(dsns.Super)}
}

// Promote makes the standby a server of its own, which follows nobody.
func (c *Cluster) Promote() error { return c.control("promote") }

// standby copies the cluster, which goes on meanwhile, to a directory of its own.
func (c *Cluster) standby() (_ *Cluster, err error) {
	s := &Cluster{bin: c.bin, cred: c.cred}
	if s.dir, err = os.MkdirTemp("", "runledger-pg"); err != nil {
		return nil, err
	}
	if err := errors.Join(s.own(), s.keep()); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.end.Close())
		}
	}()
	data := filepath.Join(s.dir, "data")
	err = s.run("pg_basebackup", "-D", data, "-h", c.dir, "-U", superuser, "--wal-method=stream",
		"--checkpoint=fast", "--write-recovery-conf", "--no-sync", "--no-manifest")
	if err != nil {
		return nil, err
	}
	if err := appendTo(filepath.Join(data, "postgresql.conf"), "unix_socket_directories = '"+s.dir+"'\n"); err != nil {
		return nil, err
	}
	return s, s.control("start")
}

// own gives the directory to the user that the server runs as.
func (c *Cluster) own() error {
	if c.cred == nil {
		return nil
	}
	return os.Chown(c.dir, int(c.cred.Uid), int(c.cred.Gid))
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
