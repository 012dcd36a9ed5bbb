package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/archive"
	"github.com/runledger/runledger/internal/store"
)

// archiveNow writes what is not archived yet. What it returns stands there, whatever the error.
func (s *Service) archiveNow(ctx context.Context, tenant string, r ArchiveRequest) (ArchiveList, error) {
	out := ArchiveList{TenantID: tenant, Units: []UnitInfo{}}
	var until evidence.Micros
	if r.Until != "" {
		var err error
		if until, err = parseTime("until", r.Until); err != nil {
			return out, err
		}
	}
	if err := s.known(ctx, tenant); err != nil {
		return out, err
	}
	if s.cfg.Archive == nil {
		return out, fmt.Errorf("archive %s: %w: no archive is configured", tenant, evidence.ErrUnavailable)
	}
	release, err := s.begin(ctx, tenant)
	if err != nil {
		return out, err
	}
	defer release()
	logs, err := s.cfg.Store.Logs(ctx, tenant)
	if err != nil {
		return out, err
	}
	a := &archiving{s: s, tenant: tenant, checked: map[string]bool{}}
	for _, lg := range logs {
		c, _, err := s.cfg.Ledger.PublishNow(ctx, tenant, lg.No)
		if err != nil {
			return out, err
		}
		to := c.Size
		if until != 0 {
			at, err := s.firstAfter(ctx, lg, until)
			if err != nil {
				return out, err
			}
			to = min(to, at)
		}
		if own, err := a.onlyArchived(ctx, lg, to); err != nil {
			return out, err
		} else if own {
			continue
		}
		err = a.upTo(ctx, lg, to)
		out.Units = append(out.Units, a.infos()...)
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// Archives lists a tenant's units.
func (s *Service) Archives(ctx context.Context, tenant string) (ArchiveList, error) {
	out := ArchiveList{TenantID: tenant, Units: []UnitInfo{}}
	if err := s.known(ctx, tenant); err != nil {
		return out, err
	}
	logs, err := s.cfg.Store.Logs(ctx, tenant)
	if err != nil {
		return out, err
	}
	for _, lg := range logs {
		units, err := s.units(ctx, lg.LogRef)
		if err != nil {
			return out, err
		}
		for _, u := range units {
			out.Units = append(out.Units, infoOf(u, lg.Origin))
		}
	}
	return out, nil
}

func (s *Service) units(ctx context.Context, ref store.LogRef) ([]store.ArchiveUnit, error) {
	var out []store.ArchiveUnit
	err := s.cfg.Store.Archives(ctx, ref, func(u store.ArchiveUnit) error {
		out = append(out, u)
		return nil
	})
	return out, err
}

// archiving is one go at the archive of a tenant.
type archiving struct {
	s       *Service
	tenant  string
	checked map[string]bool // units that stand there, as was seen in this go
	written []UnitInfo
}

// infos returns what was written since the last call.
func (a *archiving) infos() []UnitInfo {
	out := a.written
	a.written = nil
	return out
}

// errOther ends a look at leaves.
var errOther = errors.New("it is no record of an archive")

// onlyArchived reports whether all leaves of a log that are not archived before a leaf are records of
// runs of the archive (RetentionArchived): there is nothing to archive then (ADR 033).
func (a *archiving) onlyArchived(ctx context.Context, lg store.Log, to int64) (bool, error) {
	units, err := a.s.units(ctx, lg.LogRef)
	if err != nil {
		return false, err
	}
	var from int64
	if n := len(units); n > 0 {
		from = units[n-1].To
	}
	if from >= to {
		return true, nil
	}
	err = a.s.cfg.Ledger.Leaves(ctx, a.tenant, lg.No, from, to, func(_ int64, raw []byte) error {
		leaf, err := evidence.ParseLeaf(raw)
		if err == nil && (leaf.Kind != evidence.KindAudit || leaf.Text("event_type") != eventArchived) {
			err = errOther
		}
		return err
	})
	if errors.Is(err, errOther) {
		return false, nil
	}
	return err == nil, err
}

// upTo writes the units of a log that are missing before a leaf.
func (a *archiving) upTo(ctx context.Context, lg store.Log, to int64) error {
	units, err := a.s.units(ctx, lg.LogRef)
	if err != nil {
		return err
	}
	var from int64
	var prev evidence.Hash
	if n := len(units); n > 0 {
		from, prev = units[n-1].To, units[n-1].Manifest
		if from < to && units[n-1].Archive == a.s.cfg.Archive.String() {
			// An archive that is not mounted is an empty directory.
			err := a.s.cfg.Archive.Present(ctx, units[n-1])
			if isNotFound(err) {
				err = fmt.Errorf("%w: is it mounted? There is no %s/manifest.json", evidence.ErrUnavailable, units[n-1].Name)
			}
			if err != nil {
				return fmt.Errorf("archive %s: the newest unit on record is not in it as it was written, so nothing is written behind it: %w", a.s.cfg.Archive, err)
			}
		}
	}
	for from < to {
		began := time.Now()
		// Units end with entry bundles, but for the last.
		end := min(to, from/256*256+max(a.s.cfg.UnitLeaves, 256))
		begun, err := a.begun(ctx, lg, from, prev)
		if err != nil {
			return err
		}
		if begun > 0 { // by a process that did not come to its end
			end = begun
		}
		u, err := a.write(ctx, lg, from, end, prev)
		if err != nil {
			return fmt.Errorf("archive leaves %d to %d of %s: %w", from, end-1, lg.Origin, err)
		}
		a.s.cfg.Logger.Info("archived", "tenant", a.tenant, "unit", u.Name, "leaves", end-from, "bytes", u.Bytes, "took", time.Since(began).Round(time.Millisecond))
		a.s.metrics.archived.Add(float64(end - from))
		a.s.metrics.bytes.Add(float64(u.Bytes))
		a.checked[u.Name] = true
		a.written = append(a.written, infoOf(u, lg.Origin))
		from, prev = end, u.Manifest
		if err := a.s.pause(ctx, time.Since(began)); err != nil {
			return err
		}
	}
	return nil
}

// begun is the end of a unit that was begun at a leaf, and can be finished.
func (a *archiving) begun(ctx context.Context, lg store.Log, from int64, prev evidence.Hash) (int64, error) {
	served, err := a.s.cfg.Ledger.Serve(ctx, a.tenant, lg.No)
	if err != nil {
		return 0, err
	}
	return a.s.cfg.Archive.Begun(ctx, lg, from, served.Size, prev)
}

func (a *archiving) write(ctx context.Context, lg store.Log, from, to int64, prev evidence.Hash) (store.ArchiveUnit, error) {
	// A view for each unit: it remembers the tiles that it read.
	served, err := a.s.cfg.Ledger.Serve(ctx, a.tenant, lg.No)
	if err != nil {
		return store.ArchiveUnit{}, err
	}
	if served.Size < to {
		if _, _, err = a.s.cfg.Ledger.PublishNow(ctx, a.tenant, lg.No); err == nil {
			served, err = a.s.cfg.Ledger.Serve(ctx, a.tenant, lg.No)
		}
		if err == nil && served.Size < to {
			err = fmt.Errorf("%w: the published checkpoint has %d leaves", evidence.ErrUnavailable, served.Size)
		}
		if err != nil {
			return store.ArchiveUnit{}, err
		}
	}
	in := archive.Unit{
		Log: lg, From: from, To: to, Prev: prev, Checkpoint: served.Note, At: a.s.now(),
		Tile: func(ctx context.Context, level int, n int64, width int) ([]byte, error) {
			if width == 0 {
				width = 256
			}
			return served.Tile(ctx, level, n, width)
		},
		Leaves: func(ctx context.Context, from, to int64, fn func(seq int64, leaf []byte) error) error {
			return a.s.cfg.Ledger.Leaves(ctx, a.tenant, lg.No, from, to, fn)
		},
	}
	u, err := a.s.cfg.Archive.Write(archive.Paced(ctx, a.s.cfg.Ledger.Busy), in)
	if err == nil {
		err = a.s.cfg.Store.KeepArchive(ctx, u)
	}
	return u, err
}

// check makes sure that a unit which was written before stands in its archive still,
// whole. Nothing is removed for an archive that may have gone.
func (a *archiving) check(ctx context.Context, lg store.Log, u store.ArchiveUnit) error {
	if a.checked[u.Name] {
		return nil
	}
	began := time.Now()
	in, err := a.s.cfg.Find(u)
	if err == nil {
		err = in.Verify(archive.Paced(ctx, a.s.cfg.Ledger.Busy), u, lg.VKey)
	}
	if err != nil {
		return fmt.Errorf("unit %s of the archive: %w", u.Name, err)
	}
	a.checked[u.Name] = true
	return a.s.pause(ctx, time.Since(began))
}

// covering returns the units that ranges of a log stand in, each checked.
func (a *archiving) covering(ctx context.Context, lg store.Log, ranges []evidence.TargetRange) ([]store.ArchiveUnit, error) {
	units, err := a.s.units(ctx, lg.LogRef)
	if err != nil {
		return nil, err
	}
	if end := ranges[len(ranges)-1].To; len(units) == 0 || units[len(units)-1].To < end {
		return nil, fmt.Errorf("log %s: %w: leaf %d is not archived", lg.Origin, evidence.ErrUnavailable, end-1)
	}
	var out []store.ArchiveUnit
	for _, u := range units {
		if !slices.ContainsFunc(ranges, func(r evidence.TargetRange) bool { return r.From < u.To && u.From < r.To }) {
			continue
		}
		if err := a.check(ctx, lg, u); err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}
