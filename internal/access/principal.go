package access

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// ErrUnauthenticated says that a request has no valid credential: 401, with
// WWW-Authenticate: Bearer. It wraps no sentinel of package evidence.
var ErrUnauthenticated = errors.New("no or bad credential")

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
}

// NeedTenant returns the error of a request that must be about a tenant.
func (p Principal) NeedTenant() error {
	if p.Tenant == "" {
		return invalid(headerTenant, "is required: a credential of the platform says whose log it is about")
	}
	return nil
}

// Actor returns who acts, as evidence names them.
func (p Principal) Actor() Actor { return Actor{Kind: p.ActorKind, ID: p.Credential} }

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
	reasonCount
)

var reasonNames = [reasonCount]string{
	reasonMissing: "missing", reasonMalformed: "malformed", reasonSeveral: "several",
	reasonUnknown: "unknown", reasonWrong: "wrong_secret", reasonExpired: "expired", reasonRevoked: "revoked",
}

// unauthenticated is the error of one request. Only who has the secret is told
// more than that the credential is bad.
type unauthenticated struct{ why reason }

func refuse(why reason) error { return &unauthenticated{why} }

// Error implements error.
func (e *unauthenticated) Error() string {
	text := ErrUnauthenticated.Error()
	switch e.why {
	case reasonMissing:
		text = "a credential is required"
	case reasonSeveral:
		text = "two different credentials in one request"
	case reasonExpired:
		text = "the credential has expired"
	case reasonRevoked:
		text = "the credential was revoked"
	}
	return text
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
