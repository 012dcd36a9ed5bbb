package access

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
)

// maxAnswer bounds an answer that is kept back, in bytes. A handler that gives
// out more calls RecordNow first.
const maxAnswer = 64 << 20

// passed are the headers of a recorded answer that leave, beside those of the
// guard: the record has the digest of the body only, so no other may say
// anything. RecordNow lets the Etag pass too: it names what the body is a part of.
var passed = []string{
	"Accept-Ranges", "Allow", "Content-Disposition", "Content-Language", "Content-Range", "Content-Type", "Link", "Location",
	"Retry-After", "Www-Authenticate",
}

// disclosure is the answer to a request that is recorded. It keeps back what
// the handler writes until the record is durable. It is for the goroutine of the
// request, and hides the writer below from who would write past it.
type disclosure struct {
	gate      *Gate
	w         http.ResponseWriter // of the client
	request   *http.Request
	rule      *Rule
	principal Principal
	view      *View
	start     evidence.Micros
	limit     int // of what is kept back, in bytes; 0: maxAnswer

	header  http.Header
	status  int // 0: not said yet
	body    bytes.Buffer
	over    bool  // more was written than fits
	through bool  // recorded: what is written leaves
	sent    bool  // the header has left
	left    int64 // bytes that may still leave
}

type disclosureKey struct{}

func withDisclosure(ctx context.Context, d *disclosure) context.Context {
	return context.WithValue(ctx, disclosureKey{}, d)
}

// RecordNow appends the record of a request before its answer is written, and
// lets what is written from then on leave at once: for an answer too large to be
// kept back. The view must have the digest of what will be written, and its
// size, beyond which nothing leaves. Where it fails the handler returns the
// error and gives nothing out.
func RecordNow(ctx context.Context) error {
	d, ok := ctx.Value(disclosureKey{}).(*disclosure)
	if !ok {
		return fmt.Errorf("%w: nothing records this request", evidence.ErrUnavailable)
	}
	return d.recordNow(ctx)
}

func (d *disclosure) recordNow(ctx context.Context) error {
	if d.through {
		return nil
	}
	if !isDigest(d.view.Digest) || d.view.Bytes < int64(d.body.Len()) {
		return errors.New("access: a view without the digest and size of what is given out")
	}
	if !d.view.Recorded {
		if err := d.append(ctx, d.view.Digest, d.view.Bytes); err != nil {
			return err
		}
	}
	d.view.Recorded, d.through, d.left = true, true, d.view.Bytes
	return nil
}

func isDigest(s string) bool {
	sum, ok := strings.CutPrefix(s, "sha256:")
	_, err := hex.DecodeString(sum)
	return ok && err == nil && len(sum) == 2*sha256.Size
}

// Header implements http.ResponseWriter.
func (d *disclosure) Header() http.Header { return d.header }

// WriteHeader implements http.ResponseWriter. Informational answers are left
// out.
func (d *disclosure) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("access: a handler answers with status %d", status))
	}
	if status >= 200 && d.status == 0 {
		d.status = status
	}
}

// Write implements http.ResponseWriter.
func (d *disclosure) Write(b []byte) (int, error) {
	d.WriteHeader(http.StatusOK)
	if d.through {
		return d.pass(b)
	}
	if d.over || d.body.Len()+len(b) > cmp.Or(d.limit, maxAnswer) {
		d.over = true
		return 0, evidence.ErrTooLarge
	}
	return d.body.Write(b)
}

// Flush implements http.Flusher: what is kept back stays.
func (d *disclosure) Flush() {
	if d.through {
		d.begin()
		_ = http.NewResponseController(d.w).Flush() // not supported only by writers of tests
	}
}

// SetReadDeadline is for http.ResponseController, as is SetWriteDeadline. The
// writer below is not given out: it could be written to.
func (d *disclosure) SetReadDeadline(t time.Time) error {
	return http.NewResponseController(d.w).SetReadDeadline(t)
}

// SetWriteDeadline is for http.ResponseController.
func (d *disclosure) SetWriteDeadline(t time.Time) error {
	return http.NewResponseController(d.w).SetWriteDeadline(t)
}

// serve has the handler answer, records it, and lets the answer leave.
func (d *disclosure) serve(mux *http.ServeMux, r *http.Request) {
	broke := d.run(mux, r)
	if d.through {
		if broke {
			panic(http.ErrAbortHandler) // the client must not take a part for the whole
		}
		d.begin()
		return
	}
	switch {
	case d.over: // handlers may break off when they can write no more
		d.replace(fmt.Errorf("answer: %w: over %d MiB", evidence.ErrTooLarge, cmp.Or(d.limit, maxAnswer)>>20))
	case broke:
		d.replace(errors.New("access: a handler broke off"))
	}
	d.WriteHeader(http.StatusOK) // unless there is a status
	length := d.body.Len()
	if r.Method == http.MethodHead {
		d.body.Reset()
	}
	if r.Method == http.MethodHead || d.status >= http.StatusBadRequest { // nothing of the view leaves
		d.view.Records, d.view.Digest, d.view.Bytes = 0, "", 0
	}
	if !d.view.Recorded {
		if err := d.record(r.Context()); err != nil {
			d.gate.cfg.Fail(d.w, d.request, err)
			return
		}
	}
	if d.status != http.StatusNoContent && d.status != http.StatusNotModified {
		d.w.Header().Set("Content-Length", strconv.Itoa(length))
	}
	d.send()
}

// run calls the handler and reports whether it broke off.
func (d *disclosure) run(mux *http.ServeMux, r *http.Request) (broke bool) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		broke = true
		if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
			d.gate.cfg.Logger.ErrorContext(r.Context(), "a handler broke off", "route", RouteName(d.request.Pattern), "panic", v, "stack", string(debug.Stack()))
		}
	}()
	mux.ServeHTTP(d, r)
	return false
}

// replace answers with an error instead of what the handler wrote.
func (d *disclosure) replace(err error) {
	d.header, d.status, d.over = http.Header{}, 0, false
	d.body = bytes.Buffer{} // it may hold much
	problem.Write(d, err)
}

// record appends the record of an answer that is kept back.
func (d *disclosure) record(ctx context.Context) error {
	if d.view.Digest != "" {
		if !isDigest(d.view.Digest) {
			return errors.New("access: a view whose digest is none")
		}
		return d.append(ctx, d.view.Digest, d.view.Bytes)
	}
	sum := sha256.Sum256(d.body.Bytes())
	return d.append(ctx, "sha256:"+hex.EncodeToString(sum[:]), int64(d.body.Len()))
}

// send lets what was kept back leave.
func (d *disclosure) send() {
	d.sent = true
	h := d.w.Header()
	for _, name := range passed {
		if v := d.header[name]; v != nil {
			h[name] = v
		}
	}
	if v := d.header["Etag"]; v != nil && d.through {
		h["Etag"] = v
	}
	h.Set("Cache-Control", "no-store")
	d.w.WriteHeader(d.status)
	if d.body.Len() > 0 {
		_, _ = d.w.Write(d.body.Bytes()) // a client that is gone needs no answer
	}
}

// begin lets the header leave, and what was written before RecordNow.
func (d *disclosure) begin() {
	if d.sent {
		return
	}
	d.WriteHeader(http.StatusOK)
	switch length := d.header["Content-Length"]; {
	case length != nil:
		d.w.Header()["Content-Length"] = length
	case d.status == http.StatusOK: // then less than that is an error the client sees
		d.w.Header().Set("Content-Length", strconv.FormatInt(d.view.Bytes, 10))
	}
	d.left -= int64(d.body.Len())
	d.send()
	d.body = bytes.Buffer{}
}

// pass lets bytes leave, but no more than were recorded.
func (d *disclosure) pass(b []byte) (int, error) {
	d.begin()
	if int64(len(b)) <= d.left {
		n, err := d.w.Write(b)
		d.left -= int64(n)
		return n, err
	}
	n, err := d.w.Write(b[:d.left])
	d.left -= int64(n)
	return n, cmp.Or(err, fmt.Errorf("%w: more than was recorded", evidence.ErrTooLarge))
}
