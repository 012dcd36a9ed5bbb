package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/store"
)

// kept is a finished export with its bytes. What is not of Stored is guarded by
// the registry's mutex.
type kept struct {
	Stored
	spool   *Spool
	readers int
	dropped bool // the registry does not have it any more
}

// keepFor is how long its bytes are kept, at most.
func (s *Stored) keepFor() time.Duration {
	if s.Profile == ProfilePeriod {
		return KeepPeriod
	}
	return KeepContent
}

// KeptUntil is when its bytes are gone at the latest.
func (s *Stored) KeptUntil() time.Time { return s.MadeAt.Add(s.keepFor()) }

// keep takes a bundle into the registry. The caller holds mu.
func (x *Exports) keep(k *kept) {
	x.kept[keptID{k.Tenant, k.ExportID}] = k
	x.order = append(x.order, k)
	x.bytes += k.Bytes
	x.sweep(k.MadeAt)
	// Nobody may come by again to sweep.
	time.AfterFunc(k.keepFor(), func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.sweep(x.cfg.Now())
	})
}

// drop takes a bundle out of the registry and frees it, once nobody reads it.
// The same request makes a new one; an idempotency key keeps standing for this
// one. The caller holds mu.
func (x *Exports) drop(k *kept) error {
	delete(x.kept, keptID{k.Tenant, k.ExportID})
	x.order = slices.DeleteFunc(x.order, func(o *kept) bool { return o == k })
	x.bytes -= k.Bytes
	for p, e := range x.recent {
		if e.stored == &k.Stored {
			delete(x.recent, p)
		}
	}
	k.dropped = true
	x.leaving.Go(func() { x.cfg.Exporter.alive.end(k.ExportID) }) // the store may not answer, and mu is held
	if k.readers > 0 {
		return nil
	}
	return k.spool.Close()
}

// dropErased frees the bundles with content of a tenant where content was erased, or expired, after they
// were made, of its own logs or of the system's that they have shared records of: it may be in them, and must
// not be had from there.
func (x *Exports) dropErased(ctx context.Context, tenant string) error {
	ctx = store.NoLag(ctx)
	open := func(k *kept) bool { return k.Tenant == tenant && !k.NotPermitted }
	x.mu.Lock()
	own := slices.ContainsFunc(x.order, open)
	shared := slices.ContainsFunc(x.order, func(k *kept) bool { return open(k) && k.shared.LogNo != 0 })
	during := slices.ContainsFunc(x.order, func(k *kept) bool { return open(k) && k.expiring })
	x.mu.Unlock()
	var gone, sharedGone store.Position
	var err error
	if own {
		gone, err = x.newestGone(ctx, tenant)
	}
	if err == nil && shared {
		sharedGone, err = x.newestGone(ctx, evidence.SystemTenant)
	}
	expired := during // and no expiry is under way any more
	for _, of := range []string{tenant, evidence.SystemTenant} {
		if err == nil && expired {
			var still bool
			still, err = x.cfg.Exporter.cfg.Ledger.Expiring(ctx, of)
			expired = !still
		}
	}
	if err != nil {
		return err
	}
	behind := func(end, at store.Position) bool {
		return end.LogNo < at.LogNo || end.LogNo == at.LogNo && end.Seq <= at.Seq
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, k := range slices.Clone(x.order) {
		if open(k) && (behind(k.end, gone) || k.shared.LogNo != 0 && behind(k.shared, sharedGone) || k.expiring && expired) {
			err = errors.Join(err, x.drop(k))
		}
	}
	return err
}

// newestGone returns where the newest record stands that says what of a tenant is gone; zero where none does.
func (x *Exports) newestGone(ctx context.Context, tenant string) (at store.Position, err error) {
	newest, err := x.cfg.Exporter.cfg.Ledger.Find(ctx, store.Query{
		Tenant: tenant, Kind: evidence.KindAudit, Where: []store.Condition{goneEvents}, Limit: 1,
	})
	if err == nil && len(newest) > 0 {
		at = newest[0].Position
	}
	return at, err
}

// Content is the bytes of an export, for one goroutine at a time. It is an
// io.ReadSeeker and io.ReaderAt, as http.ServeContent likes it. Close it.
type Content struct {
	*io.SectionReader
	*Stored
	x *Exports
	k *kept // nil once closed
}

// ContentType is the media type of the bytes.
func (c *Content) ContentType() string { return ContentType(c.Format) }

// ContentType is the media type of a format.
func ContentType(format string) string {
	switch format {
	case FormatJSON:
		return "application/json"
	case FormatCSV:
		return "text/csv; charset=utf-8; header=present"
	case FormatPDF:
		return "application/pdf"
	}
	return "application/zip"
}

// FileName is a name for the bytes.
func (c *Content) FileName() string { return "runledger-" + c.ExportID + "." + c.Format }

// Close lets the bytes go.
func (c *Content) Close() error {
	c.x.mu.Lock()
	defer c.x.mu.Unlock()
	k := c.k
	if k == nil {
		return nil
	}
	c.k = nil
	if k.readers--; k.dropped && k.readers == 0 {
		return k.spool.Close()
	}
	return nil
}

// Content returns the bytes of a tenant's export. The error wraps
// problem.ErrGone where the tenant's log knows the export and its bytes are not
// kept any more, such as after an erasure, or never were, and evidence.ErrNotFound where
// it does not. Of an export that another process makes, or keeps the bytes of, it wraps
// evidence.ErrUnavailable.
func (x *Exports) Content(ctx context.Context, tenant, exportID string) (*Content, error) {
	if err := x.dropErased(ctx, tenant); err != nil {
		return nil, err
	}
	if c := x.content(tenant, exportID); c != nil {
		return c, nil
	}
	found, err := x.cfg.Exporter.cfg.Ledger.Find(ctx, store.Query{
		Tenant: tenant, Kind: evidence.KindExport, Limit: 1,
		Where: []store.Condition{{Field: "export_id", Values: []string{exportID}}},
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fmt.Errorf("export %q: %w", exportID, evidence.ErrNotFound)
	}
	elsewhere, done, err := x.cfg.Exporter.alive.elsewhere(ctx, exportID)
	done()
	switch {
	case err != nil:
		return nil, err
	case elsewhere:
		return nil, fmt.Errorf("export %q: %w: another process of this deployment has its bytes; ask there, or export again", exportID, evidence.ErrUnavailable)
	}
	return nil, fmt.Errorf("export %q: %w: its bytes are not kept any more; export again", exportID, problem.ErrGone)
}

func (x *Exports) content(tenant, exportID string) *Content {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sweep(x.cfg.Now())
	k := x.kept[keptID{tenant, exportID}]
	if k == nil {
		return nil
	}
	k.readers++
	return &Content{SectionReader: io.NewSectionReader(k.spool, 0, k.Bytes), Stored: &k.Stored, x: x, k: k}
}
