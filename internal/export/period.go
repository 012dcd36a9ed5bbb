package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// period is what a bundle of profile period is made of: of each log of the tenant
// that the period touches a stretch of consecutive leaves, which holds the period
// and its two neighbours, so that nothing can have been left out; and, beside it,
// the system log's shared records.
type period struct {
	kinds     map[evidence.Kind]bool // whose sealed content is disclosed
	stretches []*stretch             // of the tenant's logs, newest first
	shared    []*sharedPart          // of the system logs, newest first

	// Of the pass over the records:
	gone, known goneFields
	covers      []cover
	tally       *tally // of scope compliance
}

// stretch is what a bundle has of one of the tenant's logs: the leaves from up to
// to, of which those from in up to out are of the period; and, apart behind them, the
// records that say by whose order something of the period is gone.
type stretch struct {
	part     int // in job.logs
	from, to int64
	in, out  int64
	apart    []store.Found // in order of seq
}

// has reports whether a leaf stands apart.
func (s *stretch) has(seq int64) bool {
	_, ok := slices.BinarySearchFunc(s.apart, seq, func(f store.Found, seq int64) int { return cmp.Compare(f.Seq, seq) })
	return ok
}

// sharedPart is what a bundle has of a log of the system.
type sharedPart struct {
	part   int           // in job.logs
	places []store.Found // in order of seq
}

// scopeKinds are the kinds of record whose sealed content a scope discloses. Of all
// others a bundle has the leaf only.
var scopeKinds = map[string][]evidence.Kind{
	ScopeSystem: {evidence.KindSystem, evidence.KindMetric},
	ScopeAudit:  {evidence.KindAudit, evidence.KindExport},
	ScopeCompliance: {
		evidence.KindAudit, evidence.KindExport, evidence.KindSystem, evidence.KindLLMRun, evidence.KindTrace,
	},
}

// Scopes returns the scopes of an export of a period.
func Scopes() []string { return []string{ScopeSystem, ScopeAudit, ScopeCompliance} }

// Bounds of what an export of a period is asked for.
const (
	maxTags   = 16
	maxPeriod = 100 * 366 * 24 * time.Hour
)

// checkPeriod checks what a request says of a period.
func (r *Request) checkPeriod() error {
	if r.Profile != ProfilePeriod {
		if r.Scope != "" || r.From != 0 || r.Until != 0 {
			return invalid("scope", "is for profile period, as are from and until")
		}
		return r.checkTags()
	}
	switch {
	case !slices.Contains(Scopes(), r.Scope):
		return invalid("scope", "must be system, audit or compliance")
	case r.From <= 0 || !r.From.InRange():
		return invalid("from", "is required, as a time after 1970")
	case r.Until <= r.From || !r.Until.InRange():
		return invalid("until", "must be a time after from")
	case r.Until.Time().Sub(r.From.Time()) > maxPeriod:
		return invalid("until", "is more than a hundred years after from")
	case r.NoAudit:
		return invalid("scope", "needs a requester who may read audit entries")
	}
	return r.checkTags()
}

func (r *Request) checkTags() error {
	if len(r.Tags) > maxTags {
		return invalid("compliance_tags", fmt.Sprintf("are more than %d", maxTags))
	}
	for i, tag := range r.Tags {
		if !evidence.FitName(tag) || slices.Contains(r.Tags[:i], tag) {
			return invalid("compliance_tags", "must be names, each once")
		}
	}
	return nil
}

// choosePeriod finds the stretches of the bundle and publishes the checkpoints that
// they are proven under: of the tenant's newest log, of the system log where
// records of it are in the bundle, and of as many predecessors as the period
// reaches back to.
func (j *job) choosePeriod(ctx context.Context, logs []ledger.LogInfo) error {
	p := &period{kinds: map[evidence.Kind]bool{}}
	for _, k := range scopeKinds[j.req.Scope] {
		p.kinds[k] = true
	}
	j.period = p
	for i, info := range slices.Backward(logs) {
		if err := j.part(ctx, info); err != nil {
			return err
		}
		if len(p.stretches) == 0 {
			if err := j.checkSince(); err != nil {
				return err
			}
		}
		s, first, err := j.stretchOf(ctx, len(j.logs)-1)
		if err != nil {
			return fmt.Errorf("log %s: %w", info.Origin, err)
		}
		p.stretches = append(p.stretches, s)
		j.total += s.to - s.from
		if len(p.stretches) == 1 && p.kinds[evidence.KindSystem] && j.req.Tenant != evidence.SystemTenant {
			if err := j.chooseShared(ctx); err != nil {
				return fmt.Errorf("the system log: %w", err)
			}
		}
		if i == 0 || first < j.req.From {
			break
		}
	}
	return nil
}

// stretchOf finds the stretch of a log by the times of its leaves, which do not
// decrease. first is the time of its first leaf. The leaves that are searched are
// not believed: those of the stretch are proven when they are written.
func (j *job) stretchOf(ctx context.Context, part int) (s *stretch, first evidence.Micros, err error) {
	size := j.logs[part].head.Size
	if first, err = j.leafTime(ctx, j.logs[part], 0); err != nil {
		return nil, 0, err
	}
	in, err := j.firstAt(ctx, j.logs[part], j.req.From)
	if err != nil {
		return nil, 0, err
	}
	out, err := j.firstAt(ctx, j.logs[part], j.req.Until)
	if err != nil {
		return nil, 0, err
	}
	return &stretch{part: part, from: max(in-1, 0), to: min(out+1, size), in: in, out: max(in, out)}, first, nil
}

// firstAt returns the first leaf of a log whose t is not before a time; its size
// where there is none.
func (j *job) firstAt(ctx context.Context, l logPart, at evidence.Micros) (int64, error) {
	var failed error
	seq := sort.Search(int(l.head.Size), func(seq int) bool {
		if failed != nil {
			return true
		}
		t, err := j.leafTime(ctx, l, int64(seq))
		failed = err
		return err != nil || t >= at
	})
	return int64(seq), failed
}

func (j *job) leafTime(ctx context.Context, l logPart, seq int64) (t evidence.Micros, err error) {
	err = j.e.cfg.Ledger.Leaves(ctx, l.Tenant, l.No, seq, seq+1, func(seq int64, b []byte) error {
		leaf, err := evidence.ParseLeaf(b)
		if err != nil {
			return fmt.Errorf("leaf %d: %w: %w", seq, evidence.ErrTampered, err)
		}
		t = leaf.RecordedAt
		return nil
	})
	return t, err
}

// isShared holds for the records of the system log that every tenant may see.
var isShared = store.Condition{Field: "visibility", Values: []string{"shared"}}

// chooseShared finds the system log's shared records of the period.
func (j *job) chooseShared(ctx context.Context) error {
	logs, err := j.e.cfg.Ledger.Logs(ctx, evidence.SystemTenant)
	if errors.Is(err, evidence.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for i, info := range slices.Backward(logs) {
		// Witnesses are asked only where there is something.
		places, first, err := j.sharedPlaces(ctx, info)
		if err != nil {
			return err
		}
		if len(places) > 0 {
			if err := j.part(ctx, info); err != nil {
				return err
			}
			size := j.logs[len(j.logs)-1].head.Size
			places = slices.DeleteFunc(places, func(f store.Found) bool { return f.Seq >= size })
			j.period.shared = append(j.period.shared, &sharedPart{part: len(j.logs) - 1, places: places})
			j.total += int64(len(places))
		}
		if i == 0 || first < j.req.From {
			break
		}
	}
	return nil
}

// sharedPlaces returns where the shared records of the period stand in a log of the
// system, in order, and the time of its first leaf.
func (j *job) sharedPlaces(ctx context.Context, info ledger.LogInfo) (places []store.Found, first evidence.Micros, err error) {
	head, _, err := j.e.cfg.Ledger.PublishNow(ctx, info.Tenant, info.No)
	if err != nil || head.Size == 0 {
		return nil, 0, err
	}
	l := logPart{LogInfo: info, head: head}
	if first, err = j.leafTime(ctx, l, 0); err != nil {
		return nil, 0, err
	}
	in, err := j.firstAt(ctx, l, j.req.From)
	if err != nil {
		return nil, 0, err
	}
	out, err := j.firstAt(ctx, l, j.req.Until)
	if err != nil {
		return nil, 0, err
	}
	err = j.found(ctx, l, in, out, evidence.KindSystem, []store.Condition{isShared}, func(f store.Found) {
		places = append(places, f)
	})
	slices.Reverse(places)
	return places, first, err
}

// foundPage is how many records are looked up at once.
const foundPage = 1000

// found calls fn for the records of a kind among the leaves from up to to of a log,
// the newest first.
func (j *job) found(ctx context.Context, l logPart, from, to int64, kind evidence.Kind, where []store.Condition, fn func(store.Found)) error {
	if from >= to {
		return nil
	}
	q := store.Query{
		Tenant: l.Tenant, Kind: kind, Where: where, Below: store.Position{LogNo: l.No, Seq: to},
		Limit: int(min(to-from, foundPage)),
	}
	for {
		page, err := j.e.cfg.Ledger.Find(ctx, q)
		if err != nil {
			return err
		}
		for _, f := range page {
			if f.LogNo != l.No || f.Seq < from {
				return nil
			}
			fn(f)
		}
		if len(page) < q.Limit {
			return nil
		}
		q.After = &page[len(page)-1].Position
	}
}
