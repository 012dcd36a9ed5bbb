package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// admit returns who makes a request, if they have the permission.
func (h *Handler) admit(r *http.Request, permission string) (Caller, error) {
	c, err := h.cfg.Gate.Authenticate(r)
	if err != nil {
		return Caller{}, denied(err)
	}
	return c, h.require(r.Context(), c, permission, r.Pattern)
}

// denied makes what the gate forbids a refusal of the caller: of records the
// same sentinel says something else.
func denied(err error) error {
	if errors.Is(err, evidence.ErrForbidden) {
		return fmt.Errorf("%w: %w", errDenied, err)
	}
	return err
}

func (h *Handler) require(ctx context.Context, c Caller, permission, route string) error {
	if err := h.cfg.Gate.Require(ctx, c, permission, route); err != nil {
		return denied(err)
	}
	if c.Tenant == "" {
		return fmt.Errorf("%w: the request names no tenant", errDenied)
	}
	return nil
}

func unsupported(types ...string) error {
	return fmt.Errorf("%w: Content-Type must be %s", errMediaType, strings.Join(types, " or "))
}
