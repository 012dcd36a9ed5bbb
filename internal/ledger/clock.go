package ledger

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
)

// maxClockJump is how far the wall clock may move against the boot-time
// clock between two looks, and how far it may stand behind the newest
// record.
const maxClockJump = 60 * time.Second

// Clock is where the ledger takes its time from.
type Clock struct {
	// Now is the wall clock. Default time.Now.
	Now func() time.Time
	// Boot is a clock that nobody sets and that counts suspended time too.
	// Default CLOCK_BOOTTIME.
	Boot func() time.Duration
}

// clockGuard notices a wall clock that was set. RFC 6962 logs promise order
// by time only as far as this: t never decreases, and a jump is never
// written silently.
type clockGuard struct {
	Clock
	dev bool
	log *slog.Logger

	mu       sync.Mutex
	wall     time.Time
	boot     time.Duration
	jumped   error
	confirms bool // an operator confirmed: t may stand still until the clock catches up
}

func newClockGuard(c Clock, dev bool, log *slog.Logger) *clockGuard {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Boot == nil {
		c.Boot = bootTime
	}
	return &clockGuard{Clock: c, dev: dev, log: log, wall: c.Now().Round(0), boot: c.Boot()}
}

// look reads the clock and compares it with the last look.
func (g *clockGuard) look() (evidence.Micros, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wall, boot := g.Now().Round(0), g.Boot()
	if g.jumped == nil {
		jump := wall.Sub(g.wall) - (boot - g.boot)
		if jump.Abs() > maxClockJump {
			err := fmt.Errorf("wall clock jumped by %s; confirm the time to go on writing: %w", jump.Round(time.Millisecond), evidence.ErrUnavailable)
			if !g.dev {
				g.jumped = err
				g.log.Error("writing stopped", "err", err)
			} else {
				g.log.Warn("wall clock jumped", "by", jump)
			}
		}
	}
	g.wall, g.boot = wall, boot
	return evidence.MicrosOf(wall), g.jumped
}

// next returns the time of the next record of a log whose newest has prev.
func (g *clockGuard) next(prev evidence.Micros) (evidence.Micros, error) {
	now, err := g.look()
	if err != nil {
		return 0, err
	}
	if behind := time.Duration(prev-now) * time.Microsecond; behind > maxClockJump {
		g.mu.Lock()
		ok := g.confirms || g.dev
		g.mu.Unlock()
		if !ok {
			return 0, fmt.Errorf("wall clock stands %s behind the newest record of the log; confirm the time to go on writing: %w",
				behind.Round(time.Second), evidence.ErrUnavailable)
		}
	}
	return max(now, prev), nil
}

// confirm says that the present reading of the clock is right.
func (g *clockGuard) confirm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.jumped, g.confirms = nil, true
	g.wall, g.boot = g.Now().Round(0), g.Boot()
}
