package server

import (
	"context"
	"crypto/x509"
	"sync"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/witness"
)

// StampConfig says which authority stamps checkpoints (RFC 3161).
type StampConfig struct {
	URL  string
	Name string // in records. Default: the subject of its certificate
	// Roots are those that its certificate must lead to, RootsDigest their file. Nil:
	// any.
	Roots       *x509.CertPool
	RootsDigest string
}

// String shows the configuration in records.
func (c *StampConfig) String() string {
	if c == nil {
		return "none"
	}
	s := c.URL
	if c.Name != "" {
		s += " " + c.Name
	}
	if c.RootsDigest != "" {
		s += " " + c.RootsDigest
	}
	return s
}

// outside is who is asked about the logs: witnesses, and a time-stamping authority.
// The zero value asks nobody.
type outside struct {
	client  *witness.Client
	stamper *witness.Stamper
}

// open makes the client, which the ledger asks when it is opened.
func (o *outside) open(cfg *Config) (err error) {
	if cfg.Witnesses != nil {
		o.client, err = witness.NewClient(witness.ClientConfig{Policy: cfg.Witnesses, Logger: cfg.Logger, Metrics: cfg.Metrics})
	}
	return err
}

func (o *outside) atStart() ledger.WitnessFunc {
	if o.client == nil {
		return nil
	}
	return o.client.AtStart
}

// use tells who asks the ledger.
func (o *outside) use(d *Deployment, cfg *Config) (err error) {
	if o.client != nil {
		o.client.Use(d.Ledger)
	}
	if c := cfg.Stamps; c != nil {
		o.stamper, err = witness.NewStamper(d.Ledger, witness.StampConfig{
			URL: c.URL, Name: c.Name, Roots: c.Roots, Logger: cfg.Logger, Metrics: cfg.Metrics, Lease: d.lease(),
		})
	}
	return err
}

// cosign has a checkpoint cosigned for an export; nil where nobody is asked.
func (o *outside) cosign() func(ctx context.Context, tenant string, logNo int) error {
	if o.client == nil {
		return nil
	}
	return o.client.Cosign
}

// stamp is control.Config.Stamp; nil where there is no authority.
func (o *outside) stamp() func(ctx context.Context, tenant string, logNo int) ([]byte, control.Stamp, error) {
	if o.stamper == nil {
		return nil
	}
	return func(ctx context.Context, tenant string, logNo int) ([]byte, control.Stamp, error) {
		note, st, err := o.stamper.Stamp(ctx, tenant, logNo)
		if err != nil {
			return nil, control.Stamp{}, err
		}
		return note, control.Stamp{Authority: st.Authority, Time: evidence.MicrosOf(st.Time), Serial: st.Serial.String()}, nil
	}
}

// run asks until ctx is done.
func (o *outside) run(ctx context.Context) {
	var working sync.WaitGroup
	if o.client != nil {
		working.Go(func() { o.client.Run(ctx) })
	}
	if o.stamper != nil {
		working.Go(func() { o.stamper.Run(ctx) })
	}
	working.Wait()
}

// atStop shows the last checkpoints to the witnesses, once, before the ledger closes.
func (o *outside) atStop(ctx context.Context) {
	if o.client != nil {
		o.client.AtStop(ctx)
	}
}

// status is what /audit/integrity shows of witnesses; nil where nobody is asked.
func (o *outside) status() func(tenant string) ([]answer.Witness, string) {
	if o.client == nil {
		return nil
	}
	return func(tenant string) ([]answer.Witness, string) {
		list, why := o.client.Status(tenant)
		out := make([]answer.Witness, len(list))
		for i := range list {
			s := &list[i]
			w := answer.Witness{Name: s.Name, Key: &s.Key, URL: &s.URL, Size: s.Size}
			if s.Size > 0 {
				at := evidence.MicrosOf(s.At)
				w.Time = &at
			}
			if s.Error != "" {
				w.Error = &s.Error
			}
			out[i] = w
		}
		return out, why
	}
}
