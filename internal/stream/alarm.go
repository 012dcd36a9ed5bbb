package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// maxGroups bounds how many kinds of alarm wait at once. Where there are more, no
// further records are read, so none is lost.
const maxGroups = 1000

// alarmer runs one alarm, in one goroutine. Records alike (one tenant, event type,
// component and severity) become one alarm: the first is told of at once, those that
// come within the quiet time after it together when that is over.
type alarmer struct {
	cfg     *Config
	alarm   *Alarm
	sink    sink
	enc     encoder
	pos     positions
	log     *slog.Logger
	metrics *metrics
	watch   watch
	turn    *turn

	active  bool // it is this process's turn to tell of records
	tenants map[string]*alarmTenant
	listed  time.Time
	begun   bool
	groups  map[groupKey]*group    // what is to be told
	told    map[groupKey]time.Time // when it was last
	limit   int                    // events of the next batch
	down    backoff
}

// alarmTenant is how far a tenant's log has been read. What is stored is never
// behind a record that is still to be told of.
type alarmTenant struct {
	at, saved store.Position
	savedAt   time.Time
	told      bool // of something, since it was saved
	limit     int
	wait      backoff
}

type groupKey struct{ tenant, event, component, severity string }

// group is records alike that are to be told of.
type group struct {
	first    store.Found
	note     alarmNote
	notUntil time.Time // after it could not be read
}

func newAlarmer(cfg *Config, c *Alarm, out sink, m *metrics, workers []*worker) *alarmer {
	m.show(c.Name)
	a := &alarmer{
		cfg: cfg, alarm: c, sink: out, metrics: m, log: cfg.Logger.With("alarm", c.Name),
		enc:   encoder{format: c.Format, disclose: c.Disclose, version: cfg.Version, instance: cfg.Ledger.Instance()},
		pos:   positions{store: cfg.Store, of: c.Name},
		watch: watch{cfg: cfg, workers: workers, seen: map[string]*tracked{}},
		limit: maxBatchEvents, down: backoff{first: cfg.tempo.pause},
	}
	a.turn = newTurn(cfg, "alarm/"+c.Name, func(err error) { a.log.Warn("the lease of an alarm", "err", err) })
	a.reset()
	return a
}

// reset forgets what was read of the logs: the store knows how far that was told of.
func (a *alarmer) reset() {
	a.tenants, a.groups, a.told = map[string]*alarmTenant{}, map[groupKey]*group{}, map[groupKey]time.Time{}
	a.listed, a.begun = time.Time{}, false
	a.watch.hand()
}

// takesTurn reports whether this process tells of records and of the logs' integrity.
// Of itself, and of the streams that it runs, each process tells.
func (a *alarmer) takesTurn() bool {
	if mine := a.turn.mine(); mine != a.active {
		a.active = mine
		a.reset()
	}
	return a.active
}

func (a *alarmer) run(ctx context.Context) {
	var looked time.Time
	for more := true; ; {
		if !more && !pause(ctx, a.cfg.tempo.poll) {
			break
		}
		mine := a.takesTurn()
		more = mine && a.collect(ctx)
		if time.Since(looked) >= a.cfg.tempo.conds {
			looked = time.Now()
			a.watch.tenants = slices.Sorted(maps.Keys(a.tenants))
			a.watch.look(looked, a.stuck())
		}
		a.tell(ctx)
		if mine {
			a.saveAll(ctx)
		}
		if ctx.Err() != nil {
			break
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if !a.turn.mine() {
		return
	}
	for _, t := range a.tenants {
		t.savedAt = time.Time{}
	}
	a.saveAll(last)
}

// alarming reports whether a record needs somebody.
func alarming(l *evidence.Leaf) bool {
	switch l.Text("event_type") {
	case "INTEGRITY_ANOMALY", "PRODUCER_SILENT":
		return true
	}
	return l.Text("severity") == severityCritical
}

// collect reads what is new, and returns whether there is more.
func (a *alarmer) collect(ctx context.Context) (more bool) {
	now := time.Now()
	if now.Sub(a.listed) >= a.cfg.tempo.refresh || a.listed.IsZero() {
		if err := a.list(ctx); err != nil {
			if ctx.Err() == nil {
				a.log.Warn("alarms wait: tenants cannot be listed", "err", err)
			}
			return false
		}
		a.listed = now
	}
	for tenant, t := range a.tenants {
		if t.wait.waits(now) || len(a.groups) >= maxGroups {
			continue
		}
		again, err := a.read(ctx, tenant, t)
		switch {
		case ctx.Err() != nil:
			return false
		case err == nil:
			t.wait.worked()
			t.limit = min(2*t.limit, maxBatchEvents)
			more = more || again
		case errors.Is(err, evidence.ErrUnavailable):
			a.metrics.failures.WithLabelValues(a.alarm.Name, reasonUnavailable).Inc()
			t.wait.failed(now, err)
			a.log.Warn("alarms of a tenant wait: the store cannot be read now", "tenant", tenant, "err", why(err))
		case t.limit > 1:
			t.limit /= 2 // what stands before the record that cannot be read
			more = true
		default:
			a.metrics.failures.WithLabelValues(a.alarm.Name, reasonUnreadable).Inc()
			t.wait.failed(now, err)
			a.log.Error("alarms of a tenant are blocked: a record cannot be read", "tenant", tenant, "log_no", t.at.LogNo,
				"leaf_index", t.at.Seq, "err", why(err))
		}
	}
	return more
}

func (a *alarmer) list(ctx context.Context) error {
	if !a.begun {
		_, err := a.cfg.Store.Setting(ctx, a.pos.begun())
		if err != nil && !errors.Is(err, evidence.ErrNotFound) {
			return err
		}
		a.begun = err == nil
	}
	tenants, err := a.cfg.Ledger.Tenants(ctx)
	if err != nil {
		return err
	}
	for _, info := range tenants {
		if a.tenants[info.Tenant] != nil {
			continue
		}
		at, err := a.pos.start(ctx, a.cfg.Ledger, info.Tenant, FromNow, a.begun)
		if err != nil {
			return err
		}
		a.tenants[info.Tenant] = &alarmTenant{
			at: at, saved: at, savedAt: time.Now(), limit: maxBatchEvents, wait: backoff{first: a.cfg.tempo.pause},
		}
	}
	if a.begun {
		return nil
	}
	a.begun = true
	return a.cfg.Store.SetSetting(ctx, a.pos.begun(), evidence.MicrosOf(time.Now()).String())
}

// read puts the next records of a tenant into groups.
func (a *alarmer) read(ctx context.Context, tenant string, t *alarmTenant) (more bool, err error) {
	end, err := a.cfg.Ledger.End(ctx, tenant)
	if err != nil || !before(t.at, end) {
		return false, err
	}
	found, next, err := scan(ctx, a.cfg.Store, tenant, t.at, end, []evidence.Kind{evidence.KindSystem}, t.limit)
	if err != nil {
		return false, err
	}
	var fetched []ledger.Fetched
	if len(found) > 0 {
		if fetched, err = a.cfg.Ledger.Fetch(ctx, tenant, found, false); err != nil {
			return false, err
		}
	}
	for i := range fetched {
		l := fetched[i].Leaf
		if !alarming(l) || synthetic(l) && !a.alarm.Synthetic {
			continue
		}
		key := groupKey{tenant, l.Text("event_type"), l.Text("component"), l.Text("severity")}
		g := a.groups[key]
		if g == nil {
			g = &group{first: found[i]}
			a.groups[key] = g
		}
		g.note.Count++
		g.note.LastIndex, g.note.LastSeen = l.Seq, l.OccurredAt
	}
	t.at = next
	return before(next, end), nil
}

// due is one alarm that is ready, and what is to be done once it is delivered.
type due struct {
	event event
	done  func(now time.Time)
}

// tell delivers what is due, as much as one batch takes at a time.
func (a *alarmer) tell(ctx context.Context) {
	for ctx.Err() == nil && !a.down.waits(time.Now()) {
		list := a.due(ctx, time.Now())
		if len(list) == 0 {
			return
		}
		list = list[:min(len(list), a.limit)]
		b := &batch{stream: a.alarm.Name, format: a.alarm.Format}
		for i := range list {
			b.events = append(b.events, list[i].event)
		}
		b.id = batchID(b)
		err := a.sink.deliver(ctx, b)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			a.failed(err)
			continue
		}
		a.metrics.delivered.WithLabelValues(a.alarm.Name).Add(float64(len(b.events)))
		a.metrics.waiting.WithLabelValues(a.alarm.Name).Set(0)
		a.limit = min(2*a.limit, maxBatchEvents)
		a.down.worked()
		for i := range list {
			list[i].done(time.Now())
		}
	}
}

func (a *alarmer) failed(err error) {
	var refused *refusedError
	reason := reasonUnavailable
	if errors.As(err, &refused) {
		reason = reasonRefused
	}
	a.metrics.failures.WithLabelValues(a.alarm.Name, reason).Inc()
	if refused != nil && refused.split && a.limit > 1 {
		a.limit /= 2
		return
	}
	now := time.Now()
	a.down.failed(now, err)
	a.metrics.waiting.WithLabelValues(a.alarm.Name).Set(now.Sub(a.down.since).Seconds())
	a.log.Error("an alarm is not delivered", "reason", reason, "err", why(err), "again_in", a.down.until.Sub(now).Round(time.Millisecond).String())
}

// due makes the events of what is to be told now: conditions, then groups, the oldest
// first.
func (a *alarmer) due(ctx context.Context, now time.Time) (list []due) {
	for _, c := range a.watch.due() {
		ev, err := a.enc.condition(&c.condition)
		if err != nil {
			a.log.Error("condition", "err", err) // plain data: a mistake of this package
			continue
		}
		list = append(list, due{ev, func(time.Time) { a.watch.told(c) }})
	}
	keys := slices.SortedFunc(maps.Keys(a.groups), func(x, y groupKey) int {
		return cmp.Or(cmp.Compare(a.groups[x].first.OccurredAt, a.groups[y].first.OccurredAt), cmp.Compare(x.tenant, y.tenant),
			cmp.Compare(x.event, y.event), cmp.Compare(x.component, y.component))
	})
	for _, key := range keys {
		g := a.groups[key]
		if now.Before(g.notUntil) || now.Sub(a.told[key]) < a.cfg.tempo.quiet || len(list) >= a.limit {
			continue
		}
		ev, err := a.event(ctx, key, g)
		if err != nil {
			g.notUntil = now.Add(a.cfg.tempo.quiet)
			a.metrics.failures.WithLabelValues(a.alarm.Name, reasonUnreadable).Inc()
			a.log.Error("the record of an alarm cannot be read", "tenant", key.tenant, "leaf_index", g.first.Seq, "err", why(err))
			continue
		}
		list = append(list, due{ev, func(now time.Time) {
			delete(a.groups, key)
			a.told[key], a.tenants[key.tenant].told = now, true
		}})
	}
	for key, at := range a.told {
		if now.Sub(at) >= a.cfg.tempo.quiet && a.groups[key] == nil {
			delete(a.told, key)
		}
	}
	return list
}

func (a *alarmer) event(ctx context.Context, key groupKey, g *group) (event, error) {
	fetched, err := a.cfg.Ledger.Fetch(ctx, key.tenant, []store.Found{g.first}, len(a.alarm.Disclose) > 0)
	if err != nil {
		return event{}, err
	}
	note := g.note
	return a.enc.record(&fetched[0], &note)
}

// stuck is the condition of the alarm itself: a log it cannot read.
func (a *alarmer) stuck() *condition {
	c := &condition{Name: condBlocked, Subject: a.alarm.Name}
	for _, tenant := range slices.Sorted(maps.Keys(a.tenants)) {
		if t := a.tenants[tenant]; t.wait.failures > 0 && !errors.Is(t.wait.err, evidence.ErrUnavailable) {
			c.Why = cmp.Or(c.Why, fmt.Sprintf("%s: %s", reasonUnreadable, why(t.wait.err)))
			c.add(tenant)
		}
	}
	a.metrics.blocked.WithLabelValues(a.alarm.Name).Set(float64(c.Count))
	if c.Count == 0 {
		return nil
	}
	return c
}

// saveAll stores how far the logs are read and told of.
func (a *alarmer) saveAll(ctx context.Context) {
	open := map[string]store.Position{}
	for key, g := range a.groups {
		if at, ok := open[key.tenant]; !ok || before(g.first.Position, at) {
			open[key.tenant] = g.first.Position
		}
	}
	for tenant, t := range a.tenants {
		at, waits := open[tenant]
		if !waits {
			at = t.at
		}
		since := time.Since(t.savedAt)
		if at == t.saved || since < a.cfg.tempo.save || !t.told && since < a.cfg.tempo.idle {
			continue
		}
		t.savedAt = time.Now()
		if err := a.pos.save(ctx, tenant, at); err != nil {
			a.metrics.unsaved.WithLabelValues(a.alarm.Name).Inc()
			a.log.Warn("a position is not stored: after a crash alarms are told again", "tenant", tenant, "err", err)
			continue
		}
		t.saved, t.told = at, false
	}
}
