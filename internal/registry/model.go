package registry

import (
	"time"

	"github.com/runledger/runledger/evidence"
)

// Registry is what a directory says, read and well formed. It is not changed after
// [Load].
type Registry struct {
	Intents      []*Intent     // by panel id
	Capabilities []*Capability // by id
	Scenarios    []*Scenario   // by id
	Invariants   []*Invariant  // in the order of the file
	Rules        Rules
	Owners       []Owner // producers.yaml
	// Digest is "sha256:" and the digest of the definition: of every file but what
	// [Apply] changes (status, observation, passing and history of capabilities,
	// capability.status and sdsr.verified of intents). An observation is of one
	// definition.
	Digest string

	documents map[string]*document // by file, for the lines of what is wrong
}

// Intent is one panel: a file intents/AURORA_L2_INTENT_<panel id>.yaml.
type Intent struct {
	PanelID    string           `yaml:"panel_id" json:"panel_id"`
	Version    string           `yaml:"version" json:"version"`
	PanelClass string           `yaml:"panel_class" json:"panel_class"` // evidence
	Metadata   IntentMetadata   `yaml:"metadata" json:"metadata"`
	Display    Display          `yaml:"display" json:"display"`
	Data       DataAccess       `yaml:"data" json:"data"`
	Controls   []Control        `yaml:"controls" json:"controls"`
	Capability IntentCapability `yaml:"capability" json:"capability"`
	SDSR       SDSR             `yaml:"sdsr" json:"sdsr"`
	Notes      string           `yaml:"notes" json:"notes"`

	File string `yaml:"-" json:"-"` // path within the registry
}

// IntentMetadata says where a panel stands.
type IntentMetadata struct {
	Domain    string `yaml:"domain" json:"domain"`       // LOGS
	Subdomain string `yaml:"subdomain" json:"subdomain"` // RECORDS
	Topic     string `yaml:"topic" json:"topic"`         // LLM_RUNS, SYSTEM_LOGS, AUDIT
	TopicID   string `yaml:"topic_id" json:"topic_id"`   // LOG-REC-LLM, LOG-REC-SYS, LOG-REC-AUD
	Order     string `yaml:"order" json:"order"`         // O1 to O5
}

// Display is how a panel is drawn.
type Display struct {
	Name     string `yaml:"name" json:"name"`
	Question string `yaml:"question" json:"question"` // the one it answers
	Layout   string `yaml:"layout" json:"layout"`     // record, steps, table, timeline, series, status
	// Rows is the member of the answer that has the entries, "" where it is one record.
	Rows string `yaml:"rows" json:"rows"`
	// Fields are the members that are shown first, of an entry or of the answer.
	Fields []string `yaml:"fields" json:"fields"`
	Empty  string   `yaml:"empty" json:"empty"` // what to say where there is nothing
}

// DataAccess is what a panel lets its reader do. Nothing writes.
type DataAccess struct {
	Read     bool `yaml:"read" json:"read"`
	Download bool `yaml:"download" json:"download"`
	Write    bool `yaml:"write" json:"write"` // false
	Replay   bool `yaml:"replay" json:"replay"`
}

// Control is a parameter of the endpoint that a panel offers.
type Control struct {
	Parameter string `yaml:"parameter" json:"parameter"` // a query parameter of the OpenAPI document
	Label     string `yaml:"label" json:"label"`
	Kind      string `yaml:"kind" json:"kind"` // text, choice, time, number, page
}

// IntentCapability names what backs a panel.
type IntentCapability struct {
	ID       string `yaml:"id" json:"id"`
	Status   string `yaml:"status" json:"status"`
	Endpoint string `yaml:"endpoint" json:"endpoint"` // a path of the OpenAPI document
	Method   string `yaml:"method" json:"method"`     // GET
}

// SDSR is the scenario that proves a panel.
type SDSR struct {
	Scenario string `yaml:"scenario" json:"scenario"`
	Verified bool   `yaml:"verified" json:"verified"`
}

// Statuses of a capability.
const (
	Declared = "DECLARED"
	Observed = "OBSERVED"
	Trusted  = "TRUSTED"
	Degraded = "DEGRADED"
)

// Capability backs the panels of a topic: a file
// capabilities/AURORA_L2_CAPABILITY_<id>.yaml. Its endpoint is that of its O1 panel.
type Capability struct {
	ID         string   `yaml:"id" json:"id"`
	Status     string   `yaml:"status" json:"status"`
	Panels     []string `yaml:"panels" json:"panels"`
	Endpoint   string   `yaml:"endpoint" json:"endpoint"`
	Method     string   `yaml:"method" json:"method"`
	Scenarios  []string `yaml:"scenarios" json:"scenarios"` // all must pass
	Acceptance []string `yaml:"acceptance" json:"acceptance"`
	// What Apply writes:
	Observation *Applied     `yaml:"observation" json:"observation"` // the newest; null: none
	Passing     *Passing     `yaml:"passing" json:"passing"`         // null: the newest did not pass, or there is none
	History     []Transition `yaml:"history" json:"history"`         // oldest first

	File string `yaml:"-" json:"-"`
}

// Applied names an observation that was applied.
type Applied struct {
	ID         string          `yaml:"id" json:"id"`             // of the record OBSERVATION
	Digest     string          `yaml:"digest" json:"digest"`     // sha256:…, of the observation
	Registry   string          `yaml:"registry" json:"registry"` // digest of the definition that was observed
	Log        string          `yaml:"log" json:"log"`           // origin of the log that has the record
	LeafIndex  int64           `yaml:"leaf_index" json:"leaf_index"`
	ObservedAt evidence.Micros `yaml:"observed_at" json:"observed_at"` // recorded_at of the record, by the ledger's clock
	Passed     bool            `yaml:"passed" json:"passed"`           // the capability's scenarios
}

// Passing counts consecutive observations of one definition that passed.
type Passing struct {
	Count int             `yaml:"count" json:"count"`
	Since evidence.Micros `yaml:"since" json:"since"` // observed_at of the first of them
}

// Transition is a change of a capability, or a failure that changed nothing.
type Transition struct {
	At          evidence.Micros `yaml:"at" json:"at"` // observed_at of the observation
	From        string          `yaml:"from" json:"from"`
	To          string          `yaml:"to" json:"to"`
	Reason      string          `yaml:"reason" json:"reason"`
	Observation string          `yaml:"observation" json:"observation"` // its digest
}

// Rules is rules.yaml.
type Rules struct {
	Version int         `yaml:"version" json:"version"`
	Trusted TrustedRule `yaml:"trusted" json:"trusted"`
}

// TrustedRule says when an OBSERVED capability is TRUSTED: after so many consecutive
// observations that passed, the first of them at least so long before the last.
type TrustedRule struct {
	Observations int           `yaml:"observations" json:"observations"`
	Over         time.Duration `yaml:"over" json:"over"`
}

// Owner is a row of producers.yaml: who owns a kind of evidence (contract section 5).
type Owner struct {
	Evidence   string   `yaml:"evidence" json:"evidence"` // llm_runs, system_logs, audit, log_exports
	Owner      string   `yaml:"owner" json:"owner"`       // source_component of what the server itself writes
	Kinds      []string `yaml:"kinds" json:"kinds"`       // of records
	Triggers   []string `yaml:"triggers" json:"triggers"`
	Required   []string `yaml:"required" json:"required"`       // fields, with when
	External   bool     `yaml:"external" json:"external"`       // producers outside may write it too
	ServerOnly []string `yaml:"server_only" json:"server_only"` // event types, or prefixes that end in *, that only the server states
}

// Levels of an invariant.
const (
	Required = "required" // where it does not hold, the scenario has failed
	Advisory = "advisory" // is told, and fails nothing
)

// Invariant is what holds of every answer: an entry of invariants.yaml.
type Invariant struct {
	ID    string `yaml:"id" json:"id"`       // INV-L0-001 to 008, INV-LOG-001 to 008
	Layer string `yaml:"layer" json:"layer"` // transport, logs
	Level string `yaml:"level" json:"level"`
	Says  string `yaml:"says" json:"says"`
	Check string `yaml:"check" json:"check"` // the name of a check of this package
	// Parameters of the check, such as fields, values or limit.
	Fields []string      `yaml:"fields" json:"fields,omitempty"`
	Values []string      `yaml:"values" json:"values,omitempty"`
	Limit  time.Duration `yaml:"limit" json:"limit,omitempty"`
}

// Scenario is a file scenarios/<id>.yaml.
type Scenario struct {
	ID          string `yaml:"id" json:"id"`
	Version     string `yaml:"version" json:"version"`
	Title       string `yaml:"title" json:"title"`
	Capability  string `yaml:"capability" json:"capability"`
	Panel       string `yaml:"panel" json:"panel"` // the one that it proves; "" for a scenario of a whole topic
	Cause       string `yaml:"cause" json:"cause"`
	Consequence string `yaml:"consequence" json:"consequence"` // what the product makes of it
	// Invariants that are checked, of every observed answer. At least one.
	Invariants []UsedInvariant `yaml:"invariants" json:"invariants"`
	Inject     []Injection     `yaml:"inject" json:"inject"`
	Observe    []Observe       `yaml:"observe" json:"observe"`

	File string `yaml:"-" json:"-"`
}

// UsedInvariant names an invariant. Level is "" for that of the invariant, or required:
// a scenario may be stricter and not laxer.
type UsedInvariant struct {
	ID    string `yaml:"id" json:"id"`
	Level string `yaml:"level" json:"level,omitempty"`
}

// Injection brings about causes: exactly one of OTLP, Records and Read is set. Text in
// it may hold variables, see [Vars].
type Injection struct {
	// OTLP is a request of OTLP/HTTP JSON, sent to /v1/<signal>. The runner marks every
	// resource in it as synthetic.
	OTLP string         `yaml:"otlp" json:"otlp,omitempty"` // traces, logs, metrics
	Body map[string]any `yaml:"body" json:"body,omitempty"`
	// Records are native records (contract section 10) for POST /api/v1/ingest/records.
	// The runner marks each as synthetic.
	Records []map[string]any `yaml:"records" json:"records,omitempty"`
	// Read is an access to the facade as the observer, where the access is the cause.
	Read *Read `yaml:"read" json:"read,omitempty"`
}

// Read is a GET of the facade.
type Read struct {
	Path   string            `yaml:"path" json:"path"` // a path of the OpenAPI document
	Params map[string]string `yaml:"params" json:"params,omitempty"`
	Query  map[string]string `yaml:"query" json:"query,omitempty"`
	Status int               `yaml:"status" json:"status,omitempty"` // that it must have; 0: 200
	// Save keeps values of the answer as variables, by JSONPath.
	Save map[string]string `yaml:"save" json:"save,omitempty"`
}

// Observe is one answer of the facade that is looked at, until all that is required of
// it holds or Wait is over.
type Observe struct {
	ID     string            `yaml:"id" json:"id"`
	Path   string            `yaml:"path" json:"path"`
	Params map[string]string `yaml:"params" json:"params,omitempty"`
	Query  map[string]string `yaml:"query" json:"query,omitempty"`
	Wait   time.Duration     `yaml:"wait" json:"wait,omitempty"` // 0: 10 s
	// Items is a member of the answer that must not be empty (INV-L0-008); "": none.
	// ItemMetadata says that each of them has metadata of its own, which the invariants
	// of logs are then checked of, too.
	Items        string   `yaml:"items" json:"items,omitempty"`
	ItemMetadata bool     `yaml:"item_metadata" json:"item_metadata,omitempty"`
	Expect       []Expect `yaml:"expect" json:"expect"`
}

// Expect is an expectation of what a JSONPath (RFC 9535) selects from the answer. Of the
// conditions those that are set must all hold. Without Count, Min and Max at least one
// node must be selected, and the conditions on values hold of every node.
type Expect struct {
	Path     string `yaml:"path" json:"path"`
	Equals   any    `yaml:"equals" json:"equals,omitempty"` // text in it may hold variables
	In       []any  `yaml:"in" json:"in,omitempty"`
	Matches  string `yaml:"matches" json:"matches,omitempty"` // a regular expression (RE2) over a text, or a number as it is written
	Type     string `yaml:"type" json:"type,omitempty"`       // string, number, boolean, object, array, null
	NotNull  bool   `yaml:"not_null" json:"not_null,omitempty"`
	NotEmpty bool   `yaml:"not_empty" json:"not_empty,omitempty"` // text, object or array
	Count    *int   `yaml:"count" json:"count,omitempty"`         // nodes; 0: the path selects nothing
	Min      *int   `yaml:"min" json:"min,omitempty"`
	Max      *int   `yaml:"max" json:"max,omitempty"`
}
