package control

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
)

func (h *handler) export(w http.ResponseWriter, r *http.Request) error {
	var req ExportRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	format, ok := map[string]string{
		FormZIP: export.FormatZIP, FormDirectory: export.FormatZIP, FormJSON: export.FormatJSON, FormCSV: export.FormatCSV, FormPDF: export.FormatPDF,
	}[req.Form]
	if !ok {
		return invalid("form", "must be zip, json, csv, pdf or directory")
	}
	tenant, run := r.PathValue("tenant"), req.Run
	if run != "" {
		var err error
		if run, err = h.cfg.Ledger.ResolveRun(r.Context(), tenant, run); err != nil {
			return err
		}
	}
	from, err := timeOf("from", req.From)
	if err != nil {
		return err
	}
	until, err := timeOf("until", req.Until)
	if err != nil {
		return err
	}
	b, err := h.cfg.Exporter.Export(r.Context(), export.Request{
		Tenant: tenant, Profile: req.Profile, Run: run, Format: format, ExportID: req.ExportID,
		Scope: req.Scope, From: from, Until: until, Tags: req.Tags,
		By: callerOf(r.Context()).requester(), Disclose: req.Disclose, Withhold: req.Withhold, SinceSize: req.SinceSize,
		Directory: req.Form == FormDirectory,
	})
	if err != nil {
		return err
	}
	defer b.Close()
	info, err := json.Marshal(ExportInfo{
		ExportID: b.ExportID, Run: b.Run, Log: b.Log, Size: b.Size, Records: b.Records, Bytes: b.Bytes, Checksum: b.Digest,
	})
	if err != nil {
		return err
	}
	w.Header().Set(exportHeader, string(info))
	w.Header().Set("Cache-Control", "no-store")
	write := b.WriteTar
	w.Header().Set("Content-Type", "application/x-tar")
	if req.Form != FormDirectory {
		write = b.Write
		w.Header().Set("Content-Type", export.ContentType(format))
		w.Header().Set("Content-Length", strconv.FormatInt(b.Bytes, 10))
	}
	w.WriteHeader(http.StatusOK)
	if err := write(w); err != nil {
		h.cfg.Logger.WarnContext(r.Context(), "bundle was not given out whole", "export", b.ExportID, "err", err)
		// The status is sent already: only a broken stream can still say it.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// timeOf reads a time as records have it; "" is none.
func timeOf(field, text string) (evidence.Micros, error) {
	if text == "" {
		return 0, nil
	}
	at, ok := evidence.ParseMicros(text)
	if !ok {
		return 0, invalid(field, "must be a time such as 2026-11-01T12:00:00.000000Z")
	}
	return at, nil
}
