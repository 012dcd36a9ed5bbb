package server

import (
	"context"
	"math"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/api"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/store"
)

// atPrimary is the value of the header api.AtLeast that wants nothing to be missing.
const atPrimary = "primary"

// mayLag lets read replicas answer the reads of a request, where there are any, that
// have the record which the client names by its receipt. A further page is answered by
// the primary: its cursor may stand on what a replica does not have yet, and would then
// skip it. The header is checked without replicas too: a client's mistake is one
// everywhere.
func (d *Deployment) mayLag(replicas bool) func(ctx context.Context, tenant, atLeast string, more bool) (context.Context, error) {
	return func(ctx context.Context, tenant, atLeast string, more bool) (context.Context, error) {
		var lag store.Lag
		if atLeast != "" && atLeast != atPrimary {
			var err error
			if lag, err = d.lagOf(ctx, tenant, atLeast); err != nil {
				return nil, err
			}
		}
		if !replicas || more || atLeast == atPrimary {
			return ctx, nil
		}
		return store.MayLag(ctx, lag), nil
	}
}

// lagOf finds the log of a receipt.
func (d *Deployment) lagOf(ctx context.Context, tenant, atLeast string) (store.Lag, error) {
	origin, index, ok := parseAtLeast(atLeast)
	if !ok {
		return store.Lag{}, problem.Invalid(api.AtLeast, "must be LOG:LEAF_INDEX of a receipt, or primary")
	}
	if tenant == "" {
		return store.Lag{}, problem.Invalid(api.AtLeast, "is for a request about one tenant")
	}
	logs, err := d.Ledger.Logs(ctx, tenant)
	if err != nil {
		return store.Lag{}, err
	}
	for _, lg := range logs {
		if lg.Origin == origin {
			return store.Lag{Log: store.LogRef{Tenant: tenant, No: lg.No}, Size: index + 1}, nil
		}
	}
	return store.Lag{}, problem.Invalid(api.AtLeast, "names no log of the tenant")
}

// parseAtLeast reads LOG:LEAF_INDEX, which has one form only.
func parseAtLeast(text string) (origin string, index int64, ok bool) {
	origin, digits, ok := strings.Cut(text, ":")
	if !ok || !evidence.ValidOrigin(origin) {
		return "", 0, false
	}
	index, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || index < 0 || index == math.MaxInt64 || strconv.FormatInt(index, 10) != digits {
		return "", 0, false
	}
	return origin, index, true
}
