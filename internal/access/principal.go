package access

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
)

// ErrUnauthenticated says that a request has no valid credential: 401, with
// WWW-Authenticate: Bearer. It wraps no sentinel of package evidence, and is the
// one that the table of package problem knows.
var ErrUnauthenticated = problem.ErrUnauthenticated

// Principal is who makes a request. It is a small value: copy it. The zero
// value may do nothing.
type Principal struct {
	// Tenant whose log the request is about: the credential's, or the one that
	// a credential of the platform named; "" where it named none.
	Tenant string
	// Credential is the public id, fit as a name: credential_id, producer.
	Credential  string
	Role        string
	Permissions Set
	// Platform says that the credential is of the platform.
	Platform bool
	// ActorKind is what acts: SYSTEM for a key, HUMAN for a person who logged in.
	ActorKind string
	// Person is who logged in, as the identity provider names them. It is sealed
	// wherever it is recorded.
	Person string
	// Session says that the credential is the session of a console: something that
	// a browser sends by itself. Rules of tier KEY do not take it.
	Session bool
}

// NeedTenant returns the error of a request that must be about a tenant.
func (p Principal) NeedTenant() error {
	if p.Tenant == "" {
		return invalid(headerTenant, "is required: a credential of the platform says whose log it is about")
	}
	return nil
}

// Actor returns who acts by the public id of their credential: it is stored in
// rows and listed, where the name of a person may not be.
func (p Principal) Actor() Actor { return Actor{Kind: p.ActorKind, ID: p.Credential} }

// act says in a record who acts, a person by the name that is sealed there.
func (p Principal) act(r *evidence.Record) {
	a := p.Actor()
	if p.Person != "" {
		a.ID = p.Person
	}
	a.set(r)
}

// logTenant is the tenant whose log takes what the principal does.
func (p Principal) logTenant() string { return logTenant(p.Tenant) }

func logTenant(tenant string) string {
	if tenant == "" {
		return evidence.SystemTenant
	}
	return tenant
}

// Kinds of actor (fields.md).
const (
	Human  = "HUMAN"
	System = "SYSTEM"
)

// Actor is who creates or revokes a credential.
type Actor struct {
	Kind string // Human or System
	ID   string // cli:<user of the operating system>, a credential id
}

// String returns kind:id, as it is stored and listed.
func (a Actor) String() string { return strings.ToLower(a.Kind) + ":" + a.ID }

// parseActor reads what String wrote. What else stands there is a system.
func parseActor(s string) Actor {
	if id, ok := strings.CutPrefix(s, "human:"); ok && id != "" {
		return Actor{Human, id}
	}
	return Actor{System, strings.TrimPrefix(s, "system:")}
}

// set says in a record who acts.
func (a Actor) set(r *evidence.Record) {
	r.SetText("actor_type", a.Kind)
	if a.Kind == Human {
		r.SetHumanActor(a.ID)
	} else {
		r.SetText("system_id", a.ID)
	}
}

type principalKey struct{}

// With puts a principal into the context of its request.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// From returns the principal of a request.
func From(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok
}

// reason says why a request is not authenticated. The zero value is none.
type reason uint8

const (
	reasonMissing reason = iota + 1
	reasonMalformed
	reasonSeveral
	reasonUnknown
	reasonWrong
	reasonExpired
	reasonRevoked
	reasonToken
	reasonAudience
	reasonNotYet
	reasonTenant
	reasonRole
	reasonClaims
	reasonCount
)

var reasonNames = [reasonCount]string{
	reasonMissing: "missing", reasonMalformed: "malformed", reasonSeveral: "several",
	reasonUnknown: "unknown", reasonWrong: "wrong_secret", reasonExpired: "expired", reasonRevoked: "revoked",
	reasonToken: "bad_token", reasonAudience: "wrong_audience", reasonNotYet: "not_yet_valid",
	reasonTenant: "no_tenant", reasonRole: "no_role", reasonClaims: "bad_claims",
}

// unauthenticated is the error of one request. Only who has the secret is told
// more than that the credential is bad.
type unauthenticated struct {
	why      reason
	recorded bool // it has a record of its own and is not counted
}

func refuse(why reason) error { return &unauthenticated{why: why} }

// Error implements error.
func (e *unauthenticated) Error() string {
	if text, ok := reasonTexts[e.why]; ok {
		return text
	}
	return ErrUnauthenticated.Error()
}

// reasonTexts are for who is told more than that the credential is bad.
var reasonTexts = map[reason]string{
	reasonMissing:  "a credential is required",
	reasonSeveral:  "two different credentials in one request",
	reasonExpired:  "the credential has expired",
	reasonRevoked:  "the credential was revoked",
	reasonAudience: "the token is for another audience",
	reasonNotYet:   "the token is not valid yet",
	reasonTenant:   "the token names no tenant that exists",
	reasonRole:     "the token gives no role, or several, or one that does not go with its tenant",
	reasonClaims:   "a claim of the token is missing or of another form than it must be",
}

// Unwrap returns ErrUnauthenticated.
func (e *unauthenticated) Unwrap() error { return ErrUnauthenticated }

// unavailable makes an error of the store or ledger one that fails closed; what
// has a meaning of its own keeps it.
func unavailable(what string, err error) error {
	if errors.Is(err, evidence.ErrUnavailable) || errors.Is(err, evidence.ErrTampered) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, evidence.ErrUnavailable, err)
}
