package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestReadReplica reads from a real standby that is held back: an answer is behind
// where the client allows it, and knows of a record where it shows the receipt.
func TestReadReplica(t *testing.T) {
	f := newFleetAlone(t, 1)
	m := f.members[0]
	standby := f.pg.Standby(t)
	replica := standby.Of(t, f.dsn)
	m.flags = []string{"--store-replica", replica.App, "--store-replica-lag=-1s"}
	f.start()
	f.tenant(m, "acme")
	r := &replicaRig{t: t, m: m, producer: f.keys["acme"], reader: f.key(m, "acme", "tenant_admin")}

	hold := func(function string) {
		t.Helper()
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, replica.Super)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, "SELECT "+function+"()"); err != nil {
			t.Fatal(err)
		}
	}
	r.append("before")
	r.until("before", nil)
	hold("pg_wal_replay_pause")
	receipt := r.append("after")
	if r.finds("after", nil) {
		t.Error("an answer of a replica that is held back has what came since: the primary gave it")
	}
	for name, value := range map[string]string{"the receipt": receipt, "primary": "primary"} {
		if !r.finds("after", map[string]string{"Runledger-At-Least": value}) {
			t.Errorf("with %s the answer does not have the record", name)
		}
	}
	for _, bad := range []string{"x", receipt + "0x", "runledger-0/0123456789ab:1", strings.Replace(receipt, ":", ":0", 1)} {
		if status, body := r.list("after", map[string]string{"Runledger-At-Least": bad}); status != http.StatusUnprocessableEntity || !strings.Contains(string(body), "Runledger-At-Least") {
			t.Errorf("%q: %d %s", bad, status, body)
		}
	}
	hold("pg_wal_replay_resume")
	r.until("after", nil)

	// Without its replica the server goes on, and says so.
	if err := standby.Kill(); err != nil {
		t.Fatal(err)
	}
	r.append("alone")
	if !r.finds("alone", nil) {
		t.Error("the primary does not answer in the place of a replica that is gone")
	}
	r.eventually(`a server without its replica is not "degraded"`, func() bool {
		status, body := m.ask(http.MethodGet, "/readyz", "", nil, "")
		return status == http.StatusOK && string(body) == `{"reasons":["replicas"],"status":"degraded"}`+"\n"
	})
	if err := standby.Restart(); err != nil {
		t.Fatal(err)
	}
	r.eventually("a server that has its replica again is degraded", func() bool {
		_, body := m.ask(http.MethodGet, "/readyz", "", nil, "")
		return string(body) == `{"status":"ready"}`+"\n"
	})
}

type replicaRig struct {
	t                *testing.T
	m                *member
	producer, reader string
	n                int
}

// append appends a record of a component and returns LOG:LEAF_INDEX of its receipt.
func (r *replicaRig) append(component string) string {
	r.t.Helper()
	r.n++
	status, body := r.m.ask(http.MethodPost, "/api/v1/ingest/records", r.producer, nil, fmt.Sprintf(
		`[{"kind":"system","id":"01a22a66-0000-7000-8000-%012d","occurred_at":%q,"source_domain":"SYSTEM","source_component":"test",`+
			`"component":%q,"event_type":"RESTART","severity":"INFO","summary":"again"}]`,
		r.n, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), component))
	var got struct {
		Receipts []struct {
			Log       string
			LeafIndex int64 `json:"leaf_index"`
		}
	}
	if err := json.Unmarshal(body, &got); err != nil || status != http.StatusOK || len(got.Receipts) != 1 {
		r.t.Fatalf("append: %d %s", status, body)
	}
	return fmt.Sprintf("%s:%d", got.Receipts[0].Log, got.Receipts[0].LeafIndex)
}

func (r *replicaRig) list(component string, header map[string]string) (int, []byte) {
	return r.m.ask(http.MethodGet, "/api/v1/logs/system?component="+component, r.reader, header, "")
}

// finds reports whether the answer has the record of a component.
func (r *replicaRig) finds(component string, header map[string]string) bool {
	r.t.Helper()
	status, body := r.list(component, header)
	var got struct{ Items []json.RawMessage }
	if err := json.Unmarshal(body, &got); err != nil || status != http.StatusOK {
		r.t.Fatalf("list: %d %s", status, body)
	}
	return len(got.Items) == 1
}

func (r *replicaRig) until(component string, header map[string]string) {
	r.t.Helper()
	r.eventually("the replica does not follow", func() bool { return r.finds(component, header) })
}

func (r *replicaRig) eventually(what string, f func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatal(what)
		}
	}
}
