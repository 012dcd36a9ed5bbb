package access

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// append makes the one record of the request durable, in the log of the tenant
// it is about. A client who has gone changes nothing.
func (d *disclosure) append(ctx context.Context, digest string, size int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	r, err := d.entry(ctx, digest, size)
	if err != nil {
		return err
	}
	return d.gate.append(ctx, d.principal.logTenant(), r)
}

// entry returns the record of the request. What the handler refused is a
// denial and no view.
func (d *disclosure) entry(ctx context.Context, digest string, size int64) (*evidence.Record, error) {
	status := cmp.Or(d.status, d.view.Status, http.StatusOK)
	topic := cmp.Or(d.rule.Topic, "unknown")
	event, decision, entityType, entityID := d.event(status), "ALLOWED", cmp.Or(d.view.EntityType, "LOG"), cmp.Or(d.view.EntityID, topic)
	if status == http.StatusForbidden {
		event, decision, entityType, entityID = eventDecision, "DENIED", "RBAC", topic
	}
	r := auditRecord(d.start, event, entityType, entityID)
	r.ID = ledger.NewID(d.start)
	r.SetText("decision", decision)
	r.SetText("rule_id", d.rule.ID)
	r.SetText("route", RouteName(d.request.Pattern))
	r.SetText("about_run", d.view.Run)
	r.SetInt("status_code", int64(status))
	r.SetInt("record_count", d.view.Records)
	r.SetInt("byte_count", size)
	r.SetText("credential_id", d.principal.Credential)
	r.SetNames("roles", []string{d.principal.Role})
	r.SetSealed("/view_digest", evidence.QuoteJSON(digest))
	if status == http.StatusForbidden {
		if why := d.detail(); why != "" {
			r.SetSealed("/action_reason", evidence.QuoteJSON(why))
		}
	}
	if err := d.gate.setRequest(ctx, d.principal.logTenant(), r, d.request); err != nil {
		return nil, err
	}
	d.principal.act(r)
	return r, nil
}

func (d *disclosure) event(status int) string {
	switch {
	case d.view.Event == eventView || d.view.Event == eventExport:
		return d.view.Event
	case d.rule.Record == RecordExport && status < http.StatusBadRequest:
		return eventExport
	}
	return eventView
}

// detail returns what a problem says, or "".
func (d *disclosure) detail() string {
	var p struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(d.body.Bytes(), &p) != nil {
		return ""
	}
	return p.Detail
}
