package evidence

import (
	"fmt"

	"github.com/go-json-experiment/json"
)

// Targets is the sealed /targets of an ErasureExecuted or RetentionApplied
// record: which sealed fields of which leaves are gone.
type Targets struct {
	// Log is the origin of the log that the ranges are of. Empty: the log
	// of the record itself, of leaves before it.
	Log    string        `json:"log,omitempty"`
	Ranges []TargetRange `json:"ranges"`
}

// TargetRange covers the leaves From <= seq < To.
type TargetRange struct {
	From  int64    `json:"from"`
	To    int64    `json:"to"`
	Paths []string `json:"paths,omitempty"` // empty: every sealed path
}

// ParseTargets reads the JSON text of /targets, strictly. The error wraps
// ErrInvalid.
func ParseTargets(value []byte) (*Targets, error) {
	var t Targets
	if err := json.Unmarshal(value, &t, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("targets: %w: %w", ErrInvalid, err)
	}
	if t.Log != "" && !ValidOrigin(t.Log) {
		return nil, fmt.Errorf("targets: %w: %q is not the origin of a log", ErrInvalid, t.Log)
	}
	for _, r := range t.Ranges {
		if r.From < 0 || r.From >= r.To || r.To > MaxInt {
			return nil, fmt.Errorf("targets: %w: range %d to %d", ErrInvalid, r.From, r.To)
		}
		for _, p := range r.Paths {
			if len(p) < 2 || p[0] != '/' {
				return nil, fmt.Errorf("targets: %w: path %q", ErrInvalid, p)
			}
		}
	}
	return &t, nil
}

// JSON returns the text that is sealed.
func (t *Targets) JSON() []byte {
	b, err := json.Marshal(t)
	if err != nil {
		panic("evidence: " + err.Error()) // strings and integers
	}
	return b
}
