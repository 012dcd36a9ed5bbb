package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/runledger/runledger/evidence"
)

const (
	firstRoom = 1 << 20  // of a body's length, before it is read
	bodyStep  = 64 << 10 // where the length is not known
)

// drainTime is how long the rest of a refused body is read and dropped, so that
// its client sees the answer.
const drainTime = time.Second

func dropBody(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainTime)) // without deadlines the server waits
	}
}

// readBody reads a request's body, decompressed. The room it holds is the
// caller's to give back, also with an error.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request) ([]byte, *room, error) {
	gz, err := contentEncoding(r.Header)
	if err != nil {
		return nil, nil, err
	}
	if r.ContentLength > h.cfg.MaxBody {
		return nil, nil, h.tooLarge()
	}
	hint := r.ContentLength
	first := int64(bodyStep)
	if hint >= 0 {
		first = min(hint, firstRoom)
	}
	room, err := h.makeRoom(r.Context(), first)
	if err != nil {
		return nil, nil, err
	}
	control := http.NewResponseController(w)
	raw := &pacedReader{
		r: r.Body, deadline: control.SetReadDeadline, start: time.Now(), grace: h.cfg.ReadGrace, rate: h.cfg.MinRate,
	}
	body, err := h.readAll(r.Context(), room, raw, gz, hint)
	if err != nil {
		return nil, room, raw.explain(err)
	}
	// The connection is watched while the request is answered; that must not
	// end at a deadline that was for the body.
	_ = control.SetReadDeadline(time.Time{})
	room.shrink(int64(cap(body)))
	return body, room, nil
}

// contentEncoding reports whether a body is compressed.
func contentEncoding(header http.Header) (gz bool, err error) {
	switch enc := strings.ToLower(strings.TrimSpace(strings.Join(header.Values("Content-Encoding"), ","))); enc {
	case "", "identity":
		return false, nil
	case "gzip", "x-gzip":
		return true, nil
	default:
		return false, fmt.Errorf("%w: Content-Encoding must be gzip or identity", errMediaType)
	}
}

func (h *Handler) tooLarge() error {
	return fmt.Errorf("body: %w: at most %d bytes, decompressed", evidence.ErrTooLarge, h.cfg.MaxBody)
}

// readAll reads all of src, decompressed where gz is set, growing its room as it
// comes. hint is the length of src, -1 where that is not known.
func (h *Handler) readAll(ctx context.Context, room *room, src io.Reader, gz bool, hint int64) ([]byte, error) {
	if !gz {
		return h.collect(ctx, room, src, hint)
	}
	z, _ := gzipReaders.Get().(*gzip.Reader)
	if z == nil {
		z = new(gzip.Reader)
	}
	defer gzipReaders.Put(z)
	if err := z.Reset(src); err != nil {
		if errors.Is(err, io.EOF) { // not one byte: an empty request
			return nil, nil
		}
		return nil, fmt.Errorf("body: %w: gzip: %w", errMalformed, err)
	}
	body, err := h.collect(ctx, room, z, -1)
	if err != nil && kindOf(err) == &internal {
		err = fmt.Errorf("body: %w: gzip: %w", errMalformed, err)
	}
	return body, err
}

var gzipReaders sync.Pool // of *gzip.Reader

// collect reads src to its end. Room is taken for the capacity of the buffer,
// before it is made.
func (h *Handler) collect(ctx context.Context, room *room, src io.Reader, hint int64) ([]byte, error) {
	limit := h.cfg.MaxBody
	size := min(room.size, bodyStep)
	if hint >= 0 {
		size = min(room.size, hint)
	}
	buf := make([]byte, 0, min(size, limit))
	var one [1]byte
	for {
		free := buf[len(buf):cap(buf)]
		if len(free) == 0 {
			free = one[:] // at the end of what was announced there is mostly nothing
		}
		n, err := src.Read(free)
		if n > 0 && int64(len(buf)+n) > limit {
			return nil, h.tooLarge()
		}
		if cap(buf) == len(buf) && n > 0 {
			if buf, err = h.enlarge(ctx, room, buf, hint, err); err != nil && !errors.Is(err, io.EOF) {
				return nil, err
			}
			buf = append(buf, one[0])
		} else {
			buf = buf[:len(buf)+n]
		}
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// enlarge doubles a buffer, as far as a body may go. It hands readErr on.
func (h *Handler) enlarge(ctx context.Context, room *room, buf []byte, hint int64, readErr error) ([]byte, error) {
	size := int64(max(2*cap(buf), bodyStep))
	if hint > int64(len(buf)) {
		size = min(size, hint)
	}
	size = min(size, h.cfg.MaxBody)
	if err := room.grow(ctx, size); err != nil {
		return nil, err
	}
	larger := make([]byte, len(buf), size)
	copy(larger, buf)
	return larger, readErr
}

// pacedReader reads a body that must keep up a rate: at any time at least
// rate bytes a second must have come since the start, but for the grace.
type pacedReader struct {
	r        io.Reader
	deadline func(time.Time) error
	start    time.Time
	grace    time.Duration
	rate     int64 // bytes a second
	n        int64
	err      error // of r, but io.EOF
}

// Read implements io.Reader.
func (p *pacedReader) Read(b []byte) (int, error) {
	due := p.grace + time.Duration(float64(p.n)/float64(p.rate)*float64(time.Second))
	// A connection without deadlines (a test's recorder) cannot be slow.
	_ = p.deadline(p.start.Add(due))
	n, err := p.r.Read(b)
	p.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		p.err = err
	}
	return n, err
}

// explain returns what is wrong where reading a body ended in err: what the
// connection did comes before what a decoder made of it.
func (p *pacedReader) explain(err error) error {
	var timeout net.Error
	switch {
	case p.err == nil:
		return err
	case errors.As(p.err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w: after %d bytes", errTooSlow, p.n)
	case errors.Is(p.err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the connection ended after %d bytes of the body", evidence.ErrUnavailable, p.n)
	}
	return fmt.Errorf("body: %w: %w", errMalformed, p.err)
}
