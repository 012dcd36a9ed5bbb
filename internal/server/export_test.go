package server

import (
	"net/http"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/store/storerig"
)

// Stored completes a configuration by the store that tests run on, which belongs to
// the data directory.
func Stored(t testing.TB, cfg Config) Config {
	t.Helper()
	var err error
	if cfg.Store, cfg.StoreOwner, err = storerig.DSN(cfg.Data); err != nil {
		t.Fatal(err)
	}
	if cfg.Store != "" && cfg.Anchor == "" {
		cfg.Anchor = cfg.Data + ".anchor"
	}
	return cfg
}

// StoredLive is the same for verification.
func StoredLive(t testing.TB, cfg LiveConfig) LiveConfig {
	t.Helper()
	c := Stored(t, Config{Data: cfg.Data, Anchor: cfg.Anchor})
	cfg.Store, cfg.Anchor = c.Store, c.Anchor
	return cfg
}

// Observing changes how a server observes itself: what stands before its handler,
// within what time it begins, how soon a failed round is repeated, and how often it is
// looked whose turn it is. What is zero is as usual.
type Observing struct {
	Wrap               func(http.Handler) http.Handler
	First, Retry, Turn time.Duration
}

// In changes a configuration.
func (o Observing) In(c *ServeConfig) {
	c.observe = observeHooks{wrap: o.Wrap, first: o.First, retry: o.Retry, turn: o.Turn}
}
