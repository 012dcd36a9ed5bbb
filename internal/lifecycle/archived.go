package lifecycle

import (
	"context"
	"errors"
	"fmt"
)

const (
	// eventArchived is the audit entry of an archive that somebody asked for: who, how many leaves
	// and bytes, and which units. What is archived because it is due stands in RetentionApplied.
	eventArchived = "RetentionArchived"
	// maxArchivedUnits bounds the units that one record names.
	maxArchivedUnits = 1000
)

// Archive writes what is not archived yet, whatever is due, and records who had that done. Where only
// such records are new in a log, nothing of it is written: they come with the next unit (ADR 033).
func (s *Service) Archive(ctx context.Context, tenant string, r ArchiveRequest, by Actor) (ArchiveList, error) {
	out, err := s.archiveNow(ctx, tenant, r)
	if len(out.Units) > 0 { // also where it failed or was given up then: these stand there
		err = errors.Join(err, s.recordArchived(context.WithoutCancel(ctx), tenant, out.Units, r.Until, by))
	}
	return out, err
}

func (s *Service) recordArchived(ctx context.Context, tenant string, units []UnitInfo, until string, by Actor) error {
	type unit struct {
		Unit     string `json:"unit"`
		Manifest string `json:"manifest"`
		Archive  string `json:"archive"`
	}
	var leaves, bytes int64
	var list []unit
	for _, u := range units {
		leaves, bytes = leaves+u.To-u.From, bytes+u.Bytes
		if len(list) < maxArchivedUnits {
			list = append(list, unit{u.Name, u.Manifest, u.Archive})
		}
	}
	r := s.auditRecord(eventArchived, "archive", by, "what was not archived yet")
	if until != "" {
		at, err := parseTime("until", until)
		if err != nil {
			return err
		}
		r.SetInt("valid_until", int64(at))
	}
	r.SetInt("record_count", leaves)
	r.SetInt("byte_count", bytes)
	r.SetSealed("/after_state", jsonOf(map[string]any{"archive": list, "units": len(units)}))
	if _, err := s.append(ctx, tenant, r); err != nil {
		return fmt.Errorf("record what was archived: %w", err)
	}
	return nil
}
