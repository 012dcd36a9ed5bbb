package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// Client calls the control API. Errors of the other end are [*Problem]s.
type Client struct {
	http   *http.Client
	socket string // its path; "" where the handler is in this process
}

// ErrNoServer says that no server holds the data directory.
var ErrNoServer = errNoServer

// Dial returns a client of the server that holds a data directory, or
// ErrNoServer.
func Dial(ctx context.Context, dir string) (*Client, error) {
	conn, err := dialUnix(ctx, dir)
	if err != nil {
		return nil, err
	}
	if err := conn.Close(); err != nil {
		return nil, err
	}
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialUnix(ctx, dir) },
	}}, filepath.Join(dir, SocketName)}, nil
}

// Local returns a client that calls a handler in this process, as the user
// of this process.
func Local(h http.Handler) *Client {
	return &Client{http: &http.Client{Transport: localTransport{h, CurrentUser()}}}
}

// isRefused tells a socket that a dead process left.
func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

func (c *Client) send(ctx context.Context, method, path string, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://runledger"+path, body)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.lost(err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	p := &Problem{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxRequest)).Decode(p); err != nil || p.Code == "" {
		return nil, fmt.Errorf("%s %s: status %d", method, path, resp.StatusCode)
	}
	return nil, p
}

// call sends a JSON request and reads a JSON answer; both may be nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	contentType := ""
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body, contentType = bytes.NewReader(b), "application/json"
	}
	resp, err := c.send(ctx, method, path, contentType, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	return c.decode(resp.Body, out)
}

// decode reads an answer, which a server that dies leaves half said.
func (c *Client) decode(body io.Reader, out any) error {
	b, err := io.ReadAll(body)
	if err != nil {
		return c.lost(err)
	}
	return json.Unmarshal(b, out)
}

func tenantPath(tenant, rest string) string { return "/v1/tenants/" + url.PathEscape(tenant) + rest }

// Version says what answers.
func (c *Client) Version(ctx context.Context) (v Version, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/version", nil, &v)
}

// Tenants lists the tenants with their newest logs.
func (c *Client) Tenants(ctx context.Context) (v TenantList, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/tenants", nil, &v)
}

// CreateTenant makes a tenant and its first log.
func (c *Client) CreateTenant(ctx context.Context, tenant string) (v ledger.LogInfo, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/tenants", NewTenant{tenant}, &v)
}

// Append appends native records, one a line: at most MaxBatchRecords in
// MaxBatchBytes.
func (c *Client) Append(ctx context.Context, tenant string, ndjson []byte, partial bool) (*AppendAnswer, error) {
	path := tenantPath(tenant, "/records")
	if partial {
		path += "?partial=true"
	}
	resp, err := c.send(ctx, http.MethodPost, path, "application/x-ndjson", bytes.NewReader(ndjson))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var v AppendAnswer
	return &v, c.decode(resp.Body, &v)
}

// Checkpoint returns the newest checkpoint of a tenant's newest log.
func (c *Client) Checkpoint(ctx context.Context, tenant string) (v Checkpoint, err error) {
	return v, c.call(ctx, http.MethodGet, tenantPath(tenant, "/checkpoint"), nil, &v)
}

// Stamp has the newest checkpoint of a tenant's newest log stamped.
func (c *Client) Stamp(ctx context.Context, tenant string) (v Checkpoint, err error) {
	return v, c.call(ctx, http.MethodPost, tenantPath(tenant, "/stamp"), nil, &v)
}

// Prove proves a record, named as the query of the route says.
func (c *Client) Prove(ctx context.Context, tenant string, query url.Values) (v Proof, err error) {
	return v, c.call(ctx, http.MethodGet, tenantPath(tenant, "/proof?"+query.Encode()), nil, &v)
}

// Keys lists the keys of a tenant, or of all for "".
func (c *Client) Keys(ctx context.Context, tenant string) (v KeyList, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/keys?"+url.Values{"tenant": {tenant}}.Encode(), nil, &v)
}

// Rotate closes a tenant's log and opens its successor with a new key.
func (c *Client) Rotate(ctx context.Context, tenant string) (v Key, err error) {
	return v, c.call(ctx, http.MethodPost, tenantPath(tenant, "/keys/rotate"), nil, &v)
}

// Integrity returns what continuous verification knows of a tenant.
func (c *Client) Integrity(ctx context.Context, tenant string) (v ledger.Integrity, err error) {
	return v, c.call(ctx, http.MethodGet, tenantPath(tenant, "/integrity"), nil, &v)
}

// ConfirmClock says that the wall clock of the server is right.
func (c *Client) ConfirmClock(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/clock/confirm", nil, nil)
}

// Export makes a bundle and returns its bytes: a ZIP, a JSON document, or a tar
// stream of the directory. A stream that breaks off ends with an error other than io.EOF.
func (c *Client) Export(ctx context.Context, tenant string, req ExportRequest) (ExportInfo, io.ReadCloser, error) {
	b, err := json.Marshal(req)
	if err != nil {
		return ExportInfo{}, nil, err
	}
	resp, err := c.send(ctx, http.MethodPost, tenantPath(tenant, "/exports"), "application/json", bytes.NewReader(b))
	if err != nil {
		return ExportInfo{}, nil, err
	}
	var info ExportInfo
	if err := json.Unmarshal([]byte(resp.Header.Get(exportHeader)), &info); err != nil {
		return info, nil, errors.Join(fmt.Errorf("export: %w: the answer does not say what it is", evidence.ErrInvalid), resp.Body.Close())
	}
	return info, resp.Body, nil
}
