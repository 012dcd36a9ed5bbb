package client

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
)

// ExportOptions say what a bundle of a run is to be. The zero value is a ZIP
// with all that the credential may read.
type ExportOptions struct {
	Format string // json, csv, pdf, zip; empty: zip
	// Withhold and Disclose choose sealed fields: paths such as /prompt, where *
	// stands for any part. What is in Withhold is not disclosed, whatever Disclose
	// says. Default: all is disclosed that may be read.
	Withhold, Disclose []string
	// SinceSize adds the proof that the newest log extends its tree of this size.
	SinceSize int64
	// IdempotencyKey makes repeated calls give the same export. Default: one for
	// this call, so that only its own tries are the same.
	IdempotencyKey string
}

// ExportRun makes a bundle of a run and describes it; the bytes are fetched with
// [Client.DownloadExport]. The export is itself recorded in the log.
func (c *Client) ExportRun(ctx context.Context, run string, o ExportOptions) (*answer.EvidenceBundle, error) {
	if strings.Trim(run, ".") == "" {
		return nil, parameterError("run_id", "names no run")
	}
	q := pageQuery(Paging{})
	q.text("format", o.Format)
	q.text("withhold", strings.Join(o.Withhold, ","))
	q.text("disclose", strings.Join(o.Disclose, ","))
	q.int("since_size", o.SinceSize)
	header := http.Header{"Idempotency-Key": {cmp.Or(o.IdempotencyKey, newID(time.Now()))}}
	return ask[answer.EvidenceBundle](ctx, c, llmRuns+"/"+url.PathEscape(run)+"/export", q, header)
}

// DownloadExport writes the bytes of an export to w and returns how many they
// are. checksum is what the export's description says, "sha256:" and hex. Bytes
// that are others are evidence.ErrTampered: w has them by then, so what was
// written is to be thrown away after any error. A download that breaks off goes on
// where it was. [Config].TryTimeout bounds each wait for bytes, not the whole.
func (c *Client) DownloadExport(ctx context.Context, exportID, checksum string, w io.Writer) (int64, error) {
	if !isChecksum(checksum) {
		return 0, parameterError("checksum", `must be "sha256:" and 64 lower-case hex digits`)
	}
	if strings.Trim(exportID, ".") == "" {
		return 0, parameterError("export_id", "names no export")
	}
	d := &download{c: c, out: w, sum: sha256.New(), checksum: checksum}
	d.path = "/api/v1/exports/" + url.PathEscape(exportID) + "/content"
	if err := d.run(ctx); err != nil {
		return d.n, fmt.Errorf("download %s: %w", exportID, err)
	}
	if got := fmt.Sprintf("sha256:%x", d.sum.Sum(nil)); got != checksum {
		return d.n, fmt.Errorf("download %s: %w: the bytes are %s", exportID, evidence.ErrTampered, got)
	}
	return d.n, nil
}

// download is one that is under way.
type download struct {
	c              *Client
	path, checksum string
	out            io.Writer
	sum            hash.Hash
	n              int64 // bytes that out and sum have
}

// run goes on until all is there, or too many tries brought nothing.
func (d *download) run(ctx context.Context) error {
	for idle := 0; ; {
		had := d.n
		err := d.part(ctx)
		if err == nil || !errors.Is(err, evidence.ErrUnavailable) {
			return err
		}
		if idle++; d.n > had {
			idle = 0
		}
		if d.n == 0 || idle > max(d.c.cfg.MaxRetries, 0) {
			return err
		}
		d.c.cfg.Logger.WarnContext(ctx, "runledger: download broke off", "path", d.path, "bytes", d.n, "err", err)
		if !sleep(ctx, d.c.backoff(idle)) {
			return ended(ctx, err)
		}
	}
}

// errNoResume: the server gives out the whole only.
var errNoResume = errors.New("it broke off and the server cannot go on")

// part fetches what is left.
func (d *download) part(ctx context.Context) error {
	rq := request{
		method: http.MethodGet, path: d.path, header: http.Header{"Accept": {"*/*"}}, retries: max(d.c.cfg.MaxRetries, 0),
	}
	if d.n > 0 {
		rq.header.Set("Range", fmt.Sprintf("bytes=%d-", d.n))
		rq.header.Set("If-Range", `"`+d.checksum+`"`)
	}
	var body *stream
	err := d.c.repeat(ctx, rq, func() (err error) {
		body, err = d.c.open(ctx, rq)
		return err
	})
	if err != nil {
		return err
	}
	defer body.Close()
	if d.n > 0 && (body.status != http.StatusPartialContent || !strings.HasPrefix(body.rng, fmt.Sprintf("bytes %d-", d.n))) {
		return errNoResume
	}
	n, err := io.Copy(io.MultiWriter(d.out, d.sum), body)
	d.n += n
	return err
}

// isChecksum reports whether s is written as answers show digests.
func isChecksum(s string) bool {
	digits, ok := strings.CutPrefix(s, "sha256:")
	h, hex := parseHash(digits)
	return ok && hex && evidence.Checksum(h) == s
}

// stream is the body of an answer, each wait for which is bounded.
type stream struct {
	body   io.ReadCloser
	ctx    context.Context // of the request
	cancel context.CancelCauseFunc
	watch  *time.Timer // ends ctx
	limit  time.Duration
	status int
	rng    string // header Content-Range
}

// open sends a request and returns the body of its answer.
func (c *Client) open(ctx context.Context, rq request) (*stream, error) {
	s := &stream{limit: c.cfg.TryTimeout}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.watch = time.AfterFunc(s.limit, func() {
		s.cancel(fmt.Errorf("%w: nothing came for %v", evidence.ErrUnavailable, s.limit))
	})
	resp, err := c.answered(s.ctx, rq) //nolint:bodyclose // Close does
	s.watch.Stop()
	if err != nil {
		s.cancel(nil)
		return nil, err
	}
	s.body, s.status, s.rng = resp.Body, resp.StatusCode, resp.Header.Get("Content-Range")
	return s, nil
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	s.watch.Reset(s.limit)
	defer s.watch.Stop()
	n, err := s.body.Read(p)
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case s.ctx.Err() != nil:
		return n, context.Cause(s.ctx)
	}
	return n, fmt.Errorf("%w: %w", evidence.ErrUnavailable, err)
}

// Close gives the connection back.
func (s *stream) Close() error {
	s.watch.Stop()
	err := s.body.Close()
	s.cancel(nil)
	return err
}
