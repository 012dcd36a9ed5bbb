package access

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
)

// Guard returns the one way to the routes of a mux. For each request it finds
// the rule, who asks, whether they may, and puts the principal, the grant and
// the view into the context. Where the rule has the request recorded, the answer
// is kept back until its one record is durable; where that fails, nothing of the
// answer leaves (503).
//
// A denial is one ACCESS_DECISION; a request without a valid credential is
// counted (see the package comment). Requests do not wait for one another.
func (g *Gate) Guard(mux *http.ServeMux) http.Handler { return &guard{Gate: g, mux: mux} }

type guard struct {
	*Gate
	mux   *http.ServeMux
	limit int // see disclosure
}

// ServeHTTP implements http.Handler.
func (h *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := h.cfg.Now()
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	rule, _ := h.cfg.Rules.Match(r.Method, r.URL.EscapedPath(), h.cfg.Environment, start)
	if rule != nil && rule.Tier == Public {
		h.mux.ServeHTTP(w, r)
		return
	}
	_, pattern := h.mux.Handler(r)
	r = r.WithContext(r.Context()) // a copy: the pattern is put in
	r.Pattern = pattern
	p, err := h.admit(w, r, rule)
	if err != nil {
		h.cfg.Fail(w, r, err)
		return
	}
	view := &View{}
	grant := Grant{Principal: p, Rule: rule.ID, Authority: rule.For(p.Role)}
	ctx := withGrant(With(r.Context(), p), grant, view)
	if rule.Record != RecordView && rule.Record != RecordExport {
		h.mux.ServeHTTP(w, r.WithContext(ctx))
		return
	}
	d := &disclosure{
		gate: h.Gate, w: w, request: r, rule: rule, principal: p, view: view,
		start: evidence.MicrosOf(start), limit: h.limit, header: http.Header{},
	}
	d.serve(h.mux, r.WithContext(withDisclosure(ctx, d)))
}

// admit says who makes a request and whether the rule lets them. Its denials
// are recorded.
func (h *guard) admit(w http.ResponseWriter, r *http.Request, rule *Rule) (Principal, error) {
	id := "none"
	if rule != nil {
		id = rule.ID
	}
	p, known := From(r.Context()) // who logged in to what stands before the guard
	if !known {
		var err error
		if p, err = h.authenticateHTTP(r, id); err != nil {
			return p, err
		}
	}
	deny := func(resource, why string) error {
		return h.deny(r.Context(), p, decision{resource: resource, route: r.Pattern, reason: why, rule: id, request: r})
	}
	if rule == nil {
		if allow := h.allowed(r); allow != "" {
			return p, methodError(w, allow)
		}
		if r.Pattern == "" {
			return p, fmt.Errorf("there is no such route: %w", evidence.ErrNotFound)
		}
		return p, deny("route", "no rule lets anyone in here")
	}
	if !rule.AnyTenant {
		if err := p.NeedTenant(); err != nil {
			return p, err
		}
	}
	if rule.Tier == KeyTier && p.Session {
		return p, deny("tier", "the session of a console is no credential here")
	}
	if lacks := rule.lacks(p.Permissions); lacks != "" {
		return p, deny(lacks, "the credential has no permission "+lacks)
	}
	if rule.Record == RecordExport {
		return p, h.admitExport(w, r, rule, p, deny)
	}
	return p, nil
}

// admitExport keeps exports, each of which is evidence, from being made by
// accident.
func (h *guard) admitExport(w http.ResponseWriter, r *http.Request, rule *Rule, p Principal, deny func(resource, why string) error) error {
	switch {
	case !rule.For(p.Role).ExportAllowed:
		return deny("export_allowed", "the rule allows no export")
	case isPrefetch(r.Header):
		return deny("prefetch", "an export is not made in advance")
	case r.Method == http.MethodHead:
		return methodError(w, strings.Join(h.cfg.Rules.Methods(r.URL.EscapedPath(), h.cfg.Environment, h.cfg.Now()), ", "))
	}
	return nil
}

// isPrefetch reports whether a browser asks in advance for what nobody has
// asked for yet.
func isPrefetch(h http.Header) bool {
	return slices.ContainsFunc(slices.Concat(h["Sec-Purpose"], h["Purpose"]), func(v string) bool {
		return strings.Contains(strings.ToLower(v), "prefetch")
	})
}

// allowed returns the methods that rules let in at the path of a request, as
// an Allow header has them.
func (h *guard) allowed(r *http.Request) string {
	list := h.cfg.Rules.Methods(r.URL.EscapedPath(), h.cfg.Environment, h.cfg.Now())
	if slices.Contains(list, http.MethodGet) {
		list = append(list, http.MethodHead)
	}
	return strings.Join(list, ", ")
}

func methodError(w http.ResponseWriter, allow string) error {
	w.Header().Set("Allow", allow)
	return fmt.Errorf("%w: it has %s", problem.ErrMethod, allow)
}

// fail answers with a problem. What is the server's own fault is logged.
func (g *Gate) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch k := problem.Write(w, err); {
	case k.Status == http.StatusServiceUnavailable:
		g.cfg.Logger.WarnContext(r.Context(), "request", "route", RouteName(r.Pattern), "err", err)
	case k.Status >= http.StatusInternalServerError:
		g.cfg.Logger.ErrorContext(r.Context(), "request", "route", RouteName(r.Pattern), "err", err)
	}
}
