package stream

import (
	"cmp"
	"fmt"
	"net"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// ocsfVersion is the version of the schema that events keep to.
const ocsfVersion = "1.3.0"

const product = "runledger"

// ocsfEvent is an OCSF event of any of the classes used here. Which attributes it has
// follows from its class.
type ocsfEvent struct {
	ActivityID   int          `json:"activity_id"`
	ActivityName string       `json:"activity_name"`
	CategoryUID  int          `json:"category_uid"`
	CategoryName string       `json:"category_name"`
	ClassUID     int          `json:"class_uid"`
	ClassName    string       `json:"class_name"`
	TypeUID      int          `json:"type_uid"`
	TypeName     string       `json:"type_name"`
	Time         int64        `json:"time"` // milliseconds
	SeverityID   int          `json:"severity_id"`
	Severity     string       `json:"severity"`
	StatusID     int          `json:"status_id,omitempty"`
	Status       string       `json:"status,omitempty"`
	StatusDetail string       `json:"status_detail,omitempty"`
	Message      string       `json:"message,omitempty"`
	Metadata     ocsfMetadata `json:"metadata"`

	Actor     *ocsfActor     `json:"actor,omitempty"`
	User      *ocsfThing     `json:"user,omitempty"`
	Service   *ocsfThing     `json:"service,omitempty"`
	Entity    *ocsfThing     `json:"entity,omitempty"`
	App       *ocsfProduct   `json:"app,omitempty"`
	API       *ocsfAPI       `json:"api,omitempty"`
	Src       *ocsfEndpoint  `json:"src_endpoint,omitempty"`
	HTTP      *ocsfRequest   `json:"http_request,omitempty"`
	Resources []ocsfThing    `json:"resources,omitempty"`
	Finding   *ocsfFinding   `json:"finding_info,omitempty"`
	RawData   string         `json:"raw_data,omitempty"`
	Unmapped  map[string]any `json:"unmapped,omitempty"`
}

type ocsfMetadata struct {
	Version        string      `json:"version"`
	Product        ocsfProduct `json:"product"`
	UID            string      `json:"uid"`
	EventCode      string      `json:"event_code"`
	CorrelationUID string      `json:"correlation_uid,omitempty"`
	LogName        string      `json:"log_name,omitempty"`
	LogProvider    string      `json:"log_provider,omitempty"`
	LoggedTime     int64       `json:"logged_time,omitempty"` // milliseconds
	OriginalTime   string      `json:"original_time"`
	TenantUID      string      `json:"tenant_uid"`
}

type ocsfProduct struct {
	Name    string `json:"name"`
	Vendor  string `json:"vendor_name,omitempty"`
	Version string `json:"version,omitempty"`
}

type ocsfActor struct {
	User    *ocsfThing `json:"user,omitempty"`
	AppName string     `json:"app_name,omitempty"`
	AppUID  string     `json:"app_uid,omitempty"`
}

// ocsfThing is a user, service, entity or resource.
type ocsfThing struct {
	Name string `json:"name,omitempty"`
	Type string `json:"type,omitempty"`
	UID  string `json:"uid,omitempty"`
}

type ocsfAPI struct {
	Operation string     `json:"operation"`
	Service   *ocsfThing `json:"service,omitempty"`
	Response  *ocsfCode  `json:"response,omitempty"`
}

type ocsfCode struct {
	Code int64 `json:"code"`
}

type ocsfEndpoint struct {
	IP      string `json:"ip,omitempty"`
	UID     string `json:"uid,omitempty"`
	SvcName string `json:"svc_name,omitempty"`
}

type ocsfRequest struct {
	UserAgent string `json:"user_agent"`
}

type ocsfFinding struct {
	UID         string   `json:"uid"`
	Title       string   `json:"title"`
	Desc        string   `json:"desc,omitempty"`
	Types       []string `json:"types,omitempty"`
	CreatedTime int64    `json:"created_time"`
	FirstSeen   int64    `json:"first_seen_time,omitempty"`
	LastSeen    int64    `json:"last_seen_time,omitempty"`
}

func millis(t evidence.Micros) int64 { return t.Time().UnixMilli() }

// severityIDs are OCSF's of this product's three severities.
var severityIDs = map[string]struct {
	id   int
	name string
}{severityInfo: {1, "Informational"}, severityWarn: {3, "Medium"}, severityCritical: {5, "Critical"}}

// classify sets what every event of a class has.
func (o *ocsfEvent) classify(a activity, otherName, severity string, at evidence.Micros) {
	o.ActivityID, o.ActivityName = a.id, activityNames[a.class][a.id]
	if a.id == activityOther {
		o.ActivityName = otherName
	}
	o.ClassUID, o.ClassName = a.class, classNames[a.class]
	o.CategoryUID = a.class / 1000
	o.CategoryName = categoryNames[o.CategoryUID]
	o.TypeUID = a.class*100 + a.id
	o.TypeName = o.ClassName + ": " + o.ActivityName
	o.SeverityID, o.Severity = severityIDs[severity].id, severityIDs[severity].name
	o.Time = millis(at)
}

// ocsfRecord makes the OCSF event of a record; an alarm is a finding whatever the
// record is otherwise.
func (e *encoder) ocsfRecord(f *ledger.Fetched, s *shown) *ocsfEvent {
	l := f.Leaf
	a := activityOf(l)
	if s.Alarm != nil {
		a = activity{classFinding, 1}
	}
	o := &ocsfEvent{RawData: string(f.Raw), Unmapped: map[string]any{"record": s}}
	name := l.Text("event_type")
	o.classify(a, name, s.Severity, l.OccurredAt)
	o.Message = cmp.Or(s.text("/summary"), s.text("/action_reason"), name)
	o.Metadata = ocsfMetadata{
		Version: ocsfVersion, Product: ocsfProduct{Name: product, Vendor: product, Version: e.version}, UID: s.ID, EventCode: name,
		CorrelationUID: l.Text("correlation_id"), LogName: s.Log, LogProvider: l.Text("source_component"),
		LoggedTime: millis(l.RecordedAt), OriginalTime: l.OccurredAt.String(), TenantUID: s.Tenant,
	}
	o.setStatus(a, l)
	switch a.class {
	case classFinding:
		o.setFinding(l, s)
	case classLifecycle:
		o.App = &ocsfProduct{Name: l.Text("component"), Version: l.Text("version")}
		o.Actor = actorOf(l, s)
	case classAuth:
		o.User, o.Service = userOf(l, s), &ocsfThing{Name: product}
		o.Src = sourceOf(l, s)
	case classAccount:
		o.User = &ocsfThing{UID: l.Text("entity_id"), Type: l.Text("entity_type")}
		o.Actor, o.Src = actorOf(l, s), sourceOf(l, s)
	case classEntity:
		o.Entity, o.Actor = entityOf(l), actorOf(l, s)
	case classAPI:
		o.setAPI(l, s)
	}
	return o
}

// setStatus says whether what was asked for was done. A finding's status is that of
// the work on it.
func (o *ocsfEvent) setStatus(a activity, l *evidence.Leaf) {
	decision := l.Text("decision")
	switch {
	case a.class == classFinding:
		o.StatusID, o.Status = 1, "New"
	case refused[decision] && decision != "WARNED", l.Text("event_type") == "LOGIN_FAILED":
		o.StatusID, o.Status = 2, "Failure"
	case a.class == classAuth, a.class == classAccount, decision == "ALLOWED", decision == "PASSED":
		o.StatusID, o.Status = 1, "Success"
	}
	o.StatusDetail = decision
}

func (o *ocsfEvent) setFinding(l *evidence.Leaf, s *shown) {
	o.Finding = &ocsfFinding{
		UID: s.ID, Title: l.Text("event_type"), Desc: s.text("/summary"), CreatedTime: millis(l.RecordedAt),
		FirstSeen: millis(l.OccurredAt), LastSeen: millis(l.OccurredAt),
	}
	if s.Alarm != nil {
		o.Finding.LastSeen = millis(s.Alarm.LastSeen)
	}
	o.Resources = resourcesOf(l)
}

func (o *ocsfEvent) setAPI(l *evidence.Leaf, s *shown) {
	o.Actor, o.Src, o.Resources = actorOf(l, s), sourceOf(l, s), resourcesOf(l)
	o.API = &ocsfAPI{Operation: cmp.Or(l.Text("route"), l.Text("event_type")), Service: &ocsfThing{Name: product}}
	if code, ok := l.Int("status_code"); ok {
		o.API.Response = &ocsfCode{code}
	}
	if agent := s.client().Agent; agent != "" {
		o.HTTP = &ocsfRequest{UserAgent: agent}
	}
}

// actorOf names who acted by what is known of it: the person only where /actor is
// disclosed, else the credential.
func actorOf(l *evidence.Leaf, s *shown) *ocsfActor {
	a := &ocsfActor{AppUID: cmp.Or(l.Text("agent_id"), l.Text("system_id"))}
	if uid := cmp.Or(s.human(), l.Text("credential_id")); uid != "" {
		a.User = &ocsfThing{UID: uid}
	}
	if a.User == nil && a.AppUID == "" {
		a.AppName = l.Text("source_component")
	}
	return a
}

// userOf names who logged in: of a person the pseudonym, unless /actor is disclosed.
func userOf(l *evidence.Leaf, s *shown) *ocsfThing {
	return &ocsfThing{UID: cmp.Or(s.human(), l.Text("entity_id"))}
}

// sourceOf says where a request came from: the address only where /client is
// disclosed.
func sourceOf(l *evidence.Leaf, s *shown) *ocsfEndpoint {
	e := &ocsfEndpoint{UID: l.Text("credential_id")}
	if address := s.client().Address; address != "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address
		}
		if net.ParseIP(host) != nil {
			e.IP = host
		}
	}
	if e.IP == "" && e.UID == "" {
		e.SvcName = l.Text("source_component")
	}
	return e
}

func entityOf(l *evidence.Leaf) *ocsfThing {
	if l.Kind == evidence.KindSystem {
		return &ocsfThing{Type: "component", Name: l.Text("component"), UID: l.Text("component")}
	}
	return &ocsfThing{Type: l.Text("entity_type"), UID: l.Text("entity_id")}
}

func resourcesOf(l *evidence.Leaf) []ocsfThing {
	out := []ocsfThing{*entityOf(l)}
	if run := cmp.Or(l.Run, l.Text("about_run")); run != "" {
		out = append(out, ocsfThing{Type: "run", UID: run})
	}
	return out
}

// ocsfCondition makes the finding of an alarm about no record; its end closes it.
func (e *encoder) ocsfCondition(c *condition) *ocsfEvent {
	o := &ocsfEvent{Message: c.message(), Unmapped: map[string]any{"condition": c.shown()}}
	a := activity{classFinding, 1}
	o.StatusID, o.Status = 1, "New"
	if c.Over {
		a.id, o.StatusID, o.Status = 3, 4, "Resolved"
	}
	o.classify(a, "", c.severity(), c.changed())
	o.Metadata = ocsfMetadata{
		Version: ocsfVersion, Product: ocsfProduct{Name: product, Vendor: product, Version: e.version},
		UID: c.eventID(e.instance), EventCode: c.Name, LogProvider: e.instance, OriginalTime: c.changed().String(), TenantUID: evidence.SystemTenant,
	}
	o.Finding = &ocsfFinding{
		UID: c.findingID(e.instance), Title: fmt.Sprintf("runledger: %s", c.Name), Desc: c.Why, CreatedTime: millis(c.Since),
		FirstSeen: millis(c.Since), LastSeen: millis(c.changed()),
	}
	return o
}
