package ledger

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// formatVersion is what LOG_OPENED states.
const formatVersion = "1"

// CreateTenant makes a tenant and opens its first log. A tenant id is never
// used again. The error wraps evidence.ErrConflict where it exists.
func (l *Ledger) CreateTenant(ctx context.Context, tenant string) (LogInfo, error) {
	if !evidence.ValidTenant(tenant) {
		return LogInfo{}, &evidence.FieldError{Field: "tenant", Reason: "must be 1 to 63 characters of [a-z0-9-]", Err: evidence.ErrInvalid}
	}
	return l.createTenant(ctx, tenant)
}

func (l *Ledger) createTenant(ctx context.Context, tenant string) (LogInfo, error) {
	var o *openLog
	err := l.control(ctx, tenant, func(ctx context.Context, c *committer) error {
		l.make(tenant, true)
		defer l.make(tenant, false)
		logs, err := l.store.Logs(ctx, tenant)
		if err != nil {
			return err
		}
		if len(logs) > 0 {
			return fmt.Errorf("tenant %s: %w: it exists", tenant, evidence.ErrConflict)
		}
		keys, err := l.sealer.NewTenantKeys(tenant)
		if err != nil {
			return err
		}
		o, err = l.newLog(store.LogRef{Tenant: tenant, No: 1})
		if err != nil {
			return err
		}
		p := c.newPlan()
		err = l.openLogIn(ctx, p, o, keys, func(*evidence.Record) {})
		if err == nil {
			err = c.commitNow(ctx, p)
		}
		if err != nil {
			l.sealer.ForgetTenant(tenant)
			// Another process may have made it at the same time.
			if logs, lerr := l.store.Logs(ctx, tenant); l.shared && lerr == nil && len(logs) > 0 {
				return fmt.Errorf("tenant %s: %w: it exists", tenant, evidence.ErrConflict)
			}
			return err
		}
		l.adopt(o)
		return nil
	})
	if err != nil {
		return LogInfo{}, err
	}
	return infoOf(o.Log), nil
}

// control runs fn in a tenant's committer while nothing is in flight.
func (l *Ledger) control(ctx context.Context, tenant string, fn func(ctx context.Context, c *committer) error) error {
	ctx = store.NoLag(ctx) // what it reads decides what is written
	_, err := l.submit(ctx, tenant, &request{ctx: ctx, control: fn})
	return err
}

// make says that this process begins or ends making a tenant.
func (l *Ledger) make(tenant string, begins bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.making[tenant] = begins; !begins {
		delete(l.making, tenant)
	}
}

// adopt makes a log the newest of its tenant.
func (l *Ledger) adopt(o *openLog) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.logs[o.LogRef] = o
	l.newest[o.Tenant] = o
}

// forget lets the tenant's newest log be looked up again.
func (l *Ledger) forget(o *openLog) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.newest[o.Tenant] == o {
		delete(l.newest, o.Tenant)
	}
}

// newLog makes key and origin of a log and anchors its empty tree, before
// anything of it is stored: so a crash in between needs no repair.
func (l *Ledger) newLog(ref store.LogRef) (*openLog, error) {
	origin := l.instance + "/" + randomHex(6)
	seed := make([]byte, 32)
	rand.Read(seed)
	signer, err := c2sp.NewSigner(origin, seed)
	if err != nil {
		return nil, err
	}
	wrapped, err := l.sealer.Wrap(seed, origin)
	if err != nil {
		return nil, err
	}
	note, err := c2sp.SignCheckpoint(c2sp.Checkpoint{Origin: origin, Root: c2sp.EmptyRoot}, signer)
	if err != nil {
		return nil, err
	}
	if err := l.anchor.Write(origin, note); err != nil {
		return nil, quiet(fmt.Errorf("anchor: %w: %w", evidence.ErrUnavailable, err), quietAnchor)
	}
	empty := logState{note: note}
	return &openLog{
		Log:    store.Log{LogRef: ref, Origin: origin, VKey: signer.VKey().String(), WrappedKey: wrapped},
		signer: signer, vkey: signer.VKey(), wake: make(chan struct{}),
		next: empty, durable: empty, loaded: empty, anchored: note,
	}, nil
}

// openedKey is the natural key of a log's LOG_OPENED record. Through it
// leaf 0 commits to the tenant, which no leaf names.
func openedKey(origin string) string { return "log:" + origin }

// openLogIn plans the first commit of a log: its LOG_OPENED record.
func (l *Ledger) openLogIn(ctx context.Context, p *plan, o *openLog, keys []store.DataKey, more func(*evidence.Record)) error {
	now := evidence.MicrosOf(l.clock.Now())
	r := l.systemRecord(now, eventOpened, "INFO", "Log "+o.Origin+" opened.")
	r.NaturalKey, r.ID = openedKey(o.Origin), evidence.ID{}
	r.SetText("version", formatVersion)
	r.SetText("vkey", o.VKey)
	more(r)
	lp := p.logPlan(o)
	lp.commit.Open = &o.Log
	lp.commit.Keys = keys
	return l.addOwn(ctx, p, o, r)
}

// addOwn plans records of the ledger's own.
func (l *Ledger) addOwn(ctx context.Context, p *plan, o *openLog, records ...*evidence.Record) error {
	_, err := l.planOwn(ctx, p, o, records...)
	return err
}

// planOwn is addOwn for who needs the receipts.
func (l *Ledger) planOwn(ctx context.Context, p *plan, o *openLog, records ...*evidence.Record) ([]Receipt, error) {
	for _, r := range records {
		if err := r.Complete(); err != nil {
			return nil, err
		}
		if err := prepareOne(o.Tenant, r, AppendOptions{}); err != nil {
			return nil, err
		}
	}
	batch, err := l.sealer.Seal(ctx, o.Tenant, o.Origin, records, l.clock.Now())
	if err != nil {
		return nil, err
	}
	return p.add(ctx, l, o, batch, nil)
}

// commitNow writes a plan from within a control function. It ends the claim.
func (c *committer) commitNow(ctx context.Context, p *plan) error {
	l := c.l
	commit, err := p.close(l, time.Now())
	if err != nil {
		p.restore(l)
		return err
	}
	c.write(commit)
	err = <-c.written
	if errors.Is(err, store.ErrKeyGone) {
		err = errors.Join(err, l.forgetKeys(p))
	} else if err != nil {
		if !errors.Is(err, store.ErrDuplicate) && !errors.Is(err, store.ErrHeadMoved) && !errors.Is(err, evidence.ErrUnavailable) {
			persisted, rerr := c.readBack(p)
			if errors.Is(err, store.ErrSync) {
				l.halt(err)
			} else if rerr == nil && persisted {
				err = nil
			}
		}
	}
	if err != nil {
		p.restore(l)
		for _, lp := range p.logs {
			lp.log.reload = lp.commit.Open == nil
		}
		if errors.Is(err, store.ErrHeld) || errors.Is(err, evidence.ErrForbidden) {
			return err // not to be tried again: the database refuses it
		}
		return quiet(fmt.Errorf("%w: %w", evidence.ErrUnavailable, err), quietOutcome)
	}
	p.committed(l, time.Now())
	l.metrics.appended(p)
	l.state.appended(p)
	return nil
}

// Rollover closes a tenant's log and opens its successor with a new key:
// LOG_CLOSED in the old log names the new key, LOG_OPENED in the new one the
// old log's last size and root. Both are written in one transaction.
func (l *Ledger) Rollover(ctx context.Context, tenant string) (LogInfo, error) {
	var next *openLog
	err := l.control(ctx, tenant, func(ctx context.Context, c *committer) error {
		old, err := c.newest(tenant)
		if err != nil {
			return err
		}
		if next, err = l.newLog(store.LogRef{Tenant: tenant, No: old.No + 1}); err != nil {
			return err
		}
		p := c.newPlan()
		now := evidence.MicrosOf(l.clock.Now())
		r := l.systemRecord(now, eventClosed, "INFO", "Log "+old.Origin+" closed; its successor is "+next.Origin+".")
		r.SetText("successor_log", next.Origin)
		r.SetText("vkey", next.VKey)
		if err := l.addOwn(ctx, p, old, r); err != nil {
			p.restore(l)
			return err
		}
		head := old.next.head()
		err = l.openLogIn(ctx, p, next, nil, func(r *evidence.Record) {
			r.SetText("predecessor_log", predecessor(old.Origin, head.Size, head.Root))
		})
		if err != nil {
			p.restore(l)
			return err
		}
		if err := c.commitNow(ctx, p); err != nil {
			return err
		}
		old.mu.Lock()
		old.closed = true
		old.mu.Unlock()
		l.adopt(next)
		return nil
	})
	if err != nil {
		return LogInfo{}, err
	}
	return infoOf(next.Log), nil
}

// predecessor is the text of predecessor_log (fields.md).
func predecessor(origin string, size int64, root evidence.Hash) string {
	return fmt.Sprintf("%s %d %s", origin, size, base64.StdEncoding.EncodeToString(root[:]))
}
