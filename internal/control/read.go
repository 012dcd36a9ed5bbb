package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
)

// ReadFunc answers a GET of the read API about a tenant for the operator: all
// content is shown and no range is too wide. pathAndQuery is as a client of the
// API writes it, such as /api/v1/logs/llm-runs?limit=5. The answer is the API's
// own, also where it is a problem (status 400 and above, err nil).
//
// Before it returns, the read is on record as a LOG_VIEW of by in the log of the
// tenant. Where that cannot be made there is no answer, but an error that wraps
// evidence.ErrUnavailable.
type ReadFunc func(ctx context.Context, tenant string, by access.Actor, pathAndQuery string) (status int, contentType string, body []byte, err error)

// readPrefix and readPaths are the only parts of the API that are reached through the
// control socket.
const readPrefix = "/api/v1/logs/"

var readPaths = []string{RetentionPath, PreviewPath, HoldsPath, ArchivesPath, RecordsPath, ErasuresPath}

// ReadRequest is the request of POST …/read. It is no GET, for every read adds
// a record.
type ReadRequest struct {
	Path string `json:"path"` // with the query
}

func (h *handler) read(w http.ResponseWriter, r *http.Request) error {
	var req ReadRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	u, err := url.ParseRequestURI(req.Path)
	if err != nil || u.Host != "" || !readable(req.Path, u.Path) {
		return invalid("path", "must be a path under %s, or one of %s", readPrefix, strings.Join(readPaths, ", "))
	}
	info, err := h.newest(r.Context(), r.PathValue("tenant"))
	if err != nil {
		return err
	}
	if h.cfg.Read == nil {
		return fmt.Errorf("read %s: %w: nothing is read here", req.Path, evidence.ErrUnavailable)
	}
	return pass(w, r, h.cfg.Read, info.Tenant, req.Path)
}

// readable reports whether a path of the API is reached from here.
func readable(raw, path string) bool {
	if strings.HasPrefix(raw, readPrefix) || slices.Contains(readPaths, path) {
		return true
	}
	id, found := strings.CutPrefix(path, ErasuresPath+"/")
	id, certificate := strings.CutSuffix(id, certificatePath)
	return found && certificate && id != "" && !strings.Contains(id, "/")
}

// pass hands the answer of a read on as it is.
func pass(w http.ResponseWriter, r *http.Request, read ReadFunc, tenant, path string) error {
	status, contentType, body, err := read(r.Context(), tenant, callerOf(r.Context()).actor(), path)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone needs no answer
	return nil
}

// Reader returns a transport that carries GETs of the read API about a tenant:
// client.Config.HTTPClient of one who reads a data directory. Host and headers of
// a request do not count; the operator needs no credential.
func (c *Client) Reader(tenant string) http.RoundTripper { return reader{c, tenant} }

type reader struct {
	c      *Client
	tenant string
}

// RoundTrip implements http.RoundTripper.
func (t reader) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	if req.Method != http.MethodGet {
		return nil, fmt.Errorf("%s %s: %w: the control socket only reads", req.Method, req.URL.Path, evidence.ErrInvalid)
	}
	b, err := json.Marshal(ReadRequest{req.URL.RequestURI()})
	if err != nil {
		return nil, err
	}
	in, err := http.NewRequestWithContext(req.Context(), http.MethodPost, "http://runledger"+tenantPath(t.tenant, "/read"), bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	in.Header.Set("Content-Type", "application/json")
	resp, err := t.c.http.Do(in)
	return resp, t.c.lost(err)
}
