package lifecycle

import (
	"context"
	"errors"

	"github.com/runledger/runledger/internal/ledger"
)

// orderTimely orders what was chosen. A class that is too young by now, since its policy became
// longer meanwhile, or that is to be archived by now, stays until the next round; of the others it is chosen
// anew, since no range may lie across what stays, and ordered.
func (e *expiry) orderTimely(ctx context.Context, h holds) error {
	for {
		asks, err := e.nowArchived(ctx)
		if err != nil {
			return err
		}
		if len(asks) > 0 {
			e.block(blocked{reasonPolicy, "its policy asks for the archive since; what is due is chosen anew in the next round"}, asks...)
			if err := e.choose(ctx, e.policies, h); err != nil {
				return err
			}
		}
		err = e.orderDue(ctx)
		var early *ledger.EarlyError
		if !errors.As(err, &early) || e.done[early.Class] == nil || e.blocked[early.Class].reason != "" {
			return err
		}
		e.block(blocked{reasonPolicy, "by the policy and the clock of now it is too early; what is due is chosen anew in the next round"}, early.Class)
		if err := e.choose(ctx, e.policies, h); err != nil {
			return err
		}
	}
}

// nowArchived returns the classes that are about to go without the archive and whose policy asks for it
// by now.
func (e *expiry) nowArchived(ctx context.Context) ([]string, error) {
	policies, err := e.s.policies(ctx, e.tenant)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range policies {
		c := e.found[p.Class]
		if c != nil && e.blocked[p.Class].reason == "" && e.done[p.Class] != nil && p.Archive && !c.policy.Archive {
			out = append(out, p.Class)
		}
	}
	return out, nil
}
