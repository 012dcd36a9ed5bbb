package ledger

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// Codes of findings in a live deployment (formats.md section 8). Those of
// leaves and content are the offline verifier's.
const (
	CodeLeaf        = "E_LEAF"
	CodeInclusion   = "E_INCLUSION"
	CodeGap         = "E_GAP"
	CodeCommit      = "E_COMMIT"
	CodeUnaccounted = "E_UNACCOUNTED"
	CodeFork        = "E_FORK"
	CodeColumn      = "E_COLUMN"
	CodeTile        = "E_TILE"
	CodeHead        = "E_HEAD"
	CodeIndex       = "E_INDEX"
	CodeID          = "E_ID"
	CodeGuard       = "E_GUARD"    // a trigger, index or constraint of the database is missing or damaged
	CodeRollback    = "W_ROLLBACK" // an operator accepted a rollback
)

// Finding is one thing that does not match what was signed.
type Finding struct {
	Code   string `json:"code"`
	Tenant string `json:"tenant_id,omitempty"`
	Log    string `json:"log,omitempty"`
	Table  string `json:"table"`
	Column string `json:"column,omitempty"`
	// From and To are the leaves it concerns: From <= leaf index < To; both
	// 0 where it concerns none.
	From     int64  `json:"from"`
	To       int64  `json:"to"`
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
	Message  string `json:"message"`
}

// String returns one line for people.
func (f Finding) String() string {
	where := f.Table
	if f.Column != "" {
		where += "." + f.Column
	}
	if f.Log != "" {
		where += " of log " + f.Log
	}
	switch {
	case f.To == f.From+1:
		where += fmt.Sprintf(", leaf %d", f.From)
	case f.To > f.From:
		where += fmt.Sprintf(", leaves %d to %d", f.From, f.To-1)
	}
	return fmt.Sprintf("%s %s: %s", f.Code, where, f.Message)
}

// key tells findings apart, also one that was told by another process: text of a database
// that is no UTF-8 is not the same in JSON.
func (f Finding) key() string { return string([]rune(f.String())) }

// LiveConfig says what Verify checks.
type LiveConfig struct {
	// Reader is what is checked. If it has a method Snapshot (as a
	// store.Store has), leaves are read without holding one, and only the
	// end, where all must agree, is read from a snapshot: a server may go on
	// writing meanwhile. Else it must not change meanwhile.
	Reader store.Reader
	Sealer *seal.Sealer
	Anchor Anchor // nil: anchors are not compared
	Tenant string // "" for all
	// Progress is told from time to time how many leaves are done.
	Progress func(done, total int64)
	// MaxFindings bounds the report. Default 1000.
	MaxFindings int
	// pace, if set, is asked after each chunk of leaves, whose check took so long, and
	// may wait. Chunks are checked one after another then.
	pace func(ctx context.Context, leaves int, worked time.Duration) error
	// watched: Watch looks at the guards, and not once for each tenant.
	watched bool
}

// LiveReport is what Verify found.
type LiveReport struct {
	Findings []Finding `json:"findings"`
	// Truncated: there were more findings than MaxFindings.
	Truncated bool      `json:"truncated,omitempty"`
	Logs      []LiveLog `json:"logs"`
	Leaves    int64     `json:"leaves"`
	Erased    int64     `json:"erased_fields"`
	// Expired are the records whose rows are gone because they have expired.
	Expired int64 `json:"expired_records"`
}

// LiveLog is one verified log.
type LiveLog struct {
	LogInfo
	Size int64         `json:"size"`
	Root evidence.Hash `json:"root"`
	Note string        `json:"checkpoint"`
}

// OK reports that nothing was found that contradicts what was signed.
func (r *LiveReport) OK() bool {
	for _, f := range r.Findings {
		if f.Code[0] == 'E' {
			return false
		}
	}
	return true
}

// Verify checks a live deployment: every leaf, every tile, head, checkpoint
// and anchor, every column of every evidence table against its leaf, every
// sealed opening against its commitment, every index entry against its
// opening, every record id and run state. An error means that the check
// itself could not be made; findings are in the report.
func Verify(ctx context.Context, cfg LiveConfig) (*LiveReport, error) {
	if cfg.MaxFindings <= 0 {
		cfg.MaxFindings = 1000
	}
	v := &liveVerifier{cfg: cfg, workers: runtime.GOMAXPROCS(0), report: &LiveReport{Findings: []Finding{}}}
	if cfg.pace != nil {
		v.workers = 1
	}
	if !cfg.watched {
		guards, err := guardFindings(ctx, cfg.Reader)
		if err != nil {
			return nil, err
		}
		for _, f := range guards {
			v.add(f)
		}
	}
	// The scrub goes tenant by tenant and at a pace; this has neither.
	if cfg.Tenant == "" {
		damage, err := cfg.Reader.Damage(ctx)
		if err != nil {
			return nil, err
		}
		for _, d := range damage {
			v.add(Finding{Code: CodeGuard, Table: "schema", Message: "the database contradicts itself, so queries may leave rows out: " + d})
		}
	}
	unknown, err := v.unknownAnchors(ctx)
	if err != nil {
		return nil, err
	}
	logs, err := cfg.Reader.Logs(ctx, cfg.Tenant)
	if err != nil {
		return nil, err
	}
	for _, lg := range logs {
		if head, err := cfg.Reader.Head(ctx, lg.LogRef); err == nil {
			v.total += head.Size
		}
	}
	for from := 0; from < len(logs); {
		to := from
		for to < len(logs) && logs[to].Tenant == logs[from].Tenant {
			to++
		}
		if err := v.tenant(ctx, logs[from].Tenant); err != nil {
			return v.report, err
		}
		from = to
	}
	for _, f := range unknown {
		v.add(f)
	}
	return v.report, nil
}

type liveVerifier struct {
	cfg     LiveConfig
	workers int
	report  *LiveReport
	total   int64
	done    int64
	lastSay time.Time
}

func (v *liveVerifier) add(f Finding) {
	if len(v.report.Findings) >= v.cfg.MaxFindings {
		v.report.Truncated = true
		return
	}
	// Findings that stand side by side and say the same are one.
	if n := len(v.report.Findings); n > 0 {
		last := &v.report.Findings[n-1]
		if last.Code == f.Code && last.Log == f.Log && last.Table == f.Table && last.Column == f.Column &&
			last.Message == f.Message && last.To == f.From && f.To > f.From && f.Expected == "" && last.Expected == "" {
			last.To = f.To
			return
		}
	}
	v.report.Findings = append(v.report.Findings, f)
}

func (v *liveVerifier) progress(leaves int64) {
	v.done += leaves
	v.report.Leaves += leaves
	if v.cfg.Progress != nil && (v.done == v.total || time.Since(v.lastSay) > 100*time.Millisecond) {
		v.lastSay = time.Now()
		v.cfg.Progress(v.done, v.total)
	}
}
