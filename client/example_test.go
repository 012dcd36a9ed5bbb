package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
)

// A deployment tool states what it has deployed, and keeps the proof.
func ExampleClient_Append() {
	c, err := client.New(client.Config{
		BaseURL:      "https://ledger.example:8080",
		Key:          os.Getenv("RUNLEDGER_KEY"),
		Component:    "deployer",
		VerifierKeys: []string{os.Getenv("RUNLEDGER_VKEY")},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	receipts, err := c.Append(ctx, client.System{
		Component: "support-bot", EventType: "DEPLOY", Severity: "INFO",
		CausedBy: "AUTOMATION", Version: "1.4.2",
		Summary: "support-bot 1.4.2 is live",
		Details: map[string]any{"image": "support-bot:1.4.2"},
	})
	if err != nil {
		log.Fatal(err)
	}
	proof, err := c.WaitReceipt(ctx, receipts[0].ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(proof.Verified, proof.LeafIndex)
}

// A policy engine sends its decisions in batches.
func ExampleWriter() {
	c, err := client.New(client.Config{BaseURL: "http://127.0.0.1:8080", Component: "policy-engine"})
	if err != nil {
		log.Fatal(err)
	}
	w, err := c.NewWriter(client.WriterConfig{
		OnFailure: func(failed []client.Failure) {
			for _, f := range failed {
				log.Printf("refused: %s: %v", f.Record, f.Err)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	err = w.Write(context.Background(), client.Audit{
		Common:    client.Common{RunID: "4bf92f3577b34da6a3ce929d0e0e4736", SystemID: "policy-engine"},
		EventType: "LimitChecked", EntityType: "LIMIT", EntityID: "refund-eur",
		Decision: "PASSED", LimitID: "refund-eur", LimitValue: "100", ObservedValue: "40.50", LimitUnit: "EUR",
		ActionReason: "below the limit of the day",
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var left *client.UndeliveredError
	if err := w.Close(ctx); errors.As(err, &left) {
		log.Printf("%d records are still here: keep them and send them again", len(left.Records))
	}
}

// Errors are told apart by the sentinels of package evidence.
func ExampleError() {
	var err error = &client.Error{
		Status: 422, Code: "invalid", Field: "decision", Detail: "record 3: is not one of ALLOWED, DENIED",
		Records: []client.RecordError{{Index: 3, Field: "decision", Code: "invalid", Detail: "is not one of ALLOWED, DENIED"}},
	}
	fmt.Println(errors.Is(err, evidence.ErrInvalid), errors.Is(err, evidence.ErrUnavailable))
	var e *client.Error
	if errors.As(err, &e) {
		fmt.Println(e.Records[0].Error())
	}
	// Output:
	// true false
	// record 3: invalid: decision: is not one of ALLOWED, DENIED
}
