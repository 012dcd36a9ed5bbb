package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
)

// Tenants of the demo: the one that has the incident, and one that has nothing
// to do with it.
const (
	Tenant = "acme"
	Other  = "northwind"
)

// Roles whose keys the demo uses. All are of Tenant, but the outsider, who is an
// auditor of Other.
const (
	Producer = "PRODUCER"
	Operator = "OPERATOR"
	Viewer   = "VIEWER"
	Auditor  = "AUDITOR"
	Outsider = "OUTSIDER"
)

// Player plays the demo to a running server.
type Player struct {
	API  string            // address of the API, such as http://127.0.0.1:8080
	OTLP string            // the same of OTLP/HTTP
	Keys map[string]string // by Producer to Outsider
	Now  time.Time
	// Say is told what was done, in a line.
	Say func(line string)
}

// Played is what there is to look at.
type Played struct {
	Runs   []string // of the captures
	Export string   // id of the operator's export of Run
}

// A capture's newest span is moved to captureAge before now, the end of the incident
// to incidentAge before.
const (
	captureAge  = time.Minute
	incidentAge = 2 * time.Minute
)

// waitRuns bounds how long the runs may take to end.
const waitRuns = 2 * time.Minute

// Play sends all, waits until the runs have ended, and looks at the incident as the
// people of the tenant would. The operator's export is written to bundle.
func (p *Player) Play(ctx context.Context, bundle string) (*Played, error) {
	out := &Played{}
	for _, act := range []func(context.Context, *Played) error{
		p.sendCaptures, p.wait, p.sendIncident, p.look,
		func(ctx context.Context, out *Played) error { return p.export(ctx, out, bundle) },
		p.refused,
	} {
		if err := act(ctx, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Story is what the player sends of the incident.
func (p *Player) Story() []Entry { return Story(p.Now.Add(-incidentAge)) }

func (p *Player) sayf(format string, args ...any) {
	if p.Say != nil {
		p.Say(fmt.Sprintf(format, args...))
	}
}

// as returns a client with the key of a role.
func (p *Player) as(role string) (*client.Client, error) {
	return client.New(client.Config{BaseURL: p.API, Key: p.Keys[role], UserAgent: "runledger-demo", MaxRetries: 3, MaxBackoff: 2 * time.Second})
}

func (p *Player) sendCaptures(ctx context.Context, out *Played) error {
	list, err := Captures()
	if err != nil {
		return err
	}
	if list, err = Shift(list, p.Now.Add(-captureAge)); err != nil {
		return err
	}
	if out.Runs, err = runIDs(list); err != nil {
		return err
	}
	sdks := map[string]bool{}
	for i := range list {
		if err := p.sendOTLP(ctx, list[i].Signal, list[i].Body); err != nil {
			return fmt.Errorf("send capture %s/%s: %w", list[i].SDK, list[i].Name, err)
		}
		sdks[list[i].SDK] = true
	}
	p.sayf("%d OTLP requests that %d SDKs once made: %d runs", len(list), len(sdks), len(out.Runs))
	return nil
}

// sendOTLP sends a request as an exporter does.
func (p *Player) sendOTLP(ctx context.Context, signal string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.OTLP+"/v1/"+signal, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("X-Api-Key", p.Keys[Producer])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d: %q", resp.StatusCode, answer)
	case len(answer) > 0: // partial_success: an empty message says nothing
		return fmt.Errorf("not all of it was taken: %q", answer)
	}
	return nil
}

func (p *Player) sendIncident(ctx context.Context, _ *Played) error {
	c, err := p.as(Producer)
	if err != nil {
		return err
	}
	metrics, err := Metrics(p.Now.Add(-incidentAge))
	if err != nil {
		return err
	}
	if err := p.sendOTLP(ctx, signalMetrics, metrics); err != nil {
		return fmt.Errorf("send metrics: %w", err)
	}
	story := p.Story()
	records := make([]client.Record, len(story))
	for i := range story {
		records[i] = story[i].Record
	}
	receipts, err := c.Append(ctx, records...)
	if err != nil {
		return fmt.Errorf("send the incident: %w", err)
	}
	p.sayf("%d records of an incident, each with a receipt, and what its worker measured", len(receipts))
	return waitRun(ctx, c, Run)
}

// wait waits until the runs of the captures have ended.
func (p *Player) wait(ctx context.Context, out *Played) error {
	c, err := p.as(Producer)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, waitRuns)
	defer cancel()
	for _, run := range out.Runs {
		if err := waitRun(ctx, c, run); err != nil {
			return err
		}
	}
	p.sayf("they have ended, and a signed checkpoint covers them")
	return nil
}

// waitRun waits until a run has its record, under a signed checkpoint. A receipt
// says so, and to ask for one is no look at the run.
func waitRun(ctx context.Context, c *client.Client, run string) error {
	id := evidence.NaturalID(Tenant, evidence.KindLLMRun, run+":1").String()
	for {
		_, err := c.WaitReceipt(ctx, id)
		if !errors.Is(err, evidence.ErrNotFound) {
			if err != nil {
				err = fmt.Errorf("wait for the end of run %s: %w", run, err)
			}
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of run %s: %w", run, context.Cause(ctx))
		}
	}
}

// look is the operator, who wants to know what happened.
func (p *Player) look(ctx context.Context, _ *Played) error {
	c, err := p.as(Operator)
	if err != nil {
		return err
	}
	for _, ask := range []func() error{
		func() error {
			_, err := c.Runs(ctx, client.RunFilter{CorrelationID: Case}, client.Paging{})
			return err
		},
		func() error { _, err := c.Run(ctx, Run); return err },
		func() error { _, err := c.Trace(ctx, Run, client.Paging{}); return err },
		func() error { _, err := c.Governance(ctx, Run, client.Paging{}); return err },
		func() error { _, err := c.Replay(ctx, Run, client.ReplayOptions{}, client.Paging{}); return err },
		func() error { _, err := c.Events(ctx, Run, client.Paging{}); return err },
	} {
		if err := ask(); err != nil {
			return fmt.Errorf("look at run %s: %w", Run, err)
		}
	}
	p.sayf("an operator looks at the run, its trace, governance, replay and events: on record")
	return nil
}

func (p *Player) export(ctx context.Context, out *Played, bundle string) (err error) {
	c, err := p.as(Operator)
	if err != nil {
		return err
	}
	made, err := c.ExportRun(ctx, Run, client.ExportOptions{})
	if err != nil {
		return fmt.Errorf("export run %s: %w", Run, err)
	}
	out.Export = made.ExportID
	f, err := os.OpenFile(bundle, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := c.DownloadExport(ctx, made.ExportID, made.Checksum, f)
	if err != nil {
		return err
	}
	p.sayf("the operator exports the run: %d records in %d bytes, on record too", made.RecordCount, n)
	return nil
}

// refused is two who ask for what is not theirs.
func (p *Player) refused(ctx context.Context, _ *Played) error {
	producer, err := p.as(Producer)
	if err != nil {
		return err
	}
	if _, err = producer.Audit(ctx, client.AuditFilter{}, client.Paging{}); !errors.Is(err, evidence.ErrForbidden) {
		return fmt.Errorf("a producer that asks for the audit is not refused: %w", orNil(err))
	}
	p.sayf("a producer's key asks for the audit: 403, on record as a denied ACCESS_DECISION")
	outsider, err := p.as(Outsider)
	if err != nil {
		return err
	}
	if _, err = outsider.Run(ctx, Run); !errors.Is(err, evidence.ErrNotFound) {
		return fmt.Errorf("an auditor of another tenant finds the run: %w", orNil(err))
	}
	p.sayf("an auditor of the tenant %s asks for the run: 404, as if there was none", Other)
	return nil
}

// orNil is an error for what should have been one.
func orNil(err error) error {
	if err == nil {
		return errors.New("it was answered")
	}
	return err
}

// Expand puts values in place of shell variables.
func Expand(text string, values map[string]string) string {
	return os.Expand(text, func(name string) string {
		if v, ok := values[name]; ok {
			return v
		}
		return "$" + name
	})
}

// Quote is a value as a shell takes it.
func Quote(value string) string { return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'" }
