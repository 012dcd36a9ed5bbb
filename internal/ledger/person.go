package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// WrapSecret encrypts what a setting of this name keeps for the server alone, under the master keyset.
func (l *Ledger) WrapSecret(name string, text []byte) ([]byte, error) {
	return l.sealer.WrapSecret(name, text)
}

// UnwrapSecret is the inverse of WrapSecret. The error wraps evidence.ErrTampered.
func (l *Ledger) UnwrapSecret(name string, wrapped []byte) ([]byte, error) {
	return l.sealer.UnwrapSecret(name, wrapped)
}

// KnownPerson reports whether anything stands, or stood and was not erased, under a person's own key, and
// returns what stands for them where their name must not: as for an unfit name (formats.md section 3).
func (l *Ledger) KnownPerson(ctx context.Context, tenant, name string) (known bool, pseudonym string, err error) {
	ctx = store.NoLag(ctx)
	if pseudonym, err = l.sealer.Replacement(ctx, tenant, store.ScopePerson, name); err == nil {
		var keys []store.DataKey
		keys, err = l.sealer.PersonKeys(ctx, tenant, name)
		known = len(keys) > 0
	}
	if errors.Is(err, evidence.ErrNotFound) { // a tenant without records
		return false, "h:", nil
	}
	if err != nil {
		return false, "", fmt.Errorf("person: %w", err)
	}
	return known, pseudonym, nil
}
