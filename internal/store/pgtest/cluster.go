package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Cluster is a PostgreSQL server of this test process.
type Cluster struct {
	bin, dir string
	cred     *syscall.Credential // nil: the test's own user
	end      *os.File            // held open; closing it ends the server
}

const superuser = "super"

// settings are those of a small server, and of an honest one: what is durable
// is synced.
const settings = `
listen_addresses = ''
unix_socket_permissions = 0777
max_connections = 400
shared_buffers = 128MB
max_wal_size = 4GB
fsync = on
synchronous_commit = on
full_page_writes = on
max_prepared_transactions = 0
log_min_messages = warning
`

// keeper waits until its input ends, which it does when the test process does,
// and leaves nothing behind.
const keeper = `read -r _; "$1/pg_ctl" -D "$2/data" -m immediate -w stop; rm -rf "$2"`

// Start starts a cluster of the test's own, for one that stops or breaks it.
func Start(t testing.TB) *Server {
	t.Helper()
	c, err := start()
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(func() {
		if err := c.end.Close(); err != nil {
			t.Logf("pgtest: %v", err)
		}
	})
	s, err := connect(c.DSN(), c)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return s
}

// Database is like the function of that name, on this server.
func (s *Server) Database(t testing.TB) DSNs {
	t.Helper()
	return s.database(t, "")
}

// DSN names the cluster's first database as its superuser.
func (c *Cluster) DSN() string {
	return fmt.Sprintf("host=%s port=5432 user=%s dbname=postgres sslmode=disable", c.dir, superuser)
}

// Kill stops the server at once, as a loss of power does, but for what the
// kernel has: without a checkpoint or goodbye.
func (c *Cluster) Kill() error { return c.control("stop", "-m", "immediate") }

// Restart starts the server after Kill; it recovers first.
func (c *Cluster) Restart() error { return c.control("start") }

func (c *Cluster) control(verb string, args ...string) error {
	return c.run("pg_ctl", append([]string{"-D", filepath.Join(c.dir, "data"), "-s", "-w", "-l", filepath.Join(c.dir, "log"), verb}, args...)...)
}

// run runs one of PostgreSQL's programs. Its output goes to a file: a server
// that it starts would hold a pipe open.
func (c *Cluster) run(program string, args ...string) error {
	out, err := os.CreateTemp("", "pgtest")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(out.Name()) }()
	defer out.Close()
	cmd := c.command(filepath.Join(c.bin, program), args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		log, _ := os.ReadFile(filepath.Join(c.dir, "log"))
		return fmt.Errorf("%s: %w\n%s%s", program, err, text, log)
	}
	return nil
}

func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "LC_ALL=C", "TZ=UTC"}
	// A group of its own: an interrupt at the terminal is the test's to handle.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred, Setpgid: true}
	return cmd
}

func start() (_ *Cluster, err error) {
	c := &Cluster{}
	if c.bin, err = binaries(); err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp("", "runledger-pg"); err != nil {
		return nil, err
	}
	if err := c.becomeSomeone(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.dir))
	}
	if err := c.keep(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.dir))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.end.Close())
		}
	}()
	data := filepath.Join(c.dir, "data")
	if err = c.initialise(data); err != nil {
		return nil, err
	}
	err = appendTo(filepath.Join(data, "postgresql.conf"), settings+"unix_socket_directories = '"+c.dir+"'\n")
	if err != nil {
		return nil, err
	}
	return c, c.control("start")
}

// initialise makes the data directory of a server that is new, by copying where somebody
// has made one before: initdb takes longer than most tests.
func (c *Cluster) initialise(data string) error {
	kept := os.Getenv(envInitdb)
	if kept == "" {
		return c.initdb(data)
	}
	if _, err := os.Stat(kept); err == nil {
		return copyTree(kept, data)
	}
	if err := c.initdb(data); err != nil {
		return err
	}
	whole := fmt.Sprintf("%s.%d", kept, os.Getpid())
	if err := copyTree(data, whole); err != nil {
		return errors.Join(err, os.RemoveAll(whole))
	}
	if err := os.Rename(whole, kept); err != nil { // another process was faster
		return os.RemoveAll(whole)
	}
	return nil
}

// copyTree copies a directory with the owners of what is in it.
func copyTree(from, to string) error {
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (c *Cluster) initdb(data string) error {
	// A locale in which text is not ordered by its bytes, so that whatever relies
	// on the database's is found; PostgreSQL may have been built without it.
	args := []string{"-D", data, "-U", superuser, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--data-checksums"}
	args = slices.Clip(args)
	err := c.run("initdb", append(args, "--locale-provider=icu", "--icu-locale=en")...)
	if err != nil {
		err = c.run("initdb", args...)
	}
	return err
}

// keep starts the process that ends the cluster.
func (c *Cluster) keep() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := c.command("/bin/sh", "-c", keeper, "sh", c.bin, c.dir)
	cmd.Stdin = r
	if err := cmd.Start(); err != nil {
		return errors.Join(err, w.Close())
	}
	go func() { _ = cmd.Wait() }()
	c.end = w
	return nil
}

// becomeSomeone gives the directory to the user that the server runs as.
func (c *Cluster) becomeSomeone() error {
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uerr, gerr); err != nil {
			return err
		}
		c.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return c.own()
	}
	return errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

// binaries finds the directory of PostgreSQL's programs: that of the newest
// version that distributions install beside one another, else that of the path.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4])
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	if len(found) > 0 && version(found[0]) >= 15 {
		return filepath.Dir(found[0]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	return filepath.Dir(path), nil
}
