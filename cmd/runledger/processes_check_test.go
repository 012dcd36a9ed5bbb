package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/server"
)

// leafAt is where a record stands.
type leafAt struct {
	no   int
	seq  int64
	hash string
}

// check holds what producers were told against what is there, once the load is over:
// every receipt proves, through any process, and stands where it said; nothing is there
// twice; and everything verifies.
func (f *fleet) check(producers []*producer, least int) {
	f.t.Helper()
	acked, repeats, slowest := 0, 0, time.Duration(0)
	receipts := map[string]map[string]receipt{}
	for _, p := range producers {
		for _, why := range p.refused {
			f.t.Errorf("tenant %s: %s", p.tenant, why)
		}
		if receipts[p.tenant] == nil {
			receipts[p.tenant] = map[string]receipt{}
		}
		for _, r := range p.acked {
			receipts[p.tenant][r.ID] = r
		}
		acked, repeats, slowest = acked+len(p.acked), repeats+p.repeats, max(slowest, p.slowest)
	}
	if acked < least {
		f.t.Errorf("only %d records were acknowledged: that shows nothing", acked)
	}
	f.prove(receipts)
	out := f.cli("verify", "--data", f.path("first"))
	if !strings.Contains(string(out), `"VERIFIED"`) {
		f.t.Errorf("verify: %s", out)
	}
	total := 0
	for tenant, want := range receipts {
		stored := f.stored(tenant)
		total += len(stored)
		for id, r := range want {
			if at := stored[id]; at != (leafAt{r.LogNo, r.LeafIndex, r.LeafHash}) {
				f.t.Errorf("tenant %s: record %s was acknowledged at %d/%d as %s, and stands at %+v", tenant, id, r.LogNo, r.LeafIndex, r.LeafHash, at)
			}
		}
	}
	f.t.Logf("%d records acknowledged, %d there, %d requests repeated, the slowest batch took %s", acked, total, repeats, slowest.Round(time.Millisecond))
}

// stored reads a tenant's logs leaf by leaf. No record may be there twice, nor
// contradict another.
func (f *fleet) stored(tenant string) map[string]leafAt {
	f.t.Helper()
	ctx := context.Background()
	d, err := server.Open(ctx, server.Config{
		Data: f.path("first"), Store: f.dsn.App, Anchor: f.path("anchor"), Master: f.path("master.json"), Process: "reader",
	})
	if err != nil {
		f.t.Fatal(err)
	}
	defer d.Close()
	logs, err := d.Ledger.Logs(ctx, tenant)
	if err != nil {
		f.t.Fatal(err)
	}
	out := map[string]leafAt{}
	for _, lg := range logs {
		head, _, err := d.Ledger.PublishNow(ctx, tenant, lg.No)
		if err != nil {
			f.t.Fatal(err)
		}
		err = d.Ledger.Leaves(ctx, tenant, lg.No, 0, head.Size, func(seq int64, b []byte) error {
			leaf, err := evidence.ParseLeaf(b)
			if err != nil {
				return err
			}
			if of := leaf.Text("conflict_of"); of != "" {
				f.t.Errorf("%s %s contradicts %s", leaf.Kind, leaf.ID, of)
			}
			if _, twice := out[leaf.ID.String()]; twice {
				f.t.Errorf("%s %s is there twice", leaf.Kind, leaf.ID)
			}
			out[leaf.ID.String()] = leafAt{lg.No, seq, evidence.LeafHash(b).String()}
			return nil
		})
		if err != nil {
			f.t.Fatal(err)
		}
	}
	return out
}

// prove asks each process for the proofs of some receipts.
func (f *fleet) prove(receipts map[string]map[string]receipt) {
	f.t.Helper()
	const some = 25 // of each tenant, from each process
	for tenant, all := range receipts {
		for _, m := range f.members {
			n := 0
			for _, r := range all {
				if n++; n > some {
					break
				}
				if err := m.prove(f.keys[tenant], r); err != nil {
					f.t.Errorf("%s, tenant %s: %v", m.name, tenant, err)
				}
			}
		}
	}
}

// prove has a record proven, and checks the proof.
func (m *member) prove(key string, r receipt) error {
	var got struct {
		LogNo       int    `json:"log_no"`
		LeafIndex   int64  `json:"leaf_index"`
		LeafHash    string `json:"leaf_hash"`
		Leaf, Proof string
		VKey        string
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		status, body := m.ask(http.MethodGet, "/api/v1/receipts/"+r.ID, key, nil, "")
		// A record that was acknowledged is there, whoever is asked; its checkpoint may
		// be still to come.
		if status != http.StatusOK && status != http.StatusAccepted {
			return fmt.Errorf("record %s: %d %s", r.ID, status, body)
		}
		if err := json.Unmarshal(body, &got); err != nil {
			return err
		}
		if got.LogNo != r.LogNo || got.LeafIndex != r.LeafIndex {
			return fmt.Errorf("record %s stands at %d/%d, and was acknowledged at %d/%d", r.ID, got.LogNo, got.LeafIndex, r.LogNo, r.LeafIndex)
		}
		if status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("record %s: no checkpoint covers it", r.ID)
		}
	}
	key0, err := c2sp.ParseVKey(got.VKey)
	if err != nil {
		return err
	}
	p, err := c2sp.ParseProof([]byte(got.Proof))
	if err != nil {
		return err
	}
	head, err := c2sp.Verify(p.Note, key0)
	if err != nil {
		return err
	}
	if hash := evidence.LeafHash([]byte(got.Leaf)); hash.String() != r.LeafHash {
		return fmt.Errorf("record %s: the leaf has the hash %s, and %s was acknowledged", r.ID, hash, r.LeafHash)
	}
	return c2sp.CheckInclusion(p.Hashes, head.Size, head.Root, p.Index, evidence.LeafHash([]byte(got.Leaf)))
}

// within calls f until it returns nil, or the test fails with its last error.
func within(t *testing.T, d time.Duration, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(d); ; time.Sleep(50 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", d, err)
		}
	}
}
