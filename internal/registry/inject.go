package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/theory/jsonpath"

	"github.com/runledger/runledger/evidence"
)

const recordsPath = "/api/v1/ingest/records"

// inject brings about one cause. What it returns is as of [play.observe].
func (p *play) inject(ctx context.Context, n int, in *Injection) (f *Failure, err error) {
	switch {
	case in.OTLP != "":
		f, err = p.sendOTLP(ctx, in)
	case in.Read != nil:
		f, err = p.read(ctx, in.Read)
	default:
		f, err = p.sendRecords(ctx, in.Records)
	}
	if f != nil {
		f.Step = fmt.Sprintf("inject[%d]", n)
	}
	return f, err
}

func (p *play) sendRecords(ctx context.Context, records []map[string]any) (*Failure, error) {
	batch := make([]any, 0, len(records))
	for _, r := range records {
		v, err := p.vars.in(r)
		if err != nil {
			return nil, err
		}
		m := v.(map[string]any) // of a map, in makes a new map
		m["is_synthetic"], m["synthetic_scenario_id"] = true, p.s.ID
		batch = append(batch, m)
	}
	a, sent, f, err := p.post(ctx, recordsPath, batch)
	if f != nil || err != nil {
		return f, err
	}
	root, _ := a.value.(map[string]any)
	receipts, _ := root["receipts"].([]any)
	for _, r := range receipts {
		m, _ := r.(map[string]any)
		if id, ok := m["id"].(string); ok {
			sent.Records = append(sent.Records, cut(id))
		}
	}
	if len(sent.Records) != len(records) {
		return &Failure{Reason: SchemaMismatch, Detail: fmt.Sprintf("%d records were sent, and the answer has %d receipts", len(records), len(sent.Records))}, nil
	}
	return nil, nil
}

func (p *play) sendOTLP(ctx context.Context, in *Injection) (*Failure, error) {
	v, err := p.vars.in(in.Body)
	if err != nil {
		return nil, err
	}
	body := v.(map[string]any)
	if err := markOTLP(body, p.s.ID); err != nil {
		return nil, err
	}
	a, _, f, err := p.post(ctx, "/v1/"+in.OTLP, body)
	if f != nil || err != nil {
		return f, err
	}
	root, ok := a.value.(map[string]any)
	if !ok {
		return &Failure{Reason: SchemaMismatch, Detail: "the answer is no JSON object"}, nil
	}
	partial, _ := root["partialSuccess"].(map[string]any)
	for name, n := range partial {
		// A message alone is a warning.
		if strings.HasPrefix(name, "rejected") && fmt.Sprint(n) != "0" {
			return &Failure{Reason: SchemaMismatch, Detail: cut(fmt.Sprintf("%v were refused: %v", n, partial["errorMessage"]))}, nil
		}
	}
	return nil, nil
}

// markOTLP makes every resource of a request synthetic. The body is changed.
func markOTLP(body map[string]any, scenario string) error {
	bad := func(what string) error { return fmt.Errorf("%w: OTLP: %s", evidence.ErrInvalid, what) }
	if len(body) == 0 {
		return bad("there is no resource")
	}
	for name, list := range body {
		entries, ok := list.([]any)
		if !ok || !strings.HasPrefix(name, "resource") {
			return bad(name + " is no list of resources")
		}
		for _, e := range entries {
			entry, ok := e.(map[string]any)
			if !ok {
				return bad(name + " has an entry that is no object")
			}
			resource, ok := entry["resource"].(map[string]any)
			if !ok && entry["resource"] != nil {
				return bad("resource is no object")
			}
			if resource == nil {
				resource = map[string]any{}
				entry["resource"] = resource
			}
			attributes, ok := resource["attributes"].([]any)
			if !ok && resource["attributes"] != nil {
				return bad("attributes is no list")
			}
			resource["attributes"] = marked(attributes, scenario)
		}
	}
	return nil
}

// marked returns attributes of a resource with the marks, and with no others of the kind.
func marked(attributes []any, scenario string) []any {
	const synthetic, id = "runledger.synthetic", "runledger.scenario_id"
	attributes = slices.DeleteFunc(attributes, func(a any) bool {
		m, _ := a.(map[string]any)
		return m["key"] == synthetic || m["key"] == id
	})
	return append(attributes,
		map[string]any{"key": synthetic, "value": map[string]any{"boolValue": true}},
		map[string]any{"key": id, "value": map[string]any{"stringValue": scenario}})
}

// post sends a body as the producer, again while the server cannot take it. The body is
// the same each time, so nothing is there twice.
func (p *play) post(ctx context.Context, target string, v any) (*reply, *Sent, *Failure, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", evidence.ErrInvalid, err)
	}
	var a *reply
	err = again(ctx, p.run.wait(0), func() (bool, time.Duration) {
		a = p.run.ask(ctx, http.MethodPost, target, p.run.cfg.Producer, body)
		return !a.passing(), a.retryAfter
	})
	if err != nil {
		return nil, nil, nil, err
	}
	return a, p.sent(http.MethodPost, target, body, a), a.unless(a.status/100 == 2), nil
}

// sent notes what went out. It is for who calls until the next call.
func (p *play) sent(method, target string, body []byte, a *reply) *Sent {
	sum := sha256.Sum256(body)
	p.result.Sent = append(p.result.Sent, Sent{
		Method: method, Target: target, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(body)), Status: a.status, Records: []string{},
	})
	return &p.result.Sent[len(p.result.Sent)-1]
}

// unless says what is the matter with an answer whose status must be good.
func (a *reply) unless(good bool) *Failure {
	if good && a.err == nil {
		return nil
	}
	if f := a.failure(); f != nil {
		return f
	}
	return &Failure{Reason: InvariantViolated, Invariant: invStatus, Detail: a.says()}
}

// read is an access that is a cause. What it reads may not be there yet, so it asks
// again, as [play.observe] does.
func (p *play) read(ctx context.Context, r *Read) (*Failure, error) {
	target, err := p.target(r.Path, r.Params, r.Query)
	if err != nil {
		return nil, err
	}
	status := r.Status
	if status == 0 {
		status = http.StatusOK
	}
	var (
		a *reply
		f *Failure
	)
	err = again(ctx, p.run.wait(0), func() (bool, time.Duration) {
		a = p.run.ask(ctx, http.MethodGet, target, p.run.cfg.Observer, nil)
		if f = a.unless(a.status == status && !a.noRoute()); f == nil {
			f, err = p.save(r.Save, a)
		}
		return f == nil || err != nil || a.final(), a.retryAfter
	})
	if err != nil {
		return nil, err
	}
	p.sent(http.MethodGet, target, nil, a)
	return f, nil
}

// save keeps values of an answer as variables: of each path the one that it selects.
func (p *play) save(paths map[string]string, a *reply) (*Failure, error) {
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		text, err := p.vars.path(paths[name])
		if err != nil {
			return nil, err
		}
		path, err := jsonpath.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", evidence.ErrInvalid, paths[name], err)
		}
		detail := safely(func() string {
			nodes := path.Select(a.value)
			if len(nodes) != 1 {
				return fmt.Sprintf("it selects %d values, and not one", len(nodes))
			}
			if err := p.vars.save(name, nodes[0]); err != nil {
				return err.Error()
			}
			return ""
		})
		if detail != "" {
			return &Failure{Reason: Timeout, Detail: cut(fmt.Sprintf("save %s, %s: %s", name, paths[name], detail))}, nil
		}
	}
	return nil, nil
}
