package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/facade"
)

// Ingest is the way in, and the only one. ingest.Handler is one.
type Ingest interface {
	// AppendNative takes in native records, one a line, all or none, and returns
	// when they are durable. An error about one line is an *evidence.LineError.
	AppendNative(ctx context.Context, tenant, credential string, lines [][]byte) ([]answer.Receipt, error)
}

// Config says what is read and written through. Facade and Ingest are required.
type Config struct {
	Facade *facade.Facade
	Ingest Ingest
	Now    func() time.Time // default time.Now
}

// Replay answers. It may be used from several goroutines.
type Replay struct {
	cfg      Config
	maxSteps int // MaxSteps
}

// New returns the API.
func New(cfg Config) (*Replay, error) {
	if cfg.Facade == nil || cfg.Ingest == nil {
		return nil, errors.New("replay: Facade and Ingest are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Replay{cfg: cfg, maxSteps: MaxSteps}, nil
}

// Writer is who writes, let in with ingest.write before. What is written goes
// to the log of the tenant that its Reader names.
type Writer struct {
	// Reader is what the same credential may see: a run that it may not see
	// cannot be written about either.
	facade.Reader
	Credential string // public id
	// Person: the credential is that of a person who logged in.
	Person bool
}

func (a *Replay) now() evidence.Micros { return evidence.MicrosOf(a.cfg.Now()) }

// union is the metadata of an answer that is composed of others.
func (a *Replay) union(tenant string, run *string, parts ...evidence.Metadata) evidence.Metadata {
	return evidence.Union(evidence.Metadata{TenantID: tenant, RunID: run}, a.now(), parts...)
}

// byID is the reader for what is named by its id: reading by id has no limit of
// time, nor do the pages that are looked through for it show anything.
func byID(r facade.Reader) facade.Reader {
	r.MaxRange = 0
	r.MaxRows = max(r.MaxRows, lookedThrough)
	return r
}

// lookedThrough is the size of a page that is looked through.
const lookedThrough = 50

// lineError makes an error about a line one about a field of the request. name
// says what a field of that line is called there.
func lineError(err error, name func(line int, field string) string) error {
	var at *evidence.LineError
	if !errors.As(err, &at) {
		return err
	}
	var fe *evidence.FieldError
	if errors.As(at.Err, &fe) {
		return &evidence.FieldError{Field: name(at.Line, fe.Field), Reason: fe.Reason, Err: fe.Err}
	}
	if where := name(at.Line, ""); where != "" {
		return &evidence.FieldError{Field: where, Reason: at.Err.Error(), Err: at.Err}
	}
	return fmt.Errorf("record: %w", at.Err)
}
