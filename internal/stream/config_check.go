package stream

import (
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/evidence"
)

// maxTargets bounds the streams and alarms of a configuration, and with them the
// values of the label that names them.
const maxTargets = 64

// validName fits a metric label and a setting's name.
var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{evidence.ErrInvalid}, args...)...)
}

func (form *fileForm) check() (*File, error) {
	if len(form.Streams)+len(form.Alarms) > maxTargets {
		return nil, invalid("there are more than %d streams and alarms", maxTargets)
	}
	f := &File{}
	names := map[string]bool{}
	files := map[string]string{}
	for n, s := range form.Streams {
		stream, err := s.check()
		if err == nil {
			err = once(names, files, stream.Name, stream.To)
		}
		if err != nil {
			return nil, fmt.Errorf("stream %d: %w", n+1, err)
		}
		f.Streams = append(f.Streams, *stream)
	}
	for n, a := range form.Alarms {
		alarm, err := a.check()
		if err == nil {
			err = once(names, files, alarm.Name, alarm.To)
		}
		if err != nil {
			return nil, fmt.Errorf("alarm %d: %w", n+1, err)
		}
		f.Alarms = append(f.Alarms, *alarm)
	}
	return f, nil
}

// once reports what two streams may not share: their name, and the file that one of
// them would take away from under the other.
func once(names map[string]bool, files map[string]string, name string, to Target) error {
	if names[name] {
		return invalid("name %q stands twice", name)
	}
	names[name] = true
	if to.File == nil {
		return nil
	}
	if other, taken := files[to.File.Path]; taken {
		return invalid("file %s is that of %q too", to.File.Path, other)
	}
	files[to.File.Path] = name
	return nil
}

func (s *streamForm) check() (*Stream, error) {
	out := &Stream{
		Name: s.Name, Format: s.Format, MinSeverity: s.MinSeverity, EventTypes: s.EventTypes, Synthetic: s.Synthetic,
		Disclose: s.Disclose, From: s.From,
	}
	if !validName.MatchString(s.Name) {
		return nil, invalid("name %q is not 1 to 63 characters of [a-z0-9_-]", s.Name)
	}
	var err error
	if out.Tenants, err = tenantsOf(&s.Tenants); err != nil {
		return nil, err
	}
	if len(s.Records) == 0 {
		return nil, invalid("records is empty: it takes audit, system or both")
	}
	for _, name := range s.Records {
		k := evidence.ParseKind(name)
		if k != evidence.KindAudit && k != evidence.KindSystem || slices.Contains(out.Kinds, k) {
			return nil, invalid("records has %q: it takes audit, system or both", name)
		}
		out.Kinds = append(out.Kinds, k)
	}
	if out.Format, err = oneOf("format", s.Format, "", FormatOCSF, FormatCloudEvents); err != nil {
		return nil, err
	}
	if out.MinSeverity, err = oneOf("min_severity", s.MinSeverity, severityInfo, severityInfo, severityWarn, severityCritical); err != nil {
		return nil, err
	}
	if out.From, err = oneOf("from", s.From, FromNow, FromNow, FromStart); err != nil {
		return nil, err
	}
	for _, e := range s.EventTypes {
		if !evidence.FitName(e) {
			return nil, invalid("event_types has %q, which no record has", e)
		}
	}
	if err := checkPaths(s.Disclose, out.Kinds); err != nil {
		return nil, err
	}
	out.To, err = checkTarget(s.To)
	return out, err
}

func (a *alarmForm) check() (*Alarm, error) {
	out := &Alarm{Name: a.Name, Synthetic: a.Synthetic, Disclose: a.Disclose}
	if !validName.MatchString(a.Name) {
		return nil, invalid("name %q is not 1 to 63 characters of [a-z0-9_-]", a.Name)
	}
	var err error
	if out.Format, err = oneOf("format", a.Format, FormatCloudEvents, FormatOCSF, FormatCloudEvents); err != nil {
		return nil, err
	}
	if err := checkPaths(a.Disclose, []evidence.Kind{evidence.KindSystem}); err != nil {
		return nil, err
	}
	out.To, err = checkTarget(a.To)
	return out, err
}

// tenantsOf reads the tenants of a stream. It is required: that records of every
// tenant leave the house is nothing to happen because a line was forgotten.
func tenantsOf(n *yaml.Node) ([]string, error) {
	var all string
	if n.Kind == yaml.ScalarNode && n.Decode(&all) == nil && all == "*" {
		return nil, nil
	}
	var list []string
	if n.Kind != yaml.SequenceNode || n.Decode(&list) != nil || len(list) == 0 {
		return nil, invalid(`tenants must be a list of tenants, or "*" for all`)
	}
	for i, t := range list {
		if !evidence.ValidTenant(t) || slices.Contains(list[:i], t) {
			return nil, invalid("tenants has %q, which is no tenant id or stands twice", t)
		}
	}
	return list, nil
}

func oneOf(field, value, def string, allowed ...string) (string, error) {
	if value == "" && def != "" {
		return def, nil
	}
	if !slices.Contains(allowed, value) {
		return "", invalid("%s is %q: it takes %s", field, value, strings.Join(allowed, ", "))
	}
	return value, nil
}

// checkPaths reports a path that no record of these kinds seals.
func checkPaths(paths []string, kinds []evidence.Kind) error {
	for i, p := range paths {
		sealed := slices.ContainsFunc(kinds, func(k evidence.Kind) bool { return evidence.Sealed(k, p) != nil })
		if !sealed || slices.Contains(paths[:i], p) {
			return invalid("disclose has %q, which is no sealed path of these records or stands twice", p)
		}
	}
	return nil
}

func checkTarget(t *Target) (Target, error) {
	if t == nil {
		return Target{}, invalid("to is missing")
	}
	set := 0
	for _, is := range []bool{t.Webhook != nil, t.File != nil, t.Syslog != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return Target{}, invalid("to takes exactly one of webhook, file, syslog")
	}
	switch {
	case t.Webhook != nil:
		return *t, t.Webhook.check()
	case t.File != nil:
		return *t, t.File.check()
	}
	return *t, t.Syslog.check()
}

func (w *Webhook) check() error {
	u, err := url.Parse(w.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return invalid("webhook.url is no URL such as https://siem.example/in (without user and fragment)")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return invalid("webhook.url must be https; http is for this machine itself only")
	}
	if w.SecretFile == "" {
		return invalid("webhook.secret_file is missing")
	}
	for name, value := range w.Headers {
		if err := checkHeader(name); err != nil {
			return err
		}
		if !validHeaderValue(value) {
			return invalid("webhook.headers: the value of %q has control characters", name)
		}
		if _, twice := w.HeaderFiles[name]; twice {
			return invalid("webhook: header %q stands in headers and in header_files", name)
		}
	}
	for name := range w.HeaderFiles {
		if err := checkHeader(name); err != nil {
			return err
		}
	}
	return nil
}

// loopback reports whether a host is this machine (RFC 6761 says so of localhost).
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost"
}

var validHeader = regexp.MustCompile(`^[A-Za-z0-9-]{1,128}$`)

// ownHeaders are set by the sink itself.
var ownHeaders = []string{
	"Host", "Content-Type", "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Upgrade", "Te",
	"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature",
}

func checkHeader(name string) error {
	if !validHeader.MatchString(name) || slices.Contains(ownHeaders, http.CanonicalHeaderKey(name)) {
		return invalid("webhook: header %q may not be set", name)
	}
	return nil
}

func validHeaderValue(v string) bool {
	return !strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

const (
	defaultMaxBytes = 100 << 20
	minMaxBytes     = 64 << 10
	defaultKeep     = 10
	maxKeep         = 1000
)

func (f *LogFile) check() error {
	if f.Path == "" {
		return invalid("file.path is missing")
	}
	if f.MaxBytes == 0 {
		f.MaxBytes = defaultMaxBytes
	}
	if f.Keep == 0 {
		f.Keep = defaultKeep
	}
	if f.MaxBytes < minMaxBytes {
		return invalid("file.max_bytes is %d: at least %d", f.MaxBytes, minMaxBytes)
	}
	if f.Keep < 1 || f.Keep > maxKeep {
		return invalid("file.keep is %d: 1 to %d", f.Keep, maxKeep)
	}
	return nil
}

// facilities of RFC 5424 section 6.2.1, by their usual names.
var facilities = []string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert",
	"clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

// exampleEnterprise is the number that RFC 5612 sets aside for examples.
const exampleEnterprise = 32473

func (s *Syslog) check() error {
	host, port, err := net.SplitHostPort(s.Address)
	if n, perr := strconv.Atoi(port); err != nil || host == "" || perr != nil || n < 1 || n > 65535 {
		return invalid("syslog.address is no address such as siem.example:6514")
	}
	if s.Network, err = oneOf("syslog.network", s.Network, "tls", "tls", "tcp", "udp"); err != nil {
		return err
	}
	if s.Facility, err = oneOf("syslog.facility", s.Facility, "audit", facilities...); err != nil {
		return err
	}
	if s.CAFile != "" && s.Network != "tls" {
		return invalid("syslog.ca_file is for network tls")
	}
	if s.Enterprise == 0 {
		s.Enterprise = exampleEnterprise
	}
	if s.Enterprise < 1 || s.Enterprise > math.MaxInt32 {
		return invalid("syslog.enterprise is %d, which is no enterprise number", s.Enterprise)
	}
	return nil
}
