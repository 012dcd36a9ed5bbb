package lifecycle

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// killed is a store whose process ends with kill -9 before its nth scrub: a copy of the files is what
// that leaves. It sees secrets that are kept for a while.
type killed struct {
	store.Store
	from, to string
	n        int
	notes    [][]byte
}

func (k *killed) Scrub(ctx context.Context) error {
	if k.n--; k.n == 0 {
		if err := os.CopyFS(k.to, os.DirFS(k.from)); err != nil {
			return err
		}
	}
	return k.Store.Scrub(ctx)
}

func (k *killed) SetSetting(ctx context.Context, name, value string) error {
	if value != "" && strings.HasPrefix(name, "erasure/") {
		k.notes = append(k.notes, []byte(value))
	}
	return k.Store.SetSetting(ctx, name, value)
}

// secrets returns the ciphertext of the segments and the wrapped keys that a store has.
func secrets(t *testing.T, db store.Store) map[string][]byte {
	t.Helper()
	ctx := context.Background()
	out := map[string][]byte{}
	keys, err := db.DataKeys(ctx, tenant, "", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		out["key "+k.Scope+" "+k.Label+string(k.ID[:])] = k.Wrapped
	}
	logs, err := db.Logs(ctx, tenant)
	if err != nil {
		t.Fatal(err)
	}
	for _, lg := range logs {
		err := db.SealedSegments(ctx, lg.LogRef, func(s store.SealedSegment) error {
			out["segment "+string(s.ID[:])] = slices.Clone(s.Data)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestKilledBeforeScrub: what was removed, and what a note of it said, is not in the files of a deployment that was
// killed right behind the removal, once it has started again. Nothing else is due that would make it so.
func TestKilledBeforeScrub(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "PostgreSQL's files are not ours to scrub")
	ctx := context.Background()
	base := template.Copy(t, "data/master.json", func(dir string) {
		r := openRig(t, dir, &clock{at: ago(historyDays)}, nil)
		makeHistory(r)
		r.close()
	})
	erase := func(r *rig) error {
		_, err := r.Erase(ctx, tenant, ErasureRequest{Subject: "sue-run-003", Reason: "asked for it"}, Actor{"op"})
		return err
	}
	run := func(r *rig) error {
		_, err := r.Erase(ctx, tenant, ErasureRequest{Run: "run-003", Reason: "asked for it"}, Actor{"op"})
		return err
	}
	expire := func(r *rig) error {
		_, err := r.Expire(ctx, tenant, RunRequest{ConfirmClock: true}, Actor{"op"})
		return err
	}
	for name, test := range map[string]struct {
		rounds int
		do     func(r *rig) error
		n      int // of the scrub that it dies before
	}{
		"erasure of a person": {3, erase, 1}, "erasure of a run": {3, run, 1}, "and its keys": {3, run, 2},
		"expiry": {0, expire, 1}, "expiry, later": {0, expire, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from := t.TempDir()
			if err := os.CopyFS(from, os.DirFS(base)); err != nil {
				t.Fatal(err)
			}
			k := &killed{from: from, to: filepath.Join(t.TempDir(), "killed")}
			if test.rounds > 0 { // so that nothing else is due
				r := openRig(t, from, &clock{at: today}, nil)
				for range test.rounds {
					r.round(ctx, r.expireAll)
				}
				r.close()
			}
			r := openRigOver(t, from, &clock{at: today}, nil, func(s store.Store) store.Store { k.Store = s; return k })
			t.Cleanup(r.close)
			if err := r.ledger.ScrubDue(ctx); err != nil {
				t.Fatal(err)
			}
			before := secrets(t, r.db)
			k.n = test.n
			if err := test.do(r); err != nil {
				t.Fatal(err)
			}
			if k.n > 0 {
				t.Fatal("it was not scrubbed as often")
			}

			again := openRigOver(t, k.to, &clock{at: r.clock.now()}, nil, func(s store.Store) store.Store { return s })
			t.Cleanup(again.close)
			for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
				due, err := again.db.Setting(ctx, store.SettingScrub)
				if err != nil {
					t.Fatal(err)
				}
				if due == "" {
					break
				}
				if time.Since(begun) > 30*time.Second {
					t.Fatal("it is never scrubbed")
				}
			}
			for i, note := range k.notes {
				before[fmt.Sprintf("note %d", i)] = note
			}
			gone := 0
			after := secrets(t, again.db)
			for _, file := range []string{"runledger.db", "runledger.db-wal"} {
				b, err := os.ReadFile(filepath.Join(k.to, "data", file))
				if err != nil {
					t.Fatal(err)
				}
				for what, secret := range before {
					if after[what] != nil {
						continue
					}
					gone++
					if bytes.Contains(b, secret) {
						t.Errorf("%q was removed and is in %s", what, file)
					}
				}
			}
			if gone == 0 {
				t.Error("nothing was removed")
			}
		})
	}
}
