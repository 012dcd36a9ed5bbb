package registry

import (
	"github.com/runledger/runledger/evidence"
)

// Reasons for which a scenario fails.
const (
	EndpointMissing   = "endpoint_missing"   // the server has no such route or method
	AuthFailed        = "auth_failed"        // 401 or 403
	SchemaMismatch    = "schema_mismatch"    // no JSON, or not what the OpenAPI document says
	InvariantViolated = "invariant_violated" // a required invariant did not hold
	Timeout           = "timeout"            // the effect did not come in time: an expectation did not come true
)

// Observation is what a run of scenarios found. Its digest, "sha256:" and the SHA-256 of
// its canonical JSON (RFC 8785), stands in the leaf of the record OBSERVATION.
type Observation struct {
	Version    int              `json:"v"`        // 1
	Registry   string           `json:"registry"` // digest of the definition
	Program    string           `json:"program"`  // version of the program that observed
	Server     string           `json:"server"`   // version that the server's OpenAPI document states
	Tenant     string           `json:"tenant"`
	StartedAt  evidence.Micros  `json:"started_at"`
	FinishedAt evidence.Micros  `json:"finished_at"`
	Passed     bool             `json:"passed"`
	Scenarios  []ScenarioResult `json:"scenarios"` // by id
}

// ScenarioResult is what became of one scenario.
type ScenarioResult struct {
	ID         string          `json:"id"`
	Version    string          `json:"version"`
	Capability string          `json:"capability"`
	Panel      string          `json:"panel"`
	StartedAt  evidence.Micros `json:"started_at"`
	DurationMS int64           `json:"duration_ms"`
	Passed     bool            `json:"passed"`
	Failure    *Failure        `json:"failure"` // null where it passed
	Sent       []Sent          `json:"sent"`
	Seen       []Seen          `json:"seen"`
}

// Failure is the first reason why a scenario failed.
type Failure struct {
	Reason    string `json:"reason"`
	Invariant string `json:"invariant"` // its id, "" where it is none
	Step      string `json:"step"`      // inject[0], or the id of what was observed
	Detail    string `json:"detail"`    // for people
}

// Sent is an injection as it went out.
type Sent struct {
	Method string `json:"method"`
	Target string `json:"target"` // path with query
	SHA256 string `json:"sha256"` // hex, of the body; of an empty one for a read
	Bytes  int64  `json:"bytes"`
	Status int    `json:"status"` // 0: no answer
	// Records are the ids that the server gave receipts for, of native records.
	Records []string `json:"records"`
}

// Seen is the last answer to what was observed.
type Seen struct {
	ID           string    `json:"id"`
	Method       string    `json:"method"`
	Target       string    `json:"target"`
	Status       int       `json:"status"` // 0: no answer
	Tries        int       `json:"tries"`
	DurationMS   int64     `json:"duration_ms"` // of the last try
	WaitedMS     int64     `json:"waited_ms"`   // until it was as expected, or until the end
	SHA256       string    `json:"sha256"`      // hex, of the body
	Bytes        int64     `json:"bytes"`
	Invariants   []Checked `json:"invariants"`
	Expectations []Checked `json:"expectations"`
}

// Checked is the outcome of a check.
type Checked struct {
	ID     string `json:"id"`    // of the invariant, or the JSONPath
	Level  string `json:"level"` // required, advisory
	Passed bool   `json:"passed"`
	Detail string `json:"detail"` // "" where it passed
}

// Receipt is what proves that an observation stands in a ledger.
type Receipt struct {
	ID        string `json:"id"`  // of the record OBSERVATION
	Log       string `json:"log"` // origin
	LeafIndex int64  `json:"leaf_index"`
	Leaf      string `json:"leaf"`  // its exact bytes
	Proof     string `json:"proof"` // C2SP tlog-proof, with the signed checkpoint in it
	VKey      string `json:"vkey"`  // as the server states it: a hint, never trusted
}

// File is an observation file: observations/<20261130T120000.000000Z>-<first 12 digits of
// the digest>.json, by when it began.
type File struct {
	Observation Observation `json:"observation"`
	Receipt     *Receipt    `json:"receipt"` // null: it could not be appended, and cannot be applied
}
