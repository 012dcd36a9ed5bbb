package stream

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/evidence"
)

// Forms of events.
const (
	FormatOCSF        = "ocsf"
	FormatCloudEvents = "cloudevents"
)

// Where a stream begins in a log that it has never read.
const (
	FromStart = "start"
	FromNow   = "now"
)

// maxFile bounds the configuration, in bytes.
const maxFile = 1 << 20

// File is a checked configuration. The zero value streams nothing.
type File struct {
	Streams []Stream
	Alarms  []Alarm
	// Digest is "sha256:" and the digest of the file's bytes. What the files that it
	// names hold (secrets, certificates) is not in it.
	Digest string
}

// Stream passes selected records of some tenants on to one sink.
type Stream struct {
	// Name names the stream in metrics and keeps its positions: a stream with
	// another name begins anew.
	Name string
	// Tenants are those whose records are passed on, also where a tenant does not
	// exist yet. Empty: all of them, the system's included.
	Tenants []string
	Kinds   []evidence.Kind // audit, system
	Format  string
	// MinSeverity is the least severity that is passed on, INFO, WARN or CRITICAL.
	// That of an audit entry follows from what it says, see severityOf.
	MinSeverity string
	EventTypes  []string // empty: all
	// Synthetic passes synthetic records on, too: those of tests and drills.
	Synthetic bool
	Disclose  []string // sealed paths
	From      string
	To        Target
}

// Alarm tells one sink of what needs a person.
type Alarm struct {
	Name   string
	Format string
	// Synthetic lets synthetic records raise it, too.
	Synthetic bool
	Disclose  []string // sealed paths of system records
	To        Target
}

// Target is where events go: exactly one is set.
type Target struct {
	Webhook *Webhook `yaml:"webhook"`
	File    *LogFile `yaml:"file"`
	Syslog  *Syslog  `yaml:"syslog"`
}

// Webhook is an HTTP endpoint.
type Webhook struct {
	URL string `yaml:"url"`
	// SecretFile holds the signing secrets, one a line: whsec_ and base64.
	// Several sign each request several times, so that a secret can be changed.
	SecretFile string `yaml:"secret_file"`
	// Headers are sent as they stand. HeaderFiles are those whose value is a
	// secret: it stands in a file.
	Headers     map[string]string `yaml:"headers"`
	HeaderFiles map[string]string `yaml:"header_files"`
	// CAFile holds the certificates that the endpoint's must go back to, PEM.
	// Default: those of the system.
	CAFile string `yaml:"ca_file"`
}

// LogFile is a file of one event a line.
type LogFile struct {
	Path     string `yaml:"path"`
	MaxBytes int64  `yaml:"max_bytes"` // from which on another file is begun; default 100 MiB
	Keep     int    `yaml:"keep"`      // how many full ones are kept beside it; default 10
}

// Syslog is a syslog receiver.
type Syslog struct {
	Address  string `yaml:"address"`  // host:port
	Network  string `yaml:"network"`  // tcp, tls, udp; default tls
	Facility string `yaml:"facility"` // default audit
	CAFile   string `yaml:"ca_file"`  // as in Webhook
	// Enterprise is the private enterprise number of the structured data (RFC 5424
	// section 7.2.2). Default 32473, which RFC 5612 sets aside for examples.
	Enterprise int `yaml:"enterprise"`
}

// fileForm is the YAML form.
type fileForm struct {
	Streams []streamForm `yaml:"streams"`
	Alarms  []alarmForm  `yaml:"alarms"`
}

type streamForm struct {
	Name        string    `yaml:"name"`
	Tenants     yaml.Node `yaml:"tenants"` // a list, or "*"
	Records     []string  `yaml:"records"`
	Format      string    `yaml:"format"`
	MinSeverity string    `yaml:"min_severity"`
	EventTypes  []string  `yaml:"event_types"`
	Synthetic   bool      `yaml:"synthetic"`
	Disclose    []string  `yaml:"disclose"`
	From        string    `yaml:"from"`
	To          *Target   `yaml:"to"`
}

type alarmForm struct {
	Name      string   `yaml:"name"`
	Format    string   `yaml:"format"`
	Synthetic bool     `yaml:"synthetic"`
	Disclose  []string `yaml:"disclose"`
	To        *Target  `yaml:"to"`
}

// Parse reads a configuration, strictly: a key that is not known, one that stands
// twice and a second document are errors that name the line. The error wraps
// evidence.ErrInvalid. Files that the configuration names are not looked at.
func Parse(text []byte) (*File, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("%w: it has more than %d bytes", evidence.ErrInvalid, maxFile)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var form fileForm
	if err := d.Decode(&form); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %s", evidence.ErrInvalid, plainYAML(err))
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: there is a second document in the file", evidence.ErrInvalid)
	}
	f, err := form.check()
	if err != nil {
		return nil, err
	}
	f.Digest = fmt.Sprintf("sha256:%x", sha256.Sum256(text))
	return f, nil
}

// goType is how the YAML library names the Go type in its errors, which says
// nothing to who wrote the file.
var goType = regexp.MustCompile(` in type [\w.]+| into [\w.*\[\]]+`)

func plainYAML(err error) string { return goType.ReplaceAllString(err.Error(), "") }

// Load reads a configuration from a file.
func Load(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}
