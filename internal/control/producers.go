package control

import (
	"context"
	"fmt"
	"net/http"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/producers"
)

// Paths of Config.Producers.
const (
	ProducersPath       = "/producers"
	SilentProducersPath = "/producers?silent=true"
)

// ProducersRequest is the request of POST …/producers; its answer is a producers.List.
// It is no GET, for every read adds a record.
type ProducersRequest struct {
	Silent bool `json:"silent,omitempty"` // only those that are
}

func (h *handler) producers(w http.ResponseWriter, r *http.Request) error {
	var req ProducersRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	info, err := h.newest(r.Context(), r.PathValue("tenant"))
	if err != nil {
		return err
	}
	if h.cfg.Producers == nil {
		return fmt.Errorf("producers: %w: nothing is read here", evidence.ErrUnavailable)
	}
	path := ProducersPath
	if req.Silent {
		path = SilentProducersPath
	}
	return pass(w, r, h.cfg.Producers, info.Tenant, path)
}

// Producers lists who wrote into a tenant's logs; with silent only those that have
// fallen silent. It counts what is new first, which may take a while.
func (c *Client) Producers(ctx context.Context, tenant string, silent bool) (v producers.List, err error) {
	return v, c.call(ctx, http.MethodPost, tenantPath(tenant, "/producers"), ProducersRequest{silent}, &v)
}
