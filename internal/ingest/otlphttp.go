package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/otlp"
)

const (
	typeProtobuf = "application/x-protobuf"
	typeJSON     = "application/json"
)

// Routes puts all routes of ingest into a mux: OTLP under each of the
// prefixes ("" is always one), native records, receipts, the schema.
func (h *Handler) Routes(mux *http.ServeMux, prefixes []string) {
	seen := map[string]bool{}
	for _, prefix := range append([]string{""}, prefixes...) {
		if prefix = strings.Trim(prefix, "/"); prefix != "" {
			prefix = "/" + prefix
		}
		if seen[prefix] {
			continue
		}
		seen[prefix] = true
		for _, s := range h.signals {
			mux.Handle("POST "+prefix+"/v1/"+s.name, h.otlpHTTP(s))
		}
	}
	mux.Handle("POST /api/v1/ingest/records", h.native("records", h.ingestRecords))
	mux.Handle("GET /api/v1/receipts/{id}", h.native("receipts", h.receipt))
	mux.HandleFunc("GET /schemas/record.json", schema)
}

func (h *Handler) otlpHTTP(s *signal) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		enc, known := encodingOf(r.Header.Get("Content-Type"))
		out, err := h.exportHTTP(w, r, s, enc, known)
		status := http.StatusOK
		if err == nil {
			answerExport(w, s, enc, out)
		} else {
			status = h.failOTLP(w, r, enc, err)
		}
		h.metrics.request(s.name, "http", strconv.Itoa(status), start)
	})
}

// encodingOf reads a Content-Type. What is unknown is answered in JSON.
func encodingOf(contentType string) (enc otlp.Encoding, known bool) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return otlp.JSON, false
	}
	switch media {
	case typeProtobuf, "application/protobuf":
		return otlp.Protobuf, true
	case typeJSON:
		return otlp.JSON, true
	}
	return otlp.JSON, false
}

func (h *Handler) exportHTTP(w http.ResponseWriter, r *http.Request, s *signal, enc otlp.Encoding, known bool) (outcome, error) {
	c, err := h.admit(r, permIngest)
	if err != nil {
		return outcome{}, err
	}
	if !known {
		return outcome{}, unsupported(typeProtobuf, typeJSON)
	}
	if err := h.cfg.Paused(); err != nil {
		return outcome{}, err
	}
	body, room, err := h.readBody(w, r)
	if err != nil {
		if room != nil {
			room.done()
		}
		return outcome{}, err
	}
	return h.export(r.Context(), c, s, enc, body, room)
}

// answerExport writes an Export*ServiceResponse.
func answerExport(w http.ResponseWriter, s *signal, enc otlp.Encoding, out outcome) {
	if enc == otlp.Protobuf {
		w.Header().Set("Content-Type", typeProtobuf)
		_, _ = w.Write(exportResponse(out)) // a client that is gone needs no answer
		return
	}
	answer := map[string]any{}
	if out.message != "" {
		answer["partialSuccess"] = map[string]any{s.rejected: strconv.Itoa(out.refused), "errorMessage": out.message}
	}
	w.Header().Set("Content-Type", typeJSON)
	_ = json.NewEncoder(w).Encode(answer)
}

// exportResponse encodes an Export*ServiceResponse, which is the same message
// for all signals: partial_success = 1 {rejected = 1, error_message = 2}. It
// is unset where there is nothing to say, as the specification asks; pdata
// would always set it.
func exportResponse(out outcome) []byte {
	if out.message == "" {
		return nil
	}
	var partial []byte
	if out.refused > 0 {
		partial = protowire.AppendTag(partial, 1, protowire.VarintType)
		partial = protowire.AppendVarint(partial, uint64(out.refused))
	}
	partial = protowire.AppendTag(partial, 2, protowire.BytesType)
	partial = protowire.AppendString(partial, out.message)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), partial)
}

// Refuse answers a request of OTLP/HTTP that was refused before it came to its
// handler, in the form that exporters expect.
func (h *Handler) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, evidence.ErrForbidden) {
		err = fmt.Errorf("%w: %w", errDenied, err)
	}
	enc, _ := encodingOf(r.Header.Get("Content-Type"))
	h.failOTLP(w, r, enc, err)
}

// failOTLP answers with a google.rpc.Status in the request's encoding.
func (h *Handler) failOTLP(w http.ResponseWriter, r *http.Request, enc otlp.Encoding, err error) int {
	k := kindOf(err)
	status := k.status
	if k.otlp != 0 {
		status = k.otlp
	}
	if status >= http.StatusInternalServerError {
		h.log(r.Context(), r.Pattern, err)
	}
	st := &spb.Status{Code: int32(k.rpc), Message: strings.ToValidUTF8(k.detail(err), "\uFFFD")}
	var body []byte
	contentType := typeProtobuf
	var merr error
	if enc == otlp.Protobuf {
		body, merr = proto.Marshal(st)
	} else {
		contentType = typeJSON
		body, merr = json.Marshal(map[string]any{"code": st.GetCode(), "message": st.GetMessage()})
	}
	if merr != nil {
		h.cfg.Logger.ErrorContext(r.Context(), "ingest", "route", r.Pattern, "err", merr)
	}
	dropBody(w, r)
	setRefusalHeaders(w.Header(), status, k)
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(body)
	return status
}
