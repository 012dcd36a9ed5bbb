// Command runledger keeps evidence in signed, append-only logs and checks it.
//
// Every command prints what it did, or with --json the same for machines, and
// exits with 0 done, 1 the answer is bad, 2 wrong use or input, 3 the
// environment failed; verify also with 4 could not check and 10 verified with
// limits.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// The second signal ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
