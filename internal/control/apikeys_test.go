package control_test

import (
	"context"
	"errors"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/ledger"
)

// TestNoAccess asks a process that manages no credentials.
func TestNoAccess(t *testing.T) {
	clients(t, func(t *testing.T, c *control.Client, _ *ledger.Ledger) {
		ctx := context.Background()
		_, created := c.CreateAPIKey(ctx, control.NewAPIKey{TenantID: "acme", Role: access.RoleViewer})
		_, listed := c.APIKeys(ctx, access.AllTenants)
		_, revoked := c.RevokeAPIKey(ctx, "x")
		for what, err := range map[string]error{"create": created, "list": listed, "revoke": revoked} {
			if !errors.Is(err, evidence.ErrUnavailable) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}
