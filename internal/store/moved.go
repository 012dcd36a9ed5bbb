package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
)

// SettingMove is the setting by which a store says what a copy of it, or to it, made
// of it (package move). It is the only one that is not copied. Its value is a
// MoveMark.
const SettingMove = "move"

// MoveState is the state of a store. One that was neither copied nor is a copy has
// none, nor has one that was to move and did not.
type MoveState string

// States of a store.
const (
	MoveArriving  MoveState = "arriving"  // a copy that is not complete
	MoveRehearsed MoveState = "rehearsal" // a complete copy whose source stays in service
	MoveArrived   MoveState = "arrived"   // a complete copy that took the place of its source
	MoveGone      MoveState = "gone"      // copied, and succeeded by its copy
)

// MoveMark is what a store keeps of a copy.
type MoveMark struct {
	State MoveState `json:"state"`
	// Other names the other side: where it came from, or went.
	Other string `json:"other"`
	// Heads is a digest of the logs and heads that were copied.
	Heads string          `json:"heads"`
	At    evidence.Micros `json:"at"`
}

// SettingVerified begins the names of the settings by which processes tell each other what
// they verified of a tenant, which follows.
const SettingVerified = "verified/"

// SettingScrub is "1" from the transaction on that removes something which Scrub makes
// unrecoverable, until Scrub has done that. A store sets and empties it by itself.
const SettingScrub = "scrub_due"

// IsLocal reports whether a setting speaks of this very database: no copy takes it along.
func IsLocal(setting string) bool {
	return setting == SettingMove || setting == SettingScrub || strings.HasPrefix(setting, SettingVerified)
}

// EndOfSettings is the name before which the settings of a prefix end that is asked for with
// SettingsUnder, byte by byte.
func EndOfSettings(prefix string) (string, error) {
	begin, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return "", fmt.Errorf("settings under %q: %w: it does not end in /", prefix, evidence.ErrInvalid)
	}
	return begin + "0", nil // what comes after /
}

// ParseMoveMark reads the value of SettingMove.
func ParseMoveMark(text string) (MoveMark, error) {
	var m MoveMark
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return MoveMark{}, fmt.Errorf("setting %s: %w: %w", SettingMove, evidence.ErrInvalid, err)
	}
	return m, nil
}

// Fence says why nobody may extend the logs of a store with this mark; "" where they
// may be.
//
// Whoever opens a store asks it first. Where several processes write, that is not
// enough: one that opened the store before is there still. So a backend whose
// SingleWriter is false asks it in each Commit too, behind the lock of the head: who
// sets the mark, and then claims the newest log of each tenant, has waited for every
// commit that did not see it. A commit that opens the first log of a tenant has no
// head to lock, and holds up the setting itself. It refuses with
// evidence.ErrUnavailable. A backend that only one process can open needs none of
// this: the copy is that process.
func (m MoveMark) Fence() string {
	switch m.State {
	case "", MoveArrived:
		return ""
	case MoveArriving:
		return fmt.Sprintf("this store is an unfinished copy of %s: run the copy again, it goes on where it ended", m.Other)
	case MoveRehearsed:
		return fmt.Sprintf("this store is the rehearsal of a move from %s, which is in service: two that sign with the same keys are a fork", m.Other)
	case MoveGone:
		return fmt.Sprintf("this deployment moved to %s at %s: two that sign with the same keys are a fork",
			m.Other, m.At.Time().UTC().Format(time.RFC3339))
	default:
		return fmt.Sprintf("this store is in a state of a move, %q, that this version does not know", m.State)
	}
}

type copyingKey struct{}

// Copying marks the commits under ctx as those of a copy, which fills a store that is
// MoveArriving. It opens no other fence.
func Copying(ctx context.Context) context.Context {
	return context.WithValue(ctx, copyingKey{}, true)
}

// IsCopying reports what Copying put into a context.
func IsCopying(ctx context.Context) bool {
	is, _ := ctx.Value(copyingKey{}).(bool)
	return is
}
