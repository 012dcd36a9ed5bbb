package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/zipstore"
	"github.com/runledger/runledger/verify"
)

// exportRecords returns the export and LOG_EXPORT records of the log.
func (r *rig) exportRecords() (list []string) {
	r.t.Helper()
	head, _, err := r.PublishNow(context.Background(), "acme", 1)
	if err != nil {
		r.t.Fatal(err)
	}
	err = r.Records(context.Background(), "acme", 1, 1, head.Size, func(rec ledger.LogRecord) error {
		l := rec.Leaf
		switch {
		case l.Kind == evidence.KindExport:
			list = append(list, strings.Join([]string{l.Text("status"), l.Text("scope"), l.Text("format"), l.Text("about_run"), l.Text("retention_class")}, " "))
		case l.Text("event_type") == "LOG_EXPORT":
			n, _ := l.Int("byte_count")
			list = append(list, fmt.Sprintf("LOG_EXPORT %s %s %d", l.Text("about_run"), l.Text("credential_id"), n))
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

func TestRunRecorded(t *testing.T) {
	r := newRig(t)
	r.steps(1, 0, 2)
	b := r.exportRun(export.Request{Run: "run-1", By: export.Requester{Name: "ada", Human: true, Credential: "key-7"}})
	r.exportRun(export.Request{Run: "run-1", Format: export.FormatJSON, Unrecorded: true})
	want := []string{
		"pending llm_run zip run-1 hot", "completed llm_run zip run-1 hot", fmt.Sprintf("LOG_EXPORT run-1 key-7 %d", b.Bytes),
		"pending llm_run json run-1 hot", "completed llm_run json run-1 hot",
	}
	if diff := cmp.Diff(want, r.exportRecords()); diff != "" {
		t.Error(diff)
	}
}

// TestRunJSON makes the ZIP from the JSON form, which must verify.
func TestRunJSON(t *testing.T) {
	r := newRig(t)
	r.steps(1, 0, 3)
	r.append("acme", end("run-1", 1, `,"response":"tab\there \u0001 \\ é\u2028 \"q\""`))
	b := r.exportRun(export.Request{Run: "run-1", Format: export.FormatJSON})
	var buf bytes.Buffer
	if err := b.Write(&buf); err != nil {
		t.Fatal(err)
	}
	if int64(buf.Len()) != b.Bytes {
		t.Errorf("%d bytes, said %d", buf.Len(), b.Bytes)
	}
	var doc struct {
		Format   string          `json:"format"`
		Form     string          `json:"verifiable_form"`
		Note     string          `json:"note"`
		Manifest json.RawMessage `json:"manifest"`
		Files    map[string]string
	}
	dec := json.NewDecoder(&buf)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if doc.Format != "json" || doc.Form != "zip" || !strings.Contains(doc.Note, "ZIP") {
		t.Errorf("%q %q %q", doc.Format, doc.Form, doc.Note)
	}
	m, err := verify.ParseManifest(doc.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	var z bytes.Buffer
	w := zipstore.NewWriter(&z)
	add := func(name, data string) {
		if err := w.Add(name, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	add("manifest.json", string(doc.Manifest))
	for _, f := range m.Files {
		add(f.Path, doc.Files[f.Path])
	}
	for _, name := range []string{"receipt.leaf", "receipt.tlog-proof", "receipt.consistency"} {
		add(name, doc.Files[name])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r.good(z.Bytes(), verify.Options{})
	if want := len(m.Files) + 3; len(doc.Files) != want {
		t.Errorf("%d files, want %d", len(doc.Files), want)
	}
}

// BenchmarkRun exports a run of 1,000 steps out of a log of 10,000 records.
func BenchmarkRun(b *testing.B) {
	r := newRig(b)
	for i := range 20 {
		r.steps(1, i*50, 50)
		r.steps(2, 1000+i*450, 450)
	}
	r.append("acme", end("run-1", 1, ""))
	req := export.Request{Tenant: "acme", Profile: verify.ProfileRun, Run: "run-1", By: export.Requester{Name: "cli:test"}, NoAudit: true}
	var z []byte
	b.Run("export", func(b *testing.B) {
		for b.Loop() {
			bundle, err := r.exporter.Export(context.Background(), req)
			if err != nil {
				b.Fatal(err)
			}
			if z = zipOf(b, bundle); bundle.Records != 1001 {
				b.Fatal(bundle.Records)
			}
			if err := bundle.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			rep, err := verify.ZIP(context.Background(), bytes.NewReader(z), int64(len(z)), verify.Options{Keys: r.keys})
			if err != nil || rep.Verdict != verify.VerifiedWithLimits {
				b.Fatal(rep, err)
			}
		}
	})
}
