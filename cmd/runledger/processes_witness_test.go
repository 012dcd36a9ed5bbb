package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/c2sp"
)

// TestProcessesWitnessed has two processes show one log to a witness, each what it
// knows, while both are restarted: nobody takes the other's tree for a fork, and who
// watches the log through both sees it grow only.
func TestProcessesWitnessed(t *testing.T) {
	f := newFleet(t, 2).start()
	f.tenant(f.members[0], "acme")
	admin := f.key(f.members[0], "acme", "tenant_admin")
	policy := f.witness(t)
	for _, m := range f.members {
		if err := m.signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	f.flags = append(f.flags, "--witness-policy", policy)
	f.start()
	within(t, 20*time.Second, func() error { _, err := f.members[0].watched(admin); return err })
	stopLoad := f.load(4, "acme")
	var over atomic.Bool
	var watching sync.WaitGroup
	seen := 0
	watching.Go(func() {
		last := int64(0)
		for i := 0; !over.Load(); i++ {
			m := f.members[i%2]
			if size, err := m.watched(admin); err == nil {
				if seen++; size < last {
					t.Errorf("%s serves a checkpoint of %d records, and one of %d was served before", m.name, size, last)
				}
				last = max(last, size)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	for range 2 {
		for _, m := range f.members {
			time.Sleep(1500 * time.Millisecond)
			if err := m.signal(syscall.SIGTERM); err != nil {
				t.Errorf("%s did not stop in order: %v", m.name, err)
			}
			if err := m.start(); err != nil {
				t.Error(err)
			}
		}
	}
	producers := stopLoad()
	over.Store(true)
	watching.Wait()
	if seen < 50 {
		t.Errorf("%d checkpoints were seen: that shows nothing", seen)
	}
	f.check(producers, 300)
	for _, m := range f.members {
		if m.has("E_FORK") || m.has("another tree") {
			t.Errorf("%s took a tree of the other for a fork", m.name)
		}
		within(t, 20*time.Second, func() error {
			status, body := m.ask(http.MethodGet, "/api/v1/logs/audit/integrity", admin, nil, "")
			if status != http.StatusOK || !strings.Contains(string(body), `"integrity_status":"verified"`) {
				return fmt.Errorf("%s: %d %.400s", m.name, status, body)
			}
			return nil
		})
	}
}

// witness starts a witness of all logs that there are, and returns the policy.
func (f *fleet) witness(t *testing.T) string {
	t.Helper()
	var keys struct {
		Keys []struct {
			VKey string `json:"vkey"`
		}
	}
	if err := json.Unmarshal(f.cli("keys", "list", "--data", f.path(f.members[0].name)), &keys); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("runledger", "witness", "key", "--dir", f.path("witness"), "--name", "w.example", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var key struct {
		VKey string `json:"vkey"`
	}
	if err := json.Unmarshal(out, &key); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	var text strings.Builder
	for _, k := range keys.Keys {
		_, _ = fmt.Fprintf(&text, "log %s\n", k.VKey)
	}
	_, _ = fmt.Fprintf(&text, "witness w %s http://%s\nquorum w\n", key.VKey, address)
	if err := os.WriteFile(f.path("policy"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, "witness", "--dir", f.path("witness"), "--listen", address, "--policy", f.path("policy"))
	return f.path("policy")
}

// watched returns the size of the checkpoint that a member serves of its tenant's log,
// which a witness has cosigned.
func (m *member) watched(key string) (int64, error) {
	status, body := m.ask(http.MethodGet, "/api/v1/transparency/checkpoint", key, nil, "")
	if status != http.StatusOK {
		return 0, fmt.Errorf("%s: %d %s", m.name, status, body)
	}
	c, sigs, err := c2sp.ParseNote(body)
	if err == nil && len(sigs) < 2 {
		err = fmt.Errorf("%s serves %d records without a cosignature", m.name, c.Size)
	}
	return c.Size, err
}
