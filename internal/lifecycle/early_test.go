package lifecycle

import (
	"context"
	"errors"
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

// TestPolicyAsksForArchive: where the policy of a class asks for the archive by the time at which what is due is ordered, that
// class stays, and goes through the archive in the next round.
func TestPolicyAsksForArchive(t *testing.T) {
	t.Parallel()
	base := newRig(t, nil)
	base.close()
	b := &between{}
	r := openRigOver(t, base.base, base.clock, nil, func(s store.Store) store.Store { b.Store = s; return b })
	t.Cleanup(r.close)
	set := func(class string) {
		c := PolicyChange{Class: class, Archive: ptr(true), Reason: "to be archived"}
		if _, err := r.SetPolicy(context.Background(), tenant, c, Actor{Human: "ada"}); err != nil {
			t.Error(err)
		}
	}
	b.f = func() { set(evidence.ClassSystemLogs) }
	set(evidence.ClassLLMRuns)
	res := r.expire(RunRequest{})
	if c := r.class(res, evidence.ClassSystemLogs); c.Removed != 0 || c.Blocked == "" {
		t.Errorf("%+v", c)
	}
	if c := r.class(res, evidence.ClassLLMRuns); c.Removed == 0 || c.Blocked != "" {
		t.Errorf("%+v", c)
	}
	if c := r.class(r.expire(RunRequest{}), evidence.ClassSystemLogs); c.Removed == 0 || c.Blocked != "" {
		t.Errorf("in the next round: %+v", c)
	}
	r.sound()
}

// TestPolicyIsNotErased: its reason can be, and what it says cannot.
func TestPolicyIsNotErased(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRig(t, nil)
	p, err := r.SetPolicy(ctx, tenant, PolicyChange{Class: evidence.ClassSystemLogs, Archive: ptr(true), Reason: "asked by Ada"}, Actor{})
	if err != nil {
		t.Fatal(err)
	}
	for _, paths := range [][]string{nil, {"/after_state"}} {
		if _, err := r.Erase(ctx, tenant, ErasureRequest{Records: []string{p.Record}, Paths: paths, Reason: "asked for"}, Actor{"op"}); !errors.Is(err, evidence.ErrForbidden) {
			t.Errorf("%v: %v", paths, err)
		}
	}
	if _, err := r.Erase(ctx, tenant, ErasureRequest{Records: []string{p.Record}, Paths: []string{"/action_reason"}, Reason: "asked for"}, Actor{"op"}); err != nil {
		t.Error(err)
	}
	list, err := r.policies(ctx, tenant)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		if x.Class == evidence.ClassSystemLogs && !x.Archive {
			t.Errorf("%+v", x)
		}
	}
}
