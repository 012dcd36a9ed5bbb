package lifecycle

import (
	"bytes"
	"context"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/report"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/verify"
)

// Sealed paths of the records of an erasure that a certificate discloses: what was done,
// and who ordered it. Why stays sealed: it is likely to name the person.
const (
	pathTargets = "/targets"
	pathAfter   = "/after_state"
	pathActor   = "/actor"
)

// makeCertificate gathers the certificate of an erasure, once a checkpoint is published
// that covers its records, and verifies it before it is given to anybody.
func (s *Service) makeCertificate(ctx context.Context, tenant string, e ledger.Erased) ([]byte, error) {
	body, err := verify.ParseErasureStatement([]byte(e.Body))
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", e.ID, err)
	}
	g := gatherer{l: s.cfg.Ledger, tenant: tenant, out: &verify.ErasureCertificate{
		TenantID: tenant, ErasureID: e.ID, Checkpoints: map[string]string{},
		Backups: body.Backups(), KeysRetired: body.KeysToRetire == 0, InArchives: body.InArchives,
	}}
	if err := g.gather(ctx, e); err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", e.ID, err)
	}
	data := g.out.Append(nil)
	if err := g.check(ctx, data); err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", e.ID, err)
	}
	return data, nil
}

// gatherer puts one certificate together.
type gatherer struct {
	l      *ledger.Ledger
	tenant string
	out    *verify.ErasureCertificate
	keys   []string
}

func (g *gatherer) gather(ctx context.Context, e ledger.Erased) error {
	// Orders come log after log, in the order of their leaves; the statement is the last.
	for from := 0; from < len(e.Receipts); {
		to := from + 1
		for to < len(e.Receipts) && e.Receipts[to].LogNo == e.Receipts[from].LogNo {
			to++
		}
		if err := g.log(ctx, e.Receipts[from:to], e.Statement); err != nil {
			return err
		}
		from = to
	}
	if g.out.Statement.Leaf != nil {
		return nil
	}
	return g.log(ctx, nil, e.Statement) // it stands in a log of its own
}

// log adds the orders that stand in one log, and the statement where it does.
func (g *gatherer) log(ctx context.Context, orders []ledger.Receipt, statement ledger.Receipt) error {
	no := statement.LogNo
	if len(orders) > 0 {
		no = orders[0].LogNo
	}
	records := orders
	if statement.LogNo == no {
		records = append(records[:len(records):len(records)], statement)
	}
	size := records[len(records)-1].LeafIndex + 1
	note, err := g.l.WaitPublished(ctx, g.tenant, no, size)
	if err != nil {
		return err
	}
	head, _, err := c2sp.ParseNote(note)
	if err != nil {
		return err
	}
	logs, err := g.l.Logs(ctx, g.tenant)
	if err != nil {
		return err
	}
	for _, lg := range logs {
		if lg.Origin == head.Origin {
			g.keys = append(g.keys, lg.VKey)
		}
	}
	g.out.Checkpoints[head.Origin] = string(note)
	at := make([]store.Found, len(records))
	for i, r := range records {
		if at[i], err = g.l.Place(ctx, g.tenant, store.Position{LogNo: no, Seq: r.LeafIndex}); err != nil {
			return err
		}
	}
	return g.l.ProveRecords(ctx, g.tenant, no, head, at, func(r *ledger.ProvenRecord) error {
		if statement.LogNo == no && r.Seq == statement.LeafIndex {
			g.out.Statement = certified(head.Origin, r, pathActor, pathAfter)
			return nil
		}
		record := certified(head.Origin, r, pathTargets)
		if len(record.Disclosures) == 0 {
			return fmt.Errorf("leaf %d of %s: its targets do not open: %w", r.Seq, head.Origin, evidence.ErrTampered)
		}
		g.out.Orders = append(g.out.Orders, record)
		return nil
	})
}

// certified is a record with those of its sealed fields that open.
func certified(origin string, r *ledger.ProvenRecord, paths ...string) verify.CertificateRecord {
	out := verify.CertificateRecord{Log: origin, Record: verify.Record{Seq: r.Seq, Leaf: r.Raw, Proof: r.Proof}}
	for _, path := range paths {
		if o, ok := r.Open[path]; ok {
			out.Disclosures = append(out.Disclosures, verify.Disclosure{Seq: r.Seq, Path: path, Salt: o.Salt, Value: []byte(o.JSON)})
		}
	}
	return out
}

// check sees that what is handed out verifies: a certificate that does not is worse than none.
func (g *gatherer) check(ctx context.Context, data []byte) error {
	rep, err := verify.Certificate(ctx, data, verify.Options{Keys: g.keys})
	if err != nil {
		return err
	}
	if rep.Erasure == nil {
		return fmt.Errorf("it does not verify: %w: %w", evidence.ErrTampered, &rep.Findings[0])
	}
	return nil
}

// CertificatePDF draws a certificate, as makeCertificate made it, for people. It is the
// same file for the same certificate. It does not verify signatures; what it shows is a
// view of what the JSON form proves. Errors wrap evidence.ErrInvalid where it is no
// certificate of this version.
func CertificatePDF(certificate []byte) ([]byte, error) {
	c, err := verify.ParseCertificate(certificate)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w: %w", evidence.ErrInvalid, err)
	}
	m, err := certificateModel(c)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	var out bytes.Buffer
	if err := report.CertificatePDF(&out, m); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// certificateModel is what the PDF shows of a certificate.
func certificateModel(c *verify.ErasureCertificate) (*report.Certificate, error) {
	rep, err := c.View()
	if err != nil {
		return nil, err
	}
	head, _, err := c2sp.ParseNote([]byte(c.Checkpoints[c.Statement.Log]))
	if err != nil {
		return nil, err
	}
	m := &report.Certificate{
		TenantID: rep.TenantID, ErasureID: rep.ErasureID, OrderedBy: rep.OrderedBy,
		Records: rep.Records, Fields: rep.Fields, Runs: rep.Runs, KeysDestroyed: rep.KeysDestroyed, KeysToRetire: rep.KeysToRetire,
		Limits: []string{rep.Backups}, Log: c.Statement.Log, LeafIndex: c.Statement.Seq, Size: head.Size, Root: head.Root.String(),
		Checkpoint: c.Checkpoints[c.Statement.Log], File: rep.ErasureID + ".json",
	}
	m.ExecutedAt, _ = evidence.ParseMicros(rep.ExecutedAt)
	m.RecordedAt, _ = evidence.ParseMicros(rep.RecordedAt)
	for _, o := range rep.Orders {
		at, _ := evidence.ParseMicros(o.RecordedAt)
		order := report.CertificateOrder{At: at, RunID: o.RunID, Records: o.Records, Fields: o.Fields, LeafIndex: o.LeafIndex, TargetLog: o.TargetLog}
		if o.Log != m.Log {
			order.Log = o.Log
		}
		m.Orders = append(m.Orders, order)
	}
	return m, nil
}
