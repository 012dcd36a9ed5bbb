package main

import (
	"fmt"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// TestProcessesKilled kills one of several servers on one database again and again,
// under load of one tenant and of several.
func TestProcessesKilled(t *testing.T) {
	for _, c := range []struct {
		processes int
		tenants   []string
	}{
		{2, []string{"acme"}},
		{4, []string{"acme", "beta", "gamma"}},
	} {
		t.Run(fmt.Sprintf("processes=%d,tenants=%d", c.processes, len(c.tenants)), func(t *testing.T) {
			f := newFleet(t, c.processes).start()
			for i, tenant := range c.tenants {
				f.tenant(f.members[i%c.processes], tenant)
			}
			stop := f.load(8/len(c.tenants), c.tenants...)
			for i := range 4 {
				time.Sleep(700 * time.Millisecond)
				m := f.members[i%c.processes]
				m.kill()
				time.Sleep(300 * time.Millisecond)
				if err := m.start(); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(500 * time.Millisecond)
			f.check(stop(), 500)
		})
	}
}

// TestDatabaseStops takes the database away from two servers, without a goodbye, and
// brings it back.
func TestDatabaseStops(t *testing.T) {
	f := newFleetAlone(t, 2).start()
	f.tenant(f.members[0], "acme")
	stop := f.load(6, "acme")
	for range 3 {
		time.Sleep(time.Second)
		if err := f.pg.Cluster().Kill(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		if err := f.pg.Cluster().Restart(); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Second)
	f.check(stop(), 300)
	f.ready()
}

// ready sees that all members take evidence.
func (f *fleet) ready() {
	f.t.Helper()
	for _, m := range f.members {
		within(f.t, 30*time.Second, func() error {
			if status, body := m.ask(http.MethodGet, "/readyz", "", nil, ""); status != http.StatusOK {
				return fmt.Errorf("%s: /readyz: %d %s", m.name, status, body)
			}
			return nil
		})
	}
}

// TestCommitCutOff drops connections to the database while a COMMIT is under way:
// before the database has it, or before the server hears of it. Nobody can tell the two
// apart but by looking.
func TestCommitCutOff(t *testing.T) {
	f := newFleet(t, 2)
	var cutters []*cutter
	for _, m := range f.members {
		c := newCutter(t, f.dsn.App)
		m.dsn = c.dsn
		cutters = append(cutters, c)
	}
	f.start()
	f.tenant(f.members[0], "acme")
	for _, c := range cutters {
		c.every.Store(6)
	}
	stop := f.load(6, "acme")
	time.Sleep(8 * time.Second)
	for _, c := range cutters {
		c.every.Store(0)
	}
	f.check(stop(), 300)
	before, behind := int64(0), int64(0)
	for _, c := range cutters {
		before, behind = before+c.before.Load(), behind+c.behind.Load()
	}
	if before < 3 || behind < 3 {
		t.Errorf("%d connections were dropped before COMMIT and %d behind it: that shows nothing", before, behind)
	}
	t.Logf("%d connections dropped before COMMIT, %d behind it", before, behind)
	f.ready()
}

// TestRollingRestart restarts three servers in order, one after the other, under load.
// Whoever tries again elsewhere notices nothing.
func TestRollingRestart(t *testing.T) {
	f := newFleet(t, 3).start()
	f.tenant(f.members[0], "acme")
	stop := f.load(6, "acme")
	for range 2 {
		for _, m := range f.members {
			time.Sleep(300 * time.Millisecond)
			if err := m.signal(syscall.SIGTERM); err != nil {
				t.Errorf("%s did not stop in order: %v", m.name, err)
			}
			if err := m.start(); err != nil {
				t.Error(err)
			}
		}
	}
	producers := stop()
	f.check(producers, 500)
	for _, p := range producers {
		if p.slowest > 10*time.Second {
			t.Errorf("a batch took %s", p.slowest)
		}
	}
}

// TestStartTogether starts servers at the same time on a database that has no ledger
// yet: they agree on one.
func TestStartTogether(t *testing.T) {
	f := newFleet(t, 3)
	f.dsn = f.pg.Database(t)
	f.cli("migrate", "--data", f.path("none"), "--store-owner", f.dsn.Owner)
	f.dir = t.TempDir() // other anchors, no keyset
	for _, m := range f.members {
		m.dsn = f.dsn.App
	}
	f.start()
	f.tenant(f.members[1], "acme")
	stop := f.load(3, "acme")
	time.Sleep(time.Second)
	producers := stop()
	f.members[0].kill() // its data directory is looked at now
	f.cli("verify", "--data", f.path("p1"))
	for _, p := range producers {
		for _, why := range p.refused {
			t.Error(why)
		}
	}
}

// listenLocal listens on a free port of this machine.
func listenLocal(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}
