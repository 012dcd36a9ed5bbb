package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// cluster is a PostgreSQL server on this machine, of the binaries that it has. It
// listens on a unix socket alone, and is as durable as PostgreSQL's defaults.
type cluster struct {
	bin, data, socket string
	cred              *syscall.Credential // nil: our own user
	cmd               *exec.Cmd
}

// clusterSettings are those that docs/sizing.md suggests for a machine of this size.
// What makes a commit durable is written down, though it is the default.
const clusterSettings = `
listen_addresses = ''
max_connections = 200
shared_buffers = 1GB
effective_cache_size = 8GB
max_wal_size = 8GB
checkpoint_timeout = 15min
wal_compression = lz4
fsync = on
synchronous_commit = on
full_page_writes = on
`

const superuser = "postgres"

// startCluster starts the server of a directory, which is made where it is not there.
func startCluster(ctx context.Context, dir string) *cluster {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	check(err)
	if len(found) == 0 {
		path, err := exec.LookPath("initdb")
		check(err)
		found = []string{path}
	}
	c := &cluster{bin: filepath.Dir(slices.Max(found)), data: filepath.Join(dir, "data"), socket: mustTemp("", "bench-pg")}
	if c.cred = someone(); c.cred != nil { // PostgreSQL does not run as root
		check(os.Chown(c.socket, int(c.cred.Uid), int(c.cred.Gid)))
	}
	if _, err := os.Stat(c.data); errors.Is(err, fs.ErrNotExist) {
		check(os.MkdirAll(dir, 0o755))
		if c.cred != nil {
			check(os.Chown(dir, int(c.cred.Uid), int(c.cred.Gid)))
		}
		out, err := c.command("initdb", "-D", c.data, "-U", superuser, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums").CombinedOutput()
		if err != nil {
			check(fmt.Errorf("initdb: %w: %s", err, out))
		}
		check(os.WriteFile(filepath.Join(c.data, "postgresql.auto.conf"), []byte(clusterSettings), 0o600))
	}
	c.cmd = c.command("postgres", "-D", c.data, "-k", c.socket)
	c.cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT // it shall not outlive a failed measurement
	log, err := os.Create(filepath.Join(dir, "log"))
	check(err)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	check(c.cmd.Start())
	for tries := 0; ; tries++ {
		conn, err := pgx.Connect(ctx, c.dsn(superuser, "postgres"))
		if err == nil {
			check(conn.Close(ctx))
			return c
		}
		if tries == 300 {
			check(fmt.Errorf("PostgreSQL did not start, see %s: %w", log.Name(), err))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// someone is the user that PostgreSQL runs as where we are root.
func someone() *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	check(err)
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	check(err)
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	check(err)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func (c *cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred}
	return cmd
}

func (c *cluster) dsn(role, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Path: "/" + database, RawQuery: url.Values{"host": {c.socket}}.Encode()}
	return u.String()
}

// exec runs statements as the superuser.
func (c *cluster) exec(ctx context.Context, database string, statements ...string) {
	conn, err := pgx.Connect(ctx, c.dsn(superuser, database))
	check(err)
	defer conn.Close(ctx)
	for _, s := range statements {
		_, err := conn.Exec(ctx, s)
		check(err)
	}
}

// number asks for one number as the superuser.
func (c *cluster) number(ctx context.Context, database, query string) (n int64) {
	conn, err := pgx.Connect(ctx, c.dsn(superuser, database))
	check(err)
	defer conn.Close(ctx)
	check(conn.QueryRow(ctx, query).Scan(&n))
	return n
}

// used is what all of the server's processes have used: the first one, those that
// it has seen end, and those that run. Their memory is mostly shared, so none is told.
func (c *cluster) used() (cpu time.Duration, rss int64) {
	first := readStat(c.cmd.Process.Pid)
	cpu = first.own + first.reaped
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", c.cmd.Process.Pid))
	check(err)
	for _, pid := range strings.Fields(string(list)) {
		n, err := strconv.Atoi(pid)
		check(err)
		if _, err := os.Stat("/proc/" + pid); err == nil {
			cpu += readStat(n).own
		}
	}
	return cpu, 0
}

// stop ends the server as an operator does, and leaves its data.
func (c *cluster) stop() {
	check(c.cmd.Process.Signal(syscall.SIGINT))
	check(c.cmd.Wait())
	check(os.RemoveAll(c.socket))
}
