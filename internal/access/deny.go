package access

import "net/http"

// Deny records that a request which a rule let in is refused after all, for what only
// its handler can know, and returns the error to answer with: evidence.ErrForbidden,
// or evidence.ErrUnavailable where it cannot be recorded. resource is what it is
// about, a name.
func (g *Gate) Deny(r *http.Request, resource, reason string) error {
	grant := GrantOf(r.Context())
	return g.deny(r.Context(), grant.Principal, decision{resource: resource, route: r.Pattern, reason: reason, rule: grant.Rule, request: r})
}
