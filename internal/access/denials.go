package access

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// source is where a request comes from: an IPv4 address, or the /64 of an IPv6
// address, which is what one customer of a network has at least. The zero value
// stands for an address that cannot be read.
type source = netip.Prefix

func sourceOf(remote string) source {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return source{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // these bits always fit
	return p
}

func sourceText(s source) string {
	switch {
	case !s.IsValid():
		return "unknown"
	case s.Addr().Is4():
		return s.Addr().String()
	default:
		return s.String()
	}
}

// tally counts the requests of one source, or of all that had no room.
type tally struct {
	id          evidence.ID // of its record, so that a repeat makes no second one
	count       int64
	first, last evidence.Micros
	reasons     [reasonCount]int64
}

func (t *tally) add(why reason, now evidence.Micros) {
	if t.count == 0 {
		t.first, t.id = now, ledger.NewID(now)
	}
	t.count++
	t.last = now
	t.reasons[why]++
}

// window is what was counted in one minute, or longer where the one before it
// could not be recorded yet.
type window struct {
	minute  evidence.Micros
	sources map[source]*tally
	others  tally
}

func (w *window) empty() bool { return len(w.sources) == 0 && w.others.count == 0 }

// denials counts requests without a valid credential. There are at most two
// windows of at most max sources, whatever arrives.
type denials struct {
	max int

	mu      sync.Mutex
	current window
	due     *window // closed: to be recorded

	flushing sync.Mutex // held while due is recorded
}

func newDenials(maxSources int) *denials {
	return &denials{max: maxSources, current: window{sources: map[source]*tally{}}}
}

const minute = evidence.Micros(60_000_000)

func (d *denials) count(s source, why reason, now evidence.Micros) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rotate(now, false)
	w := &d.current
	if w.empty() {
		w.minute = now / minute
	}
	t := w.sources[s]
	switch {
	case t != nil:
	case len(w.sources) < d.max:
		t = &tally{}
		w.sources[s] = t
	default:
		t = &w.others
	}
	t.add(why, now)
}

// rotate closes the current window if its minute is over, or if all is set, and
// there is none before it that waits.
func (d *denials) rotate(now evidence.Micros, all bool) {
	if d.due != nil || d.current.empty() || !all && d.current.minute == now/minute {
		return
	}
	w := d.current
	d.due, d.current = &w, window{sources: map[source]*tally{}}
}

// take returns the window that is to be recorded, or nil.
func (d *denials) take(now evidence.Micros, all bool) *window {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rotate(now, all)
	return d.due
}

func (d *denials) done() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.due = nil
}

// flush records the windows that are over, or with all what was counted so far.
// What cannot be recorded is kept, and repeated with the same ids.
func (g *Gate) flush(ctx context.Context, all bool) error {
	g.denied.flushing.Lock()
	defer g.denied.flushing.Unlock()
	for {
		w := g.denied.take(g.now(), all)
		if w == nil {
			return nil
		}
		if err := g.append(ctx, evidence.SystemTenant, w.records()...); err != nil {
			return err
		}
		g.denied.done()
	}
}

// records returns the records of a window, which is closed: the same each time.
func (w *window) records() []*evidence.Record {
	var list []*evidence.Record
	for s, t := range w.sources {
		list = append(list, t.record(sourceText(s)))
	}
	slices.SortFunc(list, func(a, b *evidence.Record) int { return cmp.Compare(a.OccurredAt, b.OccurredAt) })
	if w.others.count > 0 {
		list = append(list, w.others.record("others"))
	}
	return list
}

// record is sealed where it says whose address it was.
func (t *tally) record(from string) *evidence.Record {
	r := systemRecord(t.first, eventDenied, "WARN", fmt.Sprintf("%d requests from %s had no valid credential.", t.count, from))
	r.ID = t.id
	reasons := map[string]int64{}
	for why, n := range t.reasons {
		if n > 0 {
			reasons[reasonNames[why]] = n
		}
	}
	setJSON(r, "/details", map[string]any{"source": from, "count": t.count, "first": t.first, "last": t.last, "reasons": reasons})
	return r
}
