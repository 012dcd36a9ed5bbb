package access

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// headerTenant names the tenant for a credential of the platform.
const headerTenant = "X-Tenant-ID"

// call is what is looked at of a request, over HTTP or gRPC.
type call struct {
	ctx       context.Context
	key       Credential
	err       error    // of reading the credential
	tenants   []string // values of X-Tenant-ID
	remote    string   // address:port
	host      string
	origin    []string
	forwarded bool   // it went through a proxy
	crossSite bool   // a browser sends it for a page of another site
	route     string // pattern or method
	token     string // instead of key: of an identity provider
	rule      string // that it is about, where one is known
	request   *http.Request
}

// Authenticate says who makes a request. Errors: ErrUnauthenticated (401),
// evidence.ErrForbidden (a credential of one tenant that names another; it is
// recorded), evidence.ErrNotFound (the tenant that a credential of the platform
// names), evidence.ErrInvalid, evidence.ErrUnavailable (503). Who is in the
// context already, such as behind Guard, is not asked again.
func (g *Gate) Authenticate(r *http.Request) (Principal, error) {
	if p, ok := From(r.Context()); ok {
		return p, nil
	}
	return g.authenticateHTTP(r, "")
}

func (g *Gate) authenticateHTTP(r *http.Request, rule string) (Principal, error) {
	h := r.Header
	key, token, err := g.credential(h["Authorization"], h["X-Api-Key"])
	return g.authenticate(call{
		ctx: r.Context(), key: key, token: token, err: err, tenants: h["X-Tenant-Id"], remote: r.RemoteAddr, host: r.Host, origin: h["Origin"],
		crossSite: crossSite(h["Sec-Fetch-Site"]),
		forwarded: h["Forwarded"] != nil || h["X-Forwarded-For"] != nil || h["X-Real-Ip"] != nil || h["Via"] != nil,
		route:     r.Pattern, rule: rule, request: r,
	})
}

// AuthenticateCall is Authenticate for a gRPC call: get returns the values of a
// metadata key in lower case, remote is the address of the peer, method the
// full name of the method.
func (g *Gate) AuthenticateCall(ctx context.Context, get func(key string) []string, remote, method string) (Principal, error) {
	key, token, err := g.credential(get("authorization"), get("x-api-key"))
	c := call{
		ctx: ctx, key: key, token: token, err: err, tenants: get("x-tenant-id"), remote: remote, origin: get("origin"),
		forwarded: get("forwarded") != nil || get("x-forwarded-for") != nil || get("via") != nil, route: method,
	}
	if a := get(":authority"); len(a) > 0 {
		c.host = a[0]
	}
	return g.authenticate(c)
}

func (g *Gate) authenticate(c call) (Principal, error) {
	p, err := g.identify(c)
	if err != nil {
		var u *unauthenticated
		if errors.As(err, &u) && !u.recorded {
			g.denied.count(sourceOf(c.remote), u.why, g.now())
		}
		return Principal{}, err
	}
	if len(c.tenants) == 0 {
		return p, nil
	}
	return g.aim(c, p)
}

// identify finds whose credential it is.
func (g *Gate) identify(c call) (Principal, error) {
	switch {
	case c.err != nil:
		return Principal{}, c.err
	case c.token != "":
		return g.identifyToken(c)
	case c.key == "" && g.cfg.Dev && c.isLocal():
		return Principal{
			Tenant: DevTenant, Credential: "dev", Role: "dev", Permissions: devPermissions, ActorKind: System,
		}, nil
	case c.key == "":
		return Principal{}, refuse(reasonMissing)
	}
	id, secret, ok := splitKey(string(c.key))
	if !ok {
		return Principal{}, refuse(reasonMalformed)
	}
	e, err := g.lookup(c.ctx, id)
	if err != nil {
		return Principal{}, err
	}
	if why := g.check(e, secret); why != 0 {
		return Principal{}, refuse(why)
	}
	if !e.used.Load() {
		if err := g.firstUse(c, e); err != nil {
			return Principal{}, err
		}
	}
	return Principal{
		Tenant: e.key.Tenant, Credential: e.key.ID, Role: e.key.Role, Permissions: e.permissions,
		Platform: e.key.Tenant == "", ActorKind: System,
	}, nil
}

// devPermissions are all that a user of a tenant may have.
const devPermissions = Set(LogsRead | LogsReadContent | LogsExport | AuditRead | IngestWrite)

// check compares a secret, and returns 0 if it is right and counts now. The
// work is the same whether the id is known or not, and whatever byte differs.
// That a key has expired or was revoked is only said to who has it.
func (g *Gate) check(e *entry, secret string) reason {
	got, want, otherwise := hashSecret(secret), &e.key.Hash, reasonWrong
	if e.absent {
		want, otherwise = &g.nobody, reasonUnknown
	}
	switch same := subtle.ConstantTimeCompare(got[:], want[:]) == 1; {
	case !same || e.absent:
		return otherwise
	case e.key.RevokedAt != 0:
		return reasonRevoked
	case e.key.ExpiresAt != 0 && g.now() >= e.key.ExpiresAt:
		return reasonExpired
	case e.key.Role == RoleAuditor && g.now() >= e.key.CreatedAt+maxAuditor: // made before that was a rule
		return reasonExpired
	}
	return 0
}

// aim settles the tenant of a request that names one.
func (g *Gate) aim(c call, p Principal) (Principal, error) {
	tenant := c.tenants[0]
	for _, t := range c.tenants[1:] {
		if t != tenant {
			return Principal{}, invalid(headerTenant, "names two tenants")
		}
	}
	if !p.Platform {
		if tenant == p.Tenant {
			return p, nil
		}
		const why = "the credential is of another tenant than " + headerTenant + " names"
		return Principal{}, g.deny(c.ctx, p, decision{resource: "tenant", route: c.route, reason: why, rule: c.rule, request: c.request})
	}
	if !evidence.ValidTenant(tenant) {
		return Principal{}, fmt.Errorf("tenant in %s: %w", headerTenant, evidence.ErrNotFound)
	}
	if err := g.tenantExists(c.ctx, tenant); err != nil {
		return Principal{}, err
	}
	p.Tenant = tenant
	return p, nil
}

func (g *Gate) tenantExists(ctx context.Context, tenant string) error {
	if g.cache.hasTenant(tenant) {
		return nil
	}
	if _, err := g.cfg.Ledger.Logs(ctx, tenant); errors.Is(err, evidence.ErrNotFound) {
		return err
	} else if err != nil {
		return unavailable("tenant", err)
	}
	g.cache.addTenant(tenant)
	return nil
}

// Require returns nil if a principal has a permission. Else it records the
// denial and returns evidence.ErrForbidden, or evidence.ErrUnavailable where it
// cannot be recorded. route is a pattern, see RouteName.
func (g *Gate) Require(ctx context.Context, p Principal, permission Permission, route string) error {
	if p.Permissions.Has(permission) {
		return nil
	}
	return g.deny(ctx, p, decision{resource: permission.String(), route: route, reason: "the credential has no permission " + permission.String()})
}

// Allow is Require for administration that has no event of its own: what is
// permitted is recorded too, before it is done. resource is what it is about,
// a name.
func (g *Gate) Allow(ctx context.Context, p Principal, permission Permission, route, resource string) error {
	if err := g.Require(ctx, p, permission, route); err != nil {
		return err
	}
	return g.decide(ctx, p, decision{allowed: true, resource: resource, route: route, reason: "permission " + permission.String()})
}

// deny records a denial and returns its error. It is then the one record of the
// request.
func (g *Gate) deny(ctx context.Context, p Principal, d decision) error {
	if err := g.decide(ctx, p, d); err != nil {
		return err
	}
	ViewOf(ctx).Recorded = true
	return fmt.Errorf("%w: %s", evidence.ErrForbidden, d.reason)
}

// RouteName returns a route as evidence names it: the pattern of a ServeMux
// with :run_id for {run_id}, or a gRPC method.
func RouteName(pattern string) string {
	pattern = strings.TrimSuffix(pattern, "{$}")
	name := strings.NewReplacer("...}", "", "{", ":", "}", "").Replace(pattern)
	if !evidence.FitName(name) {
		return "unknown"
	}
	return name
}

// isLocal reports whether a request comes from a program on this machine: not
// from elsewhere through a proxy here, nor from a web page of another site that
// a browser here shows, which may name this server by a host of its own.
func (c call) isLocal() bool {
	addr, err := netip.ParseAddrPort(c.remote)
	if err != nil || !addr.Addr().Unmap().IsLoopback() || c.forwarded || !isLocalHost(c.host) {
		return false
	}
	if c.crossSite {
		return false
	}
	for _, o := range c.origin {
		u, err := url.Parse(o)
		if err != nil || !isLocalHost(u.Host) {
			return false
		}
	}
	return true
}

// crossSite reports whether a browser says that another site made a request:
// an image on a page anywhere needs no Origin to be asked for.
func crossSite(site []string) bool {
	for _, s := range site {
		if s != "none" && s != "same-origin" {
			return true
		}
	}
	return false
}

func isLocalHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
