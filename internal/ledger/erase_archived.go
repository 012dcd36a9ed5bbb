package ledger

import (
	"context"
	"fmt"
	"math"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// settingArchiving begins the names of the settings that say which leaves of a log are being archived
// with their content: <tenant>/<log_no>, and as the value "<from> <to>". It is written before content is read,
// and moved on when the unit is on record.
const settingArchiving = "archive_writing/"

// Archiving writes down that the content of leaves from <= seq < to is about to be read for an
// archive. An erasure that comes before the unit is on record knows by it that a copy may be there. With
// from = to nothing is on its way.
func (l *Ledger) Archiving(ctx context.Context, log store.LogRef, from, to int64) error {
	return l.store.SetSetting(ctx, fmt.Sprintf("%s%s/%d", settingArchiving, log.Tenant, log.No), fmt.Sprintf("%d %d", from, to))
}

// archivedParts are the parts of a tenant's logs of which an archive has content, or is about to have.
func (l *Ledger) archivedParts(ctx context.Context, tenant string, no int) (parts [][2]int64, err error) {
	err = l.store.Archives(ctx, store.LogRef{Tenant: tenant, No: no}, func(u store.ArchiveUnit) error {
		if u.Sealed {
			parts = append(parts, [2]int64{u.From, u.To})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = l.store.SettingsUnder(ctx, settingArchiving+tenant+"/", math.MaxInt32, func(name, value string) error {
		var p [2]int64
		if name != fmt.Sprintf("%s%s/%d", settingArchiving, tenant, no) {
			return nil
		}
		if n, err := fmt.Sscanf(value, "%d %d", &p[0], &p[1]); err != nil || n != 2 {
			return fmt.Errorf("setting %s: %w", name, evidence.ErrTampered)
		}
		if p[0] < p[1] {
			parts = append(parts, p)
		}
		return nil
	})
	return parts, err
}

// inArchives reports whether an archive holds sealed content of the records, or may soon. A unit has the
// segments that begin in it, and records that stand in the next one may be among theirs.
func (w *eraser) inArchives(ctx context.Context) (bool, error) {
	parts := map[int][][2]int64{}
	for _, seg := range w.order {
		no := seg.log.No
		if _, read := parts[no]; !read {
			var err error
			if parts[no], err = w.l.archivedParts(ctx, w.tenant, no); err != nil {
				return false, err
			}
		}
		for _, p := range parts[no] {
			if begins := seg.stored.No >> store.SegmentBits; p[0] <= begins && begins < p[1] {
				return true, nil
			}
			for _, h := range seg.hits {
				if p[0] <= h.at.Seq && h.at.Seq < p[1] {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// nothingSealed is the error of an erasure that finds nothing sealed in the database.
func (l *Ledger) nothingSealed(ctx context.Context, tenant string) error {
	logs, err := l.store.Logs(ctx, tenant)
	if err != nil {
		return err
	}
	for _, lg := range logs {
		parts, err := l.archivedParts(ctx, tenant, lg.No)
		if err != nil {
			return err
		}
		if len(parts) > 0 {
			return fmt.Errorf("erase: nothing of it is sealed in the database, but the archive holds content of records that have expired, under keys that are kept for it: "+
				"they are destroyed once no policy of the tenant has archive_content: %w", evidence.ErrConflict)
		}
	}
	return fmt.Errorf("erase: nothing of it is sealed here: %w", evidence.ErrNotFound)
}
