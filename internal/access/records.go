package access

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// Events that this package records.
const (
	eventCreated  = "API_KEY_CREATED"
	eventRevoked  = "API_KEY_REVOKED"
	eventUsed     = "API_KEY_USED_FIRST"
	eventDecision = "ACCESS_DECISION"
	eventChange   = "AUTH_CHANGE"
	eventDenied   = "ACCESS_DENIED"
	eventView     = "LOG_VIEW"
	eventExport   = "LOG_EXPORT"
	eventLogin    = "LOGIN"
	eventFailed   = "LOGIN_FAILED"
)

const component = "auth"

// append makes records of the server itself durable. What goes wrong is the
// server's fault: evidence.ErrUnavailable, or ErrTampered, and nothing that
// would say something about the request. Whether they are synthetic follows from
// the tenant and from nothing that a credential says of itself: no role can hide
// its looks.
func (g *Gate) append(ctx context.Context, tenant string, records ...*evidence.Record) error {
	for _, r := range records {
		if tenant == evidence.SyntheticTenant {
			r.SetBool("is_synthetic", true)
		}
		if err := r.Complete(); err != nil {
			return notRecorded(err)
		}
	}
	if _, err := g.cfg.Ledger.Append(ctx, tenant, records, ledger.AppendOptions{}); err != nil {
		return notRecorded(err)
	}
	return nil
}

func notRecorded(err error) error {
	if errors.Is(err, evidence.ErrTampered) {
		return fmt.Errorf("record access: %w", err)
	}
	return fmt.Errorf("%w: the access cannot be recorded: %s", evidence.ErrUnavailable, err.Error())
}

func systemRecord(at evidence.Micros, event, severity, summary string) *evidence.Record {
	r := &evidence.Record{Kind: evidence.KindSystem, OccurredAt: at}
	r.SetText("source_domain", "SYSTEM")
	r.SetText("source_component", "SystemRecordWriter")
	r.SetText("component", component)
	r.SetText("event_type", event)
	r.SetText("severity", severity)
	r.SetSealed("/summary", evidence.QuoteJSON(summary))
	return r
}

func auditRecord(at evidence.Micros, event, entityType, entityID string) *evidence.Record {
	r := &evidence.Record{Kind: evidence.KindAudit, OccurredAt: at}
	r.SetText("source_domain", "LOGS")
	r.SetText("source_component", "AuditLedgerWriter")
	r.SetText("event_type", event)
	r.SetText("entity_type", entityType)
	r.SetText("entity_id", entityID)
	return r
}

// setJSON seals plain data.
func setJSON(r *evidence.Record, path string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("access: " + err.Error()) // plain data of this package
	}
	r.SetSealed(path, b)
}

// naturalKey is that of an event in the life of a key, each of which happens
// once.
func naturalKey(id, event string) string { return "apikey:" + id + ":" + event }

// recorded reports whether an event of a key has its record.
func (g *Gate) recorded(ctx context.Context, k store.APIKey, event string) (bool, error) {
	tenant := logTenant(k.Tenant)
	id := evidence.NaturalID(tenant, evidence.KindAudit, naturalKey(k.ID, event))
	found, err := g.cfg.Ledger.FindIDs(ctx, tenant, []evidence.ID{id})
	return len(found) == 1, err
}

// lifeRecord returns the audit entry of an event of a key. It follows from the
// row; where a later program says more, a repeat is still the same record.
func lifeRecord(k store.APIKey, at evidence.Micros, event string, by Actor) *evidence.Record {
	r := auditRecord(at, event, "IDENTITY", k.ID)
	r.NaturalKey = naturalKey(k.ID, event)
	r.Said = []string{"credential_id", "event_type"}
	r.SetText("credential_id", k.ID)
	r.SetNames("roles", []string{k.Role})
	by.set(r)
	return r
}

// changeRecord returns the system record of a creation or revocation.
func changeRecord(k store.APIKey, at evidence.Micros, event, summary string, by Actor) *evidence.Record {
	r := systemRecord(at, eventChange, "INFO", summary)
	r.NaturalKey = naturalKey(k.ID, event)
	r.Said = []string{"event_type"}
	r.SetText("caused_by", by.Kind)
	details := map[string]any{"credential_id": k.ID, "role": k.Role, "change": event}
	if by.Kind == Human { // who stands under their own key, and nowhere else
		r.SetHumanActor(by.ID)
	} else {
		details["by"] = by.String()
	}
	setJSON(r, "/details", details)
	return r
}

func createdRecords(k store.APIKey) []*evidence.Record {
	by := parseActor(k.CreatedBy)
	r := lifeRecord(k, k.CreatedAt, eventCreated, by)
	state := map[string]any{"role": k.Role, "name": k.Name, "scopes": append([]string{}, k.Scopes...), "expires_at": nil}
	if k.ExpiresAt != 0 {
		state["expires_at"] = k.ExpiresAt
		r.SetInt("valid_until", int64(k.ExpiresAt))
	}
	setJSON(r, "/after_state", state)
	return []*evidence.Record{r, changeRecord(k, k.CreatedAt, eventCreated, "A credential with the role "+k.Role+" was created.", by)}
}

func revokedRecords(k store.APIKey, by Actor) []*evidence.Record {
	return []*evidence.Record{
		lifeRecord(k, k.RevokedAt, eventRevoked, by),
		changeRecord(k, k.RevokedAt, eventRevoked, "A credential with the role "+k.Role+" was revoked.", by),
	}
}

// usedRecord is of the credential's own doing. client is the address of the
// first request, "" where it is not known any more.
func usedRecord(k store.APIKey, client string) *evidence.Record {
	r := lifeRecord(k, k.UsedAt, eventUsed, Actor{System, k.ID})
	if client != "" {
		setJSON(r, "/client", map[string]string{"address": client})
	}
	return r
}

// decision is what an ACCESS_DECISION says.
type decision struct {
	allowed  bool
	resource string
	route    string
	reason   string
	rule     string        // id of a rule; "" where only the role decided
	request  *http.Request // nil where it did not come over HTTP
}

// decide records a decision about a principal, in the log it is about.
func (g *Gate) decide(ctx context.Context, p Principal, d decision) error {
	now := g.now()
	r := auditRecord(now, eventDecision, "RBAC", cmp.Or(d.resource, "unknown"))
	r.ID = ledger.NewID(now)
	r.SetText("decision", "DENIED")
	if d.allowed {
		r.SetText("decision", "ALLOWED")
	} else {
		r.SetInt("status_code", 403)
	}
	r.SetText("rule_id", cmp.Or(d.rule, "role:"+p.Role))
	r.SetText("route", RouteName(d.route))
	r.SetText("credential_id", p.Credential)
	r.SetNames("roles", []string{p.Role})
	r.SetSealed("/action_reason", evidence.QuoteJSON(d.reason))
	if d.request != nil {
		if err := g.setRequest(ctx, p.logTenant(), r, d.request); err != nil {
			return err
		}
	}
	p.act(r)
	return g.append(ctx, p.logTenant(), r)
}

// maxAgent bounds what a client says of itself, in bytes.
const maxAgent = 512

// setRequest seals what was asked for and by what.
func (g *Gate) setRequest(ctx context.Context, tenant string, r *evidence.Record, req *http.Request) error {
	query, person, err := g.withoutPersons(ctx, tenant, req.URL.RawQuery)
	if err != nil {
		return err
	}
	if person != "" {
		r.SetSealed("/subject", evidence.QuoteJSON(person))
	}
	agent := req.UserAgent()
	if len(agent) > maxAgent {
		agent = agent[:maxAgent]
	}
	setJSON(r, "/query", map[string]string{"method": req.Method, "path": short(req.URL.EscapedPath()), "query": short(query)})
	setJSON(r, "/client", map[string]string{"address": req.RemoteAddr, "agent": agent})
	return nil
}

// persons are the parameters of a query that may name a person, names those of names, of which one that is not fit
// to be public is likely to.
var (
	persons = map[string]bool{"human_actor_id": true, "actor_id": true, "entity_id": true}
	names   = map[string]bool{"conversation_id": true, "agent_id": true, "correlation_id": true, "component": true, "provider": true, "model": true, "run_id": true}
)

// withoutPersons returns the query of a request as it may be kept for as long as audit entries are. One person that
// the tenant's records name is left in it, and returned: it is about them, and goes when they are erased. Of all others,
// those who were erased among them, a pseudonym stands there; else who looks whether somebody is gone would
// bring them back.
func (g *Gate) withoutPersons(ctx context.Context, tenant, query string) (kept, person string, err error) {
	if query == "" {
		return "", "", nil
	}
	parts := strings.Split(query, "&")
	identity := func() bool { // the entity is a person, or may be one
		for _, part := range parts {
			if of, ok := strings.CutPrefix(part, "entity_type="); ok {
				return of == "IDENTITY"
			}
		}
		return true
	}
	for i, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		name, nameErr := url.QueryUnescape(name)
		value, valueErr := url.QueryUnescape(value)
		if nameErr != nil || valueErr != nil || value == "" || !persons[name] && (!names[name] || evidence.FitName(value)) {
			continue
		}
		known, pseudonym, err := g.cfg.Ledger.KnownPerson(ctx, tenant, value)
		if err != nil {
			return "", "", err
		}
		if known && (person == "" || person == value) {
			person = value
			continue
		}
		if !known && name == "entity_id" && (isID(value) || !identity()) {
			continue // of a rule, a hold, an export
		}
		parts[i] = name + "=" + pseudonym
	}
	return strings.Join(parts, "&"), person, nil
}

// isID reports whether an entity is named by an id that this program gives.
func isID(entity string) bool {
	_, uuid := evidence.ParseID(entity)
	return uuid || strings.HasPrefix(entity, "hold-") || strings.HasPrefix(entity, "erasure-")
}

// maxQuery bounds what a record says of a request's path and of its query, each.
const maxQuery = 8 << 10

// short cuts a text that is too long and names the whole of it by its digest: a
// request must not fill the disk by being recorded.
func short(s string) string {
	if len(s) <= maxQuery {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes, sha256:%x)", strings.ToValidUTF8(s[:maxQuery], ""), len(s), sha256.Sum256([]byte(s)))
}
