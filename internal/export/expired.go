package export

import (
	"cmp"
	"context"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/verify"
)

// expiredFields says which fields of whole logs have expired, where not every field that
// is gone is kept in memory until the record comes that says why.
type expiredFields map[expiredKey][]cover

type expiredKey struct {
	origin string
	kind   evidence.Kind // 0: all
}

// readExpired reads what the records of the bundle's logs say has expired. They are few
// against the leaves that they are about, and stand behind them.
func (j *job) readExpired(ctx context.Context) error {
	j.expired = expiredFields{}
	for i := range j.logs {
		part := &j.logs[i]
		var at []store.Found
		where := []store.Condition{{Field: "event_type", Values: []string{eventExpired}}}
		err := j.found(ctx, *part, 0, part.head.Size, evidence.KindAudit, where, func(f store.Found) { at = append(at, f) })
		if err != nil {
			return err
		}
		slices.Reverse(at)
		err = j.e.cfg.Ledger.ProveRecords(ctx, part.Tenant, part.No, part.head, at, func(rec *ledger.ProvenRecord) error {
			list, err := coversOf(part.Origin, rec.Leaf, rec.Open)
			for _, c := range list {
				k := expiredKey{c.origin, c.kind}
				j.expired[k] = append(j.expired[k], c)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for k, list := range j.expired {
		j.expired[k] = merged(list)
	}
	return nil
}

// merged sorts covers and joins those of all paths that touch.
func merged(list []cover) []cover {
	slices.SortFunc(list, func(a, b cover) int { return cmp.Compare(a.from, b.from) })
	out := list[:0]
	for _, c := range list {
		if n := len(out); n > 0 && len(c.paths) == 0 && len(out[n-1].paths) == 0 && c.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, c.to)
		} else {
			out = append(out, c)
		}
	}
	return out
}

// reason returns why a field that is gone is gone. What nothing says stands as erased:
// whoever verifies the bundle sees to it.
func (e expiredFields) reason(origin string, l *evidence.Leaf, path string) verify.Reason {
	for _, kind := range []evidence.Kind{l.Kind, 0} {
		list := e[expiredKey{origin, kind}]
		n, _ := slices.BinarySearchFunc(list, l.Seq+1, func(c cover, seq int64) int { return cmp.Compare(c.from, seq) })
		for _, c := range slices.Backward(list[:n]) {
			if l.Seq < c.to && c.names(l.Kind, path) {
				return verify.Expired
			}
		}
	}
	return verify.Erased
}
