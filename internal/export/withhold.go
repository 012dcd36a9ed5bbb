package export

import (
	"path"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// withhold says which sealed paths a requester does not want disclosed.
type withhold []string

// parseWithhold reads patterns of path.Match over sealed paths. The leading
// slash may be left out, so "*" is every path.
func parseWithhold(patterns []string) (withhold, error) {
	var w withhold
	for _, p := range patterns {
		p = strings.TrimPrefix(p, "/")
		if _, err := path.Match(p, "x"); err != nil || p == "" {
			return nil, &evidence.FieldError{Field: "withhold", Reason: "is not a pattern of sealed paths, such as /prompt or *", Err: evidence.ErrInvalid}
		}
		if !matchesAny(p) {
			return nil, &evidence.FieldError{Field: "withhold", Reason: "matches no sealed path of any kind of record", Err: evidence.ErrInvalid}
		}
		w = append(w, p)
	}
	return w, nil
}

// matchesAny tells a pattern from a typing error, which would disclose what
// was meant to be withheld.
func matchesAny(pattern string) bool {
	for _, k := range evidence.Kinds() {
		for _, f := range evidence.SealedFields(k) {
			if ok, _ := path.Match(pattern, strings.TrimPrefix(f.Path, "/")); ok {
				return true
			}
		}
	}
	return false
}

func (w withhold) has(sealed string) bool {
	for _, p := range w {
		if ok, _ := path.Match(p, strings.TrimPrefix(sealed, "/")); ok {
			return true
		}
	}
	return false
}

// alwaysDisclosed reports the targets of an erasure or expiry: without them
// nobody can tell what was erased by order from what was lost.
func alwaysDisclosed(l *evidence.Leaf, sealed string) bool {
	if l.Kind != evidence.KindAudit || sealed != "/targets" {
		return false
	}
	e := l.Text("event_type")
	return e == "ErasureExecuted" || e == "RetentionApplied"
}
