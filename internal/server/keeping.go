package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/anchor"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/lifecycle"
	"github.com/runledger/runledger/internal/seal"
)

// LifecycleConfig says how long evidence is kept at least and at most, and when the
// server looks for what is due. Zero values are what a server was last started with
// where a command opens a deployment, else the defaults.
type LifecycleConfig struct {
	// Every is how often a server looks for what is due. 0: it only finishes what was
	// begun. Commands never look.
	Every time.Duration
	// MoveAfter is how old leaves are before they leave the database for the archive.
	// Default 365 days; below 0: never.
	MoveAfter time.Duration
	// FloorDays and CeilingDays bound policies: 1 and 3650. HighRiskFloor is the least
	// for runs that are marked high risk: 183.
	FloorDays, CeilingDays, HighRiskFloor int
	// HighRiskPolicies and HighRiskAgents mark a run as high risk. Default: the policy
	// high-risk, and no agent.
	HighRiskPolicies, HighRiskAgents []string
}

// Defaults of LifecycleConfig.
const (
	DefaultMoveAfter     = 365 * 24 * time.Hour
	DefaultFloorDays     = 1
	DefaultCeilingDays   = 3650
	DefaultHighRiskFloor = 183
	DefaultHighRisk      = "high-risk"
)

// Names of the settings, as records show them.
const (
	settingArchive      = "archive"
	settingMoveAfter    = "lifecycle_move_after"
	settingFloor        = "retention_floor_days"
	settingCeiling      = "retention_ceiling_days"
	settingRiskFloor    = "retention_high_risk_floor_days"
	settingRiskPolicies = "high_risk_policies"
	settingRiskAgents   = "high_risk_agents"
)

// never stands in settings for a time after which nothing is done.
const never = "never"

// defaultArchive stands in settings for the archive beside the data directory: where
// both are moved together, nothing has changed.
const defaultArchive = "default"

// addLifecycle puts the settings of the life of evidence to the others.
func (c *Config) addLifecycle(all settings) {
	l := &c.Lifecycle
	all[settingArchive] = c.Archive
	if c.Store == "" && c.Archive == c.besideData() {
		all[settingArchive] = defaultArchive
	}
	all["lifecycle_every"], all[settingMoveAfter] = l.Every.String(), never
	if l.MoveAfter >= 0 {
		all[settingMoveAfter] = l.MoveAfter.String()
	}
	all[settingFloor], all[settingCeiling], all[settingRiskFloor] = fmt.Sprint(l.FloorDays), fmt.Sprint(l.CeilingDays), fmt.Sprint(l.HighRiskFloor)
	all[settingRiskPolicies], all[settingRiskAgents] = listText(l.HighRiskPolicies), listText(l.HighRiskAgents)
}

// listText is a list as settings show it.
func listText(list []string) string {
	b, err := json.Marshal(append([]string{}, list...))
	if err != nil {
		panic("server: " + err.Error()) // strings
	}
	return string(b)
}

// besideData is the archive of a deployment on SQLite for which none was named.
func (c *Config) besideData() string { return c.Data + ".archive" }

// as fills in what a command was not told from what a server was last started with: it
// is the same deployment, with the same archive and the same bounds.
func (c *Config) as(last settings) {
	if c.Archive == "" && last[settingArchive] != defaultArchive {
		c.Archive = last[settingArchive] // "" before the first server
	}
	l := &c.Lifecycle
	number := func(to *int, name string) {
		if n, err := strconv.Atoi(last[name]); err == nil && *to == 0 {
			*to = n
		}
	}
	number(&l.FloorDays, settingFloor)
	number(&l.CeilingDays, settingCeiling)
	number(&l.HighRiskFloor, settingRiskFloor)
	if d, err := time.ParseDuration(last[settingMoveAfter]); err == nil && l.MoveAfter == 0 {
		l.MoveAfter = d
	} else if last[settingMoveAfter] == never && l.MoveAfter == 0 {
		l.MoveAfter = -1
	}
	list := func(to *[]string, name string) {
		var v []string
		if json.Unmarshal([]byte(last[name]), &v) == nil && *to == nil {
			*to = v
		}
	}
	list(&l.HighRiskPolicies, settingRiskPolicies)
	list(&l.HighRiskAgents, settingRiskAgents)
}

// completeLifecycle fills in the defaults.
func (c *Config) completeLifecycle() error {
	l := &c.Lifecycle
	l.FloorDays, l.CeilingDays = cmp.Or(l.FloorDays, DefaultFloorDays), cmp.Or(l.CeilingDays, DefaultCeilingDays)
	l.HighRiskFloor, l.MoveAfter = cmp.Or(l.HighRiskFloor, DefaultHighRiskFloor), cmp.Or(l.MoveAfter, DefaultMoveAfter)
	if l.HighRiskPolicies == nil {
		l.HighRiskPolicies = []string{DefaultHighRisk}
	}
	switch {
	case l.FloorDays < 1 || l.HighRiskFloor < 1 || l.CeilingDays < max(l.FloorDays, l.HighRiskFloor):
		return fmt.Errorf("%w: retention: the floors, %d and %d days, must be at least 1 and at most the ceiling, %d",
			evidence.ErrInvalid, l.FloorDays, l.HighRiskFloor, l.CeilingDays)
	case c.Archive == "" && c.Store == "":
		c.Archive = c.besideData()
	case c.Archive == "" || c.Archive == Off:
		c.Archive = Off
		return nil
	}
	spec, err := anchor.Parse(c.Archive)
	if err != nil {
		return fmt.Errorf("archive %q: %w", c.Archive, err)
	}
	if spec.S3 == nil { // it is on record, and must mean the same from elsewhere
		c.Archive, err = filepath.Abs(c.Archive)
	}
	return err
}

// openLifecycle makes what keeps evidence for as long as the rules say.
func (d *Deployment) openLifecycle(cfg *Config, sealer *seal.Sealer) (err error) {
	l := &cfg.Lifecycle
	c := lifecycle.Config{
		Ledger: d.Ledger, Store: d.db.Store, Sealer: sealer, Archive: d.archives.own, Find: d.archives.find, Lease: d.lease(),
		FloorDays: l.FloorDays, CeilingDays: l.CeilingDays, HighRiskFloor: l.HighRiskFloor,
		HighRiskPolicies: l.HighRiskPolicies, HighRiskAgents: l.HighRiskAgents,
		Every: l.Every, MoveAfter: max(l.MoveAfter, 0), Now: cfg.Clock.Now, Logger: cfg.Logger,
	}
	if cfg.server {
		c.Metrics = cfg.Metrics
	}
	if d.Lifecycle, err = lifecycle.New(c); err != nil {
		return fmt.Errorf("lifecycle: %w", err)
	}
	return nil
}

// acknowledge records for a tenant that is new for how long its evidence is kept. Where
// that fails the tenant is there all the same, and the next server makes up for it.
func (d *Deployment) acknowledge(ctx context.Context, logger *slog.Logger, tenant string) {
	if err := d.Lifecycle.Acknowledge(ctx, tenant); err != nil && ctx.Err() == nil {
		logger.WarnContext(ctx, "how long evidence is kept is not recorded yet", "tenant", tenant, "err", err)
	}
}

// acknowledging is the ledger for who makes tenants.
type acknowledging struct {
	*ledger.Ledger
	made func(ctx context.Context, tenant string)
}

// CreateTenant makes a tenant, and says so.
func (a acknowledging) CreateTenant(ctx context.Context, tenant string) (ledger.LogInfo, error) {
	info, err := a.Ledger.CreateTenant(ctx, tenant)
	if err == nil {
		a.made(ctx, info.Tenant)
	}
	return info, err
}

// keep expires, archives and finishes until ctx is done, once the server is ready.
func (s *server) keep(ctx context.Context, ready <-chan struct{}) {
	tenants, err := s.d.Ledger.Tenants(ctx)
	if err != nil {
		s.log.WarnContext(ctx, "tenants", "err", err)
	}
	for _, t := range tenants { // those of a program before, and of one that died
		s.d.acknowledge(ctx, s.log, t.Tenant)
	}
	s.d.Lifecycle.Run(ctx, ready)
}

// lifecycleReason says why what is due does not go.
func (s *server) lifecycleReason() string { return s.d.Lifecycle.Blocked() }
