package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"time"

	"github.com/runledger/runledger/evidence"
)

// recordStart appends CONFIG_CHANGE where there is one, and STARTUP.
func (s *server) recordStart(ctx context.Context) error {
	digest, err := s.recordConfig(ctx)
	if err != nil {
		return err
	}
	last, _ := s.d.db.Setting(ctx, s.d.own(settingUp)) // absent before the first start
	err = s.d.record(ctx, systemEvent{
		component: componentAPI, event: "STARTUP", version: s.cfg.Version, causedBy: "SYSTEM", configDigest: digest,
		summary: s.d.named("The server started."),
		details: s.d.withProcess(map[string]any{
			"config": s.cfg.settings(), "pid": os.Getpid(), "go": runtime.Version(), "listen": address(s.api),
			"otlp_http": address(s.otlp), "otlp_grpc": address(s.rpc), "stopped_in_order_before": last != "1",
		}),
	})
	if err != nil {
		return fmt.Errorf("record the start: %w", err)
	}
	return s.d.db.SetSetting(ctx, s.d.own(settingUp), "1")
}

// recordStop appends SHUTDOWN. A ledger that writes no more cannot: that it
// is missing then says something too.
func (s *server) recordStop(ctx context.Context, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Grace)
	defer cancel()
	err := s.d.record(ctx, systemEvent{
		component: componentAPI, event: "SHUTDOWN", version: s.cfg.Version, causedBy: "SYSTEM",
		summary: s.d.named("The server stopped: " + reason + "."), details: s.d.withProcess(nil),
	})
	if err != nil {
		return fmt.Errorf("record the stop: %w", err)
	}
	return s.d.db.SetSetting(ctx, s.d.own(settingUp), "0")
}

// named says in a summary which of several processes it is about.
func (d *Deployment) named(summary string) string {
	if !d.db.shared() {
		return summary
	}
	return summary + " It is the process " + d.process + "."
}

// withProcess names this process in the details of a record where there may be others.
func (d *Deployment) withProcess(details map[string]any) any {
	if !d.db.shared() {
		if details == nil {
			return nil
		}
		return details
	}
	out := map[string]any{"process": d.process}
	maps.Copy(out, details)
	return out
}

// own is the name of a setting that each process on a database has for itself.
func (d *Deployment) own(setting string) string {
	if !d.db.shared() {
		return setting
	}
	return setting + "/" + d.process
}

// recordConfig appends CONFIG_CHANGE where the server starts with other settings than
// the last time, and returns the digest of these. A process that is new on its
// database is compared with the one that started last: where processes get a new name
// at each start, a change is still seen.
func (s *server) recordConfig(ctx context.Context) (digest string, err error) {
	now := s.cfg.settings()
	text, digest, err := now.text()
	if err != nil {
		return "", err
	}
	return digest, s.d.alone(ctx, "server/config", func(ctx context.Context) error {
		last, err := readSettings(ctx, s.d.db, settingConfig)
		if err != nil {
			return err
		}
		was := last
		if own := s.d.own(settingConfig); own != settingConfig {
			if mine, err := readSettings(ctx, s.d.db, own); err != nil {
				return err
			} else if mine != nil {
				was = mine
			}
			defer func() {
				if err == nil {
					err = s.d.db.SetSetting(ctx, own, text)
				}
			}()
		}
		if err := s.recordChanges(ctx, was, last, now, digest); err != nil {
			return err
		}
		return s.d.db.SetSetting(ctx, settingConfig, text)
	})
}

// recordChanges compares with the settings this process had, and rules of access with
// those of whichever started last: they are of the whole deployment, so they change
// once, not once a process.
func (s *server) recordChanges(ctx context.Context, was, last, now settings, digest string) error {
	changed := was.changed(now)
	if was == nil || len(changed) == 0 {
		return nil
	}
	err := s.d.record(ctx, systemEvent{
		component: componentAPI, event: "CONFIG_CHANGE", version: s.cfg.Version, causedBy: "HUMAN", configDigest: digest,
		summary: s.d.named(fmt.Sprintf("The server's configuration changed in %d settings.", len(changed))),
		details: s.d.withProcess(map[string]any{"changed": changed}),
	})
	if err != nil {
		return fmt.Errorf("record the configuration: %w", err)
	}
	if before := last[settingRules]; last != nil && before != now[settingRules] {
		if err := s.d.recordRules(ctx, before, now[settingRules]); err != nil {
			return fmt.Errorf("record the rules of access: %w", err)
		}
	}
	return nil
}

const (
	aloneFor  = 10 * time.Second // a process that dies in its turn keeps others waiting for so long
	aloneWait = 15 * time.Second
)

// alone calls f while no other process does what has this name. That spares records
// that two processes would write twice, so f is called in any case in the end.
func (d *Deployment) alone(ctx context.Context, name string, f func(ctx context.Context) error) error {
	if !d.db.shared() {
		return f(ctx)
	}
	for deadline := time.Now().Add(aloneWait); ; {
		held, err := d.db.Lease(ctx, name, d.holder, aloneFor)
		if err != nil {
			return fmt.Errorf("lease %s: %w", name, err)
		}
		if held || time.Now().After(deadline) {
			break
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := f(ctx)
	_, lerr := d.db.Lease(context.WithoutCancel(ctx), name, d.holder, 0)
	return errors.Join(err, lerr)
}

// settingMigration is the newest migration that has its record. It lets a
// crash between the migration and its record be made up for.
const settingMigration = "migration_recorded"

// recordMigrations appends a MIGRATION record for each migration that has
// none yet.
func (d *Deployment) recordMigrations(ctx context.Context) error {
	if n, err := d.migrationsRecorded(ctx); err != nil || n == len(d.db.migrations) {
		return err
	}
	return d.alone(ctx, "server/migrations", func(ctx context.Context) error {
		recorded, err := d.migrationsRecorded(ctx)
		if err != nil {
			return err
		}
		var events []systemEvent
		for _, m := range d.db.migrations {
			if m.version <= recorded {
				continue
			}
			recorded = m.version
			events = append(events, systemEvent{
				component: componentMigration, event: "MIGRATION", version: fmt.Sprint(m.version), causedBy: "SYSTEM",
				summary: fmt.Sprintf("The database was migrated to version %d (%s).", m.version, m.name),
			})
		}
		if events == nil {
			return nil
		}
		if err := d.record(ctx, events...); err != nil {
			return fmt.Errorf("record migrations: %w", err)
		}
		return d.db.SetSetting(ctx, settingMigration, fmt.Sprint(recorded))
	})
}

// migrationsRecorded returns the newest migration that has its record.
func (d *Deployment) migrationsRecorded(ctx context.Context) (recorded int, err error) {
	text, err := d.db.Setting(ctx, settingMigration)
	if errors.Is(err, evidence.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscanf(text, "%d", &recorded); err != nil {
		return 0, fmt.Errorf("setting %s: %w", settingMigration, err)
	}
	return recorded, nil
}
