package lifecycle

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/verify"
)

const (
	// maxErasedRecords bounds the records that one request names.
	maxErasedRecords = 10_000
	// certificatesFor is how long certificates can be asked for again.
	certificatesFor = 30 * 24 * time.Hour
	// settingCertificate is followed by tenant and erasure; the value is the time in
	// microseconds, a space, and the certificate, compressed and encrypted. It names
	// records by their places, so it is not kept for longer than it is fetched, nor open.
	settingCertificate = "erasure_certificate/"
	// eventRefused is the audit entry of an erasure that holds forbade. Its entity is the first of
	// them; all are named in its sealed /after_state.
	eventRefused = "ErasureRefused"
)

// Erase erases, or with DryRun counts.
func (s *Service) Erase(ctx context.Context, tenant string, r ErasureRequest, by Actor) (ErasureAnswer, error) {
	out := ErasureAnswer{TenantID: tenant, DryRun: r.DryRun, Held: []string{}, Copies: []CopyInfo{}}
	if err := checkErasure(r); err != nil {
		return out, err
	}
	if err := s.known(ctx, tenant); err != nil {
		return out, err
	}
	e, err := s.erasure(ctx, tenant, r, by)
	if err != nil {
		return out, err
	}
	if len(e.Fields) > 0 {
		if err := s.copies(ctx, tenant, r, &e, &out); err != nil {
			return out, err
		}
	}
	plan, err := s.cfg.Ledger.PlanErasure(ctx, tenant, e)
	if err != nil {
		return out, err
	}
	out.Held = append(out.Held, plan.Held...)
	if r.DryRun {
		out.Records, out.Fields, out.Runs, out.Keys, out.Retire = plan.Records, plan.Fields, plan.Runs, plan.Keys, plan.Retire
		out.Beside = plan.Beside
		return out, nil
	}
	done, err := s.cfg.Ledger.Erase(ctx, tenant, e)
	if err != nil && done.ID != "" { // it has happened: what is left is done below, or at the next start
		s.cfg.Logger.Error("an erasure is executed, but not finished", "tenant", tenant, "erasure", done.ID, "err", err)
		err = nil
	}
	if err != nil {
		result := resultFailed
		if errors.Is(err, store.ErrHeld) {
			result = resultHeld
			var held *ledger.HeldError
			holds := plan.Held
			if errors.As(err, &held) {
				holds = held.Holds
			}
			err = heldErasure{err, holds}
			if rerr := s.recordRefusal(ctx, tenant, e, holds, by); rerr != nil {
				err = errors.Join(err, rerr)
			}
		}
		if result == resultHeld || !errors.Is(err, evidence.ErrNotFound) && !errors.Is(err, evidence.ErrForbidden) { // else it was no lawful request
			s.metrics.erasures.WithLabelValues(result).Inc()
		}
		return out, err
	}
	s.metrics.erasures.WithLabelValues(resultExecuted).Inc()
	out.ID, out.Records, out.Fields, out.Runs, out.Keys = done.ID, done.Records, done.Fields, done.Runs, done.Keys
	out.Retire, out.ScrubLater = plan.Retire, done.ScrubLater
	// What fails from here on does not undo it, and is done at the next start or round.
	if _, err := s.cfg.Ledger.FinishErasures(ctx, tenant); err != nil {
		s.cfg.Logger.Error("finish an erasure", "tenant", tenant, "erasure", done.ID, "err", err)
	}
	if out.Certificate, err = s.certify(ctx, tenant, done); err != nil {
		s.cfg.Logger.Error("certificate of an erasure", "tenant", tenant, "erasure", done.ID, "err", err)
	}
	return out, nil
}

// minText and maxText bound a text that is looked for, in bytes.
const minText, maxText = 4, 64 << 10

// maxCopies bounds the records with copies that an answer lists.
const maxCopies = 100

// copies looks where else the text stands that is to be erased, and adds that to the erasure or says so.
func (s *Service) copies(ctx context.Context, tenant string, r ErasureRequest, e *ledger.Erasure, out *ErasureAnswer) error {
	list, err := s.cfg.Ledger.Copies(ctx, tenant, e.Fields, r.Text)
	if err != nil {
		return err
	}
	if r.Copies {
		for _, c := range list {
			e.Fields = append(e.Fields, ledger.ErasedField{Position: c.Position, Paths: c.Paths})
		}
	}
	out.CopyCount = len(list)
	for _, c := range list[:min(len(list), maxCopies)] {
		out.Copies = append(out.Copies, CopyInfo{Record: c.ID.String(), Kind: c.Kind.String(), Log: c.Log, Index: c.Seq, Paths: c.Paths})
	}
	return nil
}

// recordRefusal appends that an erasure was asked for and refused, for a hold: who asked, and
// for which run. A person who was to be erased is not named.
func (s *Service) recordRefusal(ctx context.Context, tenant string, e ledger.Erasure, holds []string, by Actor) error {
	id := "hold"
	if len(holds) > 0 {
		id = holds[0]
	}
	r := s.auditRecord(eventRefused, id, by, e.Reason)
	r.SetText("decision", "DENIED")
	if len(holds) > 0 {
		r.SetSealed("/after_state", jsonOf(map[string][]string{"held_by": holds}))
	}
	if e.Run != "" {
		r.SetText("about_run", e.Run)
	}
	if _, err := s.append(ctx, tenant, r); err != nil {
		return fmt.Errorf("record the refusal of an erasure: %w", err)
	}
	return nil
}

func checkErasure(r ErasureRequest) error {
	n := 0
	for _, is := range []bool{r.Subject != "", r.Run != "", len(r.Records) > 0} {
		if is {
			n++
		}
	}
	switch {
	case n != 1:
		return invalid("subject", "give exactly one of subject, run_id and record_ids")
	case len(r.Paths) > 0 && len(r.Records) == 0:
		return invalid("paths", "goes with record_ids only")
	case r.Copies && len(r.Records) == 0:
		return invalid("copies", "goes with record_ids only")
	case r.Text != "" && len(r.Records) == 0:
		return invalid("text", "goes with record_ids only")
	case r.Text != "" && len(r.Text) < minText || len(r.Text) > maxText:
		return invalid("text", "must have %d to %d bytes", minText, maxText)
	case len(r.Records) > maxErasedRecords:
		return invalid("record_ids", "must name at most %d records", maxErasedRecords)
	}
	for _, p := range r.Paths {
		if !sealedSomewhere(p) {
			return invalid("paths", "%q is no sealed field; they look like /prompt", p)
		}
	}
	return checkReason(r.Reason)
}

func sealedSomewhere(path string) bool {
	for _, k := range evidence.Kinds() {
		if evidence.Sealed(k, path) != nil {
			return true
		}
	}
	return false
}

func (s *Service) erasure(ctx context.Context, tenant string, r ErasureRequest, by Actor) (ledger.Erasure, error) {
	e := ledger.Erasure{Person: r.Subject, Reason: r.Reason, By: by.Human}
	if r.Run != "" {
		var err error
		if e.Run, err = s.cfg.Ledger.ResolveRun(ctx, tenant, r.Run); err != nil {
			return e, err
		}
	}
	places, err := s.places(ctx, tenant, r.Records)
	for _, at := range places {
		e.Fields = append(e.Fields, ledger.ErasedField{Position: at, Paths: r.Paths})
	}
	return e, err
}

// places finds records by their ids. Steps of spans are not found by theirs without
// reading leaves, so they may be named by trace and span, as in their natural key.
func (s *Service) places(ctx context.Context, tenant string, names []string) ([]store.Position, error) {
	var ids []evidence.ID
	var spans []store.Span
	byName := make([]any, len(names))
	for i, name := range names {
		if trace, span, ok := strings.Cut(name, ":"); ok {
			byName[i] = store.Span{TraceID: trace, SpanID: span}
			spans = append(spans, byName[i].(store.Span))
			continue
		}
		id, ok := evidence.ParseID(name)
		if !ok {
			return nil, invalid("record_ids", "%q is not the id of a record", name)
		}
		byName[i] = id
		ids = append(ids, id)
	}
	foundIDs, err := s.cfg.Store.FindIDs(ctx, tenant, ids)
	if err != nil {
		return nil, err
	}
	foundSpans, err := s.cfg.Store.FindSpans(ctx, tenant, spans)
	if err != nil {
		return nil, err
	}
	var out []store.Position
	for i, name := range byName {
		var at store.Position
		var ok bool
		switch v := name.(type) {
		case store.Span:
			at, ok = foundSpans[v]
		case evidence.ID:
			if at, ok = foundIDs[v]; !ok {
				if at, err = s.cfg.Ledger.Locate(ctx, tenant, v); err != nil {
					return nil, err
				}
				ok = true
			}
		}
		if !ok {
			return nil, fmt.Errorf("record %s: %w", names[i], evidence.ErrNotFound)
		}
		out = append(out, at)
	}
	return out, nil
}

// certify makes the certificate and keeps it for a while, without who ordered it: that is in the log, for as long
// as it is not erased there.
func (s *Service) certify(ctx context.Context, tenant string, e ledger.Erased) ([]byte, error) {
	cert, err := s.makeCertificate(ctx, tenant, e)
	if err != nil {
		return nil, err
	}
	nobody, err := withActor(cert, nil)
	if err != nil {
		return cert, err
	}
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	if _, err := z.Write(nobody); err != nil {
		return cert, err
	}
	if err := z.Close(); err != nil {
		return cert, err
	}
	name := settingCertificate + tenant + "/" + e.ID
	wrapped, err := s.cfg.Sealer.Wrap(packed.Bytes(), name)
	if err != nil {
		return cert, err
	}
	return cert, s.cfg.Store.SetSetting(ctx, name, strconv.FormatInt(int64(s.now()), 10)+" "+base64.StdEncoding.EncodeToString(wrapped))
}

// errForgotten: certificates are not kept for so long.
var errForgotten = fmt.Errorf("%w: it is kept for %d days", evidence.ErrNotFound, certificatesFor/(24*time.Hour))

func noCertificate(id string) error { return fmt.Errorf("certificate %s: %w", id, errForgotten) }

// Certificate returns the certificate of an erasure that is not older than 30 days, as JSON. One that
// could not be made when the erasure was executed is made now.
func (s *Service) Certificate(ctx context.Context, tenant, id string) ([]byte, error) {
	name := settingCertificate + tenant + "/" + id
	value, err := s.cfg.Store.Setting(ctx, name)
	if isNotFound(err) {
		return s.fromLog(ctx, tenant, id)
	}
	if err == nil && value == "" {
		return nil, noCertificate(id)
	}
	if err != nil {
		return nil, err
	}
	_, text, _ := strings.Cut(value, " ")
	wrapped, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w: %w", id, evidence.ErrTampered, err)
	}
	packed, err := s.cfg.Sealer.Unwrap(wrapped, name)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", id, err)
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w: %w", id, evidence.ErrTampered, err)
	}
	cert, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w: %w", id, evidence.ErrTampered, err)
	}
	statement, err := s.cfg.Ledger.ErasureStatement(ctx, tenant, id)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", id, err)
	}
	return withActor(cert, statement)
}

// WithoutActor returns a certificate that does not say who ordered the erasure, for who may not read that. It verifies as well.
func WithoutActor(certificate []byte) ([]byte, error) { return withActor(certificate, nil) }

// withActor returns a certificate that says who ordered the erasure if the statement opens as far as that; nil does not.
func withActor(certificate []byte, statement *ledger.Fetched) ([]byte, error) {
	c, err := verify.ParseCertificate(certificate)
	if err != nil {
		return nil, err
	}
	said := slices.DeleteFunc(c.Statement.Disclosures, func(d verify.Disclosure) bool { return d.Path == pathActor })
	if statement != nil {
		if o, ok := statement.Open[pathActor]; ok {
			said = slices.Insert(said, 0, verify.Disclosure{Seq: statement.Seq, Path: pathActor, Salt: o.Salt, Value: []byte(o.JSON)})
		}
	}
	c.Statement.Disclosures = said
	return c.Append(nil), nil
}

// forgetCertificates empties those that are old. A setting cannot be removed.
func (s *Service) forgetCertificates(ctx context.Context) {
	before := s.now() - evidence.Micros(certificatesFor.Microseconds())
	var old []string
	err := s.cfg.Store.SettingsUnder(ctx, settingCertificate, 32, func(name, value string) error {
		if at, _, ok := strings.Cut(value, " "); ok { // the rest of it is long
			if t, err := strconv.ParseInt(at, 10, 64); err != nil || evidence.Micros(t) < before {
				old = append(old, name)
			}
		}
		return nil
	})
	for _, name := range old {
		if err == nil {
			err = s.cfg.Store.SetSetting(ctx, name, "")
		}
	}
	if err != nil && ctx.Err() == nil {
		s.cfg.Logger.Warn("forget certificates", "err", err)
	}
}
