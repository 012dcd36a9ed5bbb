package lifecycle

import (
	"context"
	"sync"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// between is a store that has something done before the first unit is kept: behind the choice of what
// is due, and before it is ordered.
type between struct {
	store.Store
	do sync.Once
	f  func()
}

func (b *between) KeepArchive(ctx context.Context, u store.ArchiveUnit) error {
	b.do.Do(b.f)
	return b.Store.KeepArchive(ctx, u)
}

// TestPolicyBecomesLonger: where the policy of a class becomes longer before what is due is ordered,
// that class stays and the others go at once.
func TestPolicyBecomesLonger(t *testing.T) {
	t.Parallel()
	base := newRig(t, nil)
	base.close()
	b := &between{}
	r := openRigOver(t, base.base, base.clock, nil, func(s store.Store) store.Store { b.Store = s; return b })
	t.Cleanup(r.close)
	b.f = func() {
		c := PolicyChange{Class: evidence.ClassSystemLogs, Days: ptr(3650), Reason: "longer"}
		if _, err := r.SetPolicy(context.Background(), tenant, c, Actor{Human: "ada"}); err != nil {
			t.Error(err)
		}
	}
	_, before := r.rows()
	res := r.expire(RunRequest{})
	_, after := r.rows()
	if c := r.class(res, evidence.ClassSystemLogs); c.Removed != 0 || c.Blocked == "" || after[evidence.KindSystem] < before[evidence.KindSystem] {
		t.Errorf("%+v; %v rows, and %v before", c, after, before)
	}
	if c := r.class(res, evidence.ClassLLMRuns); c.Removed == 0 || c.Blocked != "" || after[evidence.KindTraceStep] >= before[evidence.KindTraceStep] {
		t.Errorf("%+v; %v rows, and %v before", c, after, before)
	}
	r.sound()
	res = r.expire(RunRequest{})
	if c := r.class(res, evidence.ClassSystemLogs); c.Removed != 0 || c.Blocked != "" {
		t.Errorf("in the next round: %+v", c)
	}
}
