//go:build !linux

package ledger

import "time"

// bootTime falls back to the monotonic clock, which may stop while the
// machine sleeps: a sleep of over a minute then counts as a jump.
func bootTime() time.Duration { return monotonic() }
