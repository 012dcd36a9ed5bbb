package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Where several processes serve one database several of them find the same: each looks at the
// guards for itself, and verifies for itself now and then. One record of it is enough.
// Who has something to record asks for a lease, and looks in the log itself what others
// have recorded: a record that is proven is there, whatever a lease or a setting says. All
// else, as nobody who answers, or a lease that is not to be had, means one record too many.

// recording is the turn to record findings.
type recording struct {
	mu sync.Mutex // one of this process at a time: the lease is that of the process
	// hasty is until when the lease is not waited for: it was not to be had.
	hasty time.Time
	// from is where the system log ended when this process began to watch; nil where it does not.
	from atomic.Pointer[store.Position]
}

const (
	leaseRecord = "record/findings"
	// recordedPage is among how many of the newest records of findings one is looked for.
	recordedPage = 512
)

// record records findings in the system log, each once of all processes since that place; nil:
// each, whoever has.
func (l *Ledger) record(ctx context.Context, findings []Finding, since *store.Position, now evidence.Micros) {
	if len(findings) == 0 {
		return
	}
	if l.shared && since != nil {
		defer l.turnToRecord(ctx)()
		if ctx.Err() != nil { // it ended while it waited: what was found is recorded all the same
			var cancel func()
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), refreshWait)
			defer cancel()
		}
		findings = l.unrecorded(ctx, findings, *since)
	}
	for _, f := range findings {
		r := l.systemRecord(now, eventAnomaly, "CRITICAL", f.String())
		setDetails(r, "/details", f)
		if err := l.appendOwn(ctx, evidence.SystemTenant, r); err != nil {
			l.log.Error("record integrity anomaly", "err", err)
		}
	}
}

// turnToRecord waits for the lease, but not for longer than for a turn to verify.
func (l *Ledger) turnToRecord(ctx context.Context) (free func()) {
	r := &l.recording
	r.mu.Lock()
	for end := time.Now().Add(patience * l.turns.lease); ; {
		asking, cancel := context.WithTimeout(ctx, l.turns.every())
		held, err := l.store.Lease(asking, leaseRecord, l.holder, l.turns.lease)
		cancel()
		if held && err == nil {
			return func() {
				defer r.mu.Unlock()
				ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.turns.every())
				defer cancel()
				if _, err := l.store.Lease(ending, leaseRecord, l.holder, 0); err != nil {
					l.log.Warn("give up the turn to record findings", "err", err)
				}
			}
		}
		now := time.Now()
		if err == nil && now.Before(end) && now.After(r.hasty) {
			select {
			case <-time.After(aloneEvery):
				continue
			case <-ctx.Done():
				return r.mu.Unlock
			}
		}
		if now.After(r.hasty) {
			l.log.Warn("findings are recorded without the turn", "err", err)
			r.hasty = now.Add(stuck * l.turns.lease)
		}
		return r.mu.Unlock
	}
}

// unrecorded are the findings that have no record since that place.
func (l *Ledger) unrecorded(ctx context.Context, findings []Finding, since store.Position) []Finding {
	ctx, cancel := context.WithTimeout(store.NoLag(ctx), refreshWait)
	defer cancel()
	have, err := l.recorded(ctx, since)
	if err != nil {
		l.log.Warn("look for what others have recorded", "err", err)
	}
	return slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return have[findingKey{f.Tenant, f.key()}] })
}

type findingKey struct{ tenant, key string }

// recorded are the findings that the system log has records of since that place, as far as
// that can be proven.
func (l *Ledger) recorded(ctx context.Context, since store.Position) (map[findingKey]bool, error) {
	found, err := l.Find(ctx, store.Query{
		Tenant: evidence.SystemTenant, Kind: evidence.KindSystem, Order: store.Newest, Limit: recordedPage,
		Where: []store.Condition{{Field: "event_type", Values: []string{eventAnomaly}}},
	})
	if err != nil {
		return nil, err
	}
	n := 0
	for n < len(found) && cmp.Or(cmp.Compare(found[n].LogNo, since.LogNo), cmp.Compare(found[n].Seq, since.Seq)) >= 0 {
		n++
	}
	records, err := l.Fetch(ctx, evidence.SystemTenant, found[:n], true)
	if err != nil {
		return nil, err
	}
	have := map[findingKey]bool{}
	for i := range records {
		r := &records[i]
		if r.Leaf.Text("event_type") != eventAnomaly || r.Leaf.Text("component") != component || r.Leaf.Text("producer") != "" {
			continue // none of the ledger's own
		}
		var f Finding
		if json.Unmarshal([]byte(r.Open["/details"].JSON), &f) == nil { // else it says nothing
			have[findingKey{f.Tenant, f.key()}] = true
		}
	}
	return have, nil
}

// systemEnd is where the system log ends now; nil where that is not known.
func (l *Ledger) systemEnd(ctx context.Context) *store.Position {
	if !l.shared {
		return nil
	}
	ctx, cancel := context.WithTimeout(store.NoLag(ctx), refreshWait)
	defer cancel()
	end, err := l.End(ctx, evidence.SystemTenant)
	if err != nil {
		return nil
	}
	return &end
}
