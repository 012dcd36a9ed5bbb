package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/client"
)

type systemCmd struct {
	List      systemListCmd      `cmd:"" default:"withargs" help:"What system events exist."`
	Snapshot  systemSnapshotCmd  `cmd:"" help:"The environment when a run started."`
	Telemetry systemTelemetryCmd `cmd:"" help:"What the infrastructure measured during a run."`
	Events    systemEventsCmd    `cmd:"" help:"Infrastructure events that touched a run."`
	Replay    systemReplayCmd    `cmd:"" help:"Infrastructure events around a run's turning point."`
	Audit     systemAuditCmd     `cmd:"" help:"Who or what is responsible for infrastructure events."`
}

// systemFlags narrow the lists of system records.
type systemFlags struct {
	Component     string `help:"Of this component." placeholder:"NAME"`
	EventType     string `help:"Of this type, such as RESTART." placeholder:"TYPE"`
	Severity      string `help:"INFO, WARN, CRITICAL." placeholder:"SEVERITY"`
	CausedBy      string `help:"SYSTEM, HUMAN, AUTOMATION." placeholder:"CAUSE"`
	CorrelationID string `help:"With this correlation id." placeholder:"ID"`
	IsSynthetic   *bool  `help:"Synthetic records only, or none." negatable:""`
	windowFlags
}

func (f *systemFlags) filter() client.SystemFilter {
	return client.SystemFilter{
		Component: f.Component, EventType: f.EventType, Severity: f.Severity, CausedBy: f.CausedBy, CorrelationID: f.CorrelationID,
		IsSynthetic: f.IsSynthetic, Window: f.window(),
	}
}

type systemListCmd struct {
	readFlags
	listFlags
	systemFlags
}

// Help implements kong.HelpProvider.
func (systemListCmd) Help() string {
	return `The newest first; events of the system itself where they are shared.

    runledger system --severity CRITICAL --occurred-after 24h`
}

// Run lists system records.
func (c *systemListCmd) Run(e *env) error {
	return c.with(e, func(r *readAPI) error {
		lists, err := take(r, c.want(), func(p client.Paging) (*answer.SystemList, error) { return r.System(e.ctx, c.filter(), p) },
			func(l *answer.SystemList) turn { return turn{len(l.Items), l.HasMore, l.NextCursor} })
		if err != nil || e.JSON {
			return err
		}
		var events []answer.SystemEvent
		for _, l := range lists {
			events = append(events, l.Items...)
		}
		e.screen(false).events(events)
		last := lists[len(lists)-1]
		r.listed("system records", len(events), last.HasMore, last.Total, last.TotalIsExact, last.FiltersApplied)
		return nil
	})
}

func (s *screen) events(list []answer.SystemEvent) {
	rows := make([][]string, len(list))
	for i := range list {
		ev := &list[i]
		rows[i] = []string{
			moment(ev.OccurredAt), ev.Component, ev.EventType, ev.Severity, text(ev.CausedBy), text(ev.Version), reason(ev.Summary), fmt.Sprint(ev.LeafIndex),
		}
	}
	if len(rows) > 0 {
		s.table([]column{
			{title: "TIME (UTC)"},
			{title: "COMPONENT", free: true},
			{title: "EVENT"},
			{title: "SEVERITY", state: true},
			{title: "BY"},
			{title: "VERSION", free: true},
			{title: "SUMMARY", free: true},
			{title: "LEAF", right: true},
		}, rows)
	}
}

type systemSnapshotCmd struct {
	readFlags
	runFlags
}

// Help implements kong.HelpProvider.
func (systemSnapshotCmd) Help() string {
	return `Of each component the last start, deployment, change of configuration or migration before the run. Runs in the same environment have the same environment id.

    runledger system snapshot 4bf92f3577b34da6a3ce929d0e0e4736`
}

// Run shows a snapshot.
func (c *systemSnapshotCmd) Run(e *env) error {
	return c.with(e, func(r *readAPI) error {
		snapshot, err := r.Snapshot(e.ctx, c.RunID)
		if err != nil {
			return err
		}
		return r.show(func() {
			s := e.screen(false)
			s.printf("run %s\nenvironment %s\n\n", clean(snapshot.RunID), clean(snapshot.EnvironmentID))
			if len(snapshot.Baseline) == 0 {
				s.printf("Nothing is on record of the environment before the run.\n")
			}
			s.events(snapshot.Baseline)
		})
	})
}

type systemTelemetryCmd struct {
	readFlags
	runFlags
	Limit int `help:"Show at most this many series." placeholder:"N"`
}

// Help implements kong.HelpProvider.
func (systemTelemetryCmd) Help() string {
	return `The metrics that were received in the time of the run, or why there are none.

    runledger system telemetry 4bf92f3577b34da6a3ce929d0e0e4736`
}

// Run shows telemetry.
func (c *systemTelemetryCmd) Run(e *env) error {
	return c.with(e, func(r *readAPI) error {
		t, err := r.Telemetry(e.ctx, c.RunID, client.Paging{Limit: c.Limit})
		if err != nil {
			return err
		}
		return r.show(func() {
			e.screen(false).telemetry(t)
			r.cutOff(t.HasMore)
		})
	})
}

func (s *screen) telemetry(t *answer.SystemTelemetry) {
	s.printf("run %s\n%s\n", clean(t.RunID), clean(joined(": ", t.Status, t.Reason)))
	if len(t.AvailableData) > 0 {
		s.printf("instead there are: %s\n", clean(strings.Join(t.AvailableData, ", ")))
	}
	rows := make([][]string, len(t.Series))
	for i := range t.Series {
		m := &t.Series[i]
		row := []string{m.Name, m.Unit, m.Type, fmt.Sprint(len(m.Points)), "", "", "", "", attributes(m.Attributes), fmt.Sprint(m.LeafIndex)}
		if m.Withheld != nil {
			row[3] = withheldText(m.Withheld)
		} else if n := len(m.Points); n > 0 {
			least, most := math.Inf(1), math.Inf(-1)
			for _, p := range m.Points {
				if v, ok := pointValue(p); ok {
					least, most = min(least, v), max(most, v)
				}
			}
			row[4], row[5] = pointText(m.Points[0]), pointText(m.Points[n-1])
			if least <= most {
				row[6], row[7] = fmt.Sprintf("%g", least), fmt.Sprintf("%g", most)
			}
		}
		rows[i] = row
	}
	if len(rows) > 0 {
		s.printf("\n")
		s.table([]column{
			{title: "METRIC"},
			{title: "UNIT"},
			{title: "TYPE"},
			{title: "POINTS", right: true},
			{title: "FIRST", right: true},
			{title: "LAST", right: true},
			{title: "LEAST", right: true},
			{title: "MOST", right: true},
			{title: "OF", free: true},
			{title: "LEAF", right: true},
		}, rows)
	}
}

// pointValue is a value, or the mean of a histogram.
func pointValue(p answer.Point) (float64, bool) {
	switch {
	case p.Value != nil:
		return *p.Value, true
	case p.Sum != nil && p.Count != nil && *p.Count > 0:
		return *p.Sum / float64(*p.Count), true
	}
	return 0, false
}

func pointText(p answer.Point) string {
	v, ok := pointValue(p)
	if !ok {
		return ""
	}
	if p.Value == nil {
		return fmt.Sprintf("mean %.6g of %d", v, *p.Count)
	}
	return fmt.Sprintf("%g", v)
}

func attributes(m map[string]any) string {
	var parts []string
	for name, v := range m {
		parts = append(parts, fmt.Sprintf("%s=%v", name, v))
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

type systemEventsCmd struct {
	readFlags
	runPageFlags
}

// Help implements kong.HelpProvider.
func (systemEventsCmd) Help() string {
	return `Events that name the run, and those of the system in its time.

    runledger system events 4bf92f3577b34da6a3ce929d0e0e4736`
}

// Run shows the events that touched a run.
func (c *systemEventsCmd) Run(e *env) error {
	return c.with(e, func(r *readAPI) error {
		pages, err := take(r, c.Limit, func(p client.Paging) (*answer.SystemEvents, error) { return r.Events(e.ctx, c.RunID, p) },
			func(l *answer.SystemEvents) turn { return turn{len(l.Events), l.HasMore, l.NextCursor} })
		if err != nil || e.JSON {
			return err
		}
		var events []answer.SystemEvent
		for _, l := range pages {
			events = append(events, l.Events...)
		}
		s := e.screen(false)
		s.printf("run %s\n\n", clean(pages[0].RunID))
		if len(events) == 0 {
			s.printf("No event of the infrastructure touched it.\n")
		}
		s.events(events)
		r.cutOff(pages[len(pages)-1].HasMore)
		return nil
	})
}

type systemReplayCmd struct {
	readFlags
	runPageFlags
	replayFlags
}

// Help implements kong.HelpProvider.
func (systemReplayCmd) Help() string {
	return `As "run replay", with the events of the infrastructure only.

    runledger system replay 4bf92f3577b34da6a3ce929d0e0e4736`
}

// Run shows a replay of the infrastructure.
func (c *systemReplayCmd) Run(e *env) error {
	return c.with(e, func(r *readAPI) error {
		return r.replay(c.Limit, func(p client.Paging) (*answer.ReplayWindow, error) {
			return r.SystemReplay(e.ctx, c.RunID, c.options(), p)
		})
	})
}

type systemAuditCmd struct {
	readFlags
	listFlags
	systemFlags
}

// Help implements kong.HelpProvider.
func (systemAuditCmd) Help() string {
	return `Counts the events of each cause and component, and lists them.

    runledger system audit --occurred-after 7d`
}

// Run shows who is responsible.
func (c *systemAuditCmd) Run(e *env) error {
	return c.with(e, func(r *readAPI) error {
		pages, err := take(r, c.want(), func(p client.Paging) (*answer.SystemAudit, error) { return r.SystemAudit(e.ctx, c.filter(), p) },
			func(l *answer.SystemAudit) turn { return turn{len(l.Entries), l.HasMore, l.NextCursor} })
		if err != nil || e.JSON {
			return err
		}
		var events []answer.SystemEvent
		for _, l := range pages {
			events = append(events, l.Entries...)
		}
		s := e.screen(false)
		s.responsibility(pages[0].Responsibility)
		s.events(events)
		last := pages[len(pages)-1]
		r.listed("system records", len(events), last.HasMore, last.Total, last.TotalIsExact, last.FiltersApplied)
		return nil
	})
}

func (s *screen) responsibility(list []answer.Responsibility) {
	if len(list) == 0 {
		return
	}
	rows := make([][]string, len(list))
	for i, r := range list {
		by := text(r.CausedBy)
		if by == "" {
			by = "not known"
		}
		rows[i] = []string{by, r.Component, fmt.Sprint(r.Count), r.WorstSeverity, moment(r.First), moment(r.Last)}
	}
	s.table([]column{
		{title: "BY"}, {title: "COMPONENT"}, {title: "EVENTS", right: true}, {title: "WORST", state: true}, {title: "FIRST (UTC)"}, {title: "LAST (UTC)"},
	}, rows)
	s.printf("\n")
}
