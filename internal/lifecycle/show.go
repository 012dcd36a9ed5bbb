package lifecycle

import (
	"context"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// bundleLeaves is how many leaves a tile of level 0 has.
const bundleLeaves = 256

// Show returns a run's records from the archive, the leaves checked against the signed tree.
// It reads the units backwards from the run's last record, until it has all of the run's.
func (s *Service) Show(ctx context.Context, tenant string, r ShowRequest) (ShowAnswer, error) {
	out := ShowAnswer{TenantID: tenant, Records: []ShownRecord{}}
	if r.Run == "" {
		return out, invalid("run_id", "is required")
	}
	if err := s.known(ctx, tenant); err != nil {
		return out, err
	}
	name, err := s.cfg.Ledger.ResolveRun(ctx, tenant, r.Run)
	if err != nil {
		return out, err
	}
	out.Run = name
	state, err := s.cfg.Ledger.RunState(ctx, tenant, name)
	if err != nil {
		return out, err
	}
	logs, err := s.cfg.Store.Logs(ctx, tenant)
	if err != nil {
		return out, err
	}
	w := &shower{s: s, tenant: tenant, run: name}
	for _, lg := range slices.Backward(logs) {
		units, err := s.units(ctx, lg.LogRef)
		if err != nil {
			return out, err
		}
		for _, u := range slices.Backward(units) {
			if int64(len(w.found)) == state.NextN {
				break
			}
			if lg.No > state.Last.LogNo || lg.No == state.Last.LogNo && u.From > state.Last.Seq {
				continue
			}
			if err := w.unit(ctx, lg, u); err != nil {
				return out, fmt.Errorf("unit %s: %w", u.Name, err)
			}
		}
	}
	if len(w.found) == 0 {
		return out, fmt.Errorf("run %s: %w in the archive", name, evidence.ErrNotFound)
	}
	slices.SortFunc(w.found, func(a, b shown) int { return int(a.n - b.n) })
	for _, f := range w.found {
		out.Records = append(out.Records, f.ShownRecord)
	}
	return out, nil
}

type shown struct {
	ShownRecord
	n int64
}

type shower struct {
	s      *Service
	tenant string
	run    string
	found  []shown
}

// unit adds the run's records of one unit.
func (w *shower) unit(ctx context.Context, lg store.Log, u store.ArchiveUnit) error {
	in, err := w.s.cfg.Find(u)
	if err != nil {
		return err
	}
	in = in.Afresh() // who looks wants to see what is there now
	var leaves []*evidence.Leaf
	var raws [][]byte
	var scan evidence.Leaf
	err = in.Leaves(ctx, u, u.From, u.To, func(seq int64, b []byte) error {
		if err := scan.Parse(b); err != nil {
			return fmt.Errorf("leaf %d: %w: %w", seq, evidence.ErrTampered, err)
		}
		if scan.Run != w.run {
			return nil
		}
		raw := slices.Clone(b)
		leaf, err := evidence.ParseLeaf(raw)
		if err != nil {
			return err
		}
		leaves, raws = append(leaves, leaf), append(raws, raw)
		return nil
	})
	if err != nil || len(leaves) == 0 {
		return err
	}
	served, err := w.s.cfg.Ledger.Serve(ctx, w.tenant, lg.No)
	if err != nil {
		return err
	}
	for i, leaf := range leaves {
		hash := evidence.LeafHash(raws[i])
		if err := proven(ctx, served, leaf, hash); err != nil {
			return err
		}
		w.found = append(w.found, shown{n: leaf.N, ShownRecord: ShownRecord{
			Log: lg.Origin, Index: leaf.Seq, Hash: hash.String(), Leaf: string(raws[i]), Unit: u.Name,
		}})
	}
	return nil
}

// proven checks that the signed tree of the database has a leaf of the archive.
func proven(ctx context.Context, served *ledger.Served, leaf *evidence.Leaf, hash evidence.Hash) error {
	n := leaf.Seq / bundleLeaves
	width := min(bundleLeaves, served.Size-n*bundleLeaves)
	at := leaf.Seq % bundleLeaves
	if leaf.Log != served.Origin || at >= width {
		return fmt.Errorf("leaf %d: %w: %s does not have it", leaf.Seq, evidence.ErrTampered, served.Origin)
	}
	tile, err := served.Tile(ctx, 0, n, int(width))
	if err != nil {
		return err
	}
	if string(tile[at*int64(len(hash)):(at+1)*int64(len(hash))]) != string(hash[:]) {
		return fmt.Errorf("leaf %d of %s: %w: it is not the one that was signed", leaf.Seq, leaf.Log, evidence.ErrTampered)
	}
	return nil
}
