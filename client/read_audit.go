package client

import (
	"context"
	"iter"

	"github.com/runledger/runledger/answer"
)

const auditLogs = "/audit"

// Audit lists audit entries, the newest first: a page of them.
func (c *Client) Audit(ctx context.Context, f AuditFilter, p Paging) (*answer.AuditList, error) {
	return get[answer.AuditList](ctx, c, auditLogs, f.query(p))
}

// AllAudit lists all audit entries that the filter lets through.
func (c *Client) AllAudit(ctx context.Context, f AuditFilter) iter.Seq2[*answer.AuditEntry, error] {
	return each(pages(Paging{},
		func(p Paging) (*answer.AuditList, error) { return c.Audit(ctx, f, p) },
		func(l *answer.AuditList) (bool, *string) { return nextOf(&l.Page) },
	), func(l *answer.AuditList) []answer.AuditEntry { return l.Items })
}

// Identity lists who logged in, when and how.
func (c *Client) Identity(ctx context.Context, f AuditFilter, p Paging) (*answer.AuditIdentity, error) {
	return get[answer.AuditIdentity](ctx, c, auditLogs+"/identity", f.query(p))
}

// AllIdentity is Identity without pages.
func (c *Client) AllIdentity(ctx context.Context, f AuditFilter) iter.Seq2[*answer.AuditEntry, error] {
	return each(pages(Paging{},
		func(p Paging) (*answer.AuditIdentity, error) { return c.Identity(ctx, f, p) },
		func(l *answer.AuditIdentity) (bool, *string) { return nextOf(&l.Page) },
	), func(l *answer.AuditIdentity) []answer.AuditEntry { return l.Entries })
}

// Authorization lists what access was allowed or denied.
func (c *Client) Authorization(ctx context.Context, f AuditFilter, p Paging) (*answer.AuditAuthorization, error) {
	return get[answer.AuditAuthorization](ctx, c, auditLogs+"/authorization", f.query(p))
}

// AllAuthorization is Authorization without pages.
func (c *Client) AllAuthorization(ctx context.Context, f AuditFilter) iter.Seq2[*answer.AuthorizationDecision, error] {
	return each(pages(Paging{},
		func(p Paging) (*answer.AuditAuthorization, error) { return c.Authorization(ctx, f, p) },
		func(l *answer.AuditAuthorization) (bool, *string) { return nextOf(&l.Page) },
	), func(l *answer.AuditAuthorization) []answer.AuthorizationDecision { return l.Decisions })
}

// Access lists who viewed or exported logs.
func (c *Client) Access(ctx context.Context, f AuditFilter, p Paging) (*answer.AuditAccess, error) {
	return get[answer.AuditAccess](ctx, c, auditLogs+"/access", f.query(p))
}

// AllAccess is Access without pages.
func (c *Client) AllAccess(ctx context.Context, f AuditFilter) iter.Seq2[*answer.AuditEntry, error] {
	return each(pages(Paging{},
		func(p Paging) (*answer.AuditAccess, error) { return c.Access(ctx, f, p) },
		func(l *answer.AuditAccess) (bool, *string) { return nextOf(&l.Page) },
	), func(l *answer.AuditAccess) []answer.AuditEntry { return l.AccessEvents })
}

// Integrity says whether anything was tampered with, as the server knows it.
// Whoever does not trust the server verifies an export.
func (c *Client) Integrity(ctx context.Context) (*answer.AuditIntegrity, error) {
	return get[answer.AuditIntegrity](ctx, c, auditLogs+"/integrity", &query{})
}

// Exports lists the exports, each in its newest state.
func (c *Client) Exports(ctx context.Context, f ExportFilter, p Paging) (*answer.AuditExports, error) {
	return get[answer.AuditExports](ctx, c, auditLogs+"/exports", f.query(p))
}

// AllExports is Exports without pages.
func (c *Client) AllExports(ctx context.Context, f ExportFilter) iter.Seq2[*answer.ExportState, error] {
	return each(pages(Paging{},
		func(p Paging) (*answer.AuditExports, error) { return c.Exports(ctx, f, p) },
		func(l *answer.AuditExports) (bool, *string) { return nextOf(&l.Page) },
	), func(l *answer.AuditExports) []answer.ExportState { return l.Exports })
}
