package stream

import (
	"strings"

	"github.com/runledger/runledger/evidence"
)

// OCSF classes that events are of.
const (
	classBase      = 0
	classFinding   = 2004
	classAccount   = 3001
	classAuth      = 3002
	classEntity    = 3004
	classLifecycle = 6002
	classAPI       = 6003
)

var classNames = map[int]string{
	classBase: "Base Event", classFinding: "Detection Finding", classAccount: "Account Change", classAuth: "Authentication",
	classEntity: "Entity Management", classLifecycle: "Application Lifecycle", classAPI: "API Activity",
}

var categoryNames = map[int]string{
	0: "Uncategorized", 2: "Findings", 3: "Identity & Access Management", 6: "Application Activity",
}

// activityOther is the activity that a class has no number for: its name is the
// event type.
const activityOther = 99

var activityNames = map[int]map[int]string{
	classFinding:   {1: "Create", 2: "Update", 3: "Close"},
	classAccount:   {1: "Create", 6: "Delete"},
	classAuth:      {1: "Logon", 2: "Logoff"},
	classEntity:    {1: "Create", 2: "Read", 3: "Update", 4: "Delete"},
	classLifecycle: {3: "Start", 4: "Stop", 5: "Restart", 8: "Update"},
	classAPI:       {1: "Create", 2: "Read", 3: "Update", 4: "Delete"},
}

// activity is what an event is in OCSF.
type activity struct{ class, id int }

// systemActivities and auditActivities are those of event types that have one of
// their own. What is not here and no change of an entity is a Base Event: OCSF has no
// class for it.
var systemActivities = map[string]activity{
	"INTEGRITY_ANOMALY": {classFinding, 1},
	"PRODUCER_SILENT":   {classFinding, 1},
	"STARTUP":           {classLifecycle, 3},
	"SHUTDOWN":          {classLifecycle, 4},
	"RESTART":           {classLifecycle, 5},
	"DEPLOY":            {classLifecycle, 8},
	"MIGRATION":         {classLifecycle, 8},
	"CONFIG_CHANGE":     {classLifecycle, activityOther},
	"AUTH_CHANGE":       {classEntity, 3},
}

var auditActivities = map[string]activity{
	"LOGIN":                {classAuth, 1},
	"LOGOUT":               {classAuth, 2},
	"LOGIN_FAILED":         {classAuth, 1},
	"API_KEY_USED_FIRST":   {classAuth, 1},
	"API_KEY_CREATED":      {classAccount, 1},
	"API_KEY_REVOKED":      {classAccount, 6},
	"ACCESS_DECISION":      {classAPI, activityOther},
	"LOG_VIEW":             {classAPI, 2},
	"LOG_EXPORT":           {classAPI, 2},
	"ConflictRecorded":     {classFinding, 1},
	"LimitBreached":        {classFinding, 1},
	"PolicyEvaluated":      {classBase, activityOther},
	"LimitChecked":         {classBase, activityOther},
	"PolicyRuleModified":   {classEntity, 3},
	"PolicyRuleRetired":    {classEntity, 4},
	"LimitOverrideRevoked": {classEntity, 4},
	"LegalHoldPlaced":      {classEntity, 1},
	"LegalHoldReleased":    {classEntity, 4},
	"ErasureExecuted":      {classEntity, 4},
	"RetentionApplied":     {classEntity, 4},
}

// refused are decisions that make an evaluation a finding.
var refused = map[string]bool{"DENIED": true, "BLOCKED": true, "BREACHED": true, "WARNED": true}

// activityOf returns what a record is in OCSF.
func activityOf(l *evidence.Leaf) activity {
	name := l.Text("event_type")
	if l.Kind == evidence.KindSystem {
		if a, ok := systemActivities[name]; ok {
			return a
		}
		return activity{classBase, activityOther}
	}
	a, known := auditActivities[name]
	switch {
	case refused[l.Text("decision")] && (!known || a.class == classBase):
		return activity{classFinding, 1}
	case known:
		return a
	case strings.HasSuffix(name, "Created"), strings.HasSuffix(name, "Granted"):
		return activity{classEntity, 1}
	case strings.HasSuffix(name, "Updated"), strings.HasSuffix(name, "Changed"):
		return activity{classEntity, 3}
	case governance[l.Text("entity_type")]:
		return activity{classEntity, activityOther}
	}
	return activity{classBase, activityOther}
}

// governance are the types of things that are managed, so that an event about one is
// a change of it.
var governance = map[string]bool{
	"POLICY_RULE": true, "POLICY_PROPOSAL": true, "LIMIT": true, "INCIDENT": true, "SIGNAL": true, "RETENTION": true, "RBAC": true,
}
