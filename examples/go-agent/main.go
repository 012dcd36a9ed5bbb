// Command go-agent is an agent in Go that is observed by the OpenTelemetry SDK,
// and that states two things of its own by native records: which version of it is
// deployed, and that a person has allowed what the policy did not.
//
// Its spans follow the semantic conventions of OpenTelemetry for generative AI.
// They go to the server over OTLP, --otlp http or grpc; the standard variables
// (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS …) say where. The native
// records go to RUNLEDGER_URL with the key RUNLEDGER_KEY; with the log's key in
// RUNLEDGER_VKEY their proof is checked. It prints its answer, and the run's id
// last.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/runledger/runledger/client"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	service = "billing-bot"
	version = "2.1.0"
)

func main() {
	protocol := flag.String("otlp", "http", "`protocol` of the spans, http or grpc")
	provider := flag.String("provider", "http://127.0.0.1:9100", "`address` of the model provider")
	model := flag.String("model", "claude-sonnet-4-5", "the model to ask")
	question := flag.String("ask", "What is the invoice A-17, and what does the contract say about credit?", "the question")
	flag.Parse()
	if err := run(*protocol, *provider, *model, *question); err != nil {
		log.Fatal(err)
	}
}

func run(protocol, provider, model, question string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	shutdown, err := startTelemetry(ctx, protocol)
	if err != nil {
		return err
	}
	ledger, err := newLedger()
	if err != nil {
		return err
	}
	if err := ledger.deployed(ctx); err != nil {
		return err
	}
	a := &agent{provider: provider, model: model, tracer: otel.Tracer(service), ledger: ledger}
	run, answer, err := a.run(ctx, question)
	// What is still in memory is sent whatever came before.
	if err := errors.Join(err, shutdown(ctx)); err != nil {
		return err
	}
	fmt.Printf("%s\nrun %s\n", answer, run)
	return nil
}

// startTelemetry sets up the SDK. The exporters read the standard variables.
func startTelemetry(ctx context.Context, protocol string) (shutdown func(context.Context) error, err error) {
	var exporter sdktrace.SpanExporter
	switch protocol {
	case "http":
		exporter, err = otlptracehttp.New(ctx)
	case "grpc":
		exporter, err = otlptracegrpc.New(ctx)
	default:
		err = fmt.Errorf("--otlp is http or grpc, not %q", protocol)
	}
	if err != nil {
		return nil, err
	}
	tp := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", service),
			attribute.String("service.version", version),
		)),
	)
	otel.SetTracerProvider(tp)
	// By default, a failed export is only printed.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Printf("opentelemetry: %v", err) }))
	return tp.Shutdown, nil
}

// ledger states what no span says.
type ledger struct {
	c        *client.Client
	verifies bool
}

func newLedger() (*ledger, error) {
	url := os.Getenv("RUNLEDGER_URL")
	if url == "" {
		url = "http://127.0.0.1:8080"
	}
	cfg := client.Config{BaseURL: url, Key: os.Getenv("RUNLEDGER_KEY"), Component: service}
	if vkey := os.Getenv("RUNLEDGER_VKEY"); vkey != "" {
		cfg.VerifierKeys = []string{vkey}
	}
	c, err := client.New(cfg)
	return &ledger{c: c, verifies: cfg.VerifierKeys != nil}, err
}

// deployed states which version is live: every later run has it in its
// environment.
func (l *ledger) deployed(ctx context.Context) error {
	receipts, err := l.c.Append(ctx, client.System{
		Component: service, EventType: "DEPLOY", Severity: "INFO", CausedBy: "AUTOMATION",
		Version: version, Summary: service + " " + version + " is live",
	})
	if err != nil || !l.verifies {
		return err
	}
	proof, err := l.c.WaitReceipt(ctx, receipts[0].ID)
	if err != nil {
		return err
	}
	log.Printf("the deployment is leaf %d of log %s; the proof holds", proof.LeafIndex, proof.Log)
	return nil
}

// allowed states that a person has allowed a run to go over a limit until a
// certain time.
func (l *ledger) allowed(ctx context.Context, run, person string, until time.Time) error {
	_, err := l.c.Append(ctx, client.Audit{
		Common:    client.Common{RunID: run, HumanActorID: person, PolicyIDs: []string{"credits"}},
		EventType: "LimitOverrideGranted", EntityType: "LIMIT", EntityID: "credit-eur",
		PolicyID: "credits", LimitID: "credit-eur", LimitValue: "500", LimitUnit: "EUR",
		Decision: "ALLOWED", ValidFrom: time.Now(), ValidUntil: until,
		ActionReason: "the customer has waited for long",
	})
	return err
}
