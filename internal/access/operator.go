package access

import (
	"net/http"

	"github.com/runledger/runledger/evidence"
)

// ruleOperator is the id of what lets the operator read: not a rule of the file,
// but that the data directory is theirs.
const ruleOperator = "operator"

// operatorRows bounds a page of the operator's.
const operatorRows = 1000

// Operator returns a way to a mux for who may open the data directory itself and
// so needs no rule: nothing is hidden and no range too wide. Each request is
// recorded like any other, in the log of a tenant, as done by a person: by is a
// fit name, such as cli:ada.
func (g *Gate) Operator(mux *http.ServeMux, tenant string, by Actor) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := g.cfg.Now()
		p := Principal{
			Tenant: tenant, Credential: by.ID, Role: ruleOperator, ActorKind: by.Kind,
			Permissions: Set(LogsRead | LogsReadContent | LogsExport | AuditRead),
		}
		rule := &Rule{ID: ruleOperator, Record: RecordView}
		if known, ok := g.cfg.Rules.Match(r.Method, r.URL.EscapedPath(), g.cfg.Environment, start); ok {
			rule.Topic, rule.Record = known.Topic, known.Record
		}
		_, pattern := mux.Handler(r)
		view := &View{}
		ctx := withGrant(With(r.Context(), p), Grant{Principal: p, Rule: rule.ID, Authority: Authority{
			IncludeSynthetic: true, MaxRows: operatorRows, ExportAllowed: true,
		}}, view)
		r = r.WithContext(ctx)
		r.Pattern = pattern
		d := &disclosure{
			gate: g, w: w, request: r, rule: rule, principal: p, view: view,
			start: evidence.MicrosOf(start), header: http.Header{},
		}
		d.serve(mux, r.WithContext(withDisclosure(ctx, d)))
	})
}
