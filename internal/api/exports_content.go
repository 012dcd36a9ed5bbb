package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/problem"
)

// roleLink is the role of who comes by a signed link.
const roleLink = "link"

// content gives out the bytes of an export, or one range of them, so that a download
// can be resumed. Each request is a record of its own, with the digest and size of
// what it gives out, made before the first byte leaves. Who downloads must be let see
// what is in them; a signed link was only given to who is.
func (a *API) content(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	grant, v := access.GrantOf(ctx), access.ViewOf(ctx)
	c, err := a.cfg.Exports.Content(ctx, grant.Tenant, r.PathValue("export_id"))
	if err != nil {
		return err
	}
	defer c.Close()
	if grant.Role != roleLink {
		if err := a.mayRead(ctx, grant, c.Stored); err != nil {
			return err
		}
	}
	v.Run, v.EntityType, v.EntityID = c.Run, "EXPORT", c.ExportID
	h := w.Header()
	h.Set("Accept-Ranges", "bytes")
	h.Set("Etag", etag(c.Stored))
	rng := rangeOf(r.Header, c.Stored)
	if rng.from >= c.Bytes && rng.part {
		h.Set("Content-Range", "bytes */"+strconv.FormatInt(c.Bytes, 10))
		return fmt.Errorf("range: %w: the export has %d bytes", problem.ErrRange, c.Bytes)
	}
	part := io.NewSectionReader(c, rng.from, rng.to-rng.from)
	v.Records, v.Digest, v.Bytes = c.Records, c.Digest, rng.to-rng.from
	if v.Bytes < c.Bytes {
		if v.Digest, err = digestOf(ctx, part); err != nil {
			return err
		}
	}
	v.Status = http.StatusOK
	if rng.part {
		v.Status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", rng.from, rng.to-1, c.Bytes))
	}
	h.Set("Content-Type", c.ContentType())
	h.Set("Content-Disposition", `attachment; filename="`+c.FileName()+`"`)
	h.Set("Content-Length", strconv.FormatInt(v.Bytes, 10))
	if err := access.RecordNow(ctx); err != nil {
		h.Del("Content-Length")
		return err
	}
	w.WriteHeader(v.Status)
	if _, err := io.Copy(w, part); err != nil && ctx.Err() == nil {
		a.cfg.Logger.WarnContext(ctx, "an export was not given out whole", "export", c.ExportID, "err", err)
		panic(http.ErrAbortHandler) // the client must not take a part for the whole
	}
	return nil
}

// etag names the bytes of an export: they never change.
func etag(s *export.Stored) string { return `"` + s.Digest + `"` }

// byteRange is what of the bytes is asked for.
type byteRange struct {
	from, to int64
	part     bool // a range was asked for, and counts
}

// rangeOf reads the header Range: one range of bytes counts (RFC 9110 section 14).
// Several at once, or what is none, are answered with the whole, as is a range of
// other bytes than If-Range names.
func rangeOf(h http.Header, s *export.Stored) byteRange {
	whole := byteRange{0, s.Bytes, false}
	if only := h.Get("If-Range"); only != "" && only != etag(s) {
		return whole
	}
	unit, spec, ok := strings.Cut(h.Get("Range"), "=")
	first, last, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok || !dash || !strings.EqualFold(unit, "bytes") || len(h["Range"]) > 1 {
		return whole
	}
	from, okFrom := position(first)
	to, okTo := position(last)
	switch {
	case first == "" && okTo: // the last bytes
		if to == 0 {
			return byteRange{s.Bytes, s.Bytes, true}
		}
		return byteRange{max(s.Bytes-to, 0), s.Bytes, true}
	case okFrom && last == "":
		return byteRange{from, s.Bytes, true}
	case okFrom && okTo && from <= to:
		return byteRange{from, min(to, s.Bytes-1) + 1, true}
	}
	return whole
}

// position reads digits, and nothing else.
func position(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 63)
	return n, cmp.Or(err == nil, n > 0) // one too large lies behind every end
}

func digestOf(ctx context.Context, r *io.SectionReader) (string, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return "", err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), ctx.Err()
}

// mayRead says whether all that is in an export may be shown to who asks.
func (a *API) mayRead(ctx context.Context, grant access.Grant, s *export.Stored) error {
	r := readerOf(grant)
	switch {
	case s.Run != "":
		if _, err := a.cfg.Facade.RunID(ctx, r, s.Run); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	case !grant.Permissions.Has(access.AuditRead):
		return errPeriod
	}
	switch want := shown(r); {
	case !s.NotPermitted && !r.Content:
		return fmt.Errorf("%w: there is sealed content in it, which needs logs.read_content", problem.ErrDenied)
	case !s.NoAudit && !grant.Permissions.Has(access.AuditRead):
		return fmt.Errorf("%w: there are audit entries in it, which need audit.read; export again", problem.ErrDenied)
	case want != nil && (s.Synthetic == nil || *s.Synthetic != *want):
		return fmt.Errorf("%w: it was made for who sees synthetic records and others; export again", problem.ErrDenied)
	}
	return nil
}
