package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

func (r *rig) proveRecords(tenant string, no int, head c2sp.Checkpoint, at []store.Found) (list []*ledger.ProvenRecord, err error) {
	err = r.ProveRecords(context.Background(), tenant, no, head, at, func(p *ledger.ProvenRecord) error {
		list = append(list, p)
		return nil
	})
	return list, err
}

// TestProveRecords proves every record of a log under several checkpoints, all
// at once and one by one.
func TestProveRecords(t *testing.T) {
	ctx := context.Background()
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	var heads []c2sp.Checkpoint
	for span, n := range []int{1, 254, 1, 44, 300, 200} {
		var lines []string
		for i := range n {
			lines = append(lines, step(i%3, span*1000+i+1, fmt.Sprintf(`,"params":%d,"human_actor_id":"ada"`, i)))
		}
		r.append(t, "acme", lines...)
		head, _, err := r.PublishNow(ctx, "acme", 1)
		if err != nil {
			t.Fatal(err)
		}
		heads = append(heads, head)
	}
	for _, head := range heads {
		var at []store.Found
		for seq := range head.Size {
			f, err := r.Place(ctx, "acme", store.Position{LogNo: 1, Seq: seq})
			if err != nil {
				t.Fatal(err)
			}
			at = append(at, f)
		}
		all, err := r.proveRecords("acme", 1, head, at)
		if err != nil || int64(len(all)) != head.Size {
			t.Fatalf("%d records of %d: %v", len(all), head.Size, err)
		}
		for seq, p := range all {
			if err := c2sp.CheckInclusion(p.Proof, head.Size, head.Root, int64(seq), evidence.LeafHash(p.Raw)); err != nil {
				t.Error(err)
			}
			for _, h := range p.Leaf.H {
				if o := p.Open[h.Path]; evidence.Commit(h.Path, o.Salt, []byte(o.JSON)) != h.Hash {
					t.Errorf("leaf %d: %s does not open", seq, h.Path)
				}
			}
		}
		for seq := int64(0); seq < head.Size; seq += 37 {
			one, err := r.proveRecords("acme", 1, head, at[seq:seq+1])
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(all[seq].Proof, one[0].Proof); diff != "" {
				t.Error(diff)
			}
		}
	}
	newest := heads[len(heads)-1]
	for name, tt := range map[string]struct {
		head c2sp.Checkpoint
		seq  int64
		want error
	}{
		"beyond the checkpoint":          {heads[1], heads[1].Size, evidence.ErrTampered},
		"beyond the log":                 {newest, newest.Size, evidence.ErrTampered},
		"another root":                   {c2sp.Checkpoint{Origin: newest.Origin, Size: newest.Size, Root: heads[0].Root}, 3, evidence.ErrTampered},
		"another log's checkpoint":       {c2sp.Checkpoint{Origin: "a/0123456789ab", Size: 5, Root: newest.Root}, 3, evidence.ErrInvalid},
		"a checkpoint beyond its leaves": {c2sp.Checkpoint{Origin: newest.Origin, Size: newest.Size + 1, Root: newest.Root}, 3, evidence.ErrInvalid},
	} {
		at := []store.Found{{Position: store.Position{LogNo: 1, Seq: tt.seq}, Segment: store.NoSegment, ActorSegment: store.NoSegment}}
		if _, err := r.proveRecords("acme", 1, tt.head, at); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.proveRecords("acme", 2, newest, nil); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("a log that is not there: %v", err)
	}
	stop := errors.New("stop")
	if err := r.LeavesAt(ctx, "acme", 1, []store.Found{{Position: store.Position{LogNo: 1, Seq: 3}}}, func(l *evidence.Leaf) error {
		if l.Seq != 3 {
			t.Errorf("leaf %d", l.Seq)
		}
		return stop
	}); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestRunPlaces(t *testing.T) {
	ctx := context.Background()
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	r.tenant(t, "other")
	r.append(t, "acme", step(1, 1, ""), step(2, 1, ""), step(1, 2, ""))
	r.append(t, "other", step(3, 1, ""))
	at, err := r.RunPlaces(ctx, "acme", fmt.Sprintf("%032x", 1))
	if err != nil || len(at) != 2 || at[1].Seq != 3 || at[1].Kind != evidence.KindTraceStep {
		t.Errorf("%+v %v", at, err)
	}
	for _, run := range []string{fmt.Sprintf("%032x", 3), "nobody"} {
		if at, err := r.RunPlaces(ctx, "acme", run); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("%s: %v %v", run, at, err)
		}
	}
}

// TestProveTampered: of an altered store nothing is given out that is not what
// was signed.
func TestProveTampered(t *testing.T) {
	for name, alter := range map[string]func(e *evil, l *deployedLog, leaf *evidence.Leaf){
		"leaf": func(e *evil, l *deployedLog, leaf *evidence.Leaf) {
			e.setLeaf(l, leaf.Seq, altered(e, l.leaves[leaf.Seq], `"status":"success"`, `"status":"failure"`))
		},
		"leaves swapped": func(e *evil, l *deployedLog, leaf *evidence.Leaf) {
			e.setLeaf(l, leaf.Seq, l.leaves[leaf.Seq+1])
		},
		"segment gone": func(e *evil, l *deployedLog, leaf *evidence.Leaf) {
			e.exec(`DELETE FROM leaf_segments WHERE row = ?1`, e.segmentOf(l, leaf.Seq))
		},
		"tile": func(e *evil, l *deployedLog, _ *evidence.Leaf) {
			e.change(1, `UPDATE tiles SET data = zeroblob(8192) WHERE row = ?1`, tileRow(l, 0, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := copyOf(t)
			l := d.main()
			leaf := l.find(10, func(leaf *evidence.Leaf) bool {
				return leaf.Kind == evidence.KindTraceStep && leaf.Text("status") == "success" && leaf.Seq < 200
			})
			d.tamper(t, func(e *evil) { alter(e, l, leaf) })
			r, err := tryRig(t, d.dir)
			if err != nil {
				t.Logf("open refused: %v", err)
				return
			}
			defer r.close()
			head, _, err := c2sp.ParseNote(l.note)
			if err != nil {
				t.Fatal(err)
			}
			at := []store.Found{{Position: store.Position{LogNo: l.No, Seq: leaf.Seq}, Segment: store.NoSegment, ActorSegment: store.NoSegment}}
			if list, err := r.proveRecords("acme", l.No, head, at); !errors.Is(err, evidence.ErrTampered) || slices.Contains(list, nil) || len(list) > 0 {
				t.Errorf("%d records, %v", len(list), err)
			}
		})
	}
}
