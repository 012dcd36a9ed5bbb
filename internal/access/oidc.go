package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
)

// Issuer is an identity provider (OpenID Connect) whose bearer tokens are
// taken, and what its claims mean. A claim is named as it stands in the token;
// where none has that name, the dots of it lead into objects: realm_access.roles.
type Issuer struct {
	// Issuer is its URL, letter by letter as iss has it. Required.
	Issuer string
	// Audience must be among aud. Required.
	Audience string
	// Tenant is whose persons they all are. Where it is empty, TenantClaim says it
	// for each. One of them is required.
	Tenant, TenantClaim string
	// RoleClaim is a text or a list of them, which RoleMap turns into a role of
	// this package; what it does not have gives none. Exactly one must come out.
	// platform_admin is given only to tokens without TenantClaim, observer only to
	// those of the synthetic tenant. Both required.
	RoleClaim string
	RoleMap   map[string]string
	// ActorClaim names the person in evidence, sealed. Default sub.
	ActorClaim string
	// RequiredClaims must have that value, or be a list that holds it.
	RequiredClaims map[string]string
	// AllowHTTP allows an issuer on this machine without TLS.
	AllowHTTP bool
}

// TokenVerifier checks tokens of one issuer.
type TokenVerifier interface {
	// Verify returns the claims of a token, a JSON object, if it is signed by a key
	// of the issuer with an asymmetric algorithm, and its iss is the issuer. It
	// looks at no other claim. An error that wraps evidence.ErrUnavailable says
	// that the keys cannot be had now; any other, that the token is bad.
	Verify(ctx context.Context, token string) (claims []byte, err error)
}

// issuer is an Issuer at work.
type issuer struct {
	Issuer
	verifier TokenVerifier
	secret   []byte // of pseudonyms
}

// settingPseudonyms is the secret under which persons get their public ids. The
// id of a person stands in leaves, for good: without a secret whoever knows an
// address could tell whose it is, also after an erasure. So it is wrapped by the master
// keyset, like all keys: the database alone tells nobody.
const settingPseudonyms = "access_pseudonyms"

// wrappedSecret begins the value of the setting; what earlier versions wrote is the secret in hex.
const wrappedSecret = "wrapped:"

// pseudonyms returns the secret, and makes it where there is none.
func pseudonyms(ctx context.Context, st Store, l Ledger) ([]byte, error) {
	text, err := st.Setting(ctx, settingPseudonyms)
	if errors.Is(err, evidence.ErrNotFound) {
		text, err = makePseudonyms(ctx, st, l)
	}
	if err != nil {
		return nil, err
	}
	if wrapped, ok := strings.CutPrefix(text, wrappedSecret); ok {
		raw, err := base64.StdEncoding.DecodeString(wrapped)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", evidence.ErrTampered, err)
		}
		return l.UnwrapSecret(settingPseudonyms, raw)
	}
	secret, err := hex.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", evidence.ErrTampered, err)
	}
	return secret, keepPseudonyms(ctx, st, l, secret)
}

func keepPseudonyms(ctx context.Context, st Store, l Ledger, secret []byte) error {
	text, err := wrapPseudonyms(l, secret)
	if err != nil {
		return err
	}
	return st.SetSetting(ctx, settingPseudonyms, text)
}

func wrapPseudonyms(l Ledger, secret []byte) (string, error) {
	wrapped, err := l.WrapSecret(settingPseudonyms, secret)
	return wrappedSecret + base64.StdEncoding.EncodeToString(wrapped), err
}

// makePseudonyms makes the secret where no other process does at the same time: two
// that each made one would know one person by two ids. The lease lasts longer than
// who has it may take.
func makePseudonyms(ctx context.Context, st Store, l Ledger) (text string, err error) {
	const lease, within = time.Minute, 20 * time.Second
	ctx, cancel := context.WithTimeout(ctx, lease+within)
	defer cancel()
	var fresh [32]byte
	rand.Read(fresh[:])
	if text, err = wrapPseudonyms(l, fresh[:]); err != nil {
		return "", err
	}
	name, holder := "setting/"+settingPseudonyms, rand.Text()
	for {
		held, err := st.Lease(ctx, name, holder, lease)
		if err != nil {
			return "", err
		}
		if held {
			break
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return "", fmt.Errorf("another process is making it: %w: %w", evidence.ErrUnavailable, ctx.Err())
		}
	}
	defer func() {
		_, rerr := st.Lease(context.WithoutCancel(ctx), name, holder, 0)
		err = errors.Join(err, rerr)
	}()
	ctx, stop := context.WithTimeout(ctx, within)
	defer stop()
	if have, err := st.Setting(ctx, settingPseudonyms); !errors.Is(err, evidence.ErrNotFound) {
		return have, err
	}
	return text, st.SetSetting(ctx, settingPseudonyms, text)
}

func openIssuers(ctx context.Context, cfg Config) (map[string]*issuer, error) {
	if len(cfg.OIDC) > 0 && cfg.Verifier == nil {
		return nil, invalid("oidc", "needs a verifier of tokens")
	}
	out := map[string]*issuer{}
	if len(cfg.OIDC) == 0 {
		return out, nil
	}
	secret, err := pseudonyms(ctx, cfg.Store, cfg.Ledger)
	if err != nil {
		return nil, fmt.Errorf("setting %s: %w", settingPseudonyms, err)
	}
	for _, c := range cfg.OIDC {
		if err := c.check(); err != nil {
			return nil, err
		}
		if out[c.Issuer] != nil {
			return nil, invalid("oidc.issuer", "%s stands twice", c.Issuer)
		}
		if c.ActorClaim == "" {
			c.ActorClaim = "sub"
		}
		v, err := cfg.Verifier(c)
		if err != nil {
			return nil, fmt.Errorf("oidc %s: %w", c.Issuer, err)
		}
		out[c.Issuer] = &issuer{c, v, secret}
	}
	return out, nil
}

func (i Issuer) check() error {
	switch {
	case i.Issuer == "":
		return invalid("oidc.issuer", "is required")
	case i.Audience == "":
		return invalid("oidc.audience", "is required: a token for anybody is a token for nobody")
	case (i.Tenant == "") == (i.TenantClaim == ""):
		return invalid("oidc.tenant", "either a tenant or a tenant claim is required")
	case i.Tenant != "" && (!evidence.ValidTenant(i.Tenant) || i.Tenant == evidence.SystemTenant):
		return invalid("oidc.tenant", "must be 1 to 63 characters of [a-z0-9-], and not the system tenant")
	case i.RoleClaim == "" || len(i.RoleMap) == 0:
		return invalid("oidc.role_map", "a role claim and a map of its values to roles are required")
	}
	for value, role := range i.RoleMap {
		if !slices.Contains(Roles(), role) {
			return invalid("oidc.role_map", "%s: must be one of %s", value, strings.Join(Roles(), ", "))
		}
		if role == RolePlatformAdmin && i.Tenant != "" {
			return invalid("oidc.role_map", "platform_admin is a role of the platform, not of a tenant")
		}
		if i.Tenant != "" && !roleFits(i.Tenant, role) {
			return invalid("oidc.role_map", "observer is a role of the tenant %s only", evidence.SyntheticTenant)
		}
	}
	return nil
}

// maxToken bounds a token that is looked at, in bytes.
const maxToken = 16 << 10

// credential returns the credential of a request: a key, or where there are
// identity providers, a token of one.
func (g *Gate) credential(authorization, apiKey []string) (key Credential, token string, err error) {
	if len(g.issuers) == 0 {
		key, err = present(authorization, apiKey)
		return key, "", err
	}
	for _, v := range authorization {
		scheme, rest, _ := strings.Cut(v, " ")
		rest = strings.Trim(rest, " ")
		if !strings.EqualFold(scheme, "bearer") || strings.HasPrefix(rest, keyPrefix) || strings.Count(rest, ".") != 2 {
			continue
		}
		if len(authorization) > 1 || len(apiKey) > 0 {
			return "", "", refuse(reasonSeveral)
		}
		if len(rest) > maxToken {
			return "", "", refuse(reasonMalformed)
		}
		return "", rest, nil
	}
	key, err = present(authorization, apiKey)
	return key, "", err
}

// issuerOf returns whose token it says it is. Nothing it says is believed: the
// issuer's own keys decide.
func (g *Gate) issuerOf(token string) *issuer {
	_, payload, _ := strings.Cut(token, ".")
	payload, _, _ = strings.Cut(payload, ".")
	b, err := base64.RawURLEncoding.DecodeString(payload)
	var says struct {
		Issuer string `json:"iss"`
	}
	if err != nil || json.Unmarshal(b, &says) != nil {
		return nil
	}
	return g.issuers[says.Issuer]
}

// identifyToken finds whose token it is. Its first use in a session is a LOGIN,
// durable before the request is let in.
func (g *Gate) identifyToken(c call) (Principal, error) {
	is := g.issuerOf(c.token)
	if is == nil {
		return Principal{}, refuse(reasonToken)
	}
	text, err := is.verifier.Verify(c.ctx, c.token)
	if errors.Is(err, evidence.ErrUnavailable) {
		return Principal{}, fmt.Errorf("identity provider: %w", err)
	} else if err != nil {
		return Principal{}, refuse(reasonToken)
	}
	s, why := is.session(text)
	if why != 0 {
		return Principal{}, refuse(why)
	}
	if s.tenant != "" {
		if err := g.tenantExists(c.ctx, s.tenant); errors.Is(err, evidence.ErrNotFound) {
			s.tenant, s.why = "", reasonTenant
		} else if err != nil {
			return Principal{}, err
		}
	}
	if s.why == 0 {
		s.why = s.valid(g.now())
	}
	if s.why != 0 {
		return Principal{}, g.loginFailed(c, s)
	}
	p := Principal{
		Tenant: s.tenant, Credential: s.credential, Role: s.role, Permissions: permissionsIn(s.tenant, s.role, nil),
		Platform: s.role == RolePlatformAdmin, ActorKind: Human, Person: s.person,
	}
	return p, g.login(c, s, p)
}

// personID is the credential id of a person: it follows from who they are at
// their provider and a secret of the deployment, and does not tell it.
func personID(secret []byte, issuer, subject string) string {
	return "oidc:" + hex.EncodeToString(pseudonym(secret, "person", issuer, subject)[:8])
}

func pseudonym(secret []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, secret)
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return h.Sum(nil)
}
