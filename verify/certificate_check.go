package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// ECertificate is the failure of a certificate itself: it is not in its form, or says other
// things than the records in it.
const ECertificate Code = "E_CERTIFICATE"

// profileErasure is the Profile of a report about a certificate.
const profileErasure = "erasure"

// Paths of the statement that are read.
const (
	pathAfter = "/after_state"
	pathActor = "/actor"
)

// CertificateReport is the result of a verification of an [ErasureCertificate]. Counts has
// orders, ranges (of their targets) and disclosed.
type CertificateReport struct {
	Report
	// Erasure is what the certificate proves; nil where it proves nothing.
	Erasure *CertifiedErasure `json:"erasure,omitempty"`
}

// CertifiedErasure is what the log says of an erasure.
type CertifiedErasure struct {
	TenantID      string `json:"tenant_id"`
	ErasureID     string `json:"erasure_id"`
	ExecutedAt    string `json:"executed_at"`
	RecordedAt    string `json:"recorded_at"`          // of the statement
	OrderedBy     string `json:"ordered_by,omitempty"` // where it is disclosed
	Records       int64  `json:"records"`
	Fields        int64  `json:"fields"`
	Runs          int64  `json:"runs"`
	KeysDestroyed int64  `json:"keys_destroyed"`
	KeysToRetire  int64  `json:"keys_to_retire"` // as of executed_at
	InArchives    bool   `json:"in_archives"`
	Backups       string `json:"backups"` // what the erasure does not reach
	// Orders say which records of which runs.
	Orders []CertifiedOrder `json:"orders"`
}

// CertifiedOrder is one ErasureExecuted record.
type CertifiedOrder struct {
	Log        string `json:"log"`
	LeafIndex  int64  `json:"leaf_index"`
	RecordID   string `json:"record_id"`
	RecordedAt string `json:"recorded_at"`
	RunID      string `json:"run_id,omitempty"`
	Records    int64  `json:"records"`
	Fields     int64  `json:"fields"`
	TargetLog  string `json:"target_log,omitempty"` // where the records stand in another log
}

// certificateChecker runs the checks over one certificate.
type certificateChecker struct {
	checker
	cert   *ErasureCertificate
	logs   map[string]*logState // by origin
	leaf   evidence.Leaf        // of the statement
	orders []evidence.Leaf
	facts  *CertifiedErasure
}

// Certificate checks an erasure certificate. Of opts, Keys, Policy and Since are used; it
// has no time stamps. It stops at the first failure of form (E_CERTIFICATE), signatures
// (E_LOGSIG), leaves (E_LEAF) and inclusion (E_INCLUSION); then it collects: witnesses and
// their times, the checkpoint that was kept, disclosed values against their commitments
// (E_COMMIT), and what the statement says against the orders (E_CERTIFICATE). A log
// whose key is not given makes it COULD-NOT-CHECK. The error is ctx's, or wraps
// evidence.ErrInvalid where the options are of no use.
func Certificate(ctx context.Context, data []byte, opts Options) (*CertificateReport, error) {
	trust, err := opts.parse()
	if err != nil {
		return nil, err
	}
	out := &CertificateReport{Report: Report{
		Profile: profileErasure, Findings: []Finding{}, Logs: []LogReport{}, Counts: map[string]int64{}, NotProven: []string{},
	}}
	c := &certificateChecker{checker: checker{ctx: ctx, opts: opts, trust: trust, rep: &out.Report}, logs: map[string]*logState{}}
	if c.cert, err = ParseCertificate(data); err != nil {
		code := ECertificate
		if errors.Is(err, errCertificateFormat) {
			code = UFormat
		}
		c.rep.add(Finding{Code: code, Message: err.Error()})
	}
	for _, step := range []func(){c.signatures, c.records} {
		if out.stopped() || ctx.Err() != nil {
			break
		}
		step()
	}
	if !out.stopped() && ctx.Err() == nil {
		c.outside()
		c.commitments()
		c.compare()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for i := range out.Findings { // of checks that know bundles only
		out.Findings[i].Dir = ""
		if out.Findings[i].Path == "/checkpoint" {
			out.Findings[i].Path = ""
		}
	}
	if !out.stopped() {
		out.Erasure, out.Scope = c.facts, &Scope{TenantID: c.facts.TenantID}
		c.notProven()
	}
	out.finish()
	return out, nil
}

// View returns what a certificate says, for who shows it: its records say it too, but
// nobody's signature is checked, nor that a log has the records. The error wraps
// evidence.ErrTampered.
func (c *ErasureCertificate) View() (*CertifiedErasure, error) {
	v := certificateChecker{checker: checker{rep: &Report{Counts: map[string]int64{}}}, cert: c, orders: make([]evidence.Leaf, len(c.Orders))}
	for i := range c.Orders {
		if err := v.orders[i].Parse(c.Orders[i].Leaf); err != nil {
			return nil, fmt.Errorf("order %d: %w: %w", i, evidence.ErrTampered, err)
		}
	}
	if err := v.leaf.Parse(c.Statement.Leaf); err != nil {
		return nil, fmt.Errorf("statement: %w: %w", evidence.ErrTampered, err)
	}
	v.commitments()
	v.compare()
	if len(v.rep.Findings) > 0 {
		return nil, fmt.Errorf("%w: %w", evidence.ErrTampered, &v.rep.Findings[0])
	}
	return v.facts, nil
}

// signatures checks the checkpoint of each log.
func (c *certificateChecker) signatures() {
	for _, origin := range slices.Sorted(maps.Keys(c.cert.Checkpoints)) {
		l := &logState{ManifestLog: &ManifestLog{Origin: origin}, files: &dirFiles{}, sparse: true, note: []byte(c.cert.Checkpoints[origin])}
		at := len(c.rep.Logs)
		c.rep.Logs = append(c.rep.Logs, LogReport{Origin: origin})
		var ok bool
		if l.key, ok = c.trust.keys[origin]; !ok {
			c.rep.add(Finding{Code: UNoKey, Log: origin, Message: "no key was given for this log, so nobody's signature can be checked; ask its operator for the key, by another way than this certificate"})
			continue
		}
		var err error
		if l.head, err = c2sp.Verify(l.note, l.key); err == nil && l.head.Origin != origin {
			err = fmt.Errorf("the checkpoint is of the log %s", l.head.Origin)
		}
		if err != nil {
			c.rep.add(Finding{Code: ELogSig, Log: origin, Message: err.Error()})
			continue
		}
		l.Size = l.head.Size
		c.rep.Logs[at].Size, c.rep.Logs[at].Root, c.rep.Logs[at].Key = l.Size, l.head.Root.String(), l.key.String()
		c.logs[origin] = l
	}
	for i := range c.rep.Logs { // the list does not grow any more
		if l := c.logs[c.rep.Logs[i].Origin]; l != nil {
			l.report = &c.rep.Logs[i]
		}
	}
}

// records checks each leaf and its way into the checkpoint.
func (c *certificateChecker) records() {
	ids := map[evidence.ID]bool{}
	c.orders = make([]evidence.Leaf, len(c.cert.Orders))
	for i := range c.cert.Orders {
		if c.ctx.Err() != nil {
			return
		}
		c.record(&c.cert.Orders[i], &c.orders[i], ids)
	}
	c.record(&c.cert.Statement, &c.leaf, ids)
	if c.rep.class('E') {
		return
	}
	for _, l := range c.logs {
		l.report.Checked = true
	}
}

func (c *certificateChecker) record(r *CertificateRecord, leaf *evidence.Leaf, ids map[evidence.ID]bool) {
	l := c.logs[r.Log]
	f := Finding{Code: ELeaf, Log: r.Log, From: r.Seq, To: r.Seq + 1}
	at := place{origin: r.Log, vkey: l.report.Key, seq: r.Seq, last: r.Seq == l.Size-1}
	if err := leaf.Parse(r.Leaf); err != nil {
		f.Message = err.Error()
	} else if f.Message = at.check(leaf); f.Message == "" {
		_, targets := leaf.Commitment(pathTargets)
		switch statement := r == &c.cert.Statement; {
		case leaf.Kind != evidence.KindAudit || coverReasons[leaf.Text("event_type")] != Erased:
			f.Message = "the record is no ErasureExecuted"
		case ids[leaf.ID]:
			f.Message = "the id is that of another record"
		case l.end > 0 && r.Seq > l.end && leaf.RecordedAt < l.mostRecent():
			f.Message = "t is smaller than that of an earlier leaf"
		case statement && (targets || leaf.Run != ""):
			f.Message = "the statement has a run or targets of its own"
		case !statement && !targets:
			f.Message = "the order has no targets"
		}
	}
	if f.Message != "" {
		c.rep.add(f)
		return
	}
	ids[leaf.ID] = true
	if err := c2sp.CheckInclusion(r.Proof, l.Size, l.head.Root, r.Seq, evidence.LeafHash(r.Leaf)); err != nil {
		f.Code, f.Message = EInclusion, "the proof does not lead from this leaf to the signed tree: leaf or proof was changed, or the log never had it"
		c.rep.add(f)
		return
	}
	if l.report.Records == 0 {
		l.report.FirstAt = leaf.RecordedAt.String()
	}
	l.report.Records++
	l.report.LastAt, l.end = leaf.RecordedAt.String(), r.Seq
}

// mostRecent is t of the newest record that was checked.
func (l *logState) mostRecent() evidence.Micros {
	t, _ := evidence.ParseMicros(l.report.LastAt)
	return t
}

// outside asks the witnesses, and compares with the checkpoint that was kept.
func (c *certificateChecker) outside() {
	for _, origin := range slices.Sorted(maps.Keys(c.logs)) {
		c.quorum(c.logs[origin])
		_ = c.times(c.logs[origin]) // it reads nothing: there are no stamps
	}
	kept := c.trust.kept
	if kept == nil {
		return
	}
	l := c.logs[kept.Origin]
	switch {
	case l == nil || kept.Size != l.Size:
		c.rep.add(Finding{Code: USince, Log: kept.Origin, Message: "nothing in a certificate leads from another checkpoint to its own: only one of the same size can be compared"})
	case kept.Root != l.head.Root:
		c.rep.add(Finding{
			Code: EFork, Log: kept.Origin, Expected: kept.Root.String(), Found: l.head.Root.String(),
			Message: fmt.Sprintf("the log signed two trees of %d leaves", kept.Size),
		})
	}
}

// commitments recomputes what is disclosed.
func (c *certificateChecker) commitments() {
	for i := range c.cert.Orders {
		c.opening(&c.orders[i], &c.cert.Orders[i].Disclosures[0])
	}
	for i := range c.cert.Statement.Disclosures {
		c.opening(&c.leaf, &c.cert.Statement.Disclosures[i])
	}
}

func (c *certificateChecker) opening(leaf *evidence.Leaf, d *Disclosure) {
	c.rep.Counts["disclosed"]++
	want, ok := leaf.Commitment(d.Path)
	if got := evidence.Commit(d.Path, d.Salt, d.Value); !ok || got != want {
		c.rep.add(Finding{
			Code: ECommit, Log: leaf.Log, From: leaf.Seq, To: leaf.Seq + 1, Path: d.Path,
			Expected: evidence.EncodeCommitment(want), Found: evidence.EncodeCommitment(got),
			Message: "what is disclosed is not what the record committed to",
		})
	}
}

func (c *certificateChecker) notProven() {
	list := []string{
		"that what was erased is all that there was of a person: the orders name records, and who a record is about was sealed in it",
		"that no copy of it exists elsewhere: what the erasure does not reach is said above, and is all that the log knows of it",
		"that the server's database holds nothing of it: that is found by verifying the live deployment (runledger verify --data)",
		"which content it was: nothing of it is in this certificate, and commitments cannot be read back",
	}
	if c.facts.KeysToRetire > 0 {
		list = append(list, "that the keys to retire have been destroyed since")
	}
	if c.trust.policy == nil || c.trust.policy.quorum == nil {
		list = append(list, "that everybody is shown the same log: without a witness quorum its operator may keep another one for others")
	}
	c.rep.NotProven = append(c.rep.NotProven, list...)
}
