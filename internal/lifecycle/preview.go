package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// youngMarks bounds how many young records are looked at for the time when the next one
// is due.
const youngMarks = 20_000

// Preview says what would be removed at a time (zero: now), and why not what would not.
func (s *Service) Preview(ctx context.Context, tenant string, when time.Time) (Preview, error) {
	out := Preview{TenantID: tenant, Classes: []ClassPreview{}}
	if err := s.known(ctx, tenant); err != nil {
		return out, err
	}
	now := s.now()
	if !when.IsZero() {
		now = evidence.MicrosOf(when)
	}
	out.At = micros(now)
	policies, err := s.policies(ctx, tenant)
	if err != nil {
		return out, err
	}
	h, err := s.holdsOf(ctx, tenant)
	if err != nil {
		return out, err
	}
	switch {
	case len(h.tenant) > 0:
		out.Blocked = heldTenant(h.tenant).text
	case when.IsZero():
		if out.Blocked, err = s.clock(ctx, false); err != nil {
			return out, err
		}
	}
	found, err := s.selectDue(ctx, tenant, now, policies, h, all, removable())
	if err != nil {
		return out, err
	}
	archive := s.archiveBlocks(ctx)
	for _, p := range policies {
		c := found[p.Class]
		if p.Never {
			if c, err = s.never(ctx, tenant, now, p); err != nil {
				return out, err
			}
		}
		line := ClassPreview{Class: p.Class, Days: p.Days, Before: micros(c.before), Due: c.rows, Tables: c.tables(), Kept: c.keptList()}
		if p.Archive {
			line.Blocked = archive.text
		}
		if !p.Never {
			if line.NextAt, err = s.nextAt(ctx, tenant, now, p); err != nil {
				return out, err
			}
		}
		out.Classes = append(out.Classes, line)
	}
	return out, nil
}

func all(string) bool { return true }

func heldTenant(holds []string) blocked {
	text := "the legal hold " + holds[0] + " covers the whole tenant"
	if len(holds) > 1 {
		text = "the legal holds " + ledger.HoldNames(holds) + " cover the whole tenant"
	}
	return blocked{reasonHold, text}
}

// archiveBlocks says why nothing can be archived now.
func (s *Service) archiveBlocks(ctx context.Context) blocked {
	if s.cfg.Archive == nil {
		return blocked{reasonNoArchive, "no archive is configured, and the policy asks for one"}
	}
	if _, err := s.cfg.Archive.Problems(ctx); err != nil {
		return blocked{reasonArchive, fmt.Sprintf("the archive %s cannot be reached: %v", s.cfg.Archive, err)}
	}
	return blocked{}
}

// never counts what is old and stays for good.
func (s *Service) never(ctx context.Context, tenant string, now evidence.Micros, p Policy) (*chosen, error) {
	c := &chosen{policy: p, before: cutoff(now, p.Days), kept: map[stay]int64{}}
	logs, err := s.cfg.Store.Logs(ctx, tenant)
	if err != nil {
		return nil, err
	}
	for _, lg := range logs {
		end, err := s.firstAfter(ctx, lg, c.before)
		if err != nil {
			return nil, err
		}
		for _, k := range kindsOf(p.Class) {
			err := s.cfg.Store.Marks(ctx, lg.LogRef, k, 0, end, func(m *store.RowMark) error {
				if !m.Synthetic {
					c.kept[stay{why: whyNever}]++
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// nextAt returns when the oldest record of a class that is young will be due, or "".
func (s *Service) nextAt(ctx context.Context, tenant string, now evidence.Micros, p Policy) (string, error) {
	logs, err := s.cfg.Store.Logs(ctx, tenant)
	if err != nil {
		return "", err
	}
	var oldest evidence.Micros
	for _, lg := range logs {
		from, err := s.firstAfter(ctx, lg, cutoff(now, p.Days))
		if err != nil {
			return "", err
		}
		head, err := s.cfg.Store.Head(ctx, lg.LogRef)
		if err != nil {
			return "", err
		}
		for _, k := range kindsOf(p.Class) {
			n := 0
			err := s.cfg.Store.Marks(ctx, lg.LogRef, k, from, head.Size, func(m *store.RowMark) error {
				if classOf(k, m.Synthetic) == p.Class {
					if oldest == 0 || m.RecordedAt < oldest {
						oldest = m.RecordedAt
					}
					return errEnough
				}
				if n++; n == youngMarks {
					return errEnough
				}
				return nil
			})
			if err != nil && !errors.Is(err, errEnough) {
				return "", err
			}
		}
	}
	if oldest == 0 {
		return "", nil
	}
	return micros(dueAt(oldest, p.Days)), nil
}

func checkClass(class string) error {
	if class == "" {
		return nil
	}
	for _, c := range removable() {
		if c == class {
			return nil
		}
	}
	if class == evidence.ClassAudit {
		return invalid("class", "records of %s are not removed", class)
	}
	return invalid("class", "must be one of %s", strings.Join(removable(), ", "))
}
