package client

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
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
// written is to be thrown away after any error. It is repeated only until the
// first byte has come. [Config].TryTimeout bounds each wait for bytes, not the
// whole.
func (c *Client) DownloadExport(ctx context.Context, exportID, checksum string, w io.Writer) (int64, error) {
	if !isChecksum(checksum) {
		return 0, parameterError("checksum", `must be "sha256:" and 64 lower-case hex digits`)
	}
	if strings.Trim(exportID, ".") == "" {
		return 0, parameterError("export_id", "names no export")
	}
	rq := request{
		method: http.MethodGet, path: "/api/v1/exports/" + url.PathEscape(exportID) + "/content",
		header: http.Header{"Accept": {"*/*"}}, retries: max(c.cfg.MaxRetries, 0),
	}
	var body *stream
	err := c.repeat(ctx, rq, func() (err error) {
		body, err = c.open(ctx, rq)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("download %s: %w", exportID, err)
	}
	defer body.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), body)
	if err != nil {
		return n, fmt.Errorf("download %s: %w", exportID, err)
	}
	if got := fmt.Sprintf("sha256:%x", sum.Sum(nil)); got != checksum {
		return n, fmt.Errorf("download %s: %w: the bytes are %s", exportID, evidence.ErrTampered, got)
	}
	return n, nil
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
	s.body = resp.Body
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
