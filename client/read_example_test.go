package client_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/runledger/runledger/client"
)

// An operator looks at the runs that failed today, and at what happened around
// the turning point of each.
func ExampleClient_AllRuns() {
	c, err := client.New(client.Config{BaseURL: "https://ledger.example:8080", Key: os.Getenv("RUNLEDGER_KEY")})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	today := client.RunFilter{Outcome: "failure", Window: client.Window{After: time.Now().Add(-24 * time.Hour)}}
	for run, err := range c.AllRuns(ctx, today) {
		if err != nil {
			log.Fatal(err)
		}
		window, err := c.Replay(ctx, run.RunID, client.ReplayOptions{WindowSeconds: 10}, client.Paging{})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(run.RunID, *run.Metadata.Checksum)
		for _, e := range window.PolicyEvents {
			fmt.Printf("%+8.0f ms  %s %s\n", e.OffsetMS, e.Action, e.Outcome)
		}
	}
}
