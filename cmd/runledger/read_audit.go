package main

import (
	"fmt"
	"strings"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/client"
)

type auditCmd struct {
	List          auditListCmd          `cmd:"" default:"withargs" help:"What entries exist."`
	Identity      auditIdentityCmd      `cmd:"" help:"Who logged in, when, how."`
	Authorization auditAuthorizationCmd `cmd:"" help:"What access was allowed or denied."`
	Access        auditAccessCmd        `cmd:"" help:"Who viewed or exported logs."`
	Integrity     auditIntegrityCmd     `cmd:"" help:"Was anything tampered with."`
	Exports       auditExportsCmd       `cmd:"" help:"What exports exist."`
}

// auditFlags narrow the lists of audit entries.
type auditFlags struct {
	readFlags
	listFlags
	EventType     string `help:"Of this event, such as LimitBreached." placeholder:"EVENT"`
	EntityType    string `help:"About this kind of thing, such as LIMIT." placeholder:"TYPE"`
	EntityID      string `help:"About this thing." placeholder:"ID"`
	ActorType     string `help:"HUMAN, AGENT, SYSTEM." placeholder:"TYPE"`
	ActorID       string `help:"By this actor." placeholder:"ID"`
	RunID         string `help:"Of this run, or about it." placeholder:"ID"`
	CorrelationID string `help:"With this correlation id." placeholder:"ID"`
	IsSynthetic   *bool  `help:"Synthetic entries only, or none." negatable:""`
	windowFlags
}

func (f *auditFlags) filter() client.AuditFilter {
	return client.AuditFilter{
		EventType: f.EventType, EntityType: f.EntityType, EntityID: f.EntityID, ActorType: f.ActorType, ActorID: f.ActorID,
		RunID: f.RunID, CorrelationID: f.CorrelationID, IsSynthetic: f.IsSynthetic, Window: f.window(),
	}
}

// audited lists audit entries of one kind, and shows them by show.
func audited[P, E any](
	e *env, f *auditFlags, what string,
	ask func(r *readAPI, q client.AuditFilter, p client.Paging) (*P, error),
	look func(*P) ([]E, *answer.Page),
	show func(s *screen, list []E),
) error {
	return f.with(e, func(r *readAPI) error {
		pages, err := take(r, f.want(), func(p client.Paging) (*P, error) { return ask(r, f.filter(), p) },
			func(l *P) turn {
				entries, page := look(l)
				return turn{len(entries), page.HasMore, page.NextCursor}
			})
		if err != nil || e.JSON {
			return err
		}
		var all []E
		var last *answer.Page
		for _, l := range pages {
			var entries []E
			entries, last = look(l)
			all = append(all, entries...)
		}
		if len(all) > 0 {
			show(e.screen(false), all)
		}
		r.listed(what, len(all), last.HasMore, last.Total, last.TotalIsExact, last.FiltersApplied)
		return nil
	})
}

type auditListCmd struct{ auditFlags }

// Help implements kong.HelpProvider.
func (auditListCmd) Help() string {
	return `The newest first: governance, access, lifecycle.

    runledger audit --run-id 4bf92f3577b34da6a3ce929d0e0e4736
    runledger audit access --occurred-after 24h`
}

// Run lists audit entries.
func (c *auditListCmd) Run(e *env) error {
	return audited(e, &c.auditFlags, "audit entries",
		func(r *readAPI, q client.AuditFilter, p client.Paging) (*answer.AuditList, error) {
			return r.Audit(e.ctx, q, p)
		},
		func(l *answer.AuditList) ([]answer.AuditEntry, *answer.Page) { return l.Items, &l.Page }, (*screen).entries)
}

func (s *screen) entries(list []answer.AuditEntry) {
	rows := make([][]string, len(list))
	for i := range list {
		a := &list[i]
		run := text(a.Metadata.RunID)
		if run == "" {
			run = text(a.AboutRun)
		}
		rows[i] = []string{
			moment(a.OccurredAt), a.EventType, entity(a), who(a.ActorType, a.ActorID), text(a.Decision), run, reason(a.ActionReason), fmt.Sprint(a.LeafIndex),
		}
	}
	s.table([]column{
		{title: "TIME (UTC)"},
		{title: "EVENT"},
		{title: "ABOUT", free: true},
		{title: "BY", free: true},
		{title: "DECISION", state: true},
		{title: "RUN"},
		{title: "REASON", free: true},
		{title: "LEAF", right: true},
	}, rows)
}

// entity is what an entry is about.
func entity(a *answer.AuditEntry) string { return joined(" ", a.EntityType, a.EntityID) }

// route shortens the routes that a table is full of to what tells them apart.
func route(s string) string { return strings.TrimPrefix(s, "GET /api/v1/logs/") }

type auditIdentityCmd struct{ auditFlags }

// Help implements kong.HelpProvider.
func (auditIdentityCmd) Help() string {
	return `Logins, and the life of API keys.

    runledger audit identity --occurred-after 7d`
}

// Run lists identities.
func (c *auditIdentityCmd) Run(e *env) error {
	return audited(e, &c.auditFlags, "entries",
		func(r *readAPI, q client.AuditFilter, p client.Paging) (*answer.AuditIdentity, error) {
			return r.Identity(e.ctx, q, p)
		},
		func(l *answer.AuditIdentity) ([]answer.AuditEntry, *answer.Page) { return l.Entries, &l.Page }, (*screen).identities)
}

func (s *screen) identities(list []answer.AuditEntry) {
	rows := make([][]string, len(list))
	for i := range list {
		a := &list[i]
		rows[i] = []string{
			moment(a.OccurredAt), a.EventType, entity(a), who(a.ActorType, a.ActorID), strings.Join(a.Roles, ", "), reason(a.Client), fmt.Sprint(a.LeafIndex),
		}
	}
	s.table([]column{
		{title: "TIME (UTC)"},
		{title: "EVENT"},
		{title: "ABOUT", free: true},
		{title: "BY", free: true},
		{title: "ROLES", free: true},
		{title: "CLIENT", free: true},
		{title: "LEAF", right: true},
	}, rows)
}

type auditAuthorizationCmd struct{ auditFlags }

// Help implements kong.HelpProvider.
func (auditAuthorizationCmd) Help() string {
	return `Decisions of access: every read that was let through, and every denial.

    runledger audit authorization --event-type ACCESS_DECISION`
}

// Run lists decisions.
func (c *auditAuthorizationCmd) Run(e *env) error {
	return audited(e, &c.auditFlags, "decisions",
		func(r *readAPI, q client.AuditFilter, p client.Paging) (*answer.AuditAuthorization, error) {
			return r.Authorization(e.ctx, q, p)
		},
		func(l *answer.AuditAuthorization) ([]answer.AuthorizationDecision, *answer.Page) {
			return l.Decisions, &l.Page
		}, (*screen).decisions)
}

func (s *screen) decisions(list []answer.AuthorizationDecision) {
	rows := make([][]string, len(list))
	for i := range list {
		d := &list[i]
		subject := text(d.Subject)
		if d.Subject == nil {
			subject = nobodyShown
		}
		rows[i] = []string{
			moment(d.Timestamp), d.Decision, subject, strings.Join(d.Roles, ", "), route(d.Action), d.Resource, text(d.RuleID), reason(d.Reason), fmt.Sprint(d.LeafIndex),
		}
	}
	s.table([]column{
		{title: "TIME (UTC)"},
		{title: "DECISION", state: true},
		{title: "WHO", free: true},
		{title: "ROLES", free: true},
		{title: "ACTION", free: true},
		{title: "RESOURCE"},
		{title: "RULE", free: true},
		{title: "REASON", free: true},
		{title: "LEAF", right: true},
	}, rows)
}

type auditAccessCmd struct{ auditFlags }

// Help implements kong.HelpProvider.
func (auditAccessCmd) Help() string {
	return `Each read and export, with the digest of what was disclosed.

    runledger audit access --run-id 4bf92f3577b34da6a3ce929d0e0e4736`
}

// Run lists accesses.
func (c *auditAccessCmd) Run(e *env) error {
	return audited(e, &c.auditFlags, "accesses",
		func(r *readAPI, q client.AuditFilter, p client.Paging) (*answer.AuditAccess, error) {
			return r.Access(e.ctx, q, p)
		},
		func(l *answer.AuditAccess) ([]answer.AuditEntry, *answer.Page) { return l.AccessEvents, &l.Page }, (*screen).accesses)
}

func (s *screen) accesses(list []answer.AuditEntry) {
	rows := make([][]string, len(list))
	for i := range list {
		a := &list[i]
		rows[i] = []string{
			moment(a.OccurredAt), a.EventType, who(a.ActorType, a.ActorID), strings.Join(a.Roles, ", "), route(text(a.Route)), text(a.AboutRun),
			number(a.StatusCode), number(a.RecordCount), number(a.ByteCount), reason(a.ViewDigest), fmt.Sprint(a.LeafIndex),
		}
	}
	s.table([]column{
		{title: "TIME (UTC)"},
		{title: "EVENT"},
		{title: "BY", free: true},
		{title: "ROLES", free: true},
		{title: "ROUTE"},
		{title: "RUN"},
		{title: "STATUS", right: true},
		{title: "RECORDS", right: true},
		{title: "BYTES", right: true},
		{title: "DIGEST", free: true},
		{title: "LEAF", right: true},
	}, rows)
}

type auditIntegrityCmd struct{ readFlags }

// Help implements kong.HelpProvider.
func (auditIntegrityCmd) Help() string {
	return `What continuous verification knows. Exit status 1: something was tampered with. Who does not trust the server exports the log and verifies that.

    runledger audit integrity`
}

// Run shows the integrity of the log.
func (c *auditIntegrityCmd) Run(e *env) error {
	return c.with(e, func(r *readAPI) error {
		i, err := r.Integrity(e.ctx)
		if err != nil {
			return err
		}
		if err := r.show(func() { e.screen(false).integrity(i) }); err != nil {
			return err
		}
		if i.IntegrityStatus == "compromised" {
			return exit(statusBad)
		}
		return nil
	})
}

func (s *screen) integrity(i *answer.AuditIntegrity) {
	s.printf("%s\n", s.paint(colourOf(i.IntegrityStatus), clean(i.IntegrityStatus)))
	p := pairs{s, 12}
	p.put("why", text(i.Why))
	verified := "never"
	if i.LastVerified != nil {
		verified = i.LastVerified.String()
	}
	p.put("verified", fmt.Sprintf("%s, %d of %d leaves", verified, i.VerifiedThrough, i.TreeSize))
	p.put("root", i.RootHash)
	for n := range i.Witnesses {
		w := &i.Witnesses[n]
		said := "nothing cosigned"
		if w.Time != nil {
			said = fmt.Sprintf("cosigned %d leaves, %s", w.Size, moment(*w.Time))
		}
		p.put("witness", joined(": ", w.Name, joined("; ", said, text(w.Error))))
	}
	for _, t := range i.Timestamps {
		p.put("timestamp", fmt.Sprintf("%s: %d leaves, %s", t.Authority, t.Size, moment(t.Time)))
	}
	// Not folded: it is to be copied.
	for n, line := range cleanLines(strings.TrimRight(i.Checkpoint, "\n")) {
		name := ""
		if n == 0 {
			name = "checkpoint"
		}
		p.raw(name, line)
	}
	rows := make([][]string, len(i.Anomalies))
	for n := range i.Anomalies {
		a := &i.Anomalies[n]
		where := joined(".", a.Table, text(a.Column))
		if a.LeafUntil > a.LeafFrom {
			where += fmt.Sprintf(" leaves %d to %d", a.LeafFrom, a.LeafUntil-1)
		}
		rows[n] = []string{moment(a.FirstSeen), a.Code, where, text(a.Expected), text(a.Found), a.Message}
	}
	s.section("Anomalies", []column{
		{title: "FIRST SEEN (UTC)"}, {title: "CODE"}, {title: "WHERE"}, {title: "EXPECTED", free: true}, {title: "FOUND", free: true}, {title: "WHAT", free: true},
	}, rows)
}

type auditExportsCmd struct {
	readFlags
	listFlags
	RunID string `help:"Of this run." placeholder:"ID"`
	windowFlags
}

// Help implements kong.HelpProvider.
func (auditExportsCmd) Help() string {
	return `Each in its newest state.

    runledger audit exports`
}

// Run lists exports.
func (c *auditExportsCmd) Run(e *env) error {
	return c.with(e, func(r *readAPI) error {
		filter := client.ExportFilter{RunID: c.RunID, Window: c.window()}
		pages, err := take(r, c.want(), func(p client.Paging) (*answer.AuditExports, error) { return r.Exports(e.ctx, filter, p) },
			func(l *answer.AuditExports) turn { return turn{len(l.Exports), l.HasMore, l.NextCursor} })
		if err != nil || e.JSON {
			return err
		}
		var all []answer.ExportState
		for _, l := range pages {
			all = append(all, l.Exports...)
		}
		if len(all) > 0 {
			e.screen(false).exports(all)
		}
		last := pages[len(pages)-1]
		r.listed("exports", len(all), last.HasMore, last.Total, last.TotalIsExact, last.FiltersApplied)
		return nil
	})
}

func (s *screen) exports(list []answer.ExportState) {
	rows := make([][]string, len(list))
	for i := range list {
		x := &list[i]
		rows[i] = []string{
			moment(x.Metadata.OccurredAt), x.ExportID, x.Scope, x.Format, x.Status, text(x.AboutRun), number(x.RecordCount), number(x.SizeBytes),
			reason(x.RequestedBy), text(x.Checksum), fmt.Sprint(x.LeafIndex),
		}
	}
	s.table([]column{
		{title: "TIME (UTC)"},
		{title: "EXPORT"},
		{title: "SCOPE"},
		{title: "FORMAT"},
		{title: "STATUS", state: true},
		{title: "RUN"},
		{title: "RECORDS", right: true},
		{title: "BYTES", right: true},
		{title: "BY", free: true},
		{title: "CHECKSUM", free: true},
		{title: "LEAF", right: true},
	}, rows)
}
