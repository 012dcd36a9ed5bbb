package access

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"strconv"
	"sync"

	"github.com/runledger/runledger/evidence"
)

// seen remembers keys of records that are durable, so that they are not
// appended again with every request. It is bounded: what it forgets is appended
// once more, which adds nothing.
type seen struct {
	limit int

	mu   sync.Mutex
	keys map[string]struct{}
}

func newSeen(limit int) *seen { return &seen{limit: limit, keys: map[string]struct{}{}} }

func (s *seen) has(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.keys[key]
	return ok
}

func (s *seen) add(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) >= s.limit {
		clear(s.keys)
	}
	s.keys[key] = struct{}{}
}

// key is the natural key of the LOGIN: a person's session, which auth_time
// tells through all tokens of it, else each token by itself.
func (s *login) key() string {
	session := strconv.FormatInt(int64(s.began), 10)
	if s.began == 0 {
		session = "token " + strconv.FormatInt(int64(cmp.Or(s.issued, s.expires)), 10) + " " + s.id
	}
	return "oidc:" + hex.EncodeToString(pseudonym(s.secret, eventLogin, s.issuer, s.subject, session)[:16]) + ":" + eventLogin
}

// loginRecord returns an audit entry about a person at the door. Of several
// with its key, by whatever process, the first stays.
func loginRecord(c call, s *login, at evidence.Micros, event, key string) *evidence.Record {
	r := auditRecord(at, event, "IDENTITY", s.credential)
	r.NaturalKey = key
	r.Said = []string{"credential_id", "event_type"}
	r.SetText("credential_id", s.credential)
	r.SetText("route", RouteName(c.route))
	if c.remote != "" {
		agent := ""
		if c.request != nil {
			agent = c.request.UserAgent()
		}
		setJSON(r, "/client", map[string]string{"address": c.remote, "agent": agent[:min(len(agent), maxAgent)]})
	}
	// Who is not let in may not have said what they are called. All that is sealed here is about them.
	person := cmp.Or(s.person, s.subject)
	Actor{Human, person}.set(r)
	r.SetSealed("/subject", evidence.QuoteJSON(person))
	return r
}

// login records that a session began, once, before its first request is let in.
func (g *Gate) login(c call, s *login, p Principal) error {
	key, known := s.key(), p.logTenant()+" "+s.key() // a person may be of several tenants
	if g.logins.has(known) {
		return nil
	}
	now := g.now()
	r := loginRecord(c, s, min(cmp.Or(s.began, s.issued, now), now), eventLogin, key)
	r.SetText("decision", "ALLOWED")
	r.SetNames("roles", []string{s.role})
	r.SetInt("valid_until", int64(s.expires))
	setJSON(r, "/after_state", map[string]any{
		"method": "oidc", "issuer": s.issuer, "subject": s.subject, "role": s.role, "expires_at": s.expires, "amr": append([]string{}, s.methods...),
	})
	if err := g.appendLogin(c.ctx, p.logTenant(), r); err != nil {
		return err
	}
	g.logins.add(known)
	return nil
}

func (g *Gate) appendLogin(ctx context.Context, tenant string, r *evidence.Record) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	return g.append(ctx, tenant, r)
}

// loginFailed refuses a token whose signature is right. One of a tenant is
// recorded there, at most once a person and minute; all others are counted among
// the requests without a valid credential, as is one that cannot be recorded.
// The returned error is ErrUnauthenticated in any case.
func (g *Gate) loginFailed(c call, s *login) error {
	refused := &unauthenticated{why: s.why}
	now := g.now()
	key := s.credential + ":" + eventFailed + ":" + strconv.FormatInt(int64(now/minute), 10)
	if s.tenant == "" || g.logins.has(s.tenant+" "+key) {
		return refused
	}
	r := loginRecord(c, s, now, eventFailed, key)
	r.SetText("decision", "DENIED")
	r.SetInt("status_code", 401)
	r.SetSealed("/action_reason", evidence.QuoteJSON(refused.Error()))
	if err := g.appendLogin(c.ctx, s.tenant, r); err != nil {
		if !errors.Is(err, evidence.ErrUnavailable) {
			g.cfg.Logger.ErrorContext(c.ctx, "a failed login is not recorded", "err", err)
		}
		return refused
	}
	g.logins.add(s.tenant + " " + key)
	refused.recorded = true
	return refused
}
