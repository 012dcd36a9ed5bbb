package server

import (
	"context"
	"fmt"

	"github.com/runledger/runledger/internal/stream"
)

// openStreams opens the sinks of streams and alarms. It connects to nothing, so that a
// SIEM that does not answer keeps no evidence out.
func (s *server) openStreams() (err error) {
	if s.cfg.Streams == nil {
		return nil
	}
	cfg := stream.Config{
		File: s.cfg.Streams, Ledger: s.d.Ledger, Store: s.d.db.Store, Ready: s.ready, Version: s.cfg.Version,
		Logger: s.log, Metrics: s.registry,
	}
	if s.d.db.shared() {
		cfg.Lease, cfg.Process = s.d.db.Lease, s.d.process
	}
	s.streams, err = stream.New(cfg)
	if err != nil {
		return fmt.Errorf("streams: %w", err)
	}
	return nil
}

// stream passes records on until ctx is done.
func (s *server) stream(ctx context.Context) {
	if s.streams != nil {
		s.streams.Run(ctx)
	}
}

func (s *server) closeStreams() error {
	if s.streams == nil {
		return nil
	}
	return s.streams.Close()
}

// streamsDigest names the configuration of streams and alarms in records.
func (c *ServeConfig) streamsDigest() string {
	if c.Streams == nil {
		return "none"
	}
	return c.Streams.Digest
}
