package ledger

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// WatchConfig says how continuous verification works.
type WatchConfig struct {
	// ScrubRate is how many leaves a second the full verification checks at most; nor
	// does it work for more than a quarter of the time. Default 5000; negative: as fast
	// as it can.
	ScrubRate int
	// ScrubEvery is the pause between two full verifications. Default 1 h.
	ScrubEvery time.Duration
	// GuardsEvery is how often the database's own protection is looked at. Default 1 h.
	GuardsEvery time.Duration
	// Lease is after how long others take over what a process verified that died. Default
	// 15 s.
	Lease time.Duration
}

const defaultLease = 15 * time.Second

// Watch verifies continuously until ctx is done: new leaves as soon as they
// are durable, everything again and again at a configured pace. What it
// finds becomes the state that Integrity returns, a metric, and a CRITICAL
// system record; a log whose leaves, tree or head do not match what was
// signed takes no more writes.
func (l *Ledger) Watch(ctx context.Context, cfg WatchConfig) {
	if cfg.ScrubRate == 0 {
		cfg.ScrubRate = 5000
	}
	if cfg.ScrubEvery <= 0 {
		cfg.ScrubEvery = time.Hour
	}
	if cfg.GuardsEvery <= 0 {
		cfg.GuardsEvery = time.Hour
	}
	if cfg.Lease > 0 {
		l.turns.lease = cfg.Lease
	}
	wake := make(chan struct{}, 1)
	l.state.mu.Lock()
	l.state.wake, l.state.every, l.state.began, l.state.lease = wake, cfg.ScrubEvery, l.moment(), cfg.Lease
	l.state.mu.Unlock()
	l.recording.from.Store(l.systemEnd(ctx))
	fresh := make(chan store.LogRef, 64)
	var watching sync.WaitGroup
	watching.Go(func() { l.watchGuards(ctx, cfg.GuardsEvery) })
	if l.shared {
		if err := l.hear(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn("what other processes verified is not known", "err", err)
		}
		watching.Go(func() { l.watchShared(ctx, wake) })
		l.scrubShared(ctx, cfg)
	} else {
		watching.Go(func() { l.watchNew(ctx, wake, fresh) })
		l.scrubLoop(ctx, cfg, fresh)
	}
	watching.Wait()
	l.turns.giveAll(ctx)
}

// scrubLoop verifies all tenants again and again, and in the pauses those with a log
// that no scrub has seen.
func (l *Ledger) scrubLoop(ctx context.Context, cfg WatchConfig, fresh <-chan store.LogRef) {
	for ctx.Err() == nil {
		l.scrub(ctx, cfg)
		for pause := time.After(cfg.ScrubEvery); pause != nil; {
			select {
			case ref := <-fresh:
				if !l.state.known(ref) {
					l.scrubTenant(ctx, cfg, ref.Tenant, func() {})
				}
			case <-pause:
				pause = nil
			case <-ctx.Done():
				return
			}
		}
	}
}

// scrub verifies each tenant once.
func (l *Ledger) scrub(ctx context.Context, cfg WatchConfig) {
	began := time.Now()
	tenants, err := l.Tenants(ctx)
	if err != nil {
		l.log.Error("verify", "err", err)
		return
	}
	l.scrubAnchors(ctx)
	for _, info := range tenants {
		if ctx.Err() != nil {
			return
		}
		l.scrubTenant(ctx, cfg, info.Tenant, func() {})
	}
	l.state.passed(time.Since(began))
	l.metrics.scrubbedAt.SetToCurrentTime()
}

// scrubAnchors finds logs and tenants that are gone altogether: they are in no report of a
// tenant.
func (l *Ledger) scrubAnchors(ctx context.Context) {
	unknown, err := (&liveVerifier{cfg: LiveConfig{Reader: l.store, Anchor: l.anchor}}).unknownAnchors(ctx)
	if err != nil {
		l.log.Error("verify anchors", "err", err)
	}
	l.anomalies(ctx, unknown)
}

// scrubTenant reports whether all of a tenant was verified.
func (l *Ledger) scrubTenant(ctx context.Context, cfg WatchConfig, tenant string, progress func()) bool {
	began := time.Now()
	report, err := Verify(ctx, LiveConfig{
		Reader: l.store, Sealer: l.sealer, Anchor: l.anchor, Tenant: tenant, pace: pacer(cfg.ScrubRate), watched: true,
		Progress: func(_, _ int64) { l.state.comes(); progress() },
	})
	l.scrubbed(ctx, tenant, report, time.Since(began), err)
	return err == nil && ctx.Err() == nil
}

// A full verification works for at most one part in scrubShare of the time: where leaves
// take long, because the database is far away or the machine is busy, it is slower than
// its rate, and does not take what ingest needs.
const scrubShare = 4

// pacer returns a function that holds a rate of leaves a second, and scrubShare; nil
// for a rate below 0.
func pacer(rate int) func(context.Context, int, time.Duration) error {
	if rate < 0 {
		return nil
	}
	free := time.Now() // when the next chunk may begin
	return func(ctx context.Context, leaves int, worked time.Duration) error {
		free = free.Add(max(time.Duration(leaves)*time.Second/time.Duration(rate), scrubShare*worked))
		wait := time.Until(free)
		if wait <= 0 {
			free = time.Now() // what was missed is not made up for
			return ctx.Err()
		}
		select {
		case <-time.After(wait):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *Ledger) scrubbed(ctx context.Context, tenant string, report *LiveReport, took time.Duration, err error) {
	if ctx.Err() != nil {
		return
	}
	if report != nil {
		l.anomalies(ctx, report.Findings)
		l.metrics.verified.Add(float64(report.Leaves))
	}
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	t := l.state.of(tenant)
	t.failed, t.failedAt = err, l.moment()
	if err != nil {
		l.log.Error("verify", "tenant", tenant, "err", err)
		return
	}
	t.verified, t.took = t.failedAt, took
	l.state.came = t.verified.was
	for _, lg := range report.Logs {
		t.through[lg.No] = max(t.through[lg.No], lg.Size)
	}
}

// stops are the codes after which a log is not signed any more.
var stops = []string{CodeLeaf, CodeInclusion, CodeTile, CodeHead, CodeFork}

// anomalies makes findings known, each once.
func (l *Ledger) anomalies(ctx context.Context, findings []Finding) {
	now := evidence.MicrosOf(l.clock.Now())
	fresh := l.state.add(findings, now)
	l.report(ctx, fresh, l.recording.from.Load(), now)
}

// report says what was found, and records it, unless another process has since that place of
// the system log.
func (l *Ledger) report(ctx context.Context, findings []Finding, since *store.Position, now evidence.Micros) {
	var wrong []Finding
	for _, f := range findings {
		l.metrics.anomalies.WithLabelValues(f.Code).Inc()
		l.log.Error("integrity anomaly", "code", f.Code, "tenant", f.Tenant, "log", f.Log, "table", f.Table,
			"from", f.From, "to", f.To, "message", f.Message)
		if f.Code[0] == 'E' { // else it is recorded where it happened
			l.stopFor(f)
			wrong = append(wrong, f)
		}
	}
	l.record(ctx, wrong, since, now)
}

// stopFor stops the log of a finding after which it is not to be signed.
func (l *Ledger) stopFor(f Finding) {
	if !slices.Contains(stops, f.Code) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.logs {
		if o.Origin == f.Log {
			o.stop(f)
		}
	}
}

func (o *openLog) stop(f Finding) { o.fail(fmt.Errorf("%s: %w", f, evidence.ErrTampered)) }

// stopOf returns what is known after which a log is not to be signed: it may have been found, or
// heard of, before the log was opened.
func (s *integrityState) stopOf(o *openLog) (f Finding, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tenants[o.Tenant]
	if t == nil {
		return Finding{}, false
	}
	list := t.all()
	i := slices.IndexFunc(list, func(a Anomaly) bool { return a.Log == o.Origin && slices.Contains(stops, a.Code) })
	if i < 0 {
		return Finding{}, false
	}
	return list[i].Finding, true
}

// tail follows the new leaves of one log.
type tail struct {
	tree  tree
	lastT evidence.Micros
	// skip is up to where another process has looked. Beyond the tree, that is to be read
	// before the tail goes on from there.
	skip int64
	// from is where it began: what is before it was not looked at here.
	from int64
	// waits is since when there are leaves that it is another process's turn to look at, and
	// heard how far that one said it had come then.
	waits time.Time
	heard int64
}

// New leaves are looked at at most every followEvery, and for no more than one part in
// scrubShare of the time: a look at few leaves asks the store as much as one at many.
// Where more than busy of them have come since, their leaves and the root are checked,
// which costs little, and their rows and content are left to the scrub: verification
// must not take the machine from ingest.
const (
	followEvery = 100 * time.Millisecond
	busy        = readChunk
)

// watchNew checks new leaves as they become durable, and names logs that are
// new to it.
func (l *Ledger) watchNew(ctx context.Context, wake <-chan struct{}, fresh chan<- store.LogRef) {
	tails := map[store.LogRef]*tail{}
	l.mu.Lock()
	for ref, o := range l.logs {
		st := o.state()
		tails[ref] = &tail{tree: st.tree.fork(), lastT: st.lastT}
	}
	l.mu.Unlock()
	var took time.Duration
	for {
		select {
		case <-wake:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(max(followEvery, (scrubShare-1)*took)):
		case <-ctx.Done():
			return
		}
		began := time.Now()
		for _, o := range l.openLogs() {
			t := tails[o.LogRef]
			if t == nil {
				// Loaded after Watch began: what it had then is the scrub's.
				t = l.newTail(o)
				tails[o.LogRef] = t
				select {
				case fresh <- o.LogRef:
				default: // many at once: the next round has them
				}
			}
			if err := l.follow(ctx, o, t); err != nil && ctx.Err() == nil {
				l.log.Error("verify new leaves", "log", o.Origin, "err", err)
			}
		}
		took = time.Since(began)
	}
}

// lostRows returns findings about leaves whose rows are gone. What was not looked at for long, because
// a process has died and none was there, may have expired by now: that expiry is the full verification's.
func (l *Ledger) lostRows(ctx context.Context, o *openLog, gone []*evidence.Leaf) (out []Finding, err error) {
	if len(gone) == 0 {
		return nil, nil
	}
	expired, err := readExpiries(ctx, l.store, o.Tenant)
	if err != nil {
		return nil, err
	}
	for _, leaf := range gone {
		if expired.cover(o.No, leaf) {
			continue
		}
		f := missingRow(leaf)
		f.Tenant, f.Log = o.Tenant, o.Origin
		out = append(out, f)
	}
	return out, nil
}

func (l *Ledger) newTail(o *openLog) *tail {
	o.mu.Lock()
	defer o.mu.Unlock()
	st := o.loaded
	return &tail{tree: st.tree.fork(), lastT: st.lastT, from: st.tree.size()}
}

// follow checks what a log got since the last call.
func (l *Ledger) follow(ctx context.Context, o *openLog, t *tail) error {
	st := o.state()
	from, to := t.tree.size(), st.tree.size()
	if from >= to {
		return nil
	}
	key, err := l.sealer.IndexKey(ctx, l.store, o.Tenant)
	if err != nil {
		return err
	}
	e := &examiner{read: l.store, sealer: l.sealer, log: o.Log, key: key, content: newContent(l.sealer, l.store, o.Log)}
	for at := from; at < to; at += readChunk {
		end := min(at+readChunk, to)
		var c *chunk
		if to-from > busy {
			c = &chunk{from: at, to: end}
			c.err = e.readLeaves(ctx, c)
		} else {
			c = e.examine(ctx, at, end)
		}
		if c.err != nil {
			return c.err
		}
		findings := c.findings
		var gone []*evidence.Leaf
		for _, leaf := range c.leaves {
			t.tree.append(leaf.hash, func(store.Tile) {})
			if leaf.leaf == nil {
				continue
			}
			if leaf.leaf.RecordedAt < t.lastT {
				findings = append(findings, Finding{
					Code: CodeLeaf, Tenant: o.Tenant, Log: o.Origin, Table: "leaf_segments", From: leaf.seq, To: leaf.seq + 1,
					Message: "t is smaller than that of the leaf before",
				})
			}
			if leaf.gone {
				gone = append(gone, leaf.leaf)
			}
			t.lastT = max(t.lastT, leaf.leaf.RecordedAt)
		}
		lost, err := l.lostRows(ctx, o, gone)
		if err != nil {
			return err
		}
		l.anomalies(ctx, append(findings, lost...))
		l.metrics.verified.Add(float64(len(c.leaves)))
	}
	if got, want := t.tree.root(), st.tree.root(); got != want {
		l.anomalies(ctx, []Finding{{
			Code: CodeInclusion, Tenant: o.Tenant, Log: o.Origin, Table: "leaf_segments", From: from, To: to,
			Expected: want.String(), Found: got.String(), Message: "the new leaves do not have the signed root",
		}})
	}
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	in := l.state.of(o.Tenant)
	if max(in.through[o.No], in.told.Through[o.No]) >= from {
		in.through[o.No] = to
	}
	return nil
}
