package server

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/runledger/runledger/internal/store/postgres"
)

// partitionMonths is how many months ahead have their partitions made.
const partitionMonths = 3

func (spec *StoreSpec) postgres() postgres.Config {
	cfg := postgres.Config{
		DSN: spec.Store, Logger: spec.Logger, ReadOnly: spec.ReadOnly,
		Readers: spec.Pool.Readers, Writers: spec.Pool.Writers,
		StatementTimeout: spec.Pool.StatementTimeout, LockTimeout: spec.Pool.LockTimeout,
		Replicas: spec.Pool.Replicas, ReplicaLag: spec.Pool.ReplicaLag, Metrics: spec.Metrics,
	}
	if spec.Migrate {
		cfg.OwnerDSN = spec.Owner
	}
	return cfg
}

func openPostgres(ctx context.Context, spec StoreSpec) (*backend, error) {
	if spec.Migrate && spec.Owner == "" {
		return nil, errors.New("the schema is made as its owner: --store-owner is needed")
	}
	db, err := postgres.Open(ctx, spec.postgres())
	if err != nil {
		return nil, err
	}
	b := &backend{Store: db, kind: "postgres"}
	for _, m := range postgres.Migrations() {
		b.migrations = append(b.migrations, migration{m.Version, m.Name})
	}
	b.doctor = func(ctx context.Context) ([]Finding, error) {
		found, err := db.Doctor(ctx)
		var list []Finding
		for _, f := range found {
			list = append(list, Finding{f.Code, f.Severity, f.What, f.Mend})
		}
		return list, err
	}
	if len(spec.Pool.Replicas) > 0 {
		b.replicas = func(ctx context.Context) string { return strings.Join(db.ReplicasDown(ctx), "; ") }
	}
	b.until = func(ctx context.Context) (time.Time, error) { return db.PartitionsUntil(ctx, time.Now()) }
	b.upkeep = func(ctx context.Context, now time.Time) error { return db.PartitionsAhead(ctx, now, partitionMonths) }
	return b, nil
}

// Migrated is a migration that was run.
type Migrated struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
}

// MigrateStore makes the schema of a store or brings it up to date, and returns the
// migrations that it ran.
func MigrateStore(ctx context.Context, cfg Config, distributed bool) ([]Migrated, error) {
	ran := []Migrated{}
	if cfg.Store == "" {
		return ran, migrateSQLite(ctx, cfg, &ran)
	}
	list, err := postgres.Migrate(ctx, postgres.Config{DSN: cfg.Store, OwnerDSN: cfg.StoreOwner, Distributed: distributed, Logger: cfg.Logger})
	for _, m := range list {
		ran = append(ran, Migrated{m.Version, m.Name})
	}
	return ran, err
}
