package archive

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

const format = "runledger archive unit v1"

// Names of the objects of a unit.
const (
	manifestName   = "manifest.json"
	checkpointName = "checkpoint"
	logName        = "log.zip"
	jsonlSuffix    = ".jsonl.gz"
	parquetSuffix  = ".parquet"
)

const (
	// maxUnit bounds the leaves of a unit, so that what is kept of one in memory (its
	// tiles, the directory of log.zip) stays small.
	maxUnit     = 1 << 20
	maxManifest = 64 << 10
)

// manifest is manifest.json. Members are in the order of JCS.
type manifest struct {
	At             evidence.Micros      `json:"at"`
	CheckpointSize int64                `json:"checkpoint_size"`
	Files          []file               `json:"files"`
	FirstAt        evidence.Micros      `json:"first_at"`
	Format         string               `json:"format"`
	From           int64                `json:"from"`
	Kinds          map[string]kindCount `json:"kinds"`
	LastAt         evidence.Micros      `json:"last_at"`
	Log            logID                `json:"log"`
	Previous       string               `json:"previous"`
	Sealed         bool                 `json:"sealed"` // content is in it: never (ADR 045)
	TenantID       string               `json:"tenant_id"`
	To             int64                `json:"to"`
}

type logID struct {
	LogNo  int    `json:"log_no"`
	Origin string `json:"origin"`
	VKey   string `json:"vkey"`
}

type kindCount struct {
	Records int64 `json:"records"`
}

// file is one object of a unit.
type file struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

func (f *file) sum() (h evidence.Hash) {
	b, _ := hex.DecodeString(f.SHA256) // checked when it was parsed
	copy(h[:], b)
	return h
}

// name is the unit's name in the archive.
func (m *manifest) name() string {
	return unitName(m.TenantID, m.Log.LogNo, m.Log.Origin, m.From, m.To)
}

func unitName(tenant string, logNo int, origin string, from, to int64) string {
	_, tag, _ := strings.Cut(origin, "/")
	return fmt.Sprintf("%s/%d-%s/%012d-%012d", tenant, logNo, tag, from, to)
}

// splitName cuts the name of an object into that of its unit and the rest. ok is false for
// what is in no unit.
func splitName(name string) (unit, object string, ok bool) {
	parts := strings.SplitN(name, "/", 4)
	if len(parts) < 4 || !evidence.ValidTenant(parts[0]) {
		return "", "", false
	}
	no, tag, _ := strings.Cut(parts[1], "-")
	from, to, _ := strings.Cut(parts[2], "-")
	n, err := strconv.Atoi(no)
	f, ferr := strconv.ParseInt(from, 10, 64)
	t, terr := strconv.ParseInt(to, 10, 64)
	if err != nil || ferr != nil || terr != nil || f < 0 || f >= t {
		return "", "", false
	}
	unit = strings.Join(parts[:3], "/")
	if unit != unitName(parts[0], n, "/"+tag, f, t) || !evidence.ValidOrigin("x/"+tag) {
		return "", "", false
	}
	return unit, parts[3], true
}

func (m *manifest) vkey() c2sp.VKey {
	k, _ := c2sp.ParseVKey(m.Log.VKey) // checked when it was parsed
	return k
}

func (m *manifest) span() span { return span{m.From, m.To, m.CheckpointSize} }

// kinds returns the kinds that the unit has records of, in the order of their table.
func (m *manifest) kinds() []evidence.Kind {
	var out []evidence.Kind
	for _, k := range evidence.Kinds() {
		if m.Kinds[k.String()].Records > 0 {
			out = append(out, k)
		}
	}
	return out
}

func (m *manifest) file(path string) *file {
	i, ok := slices.BinarySearchFunc(m.Files, path, func(f file, p string) int { return strings.Compare(f.Path, p) })
	if !ok {
		return nil
	}
	return &m.Files[i]
}

func (m *manifest) marshal() ([]byte, error) {
	b, err := json.Marshal(m, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("archive: manifest: %w", err)
	}
	v := jsontext.Value(b)
	if err := v.Canonicalize(); err != nil {
		return nil, fmt.Errorf("archive: manifest: %w", err)
	}
	return v, nil
}

// parseManifest reads what marshal writes and nothing else. The error wraps
// evidence.ErrInvalid.
func parseManifest(b []byte) (*manifest, error) {
	m := &manifest{}
	if len(b) > maxManifest {
		return nil, fmt.Errorf("%w: it has %d bytes", evidence.ErrInvalid, len(b))
	}
	if err := json.Unmarshal(b, m, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%w: %s", evidence.ErrInvalid, jsonTrouble(err))
	}
	again, err := m.marshal()
	if err != nil || !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%w: it is not in canonical form", evidence.ErrInvalid)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", evidence.ErrInvalid, err)
	}
	return m, nil
}

// jsonTrouble says which member of JSON cannot be read, without the words of a decoder.
func jsonTrouble(err error) string {
	var syntax *jsontext.SyntacticError
	var member *json.SemanticError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("it is no JSON from byte %d on", syntax.ByteOffset)
	case errors.As(err, &member) && errors.Is(err, json.ErrUnknownName):
		return fmt.Sprintf("its member %s is none of a unit", member.JSONPointer)
	case errors.As(err, &member):
		return fmt.Sprintf("its member %s cannot be a %s", orText(string(member.JSONPointer), "/"), orText(member.JSONKind.String(), "value of another form"))
	}
	return err.Error()
}

func orText(text, none string) string {
	if text == "" {
		return none
	}
	return text
}

func (m *manifest) check() error {
	key, err := c2sp.ParseVKey(m.Log.VKey)
	switch {
	case m.Format != format:
		return fmt.Errorf("its format is %q", m.Format)
	case !evidence.ValidTenant(m.TenantID) || m.Log.LogNo < 1 || !evidence.ValidOrigin(m.Log.Origin):
		return fmt.Errorf("it names no log")
	case err != nil || key.Alg != c2sp.Ed25519 || key.Name != m.Log.Origin:
		return fmt.Errorf("vkey is not the key of its log")
	case m.Previous != "" && !isDigest(m.Previous):
		return fmt.Errorf("previous is no digest")
	case m.Sealed:
		return fmt.Errorf("sealed is true: archives hold no content")
	case (m.From == 0) != (m.Previous == ""):
		return fmt.Errorf("the first unit, and no other, has none before it")
	}
	if err := m.span().check(); err != nil {
		return err
	}
	records := int64(0)
	for name, c := range m.Kinds {
		if evidence.ParseKind(name) == 0 || c.Records < 1 || c.Records > m.To-m.From {
			return fmt.Errorf("kinds: %q", name)
		}
		records += c.Records
	}
	if records != m.To-m.From {
		return fmt.Errorf("kinds: %d records in %d leaves", records, m.To-m.From)
	}
	return m.checkFiles()
}

// checkFiles sees to it that the files are those that such a unit has.
func (m *manifest) checkFiles() error {
	want := map[string]bool{checkpointName: true, logName: true}
	for name := range m.Kinds {
		want[name+jsonlSuffix], want[name+parquetSuffix] = true, true
	}
	got := make([]string, len(m.Files))
	for i, f := range m.Files {
		got[i] = f.Path
		if f.Size < 0 || f.Size > m.maxSize(f.Path) || !isDigest("sha256:"+f.SHA256) {
			return fmt.Errorf("file %q: its size or digest", f.Path)
		}
	}
	if !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		return fmt.Errorf("files are not those of such a unit")
	}
	return nil
}

// maxSize is more than what an object of such a unit can have: all of it is read before anything is known of it.
func (m *manifest) maxSize(path string) int64 {
	const slack = 4 << 20 // footers, dictionaries, headers
	switch path {
	case checkpointName:
		return c2sp.MaxNoteSize
	case logName:
		sum := int64(slack)
		for _, id := range m.span().entries() {
			sum += localHeader + dirHeader + 64 + 2*int64(len(id.path())) + maxPacked(id)
		}
		return sum
	}
	kind, _, _ := strings.Cut(path, ".")
	return slack + m.Kinds[kind].Records*2*(evidence.MaxLeafSize+1024)
}

// isDigest reports whether s is "sha256:" and 64 lower-case hex digits.
func isDigest(s string) bool {
	digits, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}
