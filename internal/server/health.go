package server

import (
	"context"
	"slices"
	"strings"
	"time"
)

// healthEvery is how often the server looks at itself.
const healthEvery = time.Second

// ready returns nil while evidence can be made durable. Its counterpart is degraded:
// what is worth an operator's attention and keeps no evidence out.
func (s *server) ready() error {
	if err := s.d.Ledger.Writable(); err != nil {
		return err
	}
	if err := s.d.Ledger.Publishing(); err != nil {
		return err
	}
	if s.d.db.shared() {
		return s.probe.err()
	}
	return s.disk.full() // on PostgreSQL it has no evidence
}

// paused is why ingest takes nothing, beside what the ledger says itself.
func (s *server) paused() error {
	if s.d.db.shared() {
		return nil
	}
	return s.disk.full()
}

// health records each change between ready and not ready, and between whole and
// degraded, as SystemRecordWriter (contract section 5). What could not be recorded
// while nothing could be written is recorded when that is over.
type health struct {
	s     *server
	why   string // why it is not ready; "" for ready
	since time.Time
	told  string // the reasons that have a record
	from  time.Time
	owed  []systemEvent
}

func (s *server) watchHealth(ctx context.Context) {
	h := &health{s: s}
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if n%degradedEvery == 0 {
				s.look(ctx, now)
			}
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
		h.owe(now, "WARN", "The server is not ready: evidence cannot be made durable.", map[string]any{"reason": why})
	case why == "" && h.why != "":
		h.s.log.Info("ready again", "was", h.why, "for", now.Sub(h.since).String())
		h.owe(now, "INFO", "The server is ready again.", map[string]any{
			"reason": h.why, "not_ready_for": now.Sub(h.since).String(),
		})
		h.why = ""
	}
	h.degraded(now)
	if len(h.owed) == 0 || h.s.d.Ledger.Writable() != nil || h.s.probe.err() != nil {
		return
	}
	if err := h.s.d.record(ctx, h.owed...); err != nil {
		h.s.log.Warn("health is not recorded yet", "err", err)
		return
	}
	h.owed = nil
}

// degraded says when the reasons change.
func (h *health) degraded(now time.Time) {
	all := h.s.reasons()
	// What is found wrong with evidence has records of its own.
	all = slices.DeleteFunc(slices.Clone(all), func(r reason) bool { return r.Code == reasonIntegrity })
	var codes []string
	details := map[string]any{}
	for _, r := range all {
		codes = append(codes, r.Code)
		details[r.Code] = r.Why
	}
	reasons, was := strings.Join(codes, ", "), h.told
	if reasons == was {
		return
	}
	h.told = reasons
	if reasons == "" {
		h.s.log.Info("not degraded any more", "was", was, "for", now.Sub(h.from).String())
		h.owe(now, "INFO", "The server is not degraded any more.", map[string]any{"reasons": was, "degraded_for": now.Sub(h.from).String()})
		return
	}
	if was == "" {
		h.from = now
	}
	severity := "WARN"
	if slices.Contains(codes, reasonPartitions) {
		severity = "ERROR"
	}
	if slices.Contains(codes, reasonGuards) {
		severity = "CRITICAL"
	}
	h.s.log.Warn("degraded", "reasons", details)
	h.owe(now, severity, "The server is degraded: "+reasons+".", details)
}

// owe is a record that is to be made. So many are kept while nothing can be written.
func (h *health) owe(at time.Time, severity, summary string, details map[string]any) {
	const most = 1000
	if len(h.owed) >= most {
		return
	}
	h.owed = append(h.owed, systemEvent{
		component: componentAPI, event: "HEALTH_CHECK", severity: severity, causedBy: "SYSTEM", at: at,
		summary: h.s.d.named(summary), details: h.s.d.withProcess(details),
	})
}
