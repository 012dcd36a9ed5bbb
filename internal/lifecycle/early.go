package lifecycle

import (
	"context"
	"errors"

	"github.com/runledger/runledger/internal/ledger"
)

// orderTimely orders what was chosen. A class that is too young by now, since its policy became
// longer meanwhile, stays until the next round; of the others it is chosen anew, since no range
// may lie across what stays, and ordered.
func (e *expiry) orderTimely(ctx context.Context, h holds) error {
	for {
		err := e.orderDue(ctx)
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
