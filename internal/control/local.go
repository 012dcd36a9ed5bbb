package control

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// localTransport calls a handler in this process. The answer is streamed, as
// over a socket.
type localTransport struct {
	h      http.Handler
	caller Caller
}

// RoundTrip implements http.RoundTripper.
func (t localTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	pr, pw := io.Pipe()
	w := &localWriter{header: http.Header{}, pipe: pw, started: make(chan struct{})}
	in := req.Clone(WithCaller(req.Context(), t.caller))
	if in.Body == nil {
		in.Body = http.NoBody
	}
	go func() {
		defer in.Body.Close()
		err := w.serve(t.h, in)
		w.WriteHeader(http.StatusOK) // of a handler that wrote nothing
		pw.CloseWithError(err)
	}()
	select {
	case <-w.started:
	case <-req.Context().Done():
		pr.CloseWithError(req.Context().Err())
		return nil, req.Context().Err()
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: pr, ContentLength: -1, Request: req,
	}, nil
}

// localWriter is the http.ResponseWriter of a localTransport.
type localWriter struct {
	header  http.Header
	pipe    *io.PipeWriter
	once    sync.Once
	started chan struct{}
	status  int         // set before started is closed
	sent    http.Header // as of WriteHeader
}

var errAborted = errors.New("the answer broke off")

// serve calls the handler. A panic with http.ErrAbortHandler breaks the
// answer off, as net/http does; any other is a defect and goes on.
func (w *localWriter) serve(h http.Handler, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if e, ok := p.(error); !ok || !errors.Is(e, http.ErrAbortHandler) {
				panic(p)
			}
			err = errAborted
		}
	}()
	h.ServeHTTP(w, r)
	return nil
}

// Header implements http.ResponseWriter.
func (w *localWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *localWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.started)
	})
}

// Write implements http.ResponseWriter.
func (w *localWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(p)
}
