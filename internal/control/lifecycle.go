package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/lifecycle"
)

// Lifecycle is what changes the life of evidence: a lifecycle.Service. What only reads
// goes through Config.Read, and is recorded like any look.
type Lifecycle interface {
	SetPolicy(ctx context.Context, tenant string, c lifecycle.PolicyChange, by lifecycle.Actor) (lifecycle.Policy, error)
	Expire(ctx context.Context, tenant string, r lifecycle.RunRequest, by lifecycle.Actor) (lifecycle.RunResult, error)
	PlaceHold(ctx context.Context, tenant string, r lifecycle.HoldRequest, by lifecycle.Actor) (lifecycle.HoldInfo, error)
	ReleaseHold(ctx context.Context, tenant, id, reason string, by lifecycle.Actor) (lifecycle.HoldInfo, error)
	Archive(ctx context.Context, tenant string, r lifecycle.ArchiveRequest, by lifecycle.Actor) (lifecycle.ArchiveList, error)
	Erase(ctx context.Context, tenant string, r lifecycle.ErasureRequest, by lifecycle.Actor) (lifecycle.ErasureAnswer, error)
}

// Paths of the read API about the life of evidence.
const (
	RetentionPath = "/api/v1/retention"
	PreviewPath   = RetentionPath + "/preview"
	HoldsPath     = "/api/v1/holds"
	ArchivesPath  = "/api/v1/archives"
	RecordsPath   = ArchivesPath + "/records"
	ErasuresPath  = "/api/v1/erasures"
)

// A certificate is at ErasuresPath, a slash, its id, and certificatePath.
const certificatePath = "/certificate"

// Release is the request of POST …/holds/{hold}/release.
type Release struct {
	Reason string `json:"reason"`
}

// lifecycleRoutes are the routes of what changes the life of evidence.
func (h *handler) lifecycleRoutes() map[string]func(http.ResponseWriter, *http.Request) error {
	return map[string]func(http.ResponseWriter, *http.Request) error{
		"PUT /v1/tenants/{tenant}/retention/{class}": changes(h, func(r *http.Request, l Lifecycle, tenant string, by lifecycle.Actor, q *lifecycle.PolicyChange) (any, error) {
			q.Class = r.PathValue("class")
			return l.SetPolicy(r.Context(), tenant, *q, by)
		}),
		"POST /v1/tenants/{tenant}/retention/run": changes(h, func(r *http.Request, l Lifecycle, tenant string, by lifecycle.Actor, q *lifecycle.RunRequest) (any, error) {
			out, err := l.Expire(r.Context(), tenant, *q, by)
			return out, out.Partly(err)
		}),
		"POST /v1/tenants/{tenant}/holds": changes(h, func(r *http.Request, l Lifecycle, tenant string, by lifecycle.Actor, q *lifecycle.HoldRequest) (any, error) {
			return l.PlaceHold(r.Context(), tenant, *q, by)
		}),
		"POST /v1/tenants/{tenant}/holds/{hold}/release": changes(h, func(r *http.Request, l Lifecycle, tenant string, by lifecycle.Actor, q *Release) (any, error) {
			return l.ReleaseHold(r.Context(), tenant, r.PathValue("hold"), q.Reason, by)
		}),
		"POST /v1/tenants/{tenant}/archives": changes(h, func(r *http.Request, l Lifecycle, tenant string, by lifecycle.Actor, q *lifecycle.ArchiveRequest) (any, error) {
			return l.Archive(r.Context(), tenant, *q, by)
		}),
		"POST /v1/tenants/{tenant}/erasures": changes(h, func(r *http.Request, l Lifecycle, tenant string, by lifecycle.Actor, q *lifecycle.ErasureRequest) (any, error) {
			if err := h.recordAsked(r, tenant); err != nil {
				return nil, err
			}
			return l.Erase(r.Context(), tenant, *q, by)
		}),
	}
}

// changes makes a route of what the caller has done to a tenant's evidence. Each change
// is a record of its own, which names them.
func changes[Q any](h *handler, f func(r *http.Request, l Lifecycle, tenant string, by lifecycle.Actor, q *Q) (any, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var q Q
		if err := decode(w, r, &q); err != nil {
			return err
		}
		info, err := h.newest(r.Context(), r.PathValue("tenant"))
		if err != nil {
			return err
		}
		if h.cfg.Lifecycle == nil {
			return fmt.Errorf("lifecycle: %w: it is not managed here", evidence.ErrUnavailable)
		}
		out, err := f(r, h.cfg.Lifecycle, info.Tenant, lifecycle.Actor{Human: callerOf(r.Context()).producer()}, &q)
		if err != nil {
			return err
		}
		return answer(w, http.StatusOK, out)
	}
}

// recordAsked records that somebody asks for an erasure, be it to count what it would take: the answer says
// something about a person also where nothing is erased, which leaves no record of its own.
func (h *handler) recordAsked(r *http.Request, tenant string) error {
	gate, err := h.gate()
	if err != nil {
		return err
	}
	by := callerOf(r.Context()).actor()
	p := access.Principal{
		Tenant: tenant, Credential: by.ID, Role: "operator", ActorKind: by.Kind, Permissions: access.Set(access.TenantAdmin),
	}
	return gate.Allow(r.Context(), p, access.TenantAdmin, r.Pattern, "erasure")
}

// get asks the read API about a tenant, as the operator.
func (c *Client) get(ctx context.Context, tenant, path string, query url.Values, out any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.call(ctx, http.MethodPost, tenantPath(tenant, "/read"), ReadRequest{path}, out)
}

// Policies returns how long a tenant's evidence is kept.
func (c *Client) Policies(ctx context.Context, tenant string) (v lifecycle.PolicyList, err error) {
	return v, c.get(ctx, tenant, RetentionPath, nil, &v)
}

// SetPolicy has a class of a tenant's evidence kept for another time.
func (c *Client) SetPolicy(ctx context.Context, tenant string, q lifecycle.PolicyChange) (v lifecycle.Policy, err error) {
	class := q.Class
	q.Class = ""
	return v, c.call(ctx, http.MethodPut, tenantPath(tenant, "/retention/"+url.PathEscape(class)), q, &v)
}

// Preview says what would expire at a time as RFC 3339 has it, "" for now.
func (c *Client) Preview(ctx context.Context, tenant, at string) (v lifecycle.Preview, err error) {
	query := url.Values{}
	if at != "" {
		query.Set("at", at)
	}
	return v, c.get(ctx, tenant, PreviewPath, query, &v)
}

// Expire archives and removes what is due.
func (c *Client) Expire(ctx context.Context, tenant string, q lifecycle.RunRequest) (v lifecycle.RunResult, err error) {
	return v, c.call(ctx, http.MethodPost, tenantPath(tenant, "/retention/run"), q, &v)
}

// PlaceHold places a legal hold.
func (c *Client) PlaceHold(ctx context.Context, tenant string, q lifecycle.HoldRequest) (v lifecycle.HoldInfo, err error) {
	return v, c.call(ctx, http.MethodPost, tenantPath(tenant, "/holds"), q, &v)
}

// Holds lists legal holds; with all those that were released, too.
func (c *Client) Holds(ctx context.Context, tenant string, all bool) (v lifecycle.HoldList, err error) {
	query := url.Values{}
	if all {
		query.Set("all", "true")
	}
	return v, c.get(ctx, tenant, HoldsPath, query, &v)
}

// ReleaseHold ends a legal hold.
func (c *Client) ReleaseHold(ctx context.Context, tenant, id, reason string) (v lifecycle.HoldInfo, err error) {
	return v, c.call(ctx, http.MethodPost, tenantPath(tenant, "/holds/"+url.PathEscape(id)+"/release"), Release{reason}, &v)
}

// Archive archives what is not archived yet.
func (c *Client) Archive(ctx context.Context, tenant string, q lifecycle.ArchiveRequest) (v lifecycle.ArchiveList, err error) {
	return v, c.call(ctx, http.MethodPost, tenantPath(tenant, "/archives"), q, &v)
}

// Archives lists the units of a tenant's archive.
func (c *Client) Archives(ctx context.Context, tenant string) (v lifecycle.ArchiveList, err error) {
	return v, c.get(ctx, tenant, ArchivesPath, nil, &v)
}

// Archived returns the records of a run from the archive.
func (c *Client) Archived(ctx context.Context, tenant string, q lifecycle.ShowRequest) (v lifecycle.ShowAnswer, err error) {
	return v, c.get(ctx, tenant, RecordsPath, url.Values{"run_id": {q.Run}}, &v)
}

// Erasures returns a page of the list of erasures.
func (c *Client) Erasures(ctx context.Context, tenant string, q lifecycle.ErasureQuery) (v lifecycle.ErasureList, err error) {
	query := url.Values{}
	if q.Before != "" {
		query.Set("before", q.Before)
	}
	if q.Limit != 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	return v, c.get(ctx, tenant, ErasuresPath, query, &v)
}

// Certificate returns the certificate of an erasure that is not too old.
func (c *Client) Certificate(ctx context.Context, tenant, id string) (json.RawMessage, error) {
	var v json.RawMessage
	err := c.get(ctx, tenant, ErasuresPath+"/"+url.PathEscape(id)+certificatePath, nil, &v)
	return v, err
}

// Erase erases, or with DryRun counts.
func (c *Client) Erase(ctx context.Context, tenant string, q lifecycle.ErasureRequest) (v lifecycle.ErasureAnswer, err error) {
	return v, c.call(ctx, http.MethodPost, tenantPath(tenant, "/erasures"), q, &v)
}
