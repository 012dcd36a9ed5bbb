package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/ingest"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/otlp"
	"github.com/runledger/runledger/internal/runs"
)

// intake is the way in: requests to records to runs.
type intake struct {
	mapper *otlp.Mapper
	runs   *runs.Tracker
	ingest *ingest.Handler
	log    *slog.Logger
}

// openIntake starts following the runs that are open, and then takes records
// in.
func (s *server) openIntake(ctx context.Context) (*intake, error) {
	in := &intake{log: s.log, mapper: otlp.New(otlp.Config{Dialects: s.cfg.Dialects, Prices: s.cfg.Prices})}
	var err error
	in.runs, err = runs.Open(ctx, runs.Config{
		Ledger: s.d.Ledger, Reread: in.mapper.Reread, Logger: s.log, Metrics: s.registry,
		RootQuiet: s.cfg.RootQuiet, Quiet: s.cfg.Quiet, Idle: s.cfg.Idle, NearThreshold: s.cfg.NearThreshold,
	})
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	in.ingest, err = ingest.New(ingest.Config{
		Ledger: s.d.Ledger, Mapper: in.mapper, Runs: in.runs, Gate: gate{s.d.gate},
		MaxBody: s.cfg.MaxBody, MaxInFlight: s.cfg.MaxInFlight,
		Paused: s.paused, Logger: s.log, Metrics: s.registry,
	})
	if err != nil {
		return nil, errors.Join(err, in.runs.Close(ctx))
	}
	s.d.observe, s.d.refuse = in.observe, in.ingest.Refuse
	return in, nil
}

// close waits for what runs, in the order in which it flows: no record that
// was taken in is forgotten, and no run ends by it.
func (in *intake) close(ctx context.Context) error {
	return errors.Join(in.ingest.Close(ctx), in.runs.Close(ctx))
}

// observe tells of records that came over the control socket.
func (in *intake) observe(tenant string, records []*evidence.Record, receipts []ledger.Receipt) {
	var news []runs.Observed
	for i, rc := range receipts {
		if rc.LeafHash == (evidence.Hash{}) || rc.Duplicate {
			continue
		}
		r := records[i]
		o := runs.Observed{Record: r, Receipt: rc}
		if attrs, body := r.SealedJSON("/attrs"), r.SealedJSON("/body"); attrs != nil || body != nil {
			if hints, err := in.mapper.Reread(r.Kind, attrs, body); err == nil {
				o.Hints = hints // a producer's /attrs need not be those of a span
			}
		}
		news = append(news, o)
	}
	slices.SortStableFunc(news, func(a, b runs.Observed) int { return int(a.Receipt.LeafIndex - b.Receipt.LeafIndex) })
	in.runs.Observe(tenant, news)
}

// gate lets package ingest ask package access.
type gate struct{ *access.Gate }

func caller(p access.Principal, err error) (ingest.Caller, error) {
	if err == nil {
		err = p.NeedTenant()
	}
	if errors.Is(err, access.ErrUnauthenticated) {
		err = fmt.Errorf("%w: %w", ingest.ErrUnauthenticated, err)
	}
	if err != nil {
		return ingest.Caller{}, err
	}
	return ingest.Caller{Tenant: p.Tenant, Credential: p.Credential, Principal: p, Has: func(permission string) bool {
		return p.Permissions.Has(permissions[permission])
	}}, nil
}

// Authenticate implements ingest.Gate: the guard has let the request in.
func (g gate) Authenticate(r *http.Request) (ingest.Caller, error) {
	if p, ok := access.From(r.Context()); ok {
		return caller(p, nil)
	}
	return caller(g.Gate.Authenticate(r))
}

// AuthenticateRPC implements ingest.Gate.
func (g gate) AuthenticateRPC(ctx context.Context, peer net.Addr, header func(key string) []string) (ingest.Caller, error) {
	remote := ""
	if peer != nil {
		remote = peer.String()
	}
	method, _ := grpc.Method(ctx)
	return caller(g.AuthenticateCall(ctx, header, remote, method))
}

// Require implements ingest.Gate.
func (g gate) Require(ctx context.Context, c ingest.Caller, permission, route string) error {
	p, _ := c.Principal.(access.Principal)
	return g.Gate.Require(ctx, p, permissions[permission], route)
}

// permissions are those that package ingest asks for; another is none, which
// nobody has.
var permissions = map[string]access.Permission{
	access.IngestWrite.String(): access.IngestWrite,
	access.LogsRead.String():    access.LogsRead,
	access.AuditRead.String():   access.AuditRead,
}

func (s *server) serveGRPC(failed chan<- error) {
	if s.rpc == nil {
		return
	}
	opts := s.in.ingest.ServerOptions()
	if s.tls != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(s.tls)))
	}
	s.grpc = grpc.NewServer(opts...)
	s.in.ingest.RegisterGRPC(s.grpc)
	go func() { failed <- s.grpc.Serve(s.rpc) }()
}
