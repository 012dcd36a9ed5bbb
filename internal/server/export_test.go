package server

import (
	"testing"

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
