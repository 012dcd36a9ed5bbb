package access

import (
	"context"
	"errors"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// reconcile appends what keys lack in records: of a process that died between a
// row and its record, or that could not record.
func (g *Gate) reconcile(ctx context.Context) error {
	g.admin.Lock()
	defer g.admin.Unlock()
	g.dirty.Store(false)
	err := g.reconcileAll(ctx)
	if err != nil {
		g.dirty.Store(true)
	}
	return err
}

func (g *Gate) reconcileAll(ctx context.Context) error {
	byTenant := map[string][]store.APIKey{}
	err := g.cfg.Store.APIKeys(ctx, AllTenants, func(k store.APIKey) error {
		byTenant[k.Tenant] = append(byTenant[k.Tenant], k)
		return nil
	})
	if err != nil {
		return unavailable("credentials", err)
	}
	for tenant, keys := range byTenant {
		if _, err := g.cfg.Ledger.Logs(ctx, logTenant(tenant)); errors.Is(err, evidence.ErrNotFound) {
			g.cfg.Logger.WarnContext(ctx, "credentials of a tenant that has no log", "tenant", tenant, "credentials", len(keys))
			continue
		}
		for from := 0; from < len(keys); from += reconcileChunk {
			if err := g.reconcileSome(ctx, tenant, keys[from:min(from+reconcileChunk, len(keys))]); err != nil {
				return err
			}
		}
	}
	return nil
}

// reconcileChunk is how many keys are looked at at once.
const reconcileChunk = 500

func (g *Gate) reconcileSome(ctx context.Context, tenant string, keys []store.APIKey) error {
	log := logTenant(tenant)
	idOf := func(k store.APIKey, event string) evidence.ID {
		return evidence.NaturalID(log, evidence.KindAudit, naturalKey(k.ID, event))
	}
	var ids []evidence.ID
	for _, k := range keys {
		ids = append(ids, idOf(k, eventCreated), idOf(k, eventUsed))
	}
	found, err := g.cfg.Ledger.FindIDs(ctx, log, ids)
	if err != nil {
		return unavailable("credentials", err)
	}
	var missing []*evidence.Record
	for _, k := range keys {
		if _, ok := found[idOf(k, eventCreated)]; !ok {
			missing = append(missing, createdRecords(k)...)
		}
		if _, ok := found[idOf(k, eventUsed)]; !ok && k.UsedAt != 0 {
			missing = append(missing, usedRecord(k, ""))
		}
	}
	if len(missing) > 0 {
		if err := g.append(ctx, log, missing...); err != nil {
			return err
		}
	}
	for _, k := range keys {
		if k.RevokedAt != 0 {
			if err := g.finishRevocation(ctx, k); err != nil {
				return err
			}
		}
	}
	return nil
}
