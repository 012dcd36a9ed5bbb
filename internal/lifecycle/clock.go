package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/runledger/runledger/evidence"
)

const (
	// settingSeen is when a process last found the clock as it should be, in microseconds.
	settingSeen = "lifecycle/seen"
	// eventClock is the audit entry of an operator's word: the time since which nobody had
	// looked, and the time that is confirmed.
	eventClock = "RetentionClockConfirmed"
	// maxUnseen is how long that may be ago: a clock that has moved further while nobody
	// looked may be right, or not.
	maxUnseen = 48 * time.Hour
	// seenEvery is how often it is looked at.
	seenEvery = time.Hour
	// seenAgain is how old what is written down must be to be written anew: tenants are
	// many.
	seenAgain = evidence.Micros(time.Minute / time.Microsecond)
)

// clock says why the clock is not to be trusted with what is due, or "". With confirm it is
// trusted, by an operator's word.
//
// The ledger notices a clock that jumps while it runs, the database has one of its own, and
// this is for what neither sees: a machine that was off, and comes back in another year.
func (s *Service) clock(ctx context.Context, confirm bool) (string, error) {
	seen, err := s.seen(ctx)
	if err != nil {
		return "", err
	}
	if err := s.cfg.Ledger.Writable(); err != nil {
		return err.Error(), nil
	}
	if ago := s.now().Time().Sub(seen.Time()); seen != 0 && ago > maxUnseen && !confirm {
		return fmt.Sprintf("the clock was last looked at %d hours ago: the machine was off, or the clock was moved; confirm it (retention run --confirm-clock)", int(ago.Hours())), nil
	}
	return "", nil
}

func (s *Service) seen(ctx context.Context) (evidence.Micros, error) {
	text, err := s.cfg.Store.Setting(ctx, settingSeen)
	if errors.Is(err, evidence.ErrNotFound) || err == nil && text == "" {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("setting %s: %w", settingSeen, err)
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("setting %s: %w", settingSeen, err)
	}
	return evidence.Micros(v), nil
}

// see is clock that writes down that the clock was found right.
func (s *Service) see(ctx context.Context, confirm bool) (string, error) {
	why, err := s.clock(ctx, confirm)
	if err != nil || why != "" {
		return why, err
	}
	seen, err := s.seen(ctx)
	if ago := s.now() - seen; err != nil || ago >= 0 && ago < seenAgain {
		return "", err
	}
	return "", s.cfg.Store.SetSetting(ctx, settingSeen, strconv.FormatInt(int64(s.now()), 10))
}

// confirmClock records that an operator says that the clock is right, where that matters.
func (s *Service) confirmClock(ctx context.Context, tenant, reason string, by Actor) error {
	why, err := s.clock(ctx, false)
	if err != nil || why == "" || s.cfg.Ledger.Writable() != nil {
		return err
	}
	seen, err := s.seen(ctx)
	if err != nil {
		return err
	}
	if reason == "" {
		reason = why
	}
	r := s.auditRecord(eventClock, "clock", by, reason)
	r.SetInt("valid_from", int64(seen))
	r.SetInt("valid_until", int64(r.OccurredAt))
	if _, err := s.append(ctx, tenant, r); err != nil {
		return fmt.Errorf("record that the clock is confirmed: %w", err)
	}
	return nil
}
