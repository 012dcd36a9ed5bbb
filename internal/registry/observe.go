package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
)

// defaultWait is how long an effect may take where a scenario does not say.
const defaultWait = 10 * time.Second

// look is an [Observe] whose variables have values.
type look struct {
	o          *Observe
	step       string
	target     string
	invariants []*Invariant
	expect     []*expectation
	tenant     string
}

func (p *play) prepare(n int, o *Observe) (*look, error) {
	l := &look{o: o, step: stepOf(n, o), tenant: p.run.cfg.Tenant, invariants: usedInvariants(p.run.cfg.Registry.Invariants, p.s.Invariants)}
	var err error
	if l.target, err = p.target(o.Path, o.Params, o.Query); err != nil {
		return nil, err
	}
	for i := range o.Expect {
		e, err := o.Expect[i].compile(p.vars)
		if err != nil {
			return nil, err
		}
		l.expect = append(l.expect, e)
	}
	return l, nil
}

func stepOf(n int, o *Observe) string {
	if o.ID != "" {
		return o.ID
	}
	return fmt.Sprintf("observe[%d]", n)
}

// target puts values into the parameters of a path, and the query behind it.
func (p *play) target(path string, params, query map[string]string) (string, error) {
	out := path
	for name, value := range params {
		text, err := p.vars.text(value)
		if err != nil {
			return "", err
		}
		if text == "" || !strings.Contains(path, "{"+name+"}") {
			return "", fmt.Errorf("%w: %s: parameter %s has no value, or the path has no such parameter", evidence.ErrInvalid, path, name)
		}
		out = strings.ReplaceAll(out, "{"+name+"}", url.PathEscape(text))
	}
	if strings.Contains(out, "{") { // PathEscape leaves none
		return "", fmt.Errorf("%w: %s: a parameter has no value", evidence.ErrInvalid, path)
	}
	values := url.Values{}
	for name, value := range query {
		text, err := p.vars.text(value)
		if err != nil {
			return "", err
		}
		if text == "" { // which is no filter, and so selects everything
			return "", fmt.Errorf("%w: %s: parameter %s has no value", evidence.ErrInvalid, path, name)
		}
		values.Set(name, text)
	}
	if len(values) > 0 {
		out += "?" + values.Encode()
	}
	return out, nil
}

// observe asks until all that is required of an answer holds, or the wait is over. The
// last answer counts. The error is the context's, or wraps evidence.ErrInvalid.
func (p *play) observe(ctx context.Context, n int, o *Observe) (*Failure, error) {
	l, err := p.prepare(n, o)
	if err != nil {
		return nil, err
	}
	seen := Seen{ID: l.step, Method: http.MethodGet, Target: l.target}
	began := time.Now()
	var a *reply
	err = again(ctx, p.run.wait(o.Wait), func() (bool, time.Duration) {
		a = p.run.ask(ctx, http.MethodGet, l.target, p.run.cfg.Observer, nil)
		seen.Tries++
		return l.judge(a, &seen) || a.final(), a.retryAfter
	})
	if err != nil {
		return nil, err
	}
	seen.Status, seen.SHA256, seen.Bytes = a.status, a.sum, a.size
	seen.DurationMS, seen.WaitedMS = a.took.Milliseconds(), time.Since(began).Milliseconds()
	p.result.Seen = append(p.result.Seen, seen)
	f := l.failure(a, &seen, p.run.served)
	if f != nil {
		f.Step = l.step
	}
	return f, nil
}

// judge checks all of an answer, and reports whether all that is required of it holds.
func (l *look) judge(a *reply, seen *Seen) bool {
	seen.Invariants, seen.Expectations = make([]Checked, 0, len(l.invariants)), make([]Checked, 0, len(l.expect))
	good := a.err == nil && a.status/100 == 2
	for _, inv := range l.invariants {
		detail := (&inspection{Invariant: inv, a: a, o: l.o, tenant: l.tenant}).check()
		seen.Invariants = append(seen.Invariants, Checked{ID: inv.ID, Level: inv.Level, Passed: detail == "", Detail: detail})
		good = good && (detail == "" || inv.Level != Required)
	}
	for _, e := range l.expect {
		detail := "there is no answer to look at"
		if a.err == nil && a.notJSON == nil {
			detail = e.check(a.value)
		}
		seen.Expectations = append(seen.Expectations, Checked{ID: e.id, Level: Required, Passed: detail == "", Detail: detail})
		good = good && detail == ""
	}
	return good
}

// failure says why the last answer is not as it should be, nil where it is.
func (l *look) failure(a *reply, seen *Seen, s *served) *Failure {
	if f := a.failure(); f != nil {
		return f
	}
	for _, c := range seen.Invariants {
		if !c.Passed && c.Level == Required {
			return &Failure{Reason: InvariantViolated, Invariant: c.ID, Detail: c.Detail}
		}
	}
	if detail := s.mismatch(l.o.Path, a); detail != "" {
		return &Failure{Reason: SchemaMismatch, Detail: detail}
	}
	for _, c := range seen.Expectations {
		if !c.Passed {
			return &Failure{Reason: Timeout, Detail: cut(c.ID + ": " + c.Detail)}
		}
	}
	return nil
}

// final reports whether no wait makes this answer a better one: the route is missing,
// or the credential is not let in.
func (a *reply) final() bool {
	f := a.failure()
	return f != nil && (f.Reason == EndpointMissing || f.Reason == AuthFailed)
}

// Ids of invariants that a status alone breaks, whether a scenario names them or not
// (contract section 9).
const (
	invStatus = "INV-L0-003" // status 2xx
	inv5xx    = "INV-L0-005" // not 5xx
)

// failure says what an answer has against it by its status alone, nil where that is for
// the invariants to say. A 404 of what there is not yet is a time-out.
func (a *reply) failure() *Failure {
	switch {
	case a.err != nil:
		return &Failure{Reason: Timeout, Detail: cut("no answer: " + a.err.Error())}
	case a.status == http.StatusMethodNotAllowed || a.noRoute():
		return &Failure{Reason: EndpointMissing, Detail: a.says()}
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return &Failure{Reason: AuthFailed, Detail: a.says()}
	case a.status >= http.StatusInternalServerError:
		return &Failure{Reason: InvariantViolated, Invariant: inv5xx, Detail: a.says()}
	case a.status == http.StatusNotFound:
		return &Failure{Reason: Timeout, Detail: a.says()}
	}
	return nil
}
