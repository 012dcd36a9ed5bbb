package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/registry"
)

// observed is a round in which some scenarios passed and others did not.
func observed(passed bool) *registry.Observation {
	o := &registry.Observation{Passed: passed, Scenarios: []registry.ScenarioResult{{ID: "A", Passed: true}, {ID: "B", Passed: passed}}}
	if !passed {
		o.Scenarios[1].Failure = &registry.Failure{Reason: registry.InvariantViolated, Invariant: "INV-L0-005", Detail: "secret"}
	}
	return o
}

// TestOutcomes: when the server is degraded by what it observes, and by what not.
func TestOutcomes(t *testing.T) {
	start := time.Now().Truncate(time.Microsecond)
	at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
	o := newOutcomes(prometheus.NewRegistry(), time.Minute)
	o.began = start
	want := func(n int, reason string) {
		t.Helper()
		if got := o.reason(at(n)); !strings.Contains(got, reason) || (got == "") != (reason == "") {
			t.Errorf("after %d minutes: %q, want %q", n, got, reason)
		}
	}
	if o.state() != nil {
		t.Error("something is known before the first round")
	}
	want(3, "")
	want(4, "no round of self-observation has passed since "+evidence.MicrosOf(start).String())
	o.add(outcomeOf(observed(true), nil, at(5)))
	want(8, "")
	want(9, "no round of self-observation has passed since")
	o.add(outcomeOf(observed(false), nil, at(6)))
	want(6, "1 of 2 scenarios failed, the first: B, invariant_violated INV-L0-005")
	if diff := cmp.Diff(&observationState{At: evidence.MicrosOf(at(6)), Scenarios: 2, Failed: []string{"B"}}, o.state()); diff != "" {
		t.Error(diff)
	}
	// Another process, or the next start, knows the same.
	text, err := o.text()
	if err != nil || strings.Contains(text, "secret") {
		t.Errorf("%s %v", text, err)
	}
	other := newOutcomes(prometheus.NewRegistry(), time.Minute)
	if err := other.read(text); err != nil || other.reason(at(6)) != o.reason(at(6)) || !cmp.Equal(other.state(), o.state()) {
		t.Errorf("%v %q", err, other.reason(at(6)))
	}
	o.add(outcomeOf(observed(true), nil, at(7)))
	want(7, "")
	if err := o.read(text); err != nil { // which is older
		t.Fatal(err)
	}
	want(7, "")
	if err := o.read("{"); err == nil {
		t.Error("no JSON is read")
	}
	// A round that could not be made failed, and so did one that is not in the ledger.
	o.add(outcomeOf(nil, errors.New("no key"), at(8)))
	want(8, "could not be made or recorded: no key")
	if diff := cmp.Diff(&observationState{At: evidence.MicrosOf(at(8)), Failed: []string{}}, o.state()); diff != "" {
		t.Error(diff)
	}
	o.add(outcomeOf(observed(true), errors.New("no ledger"), at(9)))
	want(9, "could not be made or recorded: no ledger")
}

// TestInProcess asks a handler as if over a network.
func TestInProcess(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /a/{id}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", strings.Join([]string{r.PathValue("id"), r.URL.String(), r.RequestURI, r.Host, r.RemoteAddr, r.Header.Get("X-Api-Key")}, " "))
		w.WriteHeader(http.StatusCreated)
		if _, werr := w.Write(body); err != nil || werr != nil {
			t.Error(err, werr)
		}
	})
	mux.HandleFunc("GET /panics", func(http.ResponseWriter, *http.Request) { panic("at the disco") })
	mux.HandleFunc("GET /aborts", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("GET /nothing", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /hangs", func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	in := &inProcess{handler: mux}
	c := &http.Client{Transport: in}
	type answer struct {
		status, seen, body string
		length             int64
	}
	ask := func(ctx context.Context, method, path, body string) (a answer, err error) {
		req, err := http.NewRequestWithContext(ctx, method, "http://self.invalid"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Api-Key", "k")
		resp, err := c.Do(req)
		if err != nil {
			return a, err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return answer{resp.Status, resp.Header.Get("X-Seen"), string(text), resp.ContentLength}, err
	}
	want := answer{"201 Created", "x/y /a/x%2Fy?q=1 /a/x%2Fy?q=1 self.invalid in-process k", "hello", 5}
	if got, err := ask(t.Context(), "POST", "/a/x%2Fy?q=1", "hello"); err != nil || got != want {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := ask(t.Context(), "GET", "/nothing", ""); err != nil || got != (answer{status: "200 OK"}) {
		t.Errorf("%+v %v", got, err)
	}
	for path, want := range map[string]string{"/panics": "broke off: at the disco", "/aborts": "the handler broke off"} {
		if _, err := ask(t.Context(), "GET", path, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := ask(ctx, "GET", "/hangs", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	in.wait()
	if n := in.left.Load(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// TestObserveLeftBehind: while requests of a round have not ended there is no other, so
// they never are more than those of one.
func TestObserveLeftBehind(t *testing.T) {
	asked, ends := make(chan struct{}), make(chan struct{})
	o := &observing{in: &inProcess{handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(asked); <-ends })}}
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://self.invalid/", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-asked; cancel() }()
	if resp, err := o.in.RoundTrip(req); !errors.Is(err, context.Canceled) {
		_ = resp.Body.Close()
		t.Fatal(err)
	}
	if _, err := o.observe(t.Context()); err == nil || !strings.Contains(err.Error(), "1 requests of the round before") {
		t.Errorf("%v", err)
	}
	close(ends)
	o.in.wait()
	if n := o.in.left.Load(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// TestObserveAsk: a lease is asked for no longer than until it is asked for again, and not
// by a process that hangs in a round.
func TestObserveAsk(t *testing.T) {
	o := &observing{s: &server{log: slog.New(slog.DiscardHandler)}, tries: observeHooks{turn: 10 * time.Millisecond}}
	asked := 0
	gives := func(context.Context, string, time.Duration) (bool, error) { asked++; return true, nil }
	hangs := func(ctx context.Context, _ string, _ time.Duration) (bool, error) {
		<-ctx.Done()
		return true, ctx.Err()
	}
	if !o.ask(t.Context(), gives) || o.ask(t.Context(), hangs) {
		t.Error("not as the lease says")
	}
	for due, want := range map[time.Duration]bool{time.Hour: true, -time.Second: false} {
		at := time.Now().Add(due)
		o.due.Store(&at)
		if got := o.ask(t.Context(), gives); got != want {
			t.Errorf("in a round that is due in %s: %v", due, got)
		}
	}
	if asked != 2 {
		t.Errorf("it was asked for %d times", asked)
	}
}

// TestEnded: what has ended has, also where the time for it is over.
func TestEnded(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan struct{})
	if err := ended(over, done); err == nil {
		t.Error("what runs has ended")
	}
	close(done)
	for range 100 {
		if err := ended(over, done); err != nil {
			t.Fatal(err)
		}
	}
}
