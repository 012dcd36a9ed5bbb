package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// Ledger is what is read of the ledger.
type Ledger interface {
	Instance() string
	Tenants(ctx context.Context) ([]ledger.LogInfo, error)
	End(ctx context.Context, tenant string) (store.Position, error)
	Fetch(ctx context.Context, tenant string, at []store.Found, content bool) ([]ledger.Fetched, error)
	Integrity(tenant string) ledger.Integrity
	Writable() error
}

// Store is what is read of the store, and where positions are kept.
type Store interface {
	Head(ctx context.Context, log store.LogRef) (store.Head, error)
	Rows(ctx context.Context, log store.LogRef, kind evidence.Kind, from, to int64, fn func(*store.Row) error) error
	Setting(ctx context.Context, name string) (string, error)
	SetSetting(ctx context.Context, name, value string) error
}

// scanLeaves is how many leaves one reading looks at. Only the rows of the kinds that
// are asked for are read.
const scanLeaves = 1 << 16

// errEnough ends a reading that has as many rows as were asked for.
var errEnough = errors.New("enough")

// scan returns where the next records of some kinds stand from a position on, in
// order, at most limit, and the position behind what was looked at. It goes over to
// the next log at the end of one; at the end of the newest nothing is found and the
// position stays.
func scan(ctx context.Context, st Store, tenant string, at, end store.Position, kinds []evidence.Kind, limit int) ([]store.Found, store.Position, error) {
	to := end.Seq
	if at.LogNo < end.LogNo {
		head, err := st.Head(ctx, store.LogRef{Tenant: tenant, No: at.LogNo})
		if err != nil {
			return nil, at, fmt.Errorf("head of log %d of %s: %w", at.LogNo, tenant, err)
		}
		if to = head.Size; at.Seq >= to {
			return nil, store.Position{LogNo: at.LogNo + 1}, nil
		}
	}
	to = min(to, at.Seq+scanLeaves)
	var found []store.Found
	for _, k := range kinds {
		n := 0
		err := st.Rows(ctx, store.LogRef{Tenant: tenant, No: at.LogNo}, k, at.Seq, to, func(row *store.Row) error {
			found = append(found, store.Found{
				Kind: k, Position: store.Position{LogNo: at.LogNo, Seq: row.Seq}, OccurredAt: row.OccurredAt,
				Segment: row.Segment, ActorSegment: row.ActorSegment,
			})
			if n++; n == limit {
				to = row.Seq + 1 // of the other kinds nothing behind it, or the order would be lost
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return nil, at, fmt.Errorf("records of %s: %w", tenant, err)
		}
	}
	slices.SortFunc(found, func(a, b store.Found) int { return int(a.Seq - b.Seq) })
	next := store.Position{LogNo: at.LogNo, Seq: to}
	// What the first kind had behind the end of the second is read the next time.
	for i := range found {
		if found[i].Seq >= to || i == limit {
			return found[:i], store.Position{LogNo: at.LogNo, Seq: min(to, found[i].Seq)}, nil
		}
	}
	return found, next, nil
}

// positions keeps how far streams have come, in the store's settings.
type positions struct {
	store Store
	of    string // the stream
}

func (p *positions) setting(tenant string) string { return "stream_position/" + p.of + "/" + tenant }

// begun is set once each tenant of that time has its position.
func (p *positions) begun() string { return "stream_begun/" + p.of }

// load returns the position of a tenant, or evidence.ErrNotFound.
func (p *positions) load(ctx context.Context, tenant string) (at store.Position, err error) {
	text, err := p.store.Setting(ctx, p.setting(tenant))
	if err != nil {
		return at, err
	}
	if _, err := fmt.Sscanf(text, "%d %d", &at.LogNo, &at.Seq); err != nil || positionText(at) != text {
		return at, fmt.Errorf("setting %s: %q is no position", p.setting(tenant), text)
	}
	return at, nil
}

func positionText(at store.Position) string { return fmt.Sprintf("%d %d", at.LogNo, at.Seq) }

func (p *positions) save(ctx context.Context, tenant string, at store.Position) error {
	if err := p.store.SetSetting(ctx, p.setting(tenant), positionText(at)); err != nil {
		return fmt.Errorf("position of %s in stream %s: %w", tenant, p.of, err)
	}
	return nil
}

// start returns where to begin with a tenant: where the stream had come to, else at
// the end or the start of its log. A tenant that was made after the stream began is
// read from its start in any case: all of it came since.
func (p *positions) start(ctx context.Context, l Ledger, tenant, from string, begun bool) (store.Position, error) {
	at, err := p.load(ctx, tenant)
	if !errors.Is(err, evidence.ErrNotFound) {
		return at, err
	}
	at = store.Position{LogNo: 1}
	if from == FromNow && !begun {
		if at, err = l.End(ctx, tenant); err != nil {
			return at, err
		}
	}
	return at, p.save(ctx, tenant, at)
}

// before reports whether a stands before b.
func before(a, b store.Position) bool {
	return a.LogNo < b.LogNo || a.LogNo == b.LogNo && a.Seq < b.Seq
}

// synthetic reports whether a record was made for a test or a drill.
func synthetic(l *evidence.Leaf) bool {
	made, _ := l.Int("is_synthetic")
	return made != 0
}

// selected reports whether a stream passes a record on.
func (s *Stream) selected(l *evidence.Leaf) bool {
	if synthetic(l) && !s.Synthetic {
		return false
	}
	if !slices.Contains(s.Kinds, l.Kind) || !atLeast(severityOf(l), s.MinSeverity) {
		return false
	}
	return len(s.EventTypes) == 0 || slices.Contains(s.EventTypes, l.Text("event_type"))
}

// takes reports whether a stream is about a tenant.
func (s *Stream) takes(tenant string) bool {
	return s.Tenants == nil || slices.Contains(s.Tenants, tenant)
}

// why is an error as conditions and logs show it: one line, of bounded length.
func why(err error) string {
	s := strings.Join(strings.Fields(err.Error()), " ")
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "…"
	}
	return s
}
