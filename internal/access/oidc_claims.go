package access

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
)

// skew is how far the clock of an identity provider may be ahead.
const skew = minute

// maxPerson bounds the name of a person, in bytes.
const maxPerson = 256

// login is what the claims of a token say, whose signature is right.
type login struct {
	issuer     string
	secret     []byte // of pseudonyms
	subject    string
	credential string
	tenant     string // "" where it names none that exists
	role       string
	person     string
	id         string          // jti
	issued     evidence.Micros // 0: it does not say
	began      evidence.Micros // auth_time; 0: it does not say
	notBefore  evidence.Micros
	expires    evidence.Micros // the earlier of exp and access_until
	methods    []string        // amr
	why        reason          // it is refused, 0 where it is not
}

// claims are those of a token. Unlike the fields of a struct their names are
// compared letter by letter.
type claims map[string]json.RawMessage

// find returns a claim by its name, or by the way that dots lead through
// objects; nil where there is none.
func (c claims) find(name string) json.RawMessage {
	if v, ok := c[name]; ok {
		return v
	}
	head, rest, ok := strings.Cut(name, ".")
	var inner claims
	if !ok || json.Unmarshal(c[head], &inner) != nil {
		return nil
	}
	return inner.find(rest)
}

// text returns a claim that is a text, or "".
func (c claims) text(name string) (s string) {
	if json.Unmarshal(c.find(name), &s) != nil {
		return ""
	}
	return s
}

// texts returns a claim that is a text or a list of texts; ok is false where it
// is anything else.
func (c claims) texts(name string) (list []string, ok bool) {
	v := c.find(name)
	if v == nil || string(v) == "null" {
		return nil, true
	}
	if s := c.text(name); s != "" {
		return []string{s}, true
	}
	return list, json.Unmarshal(v, &list) == nil
}

// time returns a claim that is a number of seconds since 1970 (RFC 7519), or
// where text is true an RFC 3339 time; 0 where there is none.
func (c claims) time(name string, text bool) (m evidence.Micros, ok bool) {
	v := c.find(name)
	if v == nil || string(v) == "null" {
		return 0, true
	}
	if s := c.text(name); s != "" && text {
		at, err := time.Parse(time.RFC3339, s)
		m = evidence.MicrosOf(at)
		return m, err == nil && m > 0 && m.InRange()
	}
	var seconds float64
	if json.Unmarshal(v, &seconds) != nil || !(seconds > 0) {
		return 0, false
	}
	m = evidence.Micros(math.Min(seconds, 1e12) * 1e6)
	return m, m.InRange()
}

// has reports whether a claim has a value, or is a list that holds it. A number
// or truth value is compared by its JSON text.
func (c claims) has(name, value string) bool {
	v := c.find(name)
	var s string
	var list []json.RawMessage
	switch {
	case v == nil:
		return false
	case json.Unmarshal(v, &list) != nil:
		list = []json.RawMessage{v}
	}
	return slices.ContainsFunc(list, func(v json.RawMessage) bool {
		if json.Unmarshal(v, &s) == nil && string(v) != "null" {
			return s == value
		}
		return string(bytes.TrimSpace(v)) == value
	})
}

// session reads the claims of a token. why is set where nothing can be said of
// whose it is; what else is wrong is in the login.
func (i *issuer) session(text []byte) (s *login, why reason) {
	var c claims
	if json.Unmarshal(text, &c) != nil || c["iss"] == nil || c.text("iss") != i.Issuer.Issuer {
		return nil, reasonToken
	}
	s = &login{issuer: i.Issuer.Issuer, secret: i.secret, subject: c.text("sub")}
	if s.subject == "" || len(s.subject) > maxPerson {
		return nil, reasonClaims
	}
	if c["events"] != nil { // a token that tells of a logout, signed with the same keys
		return nil, reasonToken
	}
	s.credential = personID(s.secret, s.issuer, s.subject)
	s.id = c.text("jti")
	s.methods, _ = c.texts("amr")
	s.why = i.tenantOf(c, s)
	for _, step := range []func(claims, *login) reason{i.audience, times, i.required, i.roleOf, i.personOf} {
		if s.why == 0 {
			s.why = step(c, s)
		}
	}
	return s, 0
}

// tenantOf reads the tenant, before all else: what is refused stands in its log.
func (i *issuer) tenantOf(c claims, s *login) reason {
	s.tenant = i.Tenant
	if i.TenantClaim == "" || c.find(i.TenantClaim) == nil {
		return 0
	}
	t := c.text(i.TenantClaim)
	if !evidence.ValidTenant(t) || t == evidence.SystemTenant {
		return reasonTenant
	}
	s.tenant = t
	return 0
}

func (i *issuer) audience(c claims, _ *login) reason {
	if list, ok := c.texts("aud"); !ok || !slices.Contains(list, i.Audience) {
		return reasonAudience
	}
	return 0
}

// times reads when the token counts; login.valid compares that with the clock.
func times(c claims, s *login) reason {
	var good [5]bool
	var until evidence.Micros
	s.expires, good[0] = c.time("exp", false)
	s.notBefore, good[1] = c.time("nbf", false)
	s.issued, good[2] = c.time("iat", false)
	s.began, good[3] = c.time("auth_time", false)
	until, good[4] = c.time("access_until", true)
	if slices.Contains(good[:], false) || s.expires == 0 {
		return reasonClaims
	}
	if until != 0 {
		s.expires = min(s.expires, until)
	}
	return 0
}

func (i *issuer) required(c claims, _ *login) reason {
	for name, value := range i.RequiredClaims {
		if !c.has(name, value) {
			return reasonClaims
		}
	}
	return 0
}

// roleOf finds the one role that the token gives. Of several none is taken:
// they are different jobs, and nothing is guessed.
func (i *issuer) roleOf(c claims, s *login) reason {
	values, ok := c.texts(i.RoleClaim)
	if !ok {
		return reasonClaims
	}
	for _, v := range values {
		role := i.RoleMap[v]
		if role != "" && s.role != "" && role != s.role {
			return reasonRole
		}
		if role != "" {
			s.role = role
		}
	}
	switch {
	case s.role == "":
		return reasonRole
	case s.tenant == "" && s.role != RolePlatformAdmin:
		return reasonTenant
	case s.tenant != "" && s.role == RolePlatformAdmin, !roleFits(s.tenant, s.role):
		return reasonRole
	}
	return 0
}

func (i *issuer) personOf(c claims, s *login) reason {
	s.person = c.text(i.ActorClaim)
	if s.person == "" || len(s.person) > maxPerson {
		return reasonClaims
	}
	return 0
}

// valid says whether the token counts now: before expires, not at it.
func (s *login) valid(now evidence.Micros) reason {
	switch {
	case now >= s.expires:
		return reasonExpired
	case max(s.notBefore, s.issued) > now+skew:
		return reasonNotYet
	case s.role == RoleAuditor && s.expires > now+maxAuditor:
		return reasonClaims
	}
	return 0
}
