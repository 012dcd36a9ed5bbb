package stream

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// Conditions that alarms tell of beside records: what the ledger cannot record, and
// what nobody would see otherwise.
const (
	// condUnwritable: evidence cannot be made durable.
	condUnwritable = "not_writable"
	// condCompromised and condDegraded are those of ledger.Integrity.
	condCompromised = "integrity_compromised"
	condDegraded    = "integrity_degraded"
	// condBlocked: a sink refuses a record, or a record cannot be read.
	condBlocked = "stream_blocked"
	// condDown: a sink has not taken anything for a while.
	condDown = "stream_down"
)

// condition is a state that somebody should know of.
type condition struct {
	Name string
	// Subject tells conditions of one name apart: the stream, or the reason.
	Subject string
	Why     string
	Tenants []string // sorted; at most maxTenants of Count
	Count   int
	Since   evidence.Micros
	Over    bool
	Ended   evidence.Micros // with Over
}

// maxTenants bounds how many tenants one alarm names.
const maxTenants = 20

func (c *condition) key() string { return c.Name + "\x00" + c.Subject }

// add counts a tenant.
func (c *condition) add(tenant string) {
	c.Count++
	if len(c.Tenants) < maxTenants {
		c.Tenants = append(c.Tenants, tenant)
		slices.Sort(c.Tenants)
	}
}

func (c *condition) severity() string {
	switch {
	case c.Over:
		return severityInfo
	case c.Name == condDegraded, c.Name == condDown:
		return severityWarn
	}
	return severityCritical
}

func (c *condition) changed() evidence.Micros {
	if c.Over {
		return c.Ended
	}
	return c.Since
}

func (c *condition) state() string {
	if c.Over {
		return "over"
	}
	return "raised"
}

func (c *condition) subject() string {
	if c.Name == condBlocked || c.Name == condDown {
		return "stream/" + c.Subject
	}
	if c.Name == condUnwritable && c.Subject != "" {
		return "process/" + c.Subject
	}
	return "ledger"
}

func (c *condition) message() string {
	m := c.Name + " " + c.state() + ": " + c.Why
	if c.Name == condUnwritable && c.Subject != "" {
		m = c.Name + " " + c.state() + " in process " + c.Subject + ": " + c.Why
	}
	if len(c.Tenants) > 0 {
		m += fmt.Sprintf(" (%d tenants: %s)", c.Count, strings.Join(c.Tenants, ", "))
	}
	return m
}

// findingID is the same for the beginning and the end of a condition.
func (c *condition) findingID(instance string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", instance, c.key(), c.Since))
	return hex.EncodeToString(sum[:16])
}

func (c *condition) eventID(instance string) string { return c.findingID(instance) + "-" + c.state() }

// shownCondition is the form in events.
type shownCondition struct {
	Name     string           `json:"condition"`
	State    string           `json:"state"` // raised, over
	Severity string           `json:"severity"`
	Subject  string           `json:"subject"`
	Why      string           `json:"why"`
	Since    evidence.Micros  `json:"since"`
	Ended    *evidence.Micros `json:"ended,omitempty"`
	Tenants  []string         `json:"tenants,omitempty"`
	Count    int              `json:"tenant_count,omitempty"`
}

func (c *condition) shown() *shownCondition {
	s := &shownCondition{
		Name: c.Name, State: c.state(), Severity: c.severity(), Subject: c.subject(), Why: c.Why, Since: c.Since, Tenants: c.Tenants, Count: c.Count,
	}
	if c.Over {
		s.Ended = &c.Ended
	}
	return s
}
