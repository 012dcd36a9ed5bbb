package verify

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// Format is the manifest format that this version reads and writes.
const Format = 1

// Profiles of a bundle, formats.md section 7.
const (
	ProfileRun    = "run"
	ProfilePeriod = "period"
	ProfileLog    = "log"
)

// Manifest is manifest.json of a bundle.
type Manifest struct {
	Format   int64         `json:"format"`
	Profile  string        `json:"profile"`
	Scope    Scope         `json:"scope"`
	Logs     []ManifestLog `json:"logs"`
	ExportID string        `json:"export_id"`
	// Files lists all files of the bundle but manifest.json and receipt.*,
	// in bytewise order of their paths.
	Files []ManifestFile `json:"files"`
}

// What a bundle of profile period discloses.
const (
	KindSystem     = "system"     // system and metric records
	KindAudit      = "audit"      // audit and export records
	KindCompliance = "compliance" // audit, export, system, llm_run and trace records
)

var periodKinds = []string{KindAudit, KindCompliance, KindSystem}

// Scope says what was exported. Optional members are absent where empty.
type Scope struct {
	TenantID string `json:"tenant_id"`
	RunID    string `json:"run_id,omitempty"` // of profile run
	// Kind, From and Until are those of profile period: records recorded at or
	// after From and before Until, times as in a leaf.
	Kind  string `json:"kind,omitempty"`
	From  string `json:"from,omitempty"`
	Until string `json:"until,omitempty"`
}

// ManifestLog is one log directory: logs/<k> in this order.
type ManifestLog struct {
	Dir    string `json:"dir"`
	Origin string `json:"origin"`
	Size   int64  `json:"size"` // of the directory's checkpoint
}

// ManifestFile is one file of the bundle.
type ManifestFile struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // lower-case hex
}

// Marshal returns the canonical bytes (RFC 8785) of the manifest. It sorts
// nothing and checks nothing; [ParseManifest] does.
func (m *Manifest) Marshal() []byte {
	b := append([]byte(nil), `{"export_id":`...)
	b = appendJSON(b, m.ExportID)
	b = append(b, `,"files":[`...)
	for i, f := range m.Files {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"path":`...)
		b = appendJSON(b, f.Path)
		b = append(b, `,"sha256":`...)
		b = appendJSON(b, f.SHA256)
		b = append(b, `,"size":`...)
		b = strconv.AppendInt(b, f.Size, 10)
		b = append(b, '}')
	}
	b = append(b, `],"format":`...)
	b = strconv.AppendInt(b, m.Format, 10)
	b = append(b, `,"logs":[`...)
	for i, l := range m.Logs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"dir":`...)
		b = appendJSON(b, l.Dir)
		b = append(b, `,"origin":`...)
		b = appendJSON(b, l.Origin)
		b = append(b, `,"size":`...)
		b = strconv.AppendInt(b, l.Size, 10)
		b = append(b, '}')
	}
	b = append(b, `],"profile":`...)
	b = appendJSON(b, m.Profile)
	b = append(b, `,"scope":{`...)
	first := true
	for _, s := range []struct{ name, value string }{
		{"from", m.Scope.From},
		{"kind", m.Scope.Kind},
		{"run_id", m.Scope.RunID},
		{"tenant_id", m.Scope.TenantID},
		{"until", m.Scope.Until},
	} {
		if s.value == "" && s.name != "tenant_id" {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendJSON(b, s.name)
		b = append(b, ':')
		b = appendJSON(b, s.value)
	}
	return append(b, '}', '}')
}

// appendJSON writes a string as RFC 8785 section 3.2.2.2 says.
func appendJSON(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= 0x20:
			dst = append(dst, c)
		default:
			if at := strings.IndexByte("\b\t\n\f\r", c); at >= 0 {
				dst = append(dst, '\\', "btnfr"[at])
				continue
			}
			dst = append(dst, `\u00`...)
			dst = hex.AppendEncode(dst, []byte{c})
		}
	}
	return append(dst, '"')
}

// errFormat says that a manifest has a format of another version.
type errFormat int64

func (e errFormat) Error() string {
	return fmt.Sprintf("manifest format %d is not known to this version, which reads format %d", int64(e), Format)
}

// ParseManifest reads a manifest, strictly: only what [Manifest.Marshal]
// writes, unknown members refused, every value in its bounds. It does not
// know what files there are. The error wraps evidence.ErrInvalid, except
// where the format is another version's.
func ParseManifest(b []byte) (*Manifest, error) {
	var v struct {
		Format json.Number `json:"format"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, invalid("manifest.json: %s", jsonTrouble(err))
	}
	if f, err := strconv.ParseInt(string(v.Format), 10, 64); err == nil && f != Format {
		return nil, errFormat(f)
	}
	m := scanManifest(b)
	// What is written again as the same bytes had no unknown or repeated
	// member, no other order and no white space.
	if m == nil || string(m.Marshal()) != string(b) {
		return nil, invalid("manifest.json: not canonical, or with members that format 1 does not have")
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// jsonTrouble says where JSON cannot be read, without the words of a decoder.
func jsonTrouble(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("it is no JSON from byte %d on", syntax.Offset)
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Sprintf("its member %s cannot be a JSON %s", kind.Field, kind.Value)
	case errors.As(err, &kind):
		return "it is no object but a JSON " + kind.Value
	}
	return err.Error()
}

// scanManifest reads the members in their only order, or returns nil. A decoder
// that takes any JSON could be made to take many times the memory of its input.
func scanManifest(b []byte) *Manifest {
	m := new(Manifest)
	s := &scanner{b: b}
	s.lit(`{"export_id":`)
	m.ExportID = s.quoted()
	s.lit(`,"files":[`)
	for s.more('{', len(m.Files)) {
		var f ManifestFile
		s.lit(`{"path":`)
		f.Path = s.quoted()
		s.lit(`,"sha256":`)
		f.SHA256 = s.quoted()
		s.lit(`,"size":`)
		f.Size = s.count()
		s.lit(`}`)
		m.Files = append(m.Files, f)
	}
	s.lit(`],"format":`)
	m.Format = s.count()
	s.lit(`,"logs":[`)
	for s.more('{', len(m.Logs)) {
		var l ManifestLog
		s.lit(`{"dir":`)
		l.Dir = s.quoted()
		s.lit(`,"origin":`)
		l.Origin = s.quoted()
		s.lit(`,"size":`)
		l.Size = s.count()
		s.lit(`}`)
		m.Logs = append(m.Logs, l)
	}
	s.lit(`],"profile":`)
	m.Profile = s.quoted()
	s.lit(`,"scope":{`)
	for n := 0; s.more('"', n); n++ {
		name := s.quoted()
		s.lit(`:`)
		value := s.quoted()
		switch name {
		case "from":
			m.Scope.From = value
		case "kind":
			m.Scope.Kind = value
		case "run_id":
			m.Scope.RunID = value
		case "tenant_id":
			m.Scope.TenantID = value
		case "until":
			m.Scope.Until = value
		default:
			return nil
		}
	}
	s.lit(`}}`)
	if s.bad || len(s.b) > 0 {
		return nil
	}
	return m
}

func (m *Manifest) check() error {
	switch {
	case !evidence.FitName(m.ExportID):
		return invalid("manifest.json: export_id is not a name")
	case !evidence.ValidTenant(m.Scope.TenantID):
		return invalid("manifest.json: tenant_id is not a tenant id")
	case len(m.Scope.RunID) > evidence.MaxRun:
		return invalid("manifest.json: run_id is over %d bytes", evidence.MaxRun)
	case m.Scope.Kind != "" && !evidence.FitName(m.Scope.Kind):
		return invalid("manifest.json: kind is not a name")
	case m.Profile == ProfileLog && m.Scope != (Scope{TenantID: m.Scope.TenantID}):
		return invalid("manifest.json: profile log has no scope but the tenant")
	case m.Profile == ProfileRun && (m.Scope.RunID == "" || m.Scope != (Scope{TenantID: m.Scope.TenantID, RunID: m.Scope.RunID})):
		return invalid("manifest.json: profile run has a run_id and no other scope")
	case len(m.Logs) == 0:
		return invalid("manifest.json: no logs")
	}
	from, ok := evidence.ParseMicros(m.Scope.From)
	until, ok2 := evidence.ParseMicros(m.Scope.Until)
	switch s := m.Scope; {
	case s.From != "" && !ok || s.Until != "" && !ok2:
		return invalid("manifest.json: from or until is not a time")
	case m.Profile == ProfilePeriod && (s.RunID != "" || !ok || !ok2 || from >= until || !slices.Contains(periodKinds, s.Kind)):
		return invalid("manifest.json: profile period has a kind of system, audit or compliance, from, a later until, and no run_id")
	}
	origins := map[string]bool{}
	for k, l := range m.Logs {
		switch {
		case l.Dir != "logs/"+strconv.Itoa(k):
			return invalid("manifest.json: directory of log %d is %q", k, l.Dir)
		case !evidence.ValidOrigin(l.Origin) || origins[l.Origin]:
			return invalid("manifest.json: origin of %s is not an origin or stands twice", l.Dir)
		case l.Size < 1 || l.Size > c2sp.MaxSize:
			return invalid("manifest.json: size of %s is %d", l.Dir, l.Size)
		}
		origins[l.Origin] = true
	}
	for i, f := range m.Files {
		switch {
		case i > 0 && f.Path <= m.Files[i-1].Path:
			return invalid("manifest.json: files are not in order, or one stands twice")
		case f.Size < 0 || f.Size > c2sp.MaxSize || len(f.SHA256) != 64 || !lowerHex(f.SHA256):
			return invalid("manifest.json: size or sha256 of %q", f.Path)
		}
	}
	return nil
}

func lowerHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, evidence.ErrInvalid)...)
}
