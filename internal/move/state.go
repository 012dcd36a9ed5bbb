package move

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// State of a store, see store.MoveState.
type State = store.MoveState

// States of a store.
const (
	Arriving  = store.MoveArriving
	Rehearsed = store.MoveRehearsed
	Arrived   = store.MoveArrived
	Gone      = store.MoveGone
)

// Mark is what a store keeps of a copy.
type Mark = store.MoveMark

// MarkOf returns what a store keeps of a copy; a zero Mark where there was none.
func MarkOf(ctx context.Context, s interface {
	Setting(ctx context.Context, name string) (string, error)
},
) (Mark, error) {
	text, err := s.Setting(ctx, store.SettingMove)
	if errors.Is(err, evidence.ErrNotFound) {
		return Mark{}, nil
	}
	if err != nil {
		return Mark{}, err
	}
	return store.ParseMoveMark(text)
}

// Check returns an error that wraps evidence.ErrForbidden where a ledger must not
// open a store, because it is not the one of two that may go on. Whoever opens a
// store to write to its logs asks it first.
func Check(ctx context.Context, s interface {
	Setting(ctx context.Context, name string) (string, error)
},
) error {
	m, err := MarkOf(ctx, s)
	if err != nil {
		return err
	}
	if why := m.Fence(); why != "" {
		return fmt.Errorf("%s: %w", why, evidence.ErrForbidden)
	}
	return nil
}

// mark sets a store's mark.
func (c *copier) mark(ctx context.Context, s store.Store, state State, other string) error {
	return setMark(ctx, s, Mark{State: state, Other: other, Heads: c.digest, At: evidence.MicrosOf(c.cfg.Now())})
}

func setMark(ctx context.Context, s store.Store, m Mark) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return s.SetSetting(ctx, store.SettingMove, string(text))
}

// begin decides whether this copy may be made, by what both sides say, and reports
// whether the destination has all of it already. It writes nothing, but where a move
// that ended between its last steps has to be taken back.
func (c *copier) begin(ctx context.Context) (complete bool, err error) {
	from, err := MarkOf(ctx, c.cfg.From)
	if err != nil {
		return false, err
	}
	to, err := MarkOf(ctx, c.cfg.To)
	if err != nil {
		return false, err
	}
	if c.overtaken(from, to) {
		return false, c.takeBack(ctx, Mark{}, c.moved())
	}
	if err := c.mayLeave(from); err != nil {
		return false, err
	}
	switch to.State {
	case "":
		return false, c.wantEmpty(ctx)
	case Arriving:
		c.report.Resumed = true
		switch {
		case to.Other != c.cfg.FromName:
			return false, fmt.Errorf("%s: %w: it is an unfinished copy of %s", c.cfg.ToName, ErrOccupied, to.Other)
		case to.Heads != c.digest:
			return false, fmt.Errorf("%s: %w: begin anew with an empty destination", c.cfg.FromName, ErrMoved)
		}
		return false, nil
	}
	// What is complete is only verified, and changes its place with the source.
	logs, err := c.cfg.To.Logs(ctx, "")
	if err != nil {
		return false, err
	}
	_, digest, err := headsOf(ctx, c.cfg.To, logs)
	switch {
	case err != nil:
		return false, err
	case to.Other != c.cfg.FromName:
		return false, fmt.Errorf("%s: %w: it has a deployment that was copied from or to %s", c.cfg.ToName, ErrOccupied, to.Other)
	case digest != c.digest:
		return false, fmt.Errorf("%s: %w: it has this deployment, and one of the two went on since", c.cfg.ToName, ErrOccupied)
	case to.State == Gone && c.cfg.Rehearse:
		return false, fmt.Errorf("%s: %w: it is what %s was moved from", c.cfg.ToName, ErrOccupied, c.cfg.FromName)
	}
	c.report.Resumed = true
	return true, nil
}

// mayLeave refuses a source that is not in service, but for the end of a move that
// was interrupted.
func (c *copier) mayLeave(from Mark) error {
	switch {
	case from.State == "" || from.State == Arrived || c.cfg.Rehearse && from.State != Arriving:
		return nil
	case from.State == Gone && from.Other == c.cfg.ToName && from.Heads == c.digest:
		return nil
	case from.State == Gone:
		return fmt.Errorf("%s moved to %s: copy that one, or make a rehearsal of this: %w", c.cfg.FromName, from.Other, evidence.ErrForbidden)
	default:
		return fmt.Errorf("%s is not in service (%s, %s): copy the one that is: %w", c.cfg.FromName, from.State, from.Other, evidence.ErrForbidden)
	}
}

// wantEmpty refuses a destination that has anything.
func (c *copier) wantEmpty(ctx context.Context) error {
	logs, err := c.cfg.To.Logs(ctx, "")
	if err != nil {
		return err
	}
	if len(logs) > 0 {
		return fmt.Errorf("%s: %w: it has a log of tenant %s", c.cfg.ToName, ErrOccupied, logs[0].Tenant)
	}
	if err := c.cfg.To.APIKeys(ctx, "*", func(k store.APIKey) error {
		return fmt.Errorf("%s: %w: it has credential %s", c.cfg.ToName, ErrOccupied, k.ID)
	}); err != nil {
		return err
	}
	return c.cfg.To.Settings(ctx, func(name, _ string) error {
		return fmt.Errorf("%s: %w: it has setting %s", c.cfg.ToName, ErrOccupied, name)
	})
}

// arrive says that the destination is being filled.
func (c *copier) arrive(ctx context.Context) error {
	if c.report.Resumed {
		return nil
	}
	return c.mark(ctx, c.cfg.To, Arriving, c.cfg.FromName)
}

// headsOf reads the heads of logs, and makes a digest of both.
func headsOf(ctx context.Context, r store.Reader, logs []store.Log) (map[store.LogRef]store.Head, string, error) {
	heads := make(map[store.LogRef]store.Head, len(logs))
	sum := sha256.New()
	for i := range logs {
		lg := &logs[i]
		head, err := r.Head(ctx, lg.LogRef)
		if err != nil {
			return nil, "", err
		}
		heads[lg.LogRef] = head
		var b row
		b.log(lg)
		b.head(&head)
		sum.Write(b)
	}
	return heads, hex.EncodeToString(sum.Sum(nil)), nil
}
