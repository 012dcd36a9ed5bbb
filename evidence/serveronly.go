package evidence

import "strings"

// ServerOnly reports whether records of that kind and event type state facts
// of the server's own: about its logs, its lifecycle work, identity and
// access, and exports. Nobody can send them from outside (ingest refuses
// them), and a verifier accepts them only without a `producer`. For kinds
// that have no event_type it is "".
func ServerOnly(kind Kind, eventType string) bool {
	switch kind {
	case KindExport:
		return true
	case KindSystem:
		switch eventType {
		case "CHECKPOINT_ANCHORED", "INTEGRITY_ANOMALY", "PRODUCER_SILENT":
			return true
		}
		return strings.HasPrefix(eventType, "LOG_") || strings.HasPrefix(eventType, "LIFECYCLE_")
	case KindAudit:
		switch eventType {
		case "LOGIN", "LOGOUT", "LOGIN_FAILED", "API_KEY_CREATED", "API_KEY_REVOKED", "API_KEY_USED_FIRST",
			"ACCESS_DECISION", "RBACChanged", "ConflictRecorded":
			return true
		}
		for _, prefix := range []string{"LOG_", "Retention", "Erasure", "LegalHold"} {
			if strings.HasPrefix(eventType, prefix) {
				return true
			}
		}
	}
	return false
}
