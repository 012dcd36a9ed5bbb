package api

import (
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// other is a route of another package: it is in the document, and served there.
type other struct {
	method, path, id, tag, summary string
	public                         bool
	body                           string // media type of the request, "" for none
	query                          []string
	answers                        map[int]string // status: media type, "" for none
	schemaless                     string         // what the answer is
}

const (
	jsonType    = "application/json"
	problemType = "application/problem+json"
	textType    = "text/plain"

	transparency = "/api/v1/transparency"
)

// others are the routes that do not stand on the facade.
var others = []other{
	{method: "POST", path: "/api/v1/ingest/records", id: "ingest-records", tag: "ingest", summary: "Append native records (JSON or NDJSON).", body: "application/x-ndjson", query: []string{"partial", "wait"}, answers: map[int]string{200: jsonType, 202: jsonType}, schemaless: "A receipt for each record."},
	{method: "POST", path: "/v1/traces", id: "otlp-traces", tag: "ingest", summary: "OTLP/HTTP traces.", body: "application/x-protobuf", answers: map[int]string{200: "application/x-protobuf"}, schemaless: "ExportTraceServiceResponse, in the encoding of the request."},
	{method: "POST", path: "/v1/logs", id: "otlp-logs", tag: "ingest", summary: "OTLP/HTTP logs.", body: "application/x-protobuf", answers: map[int]string{200: "application/x-protobuf"}, schemaless: "ExportLogsServiceResponse."},
	{method: "POST", path: "/v1/metrics", id: "otlp-metrics", tag: "ingest", summary: "OTLP/HTTP metrics.", body: "application/x-protobuf", answers: map[int]string{200: "application/x-protobuf"}, schemaless: "ExportMetricsServiceResponse."},
	{method: "GET", path: "/api/v1/receipts/{id}", id: "receipt", tag: "ingest", summary: "The inclusion proof of a record; id is its UUID, or trace id and span id with a colon between.", answers: map[int]string{200: jsonType, 202: jsonType}, schemaless: "Leaf, proof and checkpoint; 202 until a checkpoint covers the record."},
	{method: "GET", path: contentPath, id: "export-content", tag: "exports", summary: "The bytes of an export, or one range of them, for who may read all that is in it, or with the signed link that it came with. Those of a run are kept for an hour at most, those of a period for a day; then it is 410, and it is exported again.", query: []string{"link"}, answers: map[int]string{200: "application/zip", 206: "application/zip"}, schemaless: "The bundle: a ZIP, or what else was asked for."},
	{method: "GET", path: transparency + "/logs", id: "transparency-logs", tag: "transparency", summary: "The logs that may be watched: the tenant's, and those of the system.", answers: map[int]string{200: jsonType}, schemaless: "Logs, each with its prefix."},
	{method: "GET", path: transparency + "/checkpoint", id: "transparency-checkpoint", tag: "transparency", summary: "The newest published checkpoint of the tenant's newest log, with cosignatures.", answers: map[int]string{200: textType}, schemaless: "A C2SP checkpoint."},
	{method: "GET", path: transparency + "/key", id: "transparency-key", tag: "transparency", summary: "The log's verifier key: a hint, who checks has it from elsewhere.", answers: map[int]string{200: textType}, schemaless: "A verifier key."},
	{method: "GET", path: transparency + "/tile/{level}/{n}", id: "transparency-tile", tag: "transparency", summary: "A tile of the tree, as C2SP tlog-tiles has it. From 1000 on n has slashes, and that of a partial tile ends in .p/ and its width.", answers: map[int]string{200: "application/octet-stream"}, schemaless: "Hashes."},
	{method: "GET", path: transparency + "/tile/entries/{n}", id: "transparency-entries", tag: "transparency", summary: "Leaves, with the public facts of every record: for who may read audit and synthetic records.", answers: map[int]string{200: "application/octet-stream"}, schemaless: "Leaves, each after its length in two bytes."},
	{method: "GET", path: transparency + "/proof/inclusion", id: "transparency-inclusion", tag: "transparency", summary: "The proof that the log holds the leaf at index. size is that of a checkpoint; default: the newest.", query: []string{"index", "size"}, answers: map[int]string{200: textType}, schemaless: "A C2SP tlog-proof."},
	{method: "GET", path: transparency + "/proof/consistency", id: "transparency-consistency", tag: "transparency", summary: "The proof that the log extends its tree of the size old. new is the size of a checkpoint; default: the newest.", query: []string{"old", "new"}, answers: map[int]string{200: textType}, schemaless: "The body of a C2SP witness request."},
	{method: "GET", path: transparency + "/log/{log}/{resource}", id: "transparency-of-log", tag: "transparency", summary: "Each of these of one log, by the 12 hex digits at the end of its origin. Full tiles may be kept for ever.", answers: map[int]string{200: "application/octet-stream"}, schemaless: "As without log/{log}."},
	{method: "GET", path: "/api/v1/apikeys", id: "list-keys", tag: "administration", summary: "The keys of the tenant.", answers: map[int]string{200: jsonType}, schemaless: "Keys, without their secrets."},
	{method: "POST", path: "/api/v1/apikeys", id: "create-key", tag: "administration", summary: "Make a key. Its secret is shown this once.", body: jsonType, answers: map[int]string{201: jsonType}, schemaless: "The key with its secret."},
	{method: "DELETE", path: "/api/v1/apikeys/{id}", id: "revoke-key", tag: "administration", summary: "Revoke a key, for good.", answers: map[int]string{204: ""}, schemaless: "It is revoked."},
	{method: "GET", path: "/api/v1/tenants", id: "list-tenants", tag: "administration", summary: "All tenants with their newest logs.", answers: map[int]string{200: jsonType}, schemaless: "Tenants."},
	{method: "POST", path: "/api/v1/tenants", id: "create-tenant", tag: "administration", summary: "Make a tenant.", body: jsonType, answers: map[int]string{201: jsonType}, schemaless: "Its log and verifier key."},
	{method: "GET", path: "/schemas/record.json", id: "record-schema", tag: "operation", summary: "JSON Schema of native records.", answers: map[int]string{200: "application/schema+json"}, schemaless: "A JSON Schema (draft 2020-12)."},
	{method: "GET", path: "/metrics", id: "metrics", tag: "operation", summary: "Metrics for Prometheus.", answers: map[int]string{200: "text/plain"}, schemaless: "Prometheus text format."},
	{method: "GET", path: "/healthz", id: "healthz", tag: "operation", summary: "Does the process live?", public: true, answers: map[int]string{200: jsonType}, schemaless: "status"},
	{method: "GET", path: "/readyz", id: "readyz", tag: "operation", summary: "Can evidence be made durable? It may be degraded all the same, and then names the reasons.", public: true, answers: map[int]string{200: jsonType, 503: problemType}, schemaless: "status"},
	{method: "GET", path: "/openapi.json", id: "openapi", tag: "operation", summary: "This document.", public: true, answers: map[int]string{200: jsonType}, schemaless: "OpenAPI 3.1."},
	{method: "GET", path: "/verify", id: "verify-page", tag: "operation", summary: "A page that checks evidence bundles in the browser.", public: true, answers: map[int]string{200: "text/html"}, schemaless: "One file, the same as verify.html of the release."},
	{method: "GET", path: "/docs", id: "docs", tag: "operation", summary: "This document, to read.", public: true, answers: map[int]string{200: "text/html"}, schemaless: "A page."},
}

func (a *API) documentOthers() {
	for _, o := range others {
		op := &huma.Operation{
			OperationID: o.id, Method: o.method, Path: o.path, Tags: []string{o.tag}, Summary: o.summary,
			Responses: map[string]*huma.Response{},
		}
		if o.public {
			op.Security = []map[string][]string{}
		}
		for _, name := range pathParameters(o.path) {
			op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: "string"}})
		}
		for _, name := range o.query {
			op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "query", Schema: &huma.Schema{Type: "string"}})
		}
		if o.body != "" {
			op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{o.body: {Schema: &huma.Schema{}}}}
		}
		for status, media := range o.answers {
			r := &huma.Response{Description: o.schemaless}
			if media != "" {
				r.Content = map[string]*huma.MediaType{media: {Schema: &huma.Schema{}}}
			}
			op.Responses[strconv.Itoa(status)] = r
		}
		if !o.public {
			op.Responses["default"] = &huma.Response{
				Description: http.StatusText(http.StatusBadRequest) + " and all other errors",
				Content:     map[string]*huma.MediaType{problemType: {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}}},
			}
		}
		a.huma.OpenAPI().AddOperation(op)
	}
}

// pathParameters returns the names of the parameters of a path.
func pathParameters(path string) []string {
	var names []string
	for i := 0; i < len(path); i++ {
		if path[i] != '{' {
			continue
		}
		for j := i + 1; j < len(path); j++ {
			if path[j] == '}' {
				names = append(names, path[i+1:j])
				break
			}
		}
	}
	return names
}
