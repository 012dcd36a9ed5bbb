package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	// rekeyStep is how many segments are sealed anew in one transaction, so that appends
	// wait for milliseconds.
	rekeyStep = 16
	// destroyStep is how many keys go in one.
	destroyStep = 256
	// keptLabel and a day is the label of the key that content is brought under that outlives
	// the key of that day: of a day and not of a year, so that the end of such a key is little
	// work, too.
	keptLabel = "kept "
	// tableKeys is the entity of a RetentionApplied about keys, and classRetired its class.
	tableKeys    = "data_keys"
	classRetired = "retired"
	// settingKeys is where an order about keys that is under way stands: <tenant>.
	settingKeys = "retire_keys/"
)

// retiring is a key to be destroyed, and the label of the key that its content comes
// under; "" is its own label.
type retiring struct {
	key   store.KeyID
	label string
}

// RetireKeys destroys the keys of the days up to and with through (2026-11-23), after
// sealing anew, under another key (label "kept 2026-11-23"), what stands under them still; and
// the keys of persons under whom nothing stands any more. What is left of the old content in
// backups and archives cannot be opened then. RetentionApplied about data_keys says so.
//
// The keys of today and yesterday stay whatever through says: content may still be on its
// way to them. After a crash, a call goes on.
func (l *Ledger) RetireKeys(ctx context.Context, tenant, through string) (Retired, error) {
	ctx = store.NoLag(ctx)
	day, err := time.Parse(time.DateOnly, through)
	if err != nil {
		return Retired{}, &evidence.FieldError{Field: "through", Reason: "is not a day", Err: evidence.ErrInvalid}
	}
	if last := l.clock.Now().UTC().AddDate(0, 0, -2); day.After(last) {
		day = last
	}
	through = day.Format(time.DateOnly)
	days, persons, err := l.retirable(ctx, tenant, through)
	if err != nil || len(days)+len(persons) == 0 {
		return Retired{}, err
	}
	by, err := l.orderKeys(ctx, tenant, day, days, len(persons))
	if err != nil {
		return Retired{}, fmt.Errorf("retire keys: %w", err)
	}
	list := persons
	for _, k := range days {
		list = append(list, retiring{k.ID, keptLabel + k.Label})
	}
	out, err := l.retire(ctx, tenant, list, by)
	if err != nil {
		return out, fmt.Errorf("retire keys: %w", err)
	}
	if err := l.store.SetSetting(ctx, settingKeys+tenant, ""); err != nil {
		return out, err
	}
	return out, l.ScrubDue(ctx)
}

// retirable returns the keys of days up to and with through, and those of persons with
// nothing under them.
func (l *Ledger) retirable(ctx context.Context, tenant, through string) (days []store.DataKey, persons []retiring, err error) {
	keys, err := l.store.DataKeys(ctx, tenant, "", "")
	if err != nil {
		return nil, nil, err
	}
	for _, k := range keys {
		switch k.Scope {
		case store.ScopeDay:
			if !strings.HasPrefix(k.Label, keptLabel) && k.Label <= through {
				days = append(days, k)
			}
		case store.ScopePerson:
			bare, err := l.bare(ctx, tenant, k.ID)
			if err != nil {
				return nil, nil, err
			}
			if bare {
				persons = append(persons, retiring{k.ID, ""})
			}
		}
	}
	return days, persons, nil
}

// bare reports whether no segment stands under a key.
func (l *Ledger) bare(ctx context.Context, tenant string, key store.KeyID) (bool, error) {
	bare := true
	err := l.store.SealedUnder(ctx, tenant, key, store.SegmentRef{}, 1, func(store.SealedSegment) error {
		bare = false
		return nil
	})
	return bare, err
}

// orderKeys appends the record that orders the end of keys, or finds the one of a call
// that did not come to its end.
func (l *Ledger) orderKeys(ctx context.Context, tenant string, day time.Time, days []store.DataKey, persons int) (by store.Position, err error) {
	through := day.Format(time.DateOnly)
	begun, err := l.store.Setting(ctx, settingKeys+tenant)
	if err != nil && !errors.Is(err, evidence.ErrNotFound) {
		return by, err
	}
	if of, at, _ := strings.Cut(begun, " "); of == through {
		if by, ok := parsePosition(at); ok {
			return by, nil
		}
	}
	labels := []string{}
	for _, k := range days {
		labels = append(labels, k.Label)
	}
	state, err := json.Marshal(map[string]any{"days": labels, "persons": persons})
	if err != nil {
		return by, err
	}
	err = l.control(ctx, tenant, func(ctx context.Context, c *committer) error {
		o, err := c.newest(tenant)
		if err != nil {
			return err
		}
		r := l.auditRecord(evidence.MicrosOf(l.clock.Now()), eventRetention, "RETENTION", tableKeys)
		r.SetText("rule_id", classRetired)
		r.SetInt("valid_until", int64(evidence.MicrosOf(day.AddDate(0, 0, 1))))
		r.SetInt("record_count", int64(len(days)+persons))
		r.SetSealed("/after_state", state)
		by = store.Position{LogNo: o.No, Seq: o.next.tree.size()}
		p := c.newPlan()
		if err := l.addOwn(ctx, p, o, r); err != nil {
			p.restore(l)
			return err
		}
		return c.commitNow(ctx, p)
	})
	if err != nil {
		return by, err
	}
	return by, l.store.SetSetting(ctx, settingKeys+tenant, through+" "+formatPosition(by))
}

// retire destroys keys. What stands under them is sealed anew first, in pieces; what comes
// under them meanwhile (a request that was sealed before, another process) is, too.
func (l *Ledger) retire(ctx context.Context, tenant string, list []retiring, by store.Position) (out Retired, err error) {
	for tries := 0; len(list) > 0; tries++ {
		if tries == expireTries {
			return out, fmt.Errorf("new content comes under %d keys faster than it is sealed anew: %w", len(list), evidence.ErrUnavailable)
		}
		for _, k := range list {
			n, err := l.rekey(ctx, tenant, k, by)
			out.Segments += n
			if err != nil {
				return out, err
			}
		}
		var left []retiring
		for part := range slices.Chunk(list, destroyStep) {
			more, err := l.destroy(ctx, tenant, part, by)
			if err != nil {
				return out, err
			}
			out.Keys += len(part) - len(more)
			left = append(left, more...)
		}
		list = left
	}
	return out, nil
}

// rekey brings all that stands under a key under another one.
func (l *Ledger) rekey(ctx context.Context, tenant string, k retiring, by store.Position) (segments int, err error) {
	for tries := 0; ; {
		n, err := l.rekeyStep(ctx, tenant, k, by)
		switch {
		case errors.Is(err, evidence.ErrConflict) && !errors.Is(err, store.ErrHeld), errors.Is(err, store.ErrKeyGone):
			if tries++; tries == expireTries {
				return segments, err
			}
			continue // others sealed some of it anew
		case err != nil:
			return segments, err
		case n == 0:
			return segments, nil
		}
		tries, segments = 0, segments+n
	}
}

func (l *Ledger) rekeyStep(ctx context.Context, tenant string, k retiring, by store.Position) (int, error) {
	_, unlock := l.life(tenant)
	defer unlock()
	if err := l.running(); err != nil {
		return 0, err
	}
	var list []store.SealedSegment
	err := l.store.SealedUnder(ctx, tenant, k.key, store.SegmentRef{}, rekeyStep, func(s store.SealedSegment) error {
		s.Data = slices.Clone(s.Data)
		list = append(list, s)
		return nil
	})
	if err != nil || len(list) == 0 {
		return 0, err
	}
	r := &store.Removal{By: by}
	for _, s := range list {
		o, err := l.logByNo(ctx, tenant, s.LogNo)
		if err != nil {
			return 0, err
		}
		anew, err := l.sealer.Rekey(ctx, tenant, o.Origin, s, k.label)
		if err != nil {
			return 0, err
		}
		r.Segments, r.IDs, r.Replace = append(r.Segments, s.SegmentRef), append(r.IDs, s.ID), append(r.Replace, *anew)
		if fresh, ok := l.sealer.NewKey(anew.Key); ok {
			r.NewKeys = mergeKeys(r.NewKeys, []store.DataKey{fresh})
		}
	}
	if err := l.remove(ctx, tenant, r); err != nil {
		return 0, err
	}
	return len(list), nil
}

// remove carries out a removal. The keys that it brings are forgotten where it is not
// known whether they are stored.
func (l *Ledger) remove(ctx context.Context, tenant string, r *store.Removal) error {
	err := l.store.Remove(ctx, tenant, r)
	if err == nil {
		l.sealer.Stored(r.NewKeys)
		return nil
	}
	if errors.Is(err, store.ErrSync) {
		l.halt(err)
	}
	var unsure []store.KeyID
	for _, k := range r.NewKeys {
		unsure = append(unsure, k.ID)
	}
	if errors.Is(err, store.ErrKeyGone) {
		for i := range r.Replace {
			unsure = append(unsure, r.Replace[i].Key)
		}
	}
	l.sealer.Destroyed(unsure)
	return err
}

// destroy ends keys that nothing stands under, while nothing is in flight, and returns those that
// something does. What waits to be sequenced and is sealed under one is sealed anew.
func (l *Ledger) destroy(ctx context.Context, tenant string, list []retiring, by store.Position) (left []retiring, err error) {
	_, unlock := l.life(tenant)
	defer unlock()
	err = l.control(ctx, tenant, func(ctx context.Context, _ *committer) error {
		r := &store.Removal{By: by}
		for _, k := range list {
			bare, err := l.bare(ctx, tenant, k.key)
			if err != nil {
				return err
			}
			if bare {
				r.Keys = append(r.Keys, k.key)
			} else {
				left = append(left, k)
			}
		}
		if len(r.Keys) == 0 {
			return nil
		}
		err := l.remove(ctx, tenant, r)
		l.sealer.Destroyed(r.Keys) // also where the outcome is unknown
		return err
	})
	return left, err
}
