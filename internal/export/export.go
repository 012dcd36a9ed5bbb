package export

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/zipstore"
	"github.com/runledger/runledger/verify"
)

// Config says what exports are made from. Ledger is required.
type Config struct {
	Ledger *ledger.Ledger
	// SpoolDir is where the encrypted spools of exports are. It needs about
	// the room of the bundle. Default: where temporary files go.
	SpoolDir string
	Logger   *slog.Logger     // default: none
	Now      func() time.Time // default time.Now
	// Parallel is how many exports are made at once; more wait. Default 2.
	Parallel int
	// Cosign asks the witnesses for a published checkpoint and waits for them, for a
	// time; what they said is then in ledger.Cosigned. Default: none is asked.
	Cosign func(ctx context.Context, tenant string, logNo int) error
	// Lease tells other processes on the store which exports are made here, and where
	// the bytes of finished ones are. Default: there are no others.
	Lease LeaseFunc
}

// Exporter makes bundles. It may be used from several goroutines.
type Exporter struct {
	cfg   Config
	room  chan struct{}
	alive alive
}

// New returns an exporter.
func New(cfg Config) *Exporter {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 2
	}
	e := &Exporter{cfg: cfg, room: make(chan struct{}, cfg.Parallel)}
	e.alive.lease = cfg.Lease
	e.alive.warn = func(export string, err error) {
		cfg.Logger.Warn("the lease of an export", "export", export, "err", err)
	}
	return e
}

// Requester is who asked for an export.
type Requester struct {
	Name  string // person, credential or command: "cli:operator"
	Human bool   // a person, as against a machine
	// Credential is the id of the credential that let the request in. Default:
	// the name.
	Credential string
}

func (r Requester) credential() string { return cmp.Or(r.Credential, r.Name) }

// Profiles of an export.
const (
	ProfileLog    = verify.ProfileLog
	ProfileRun    = verify.ProfileRun
	ProfilePeriod = verify.ProfilePeriod
)

// Scopes of an export of a period.
const (
	ScopeSystem     = "system"
	ScopeAudit      = "audit"
	ScopeCompliance = "compliance"
)

// Formats of an export. A directory is a ZIP that is given out as files.
const (
	FormatZIP  = "zip"
	FormatJSON = "json"
	FormatCSV  = "csv"
	FormatPDF  = "pdf"
)

// RetentionHot is the retention class of a new export's run records: they are
// in the store itself, as all are until they are archived.
const RetentionHot = "hot"

// Request says what to export.
type Request struct {
	Tenant  string
	Profile string // ProfileLog, ProfileRun or ProfilePeriod
	// Run is the run of profile run, by its own id.
	Run string
	// Scope, From and Until say which records profile period is about: all whose t is
	// not before From and before Until.
	Scope       string
	From, Until evidence.Micros
	// Tags are compliance tags: names that the export's records carry.
	Tags []string
	// Format is zip, the default, json, csv or pdf; profile log has zip only.
	Format string
	// ExportID names the export, once and for all. Default: a new UUID.
	ExportID string
	By       Requester
	// Disclose are patterns of the only sealed paths that are disclosed; none:
	// all are. Withhold are patterns of those that are not, whatever Disclose
	// says.
	Disclose, Withhold []string
	// NotPermitted: the requester may not read content. All sealed paths, but for
	// the targets of erasures, are withheld for that reason, whatever else is
	// asked for.
	NotPermitted bool
	// Synthetic: the requester may see synthetic records only, or only others; nil:
	// both. Of those they may not see the correlated entries are left out, and the
	// content of all others is withheld as not permitted.
	Synthetic *bool
	// NoAudit: the requester may not read audit entries. Of those the bundle of a run
	// has only its own and what accounts for what is gone; not who looked at it.
	NoAudit bool
	// Unrecorded: the caller records LOG_EXPORT. The states of the export are
	// recorded in any case.
	Unrecorded bool
	// SinceSize adds the proof that the tenant's newest log extends its tree
	// of that size. 0: none.
	SinceSize int64
	// Directory: the bundle is given out as files, and may be larger than a
	// ZIP can be.
	Directory bool
	// Progress, where not nil, is told how many leaves are done.
	Progress func(done, total int64)
}

func invalid(field, reason string) error {
	return &evidence.FieldError{Field: field, Reason: reason, Err: evidence.ErrInvalid}
}

func (r *Request) check() error {
	run := r.Profile == ProfileRun
	switch {
	case r.Profile != ProfileLog && r.Profile != ProfilePeriod && !run:
		return invalid("profile", "must be log, run or period")
	case run && (r.Run == "" || len(r.Run) > evidence.MaxRun):
		return invalid("run_id", "is required, with at most 128 bytes")
	case !run && r.Run != "":
		return invalid("run_id", "is for profile run")
	case !slices.Contains([]string{FormatZIP, FormatJSON, FormatCSV, FormatPDF}, r.Format):
		return invalid("format", "must be zip, json, csv or pdf")
	case r.Format != FormatZIP && (r.Profile == ProfileLog || r.Directory):
		return invalid("format", "must be zip for profile log and for a directory")
	case !evidence.FitName(r.ExportID):
		return invalid("export_id", "is not a name")
	case r.By.Name == "":
		return invalid("requested_by", "is required")
	case r.SinceSize < 0:
		return invalid("since_size", "must not be negative")
	}
	return r.checkPeriod()
}

// job is one export on its way.
type job struct {
	e       *Exporter
	req     Request
	choice  choice
	logs    []logPart     // in the order of the bundle
	run     *runParts     // of profile run
	period  *period       // of profile period
	expired expiredFields // of profile log
	views   []view        // what else is made of the records, see views.go
	table   *table        // of format csv
	model   modelView     // of the report; nil: there is none
	total   int64         // leaves
	done    int64
	counts  *completeness
	stamped []stamp // the time stamps of the bundle
	files   []file
	doc     *file  // of formats csv and pdf
	salt    string // of doc, see table
	// expiring: what was about to expire when the export began may be in it.
	expiring bool
	spools   []*Spool
}

// logPart is one log of the bundle, up to a checkpoint.
type logPart struct {
	ledger.LogInfo
	dir  string
	head c2sp.Checkpoint
	note []byte
	vkey c2sp.VKey
}

// system says that the log is in the bundle for the shared records of its tenant's.
func (p *logPart) system(req *Request) bool { return p.Tenant != req.Tenant }

// Export makes a bundle and records it, see the package comment. The error
// wraps evidence.ErrTampered where the store does not hold what was signed.
func (e *Exporter) Export(ctx context.Context, req Request) (*Bundle, error) {
	// What is signed is made from the primary: a replica may lack what is acknowledged.
	ctx = store.NoLag(ctx)
	j, err := e.job(&req)
	if err != nil {
		return nil, err
	}
	logs, err := e.cfg.Ledger.Logs(ctx, req.Tenant)
	if err != nil {
		return nil, err
	}
	// Nothing is recorded of a run that is not this tenant's.
	if err := j.find(ctx); err != nil {
		return nil, err
	}
	select {
	case e.room <- struct{}{}:
		defer func() { <-e.room }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := e.alive.begin(ctx, j.req.ExportID); err != nil {
		return nil, err
	}
	defer e.alive.end(j.req.ExportID)
	if _, err := j.state(ctx, pending, func(*evidence.Record) {}); err != nil {
		return nil, fmt.Errorf("record the export: %w", err)
	}
	b, err := j.bundle(ctx, logs)
	if err != nil {
		j.failed(ctx, err)
		return nil, err
	}
	return b, nil
}

// job checks a request, and puts its defaults in.
func (e *Exporter) job(req *Request) (*job, error) {
	req.ExportID = cmp.Or(req.ExportID, e.NewID())
	req.Format = cmp.Or(req.Format, FormatZIP)
	if err := req.check(); err != nil {
		return nil, err
	}
	choice, err := parseChoice(req)
	j := &job{e: e, req: *req, choice: choice}
	if j.single() {
		j.salt = rand.Text()
	}
	return j, err
}

// failed appends the state failed and frees what is spooled. The reason goes
// to the one who asked, not into the record.
func (j *job) failed(ctx context.Context, why error) {
	for _, s := range j.spools {
		_ = s.Close() // it has nothing that anybody needs
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if _, err := j.state(ctx, failedNow, func(*evidence.Record) {}); err != nil {
		j.e.cfg.Logger.Error("record a failed export", "export", j.req.ExportID, "err", err, "failure", why)
	}
}

// reports says that the export has a report for people.
func (j *job) reports() bool {
	return j.req.Profile != ProfileLog && (j.req.Format == FormatZIP || j.req.Format == FormatPDF)
}

// single says that the export is one file, a table or a report, that is no bundle.
func (j *job) single() bool { return j.req.Format == FormatCSV || j.req.Format == FormatPDF }

// lookForExpiries notes whether expiries are ordered that are not carried out.
func (j *job) lookForExpiries(ctx context.Context) (err error) {
	j.expiring, err = j.e.cfg.Ledger.Expiring(ctx, j.req.Tenant)
	if err == nil && !j.expiring && slices.ContainsFunc(j.logs, func(p logPart) bool { return p.system(&j.req) }) {
		j.expiring, err = j.e.cfg.Ledger.Expiring(ctx, evidence.SystemTenant)
	}
	return err
}

func (j *job) bundle(ctx context.Context, logs []ledger.LogInfo) (*Bundle, error) {
	choose := j.choose
	if j.req.Profile == ProfileRun {
		choose = j.chooseRun
	} else if j.req.Profile == ProfilePeriod {
		choose = j.choosePeriod
	}
	if err := choose(ctx, logs); err != nil {
		return nil, err
	}
	// An order that comes from here on stands behind what the export has.
	if err := j.lookForExpiries(ctx); err != nil {
		return nil, err
	}
	manifest, err := j.collect(ctx)
	if err != nil {
		return nil, err
	}
	receipt, err := j.state(ctx, completed, func(r *evidence.Record) {
		if j.single() {
			r.SetText("checksum", digest(j.doc.sha256[:]))
			r.SetInt("size_bytes", j.doc.size)
		} else {
			r.SetText("manifest", manifestFact(manifest))
		}
		r.SetInt("record_count", j.counts.Records)
	})
	if err != nil {
		return nil, fmt.Errorf("record the export: %w", err)
	}
	newest := j.logs[0]
	b := &Bundle{
		ExportID: j.req.ExportID, Tenant: j.req.Tenant, Run: j.req.Run, Format: j.req.Format,
		Log: newest.Origin, Size: newest.head.Size, Checkpoint: newest.note, Records: j.counts.Records,
		doc: j.doc, spools: j.spools,
		end: store.Position{LogNo: newest.No, Seq: newest.head.Size}, expiring: j.expiring,
	}
	if i := slices.IndexFunc(j.logs, func(p logPart) bool { return p.system(&j.req) }); i >= 0 { // the newest of them
		b.shared = store.Position{LogNo: j.logs[i].No, Seq: j.logs[i].head.Size}
	}
	if !j.single() {
		receipts, err := j.receipt(ctx, receipt)
		if err != nil {
			return nil, err
		}
		b.files = slices.Concat([]file{manifest}, j.files, receipts)
	}
	if err := b.measure(j.req.Directory); errors.Is(err, zipstore.ErrFormat) {
		return nil, fmt.Errorf("it does not fit a ZIP, export it as a directory: %w: %w", evidence.ErrTooLarge, err)
	} else if err != nil {
		return nil, err
	}
	if j.run != nil {
		b.Metadata = j.metadata(b.Digest)
	}
	if j.req.Unrecorded {
		return b, nil
	}
	if err := j.access(ctx, b); err != nil {
		return nil, fmt.Errorf("record the access: %w", err)
	}
	return b, nil
}

// manifestFact is what the completed export says of its manifest. It must be
// what check 11 of package verify compares.
func manifestFact(manifest file) string { return hex.EncodeToString(manifest.sha256[:]) }

// choose publishes the checkpoints that the bundle ends at: of the newest log
// first, then of its predecessors, newest first.
func (j *job) choose(ctx context.Context, logs []ledger.LogInfo) error {
	for _, info := range slices.Backward(logs) {
		if err := j.part(ctx, info); err != nil {
			return err
		}
		j.total += j.logs[len(j.logs)-1].head.Size
	}
	return j.checkSince()
}

// part adds a log to the bundle, behind those that it has, and publishes its
// checkpoint.
func (j *job) part(ctx context.Context, info ledger.LogInfo) error {
	head, note, err := j.checkpoint(ctx, info.Tenant, info.No)
	if err != nil {
		return fmt.Errorf("checkpoint of %s: %w", info.Origin, err)
	}
	if head.Size == 0 {
		return fmt.Errorf("checkpoint of %s: %w: none is published yet", info.Origin, evidence.ErrUnavailable)
	}
	vkey, err := c2sp.ParseVKey(info.VKey)
	if err != nil {
		return err
	}
	j.logs = append(j.logs, logPart{
		LogInfo: info, dir: fmt.Sprintf("logs/%d", len(j.logs)), head: head, note: note, vkey: vkey,
	})
	return nil
}

func (j *job) checkSince() error {
	if since := j.req.SinceSize; since > j.logs[0].head.Size {
		return &evidence.FieldError{
			Field: "since_size", Err: evidence.ErrInvalid,
			Reason: fmt.Sprintf("is greater than the %d records of log %s", j.logs[0].head.Size, j.logs[0].Origin),
		}
	}
	return nil
}

// receipt waits for a checkpoint that covers the completed export and returns
// the receipt files.
func (j *job) receipt(ctx context.Context, r ledger.Receipt) ([]file, error) {
	l, newest := j.e.cfg.Ledger, j.logs[0]
	if r.LogNo != newest.No {
		return nil, fmt.Errorf("the log was rolled over during the export, try again: %w", evidence.ErrUnavailable)
	}
	if _, _, err := l.PublishNow(ctx, j.req.Tenant, r.LogNo); err != nil {
		return nil, err
	}
	p, err := l.ProveSeq(ctx, j.req.Tenant, r.LogNo, r.LeafIndex)
	if err != nil {
		return nil, err
	}
	if p.Note, err = c2sp.OnlyLogSignature(p.Note, newest.vkey); err != nil {
		return nil, err
	}
	head, err := c2sp.Verify(p.Note, newest.vkey)
	if err != nil {
		return nil, err
	}
	way := c2sp.Consistency{Old: newest.head.Size, Note: p.Note}
	if way.Hashes, err = l.Consistency(ctx, j.req.Tenant, r.LogNo, way.Old, head.Size); err != nil {
		return nil, err
	}
	if err := c2sp.CheckConsistency(way.Hashes, head.Size, head.Root, newest.head.Size, newest.head.Root); err != nil {
		return nil, err
	}
	return []file{
		memoryFile("receipt.leaf", p.Leaf),
		memoryFile("receipt.tlog-proof", p.Marshal()),
		memoryFile("receipt.consistency", way.Marshal()),
	}, nil
}
