package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/evidence"
)

// Config is what [Run] needs.
type Config struct {
	Registry *Registry
	BaseURL  string // of the server, http or https
	// HTTP makes the requests; nil: a client of its own. Its redirects, jar and timeout
	// do not count.
	HTTP *http.Client
	// Tenant is that of both keys. Everything that a scenario sends stands in its log.
	Tenant   string
	Producer Key // sends
	Observer Key // reads
	Program  string
	// Now tells the time of results and variables; nil: time.Now.
	Now      func() time.Time
	Parallel int // scenarios at a time; 0: 8
	// MaxWait bounds how long an effect is waited for; 0: as the scenario says.
	MaxWait time.Duration
	Logger  *slog.Logger // nil: none

	timeout time.Duration // of a request, for tests; 0: requestTimeout
}

// Key is a credential. Its secret stands in no result and in no log.
type Key struct{ ID, Secret string }

const defaultParallel = 8

// runner is a run of scenarios.
type runner struct {
	cfg    Config
	base   string
	http   *http.Client
	served *served
}

// Run runs scenarios against a server, some at a time; no ids: all of the registry. A
// scenario that fails is no error. The error says that nothing could be observed: it
// wraps evidence.ErrInvalid (the configuration, or a scenario that [Load] would refuse),
// evidence.ErrNotFound (no such scenario), evidence.ErrUnavailable (no server there, or
// none with an OpenAPI document), or is the context's.
func Run(ctx context.Context, cfg Config, ids ...string) (*Observation, error) {
	r, err := newRunner(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.HTTP == nil {
		defer r.http.CloseIdleConnections()
	}
	scenarios, err := chosen(cfg.Registry, ids)
	if err != nil {
		return nil, err
	}
	out := &Observation{
		Version: 1, Registry: cfg.Registry.Digest, Program: cfg.Program, Tenant: cfg.Tenant,
		StartedAt: evidence.MicrosOf(r.cfg.Now()), Passed: true, Scenarios: make([]ScenarioResult, len(scenarios)),
	}
	if err := r.meet(ctx, scenarios); err != nil {
		return nil, err
	}
	out.Server = r.served.version
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.cfg.Parallel)
	for i, s := range scenarios {
		g.Go(func() error {
			result, err := r.play(ctx, s)
			out.Scenarios[i] = result
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out.FinishedAt = max(evidence.MicrosOf(r.cfg.Now()), out.StartedAt) // a clock may be set back
	for _, s := range out.Scenarios {
		out.Passed = out.Passed && s.Passed
	}
	return out, nil
}

func newRunner(cfg Config) (*runner, error) {
	invalid := func(reason string) (*runner, error) {
		return nil, fmt.Errorf("observe: %w: %s", evidence.ErrInvalid, reason)
	}
	u, err := url.Parse(cfg.BaseURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return invalid("the URL of the server must be http:// or https:// with a host")
	case cfg.Registry == nil || cfg.Tenant == "":
		return invalid("registry and tenant must be set")
	case cfg.Producer.Secret == "" || cfg.Observer.Secret == "":
		return invalid("the keys of a producer and of an observer must be set")
	case cfg.Producer.ID == "" || cfg.Observer.ID == "":
		return invalid("the ids of both keys must be set: what is expected names them")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = defaultParallel
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.timeout <= 0 {
		cfg.timeout = requestTimeout
	}
	r := &runner{cfg: cfg, base: strings.TrimRight(cfg.BaseURL, "/"), http: &http.Client{}}
	if cfg.HTTP != nil {
		r.http.Transport = cfg.HTTP.Transport
	} else if t, ok := http.DefaultTransport.(*http.Transport); ok {
		own := t.Clone()
		own.MaxIdleConnsPerHost = cfg.Parallel
		r.http.Transport = own
	}
	// A key goes nowhere but to the server that it is for.
	r.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return r, nil
}

// chosen returns the scenarios with these ids, each once, in the registry's order.
func chosen(r *Registry, ids []string) ([]*Scenario, error) {
	var out []*Scenario
	for _, s := range r.Scenarios {
		if len(ids) == 0 || slices.Contains(ids, s.ID) {
			out = append(out, s)
		}
	}
	if len(r.Scenarios) == 0 {
		return nil, fmt.Errorf("observe: %w: the registry has no scenario", evidence.ErrInvalid)
	}
	for _, id := range ids {
		if !slices.ContainsFunc(out, func(s *Scenario) bool { return s.ID == id }) {
			return nil, fmt.Errorf("scenario %q: %w", cut(id), evidence.ErrNotFound)
		}
	}
	return out, nil
}

// meet reads the server's OpenAPI document.
func (r *runner) meet(ctx context.Context, scenarios []*Scenario) error {
	a := r.ask(ctx, http.MethodGet, documentPath, Key{}, nil)
	var err error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case a.err != nil:
		err = a.err
	case a.status != http.StatusOK:
		err = errors.New(a.says())
	default:
		r.served, err = readServed(a.value, pathsOf(scenarios))
	}
	if err != nil {
		return fmt.Errorf("%s of the server: %w: %w", documentPath, evidence.ErrUnavailable, err)
	}
	return nil
}

// pathsOf returns the paths that scenarios look at.
func pathsOf(scenarios []*Scenario) []string {
	var out []string
	for _, s := range scenarios {
		for i := range s.Observe {
			out = append(out, s.Observe[i].Path)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// wait returns how long an effect may take; 0: as long as by default.
func (r *runner) wait(d time.Duration) time.Duration {
	if d <= 0 {
		d = defaultWait
	}
	if r.cfg.MaxWait > 0 {
		d = min(d, r.cfg.MaxWait)
	}
	return d
}

// play is one run of one scenario.
type play struct {
	run    *runner
	s      *Scenario
	vars   *Vars
	result *ScenarioResult
}

// play runs a scenario to its end, or to the first failure. The error is the context's,
// or says that the scenario cannot be run.
func (r *runner) play(ctx context.Context, s *Scenario) (ScenarioResult, error) {
	now, began := r.cfg.Now(), time.Now()
	p := &play{
		run: r, s: s, vars: newVars(s.ID, r.cfg.Tenant, r.cfg.Observer.ID, r.cfg.Producer.ID, now),
		result: &ScenarioResult{
			ID: s.ID, Version: s.Version, Capability: s.Capability, Panel: s.Panel, StartedAt: evidence.MicrosOf(now),
			Sent: []Sent{}, Seen: []Seen{},
		},
	}
	f, err := p.steps(ctx)
	if err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("scenario %s: %w", s.ID, err)
		}
		return ScenarioResult{}, err
	}
	p.result.Failure, p.result.Passed = f, f == nil
	p.result.DurationMS = time.Since(began).Milliseconds()
	attrs := []any{"scenario", s.ID, "passed", f == nil, "took", time.Since(began)}
	if f != nil {
		attrs = append(attrs, "reason", f.Reason, "invariant", f.Invariant, "step", f.Step, "detail", f.Detail)
	}
	r.cfg.Logger.DebugContext(ctx, "registry: scenario", attrs...)
	return *p.result, nil
}

// steps does what the scenario says, after a look at whether the server has the routes.
func (p *play) steps(ctx context.Context) (*Failure, error) {
	if f := p.missing(); f != nil {
		return f, nil
	}
	for i := range p.s.Inject {
		if f, err := p.inject(ctx, i, &p.s.Inject[i]); f != nil || err != nil {
			return f, err
		}
	}
	for i := range p.s.Observe {
		if f, err := p.observe(ctx, i, &p.s.Observe[i]); f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil
}

// missing finds a route that the server's document does not have.
func (p *play) missing() *Failure {
	lacks := func(step, path string) *Failure {
		if p.run.served.paths[path] {
			return nil
		}
		return &Failure{Reason: EndpointMissing, Step: step, Detail: cut("the server's OpenAPI document has no GET " + path)}
	}
	for i, in := range p.s.Inject {
		if in.Read != nil {
			if f := lacks(fmt.Sprintf("inject[%d]", i), in.Read.Path); f != nil {
				return f
			}
		}
	}
	for i := range p.s.Observe {
		if f := lacks(stepOf(i, &p.s.Observe[i]), p.s.Observe[i].Path); f != nil {
			return f
		}
	}
	return nil
}
