package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// Severities of a Finding.
const (
	SeverityBroken  = "broken"  // evidence is not protected as it must be: nothing is served
	SeverityWarning = "warning" // worth an operator's attention
)

// Finding is something that is wrong with a database itself, or with what belongs to it.
type Finding struct {
	Code     string `json:"code"`
	Severity string `json:"severity"`
	What     string `json:"what"`
	Mend     string `json:"mend,omitempty"` // the statement or command that mends it, or what to do
}

// Doctor looks for what is wrong with the database of a deployment itself, and with its
// master keyset and anchor. It changes nothing.
func Doctor(ctx context.Context, cfg Config) (_ []Finding, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	spec := cfg.spec()
	spec.ReadOnly, spec.Migrate = true, false
	b, err := openBackend(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	list, err := b.doctor(ctx)
	if err != nil {
		return nil, err
	}
	logs, err := b.Logs(ctx, "")
	if err != nil {
		return nil, err
	}
	list = append(list, cfg.keysetFindings(ctx, b.Store, len(logs) > 0)...)
	if len(logs) > 0 && anchorGone(cfg.Anchor) {
		list = append(list, Finding{"D_ANCHOR", SeverityBroken, "the anchor " + cfg.Anchor + " is not there", "Put it back, or name the right one with --anchor: it must outlive the database."})
	}
	if last, err := readSettings(ctx, b, settingConfig); err != nil {
		return nil, err
	} else if cfg.as(last); true {
		err = cfg.completeLifecycle()
		if err != nil {
			return nil, err
		}
	}
	life, err := cfg.lifecycleFindings(ctx, b, logs)
	if err != nil {
		return nil, err
	}
	list = append(list, life...)
	slices.SortStableFunc(list, func(a, b Finding) int { return strings.Compare(a.Severity, b.Severity) }) // broken first
	return list, nil
}

// keysetFindings looks at the file of the master keyset; used: something is wrapped by it.
func (c *Config) keysetFindings(ctx context.Context, db store.Store, used bool) []Finding {
	st, err := os.Stat(c.Master)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !used:
		return nil // the first start makes it
	case err != nil:
		return []Finding{{"D_KEYSET", SeverityBroken, "the master keyset: " + err.Error(), "Put it back from its backup: without it nothing can be signed or read."}}
	}
	var list []Finding
	if st.Mode().Perm()&0o077 != 0 {
		list = append(list, Finding{"D_KEYSET", SeverityWarning, fmt.Sprintf("the master keyset %s has mode %04o: others may read it", c.Master, st.Mode().Perm()), "chmod 600 " + c.Master})
	}
	master, err := seal.OpenMaster(c.Master, false)
	if err == nil {
		err = checkMaster(ctx, db, master, c.Master)
	}
	if err != nil {
		list = append(list, Finding{"D_KEYSET", SeverityBroken, err.Error(), "Put the right one back from its backup."})
	}
	return list
}

// maxNamed is how many broken guards an error names; the doctor names all.
const maxNamed = 10

// refuseBroken is the doctor's look before anything is served. Warnings are logged.
func (d *Deployment) refuseBroken(ctx context.Context, cfg *Config) error {
	list, err := d.db.doctor(ctx)
	if err != nil {
		return fmt.Errorf("doctor: %w", err)
	}
	var broken []string
	for _, f := range list {
		if f.Severity == SeverityBroken {
			broken = append(broken, f.What)
			continue
		}
		cfg.Logger.WarnContext(ctx, "doctor", "code", f.Code, "what", f.What, "mend", f.Mend)
	}
	if broken == nil {
		return nil
	}
	more := ""
	if n := len(broken) - maxNamed; n > 0 {
		broken, more = broken[:maxNamed], fmt.Sprintf("; and %d more", n)
	}
	return fmt.Errorf("the database does not protect evidence as it must (runledger doctor says more): %w: %s%s",
		evidence.ErrTampered, strings.Join(broken, "; "), more)
}
