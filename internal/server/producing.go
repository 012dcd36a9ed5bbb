package server

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/producers"
)

// openProducers makes what knows the producers of tenants. Its metrics are those of a
// server, which alone follows the logs; a command counts when it is asked.
func (d *Deployment) openProducers(cfg *Config) (err error) {
	c := producers.Config{Ledger: d.Ledger, Store: d.db.Store, Lease: d.lease(), Logger: cfg.Logger}
	if cfg.server {
		c.Metrics = cfg.Metrics
	}
	if d.producers, err = producers.New(c); err != nil {
		return err
	}
	d.producing = http.NewServeMux()
	d.producing.HandleFunc("GET "+control.ProducersPath, func(w http.ResponseWriter, r *http.Request) {
		if err := d.listProducers(w, r); err != nil {
			d.fail(cfg.Logger)(w, r, err)
		}
	})
	return nil
}

// listProducers answers a request that the operator makes.
func (d *Deployment) listProducers(w http.ResponseWriter, r *http.Request) error {
	tenant := access.GrantOf(r.Context()).Tenant
	list, err := d.producers.List(r.Context(), tenant, r.URL.Query().Get("silent") == "true")
	if err != nil {
		return err
	}
	view := access.ViewOf(r.Context())
	view.EntityID, view.Records = "producers", int64(len(list.Producers))
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(body)
	return err
}

// producersAs is control.Config.Producers: the operator looks at a tenant's producers,
// and that is on record like any other look at its logs.
func (d *Deployment) producersAs(ctx context.Context, tenant string, by access.Actor, pathAndQuery string) (int, string, []byte, error) {
	return d.answerTo(ctx, d.producing, tenant, by, pathAndQuery)
}

// followProducers follows the logs until ctx is done.
func (s *server) followProducers(ctx context.Context) { s.d.producers.Run(ctx, s.ready) }
