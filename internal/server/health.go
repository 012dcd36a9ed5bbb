package server

import (
	"context"
	"fmt"
	"time"
)

// healthEvery is how often the server looks at itself.
const healthEvery = time.Second

// ready returns nil while evidence can be made durable.
func (s *server) ready() error {
	if err := s.d.Ledger.Writable(); err != nil {
		return err
	}
	if err := s.d.Ledger.Publishing(); err != nil {
		return err
	}
	return s.disk.full()
}

// health records each change between ready and not ready, as SystemRecordWriter
// (contract section 5). What could not be recorded while nothing could be
// written is recorded when that is over.
type health struct {
	s     *server
	why   string // why it is not ready; "" for ready
	since time.Time
	owed  []systemEvent
}

func (s *server) watchHealth(ctx context.Context) {
	h := &health{s: s}
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			h.look(ctx, now)
		}
	}
}

func (h *health) look(ctx context.Context, now time.Time) {
	why := ""
	if err := h.s.ready(); err != nil {
		why = err.Error()
	}
	switch {
	case why != "" && h.why == "":
		h.since, h.why = now, why
		h.s.log.Warn("not ready", "reason", why)
		h.owed = append(h.owed, healthEvent(now, "WARN", "The server is not ready: evidence cannot be made durable.", map[string]any{"reason": why}))
	case why == "" && h.why != "":
		h.s.log.Info("ready again", "was", h.why, "for", now.Sub(h.since).String())
		h.owed = append(h.owed, healthEvent(now, "INFO", "The server is ready again.", map[string]any{
			"reason": h.why, "not_ready_for": now.Sub(h.since).String(),
		}))
		h.why = ""
	}
	if len(h.owed) == 0 || h.s.d.Ledger.Writable() != nil {
		return
	}
	if err := h.s.d.record(ctx, h.owed...); err != nil {
		h.s.log.Warn("health is not recorded yet", "err", err)
		return
	}
	h.owed = nil
}

func healthEvent(at time.Time, severity, summary string, details any) systemEvent {
	return systemEvent{
		component: componentAPI, event: "HEALTH_CHECK", severity: severity, causedBy: "SYSTEM", at: at,
		summary: summary, details: details,
	}
}

// recordConfig appends CONFIG_CHANGE where the server starts with other
// settings than the last time, and returns the digest of these.
func (s *server) recordConfig(ctx context.Context) (digest string, err error) {
	now := s.cfg.settings()
	text, digest, err := now.text()
	if err != nil {
		return "", err
	}
	was, err := readSettings(ctx, s.d.db)
	if err != nil {
		return "", err
	}
	if changed := was.changed(now); was != nil && len(changed) > 0 {
		err := s.d.record(ctx, systemEvent{
			component: componentAPI, event: "CONFIG_CHANGE", version: s.cfg.Version, causedBy: "HUMAN", configDigest: digest,
			summary: fmt.Sprintf("The server's configuration changed in %d settings.", len(changed)),
			details: map[string]any{"changed": changed},
		})
		if err != nil {
			return "", fmt.Errorf("record the configuration: %w", err)
		}
		if rules, ok := changed[settingRules]; ok {
			if err := s.d.recordRules(ctx, rules[0], rules[1]); err != nil {
				return "", fmt.Errorf("record the rules of access: %w", err)
			}
		}
	}
	return digest, s.d.db.SetSetting(ctx, settingConfig, text)
}
