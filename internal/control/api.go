package control

import (
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// Version is what answers at the other end.
type Version struct {
	Version string `json:"version"`
	PID     int    `json:"pid"`
	Server  bool   `json:"server"` // a server, not a command by itself
}

// TenantList is the answer of GET /v1/tenants.
type TenantList struct {
	Tenants []ledger.LogInfo `json:"tenants"` // with their newest logs
}

// NewTenant is the request of POST /v1/tenants; its answer is a
// ledger.LogInfo.
type NewTenant struct {
	TenantID string `json:"tenant_id"`
}

// Receipt says where an appended record stands.
type Receipt struct {
	Line       int    `json:"line"` // of the request
	ID         string `json:"id"`
	Log        string `json:"log"`
	LogNo      int    `json:"log_no"`
	LeafIndex  int64  `json:"leaf_index"`
	LeafHash   string `json:"leaf_hash"` // hex
	Duplicate  bool   `json:"duplicate,omitempty"`
	ConflictOf string `json:"conflict_of,omitempty"`
}

// AppendAnswer is the answer of POST …/records. Errors are of records that
// were refused; there are none unless partial=true was asked for.
type AppendAnswer struct {
	Receipts []Receipt       `json:"receipts"`
	Errors   []RecordProblem `json:"errors"`
}

// Checkpoint is the newest checkpoint of a tenant's newest log.
type Checkpoint struct {
	Log        string `json:"log"`
	LogNo      int    `json:"log_no"`
	Size       int64  `json:"size"`
	Root       string `json:"root"` // hex
	Checkpoint string `json:"checkpoint"`
	VKey       string `json:"vkey"`
	// Stamp is there where one was asked for.
	Stamp *Stamp `json:"stamp,omitempty"`
}

// Stamp is a time stamp over a checkpoint, as the authority states it.
type Stamp struct {
	Authority string          `json:"authority"`
	Time      evidence.Micros `json:"time"`
	Serial    string          `json:"serial"`
}

// Proof is a record with its way into a checkpoint.
type Proof struct {
	Log       string `json:"log"`
	LogNo     int    `json:"log_no"`
	LeafIndex int64  `json:"leaf_index"`
	LeafHash  string `json:"leaf_hash"` // hex
	Leaf      string `json:"leaf"`      // verbatim
	Proof     string `json:"proof"`     // C2SP tlog-proof
	VKey      string `json:"vkey"`
}

// Key is a log with the key that signs it.
type Key struct {
	ledger.LogInfo
	Current bool `json:"current"` // the tenant's newest
}

// KeyList is the answer of GET /v1/keys.
type KeyList struct {
	Keys []Key `json:"keys"`
}

// Forms of an export.
const (
	FormZIP       = "zip"
	FormJSON      = "json"      // of profiles run and period
	FormCSV       = "csv"       // of profiles run and period
	FormPDF       = "pdf"       // of profiles run and period
	FormDirectory = "directory" // streamed as tar
)

// ExportRequest is the request of POST …/exports.
type ExportRequest struct {
	Profile   string   `json:"profile"`
	Run       string   `json:"run_id,omitempty"` // or an alias, or a trace id
	ExportID  string   `json:"export_id,omitempty"`
	Form      string   `json:"form"`
	Disclose  []string `json:"disclose,omitempty"`
	Withhold  []string `json:"withhold,omitempty"`
	SinceSize int64    `json:"since_size,omitempty"`
	// Of profile period; times as records have them.
	Scope string   `json:"scope,omitempty"`
	From  string   `json:"from,omitempty"`
	Until string   `json:"until,omitempty"`
	Tags  []string `json:"compliance_tags,omitempty"`
}

// ExportInfo stands in the header Runledger-Export of the answer, whose body
// is the bundle.
type ExportInfo struct {
	ExportID string `json:"export_id"`
	Run      string `json:"run_id,omitempty"` // of profile run
	Log      string `json:"log"`
	Size     int64  `json:"size"`         // leaves of the newest log
	Records  int64  `json:"record_count"` // of the bundle
	Bytes    int64  `json:"size_bytes"`
	Checksum string `json:"checksum"` // of the ZIP or JSON, or of manifest.json
}

const exportHeader = "Runledger-Export"
