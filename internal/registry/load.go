package registry

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runledger/runledger/evidence"
	definition "github.com/runledger/runledger/registry"
)

// What a registry consists of.
const (
	intentsDir       = "intents"
	capabilitiesDir  = "capabilities"
	scenariosDir     = "scenarios"
	invariantsPath   = "invariants.yaml"
	rulesPath        = "rules.yaml"
	producersPath    = "producers.yaml"
	intentPrefix     = "AURORA_L2_INTENT_"
	capabilityPrefix = "AURORA_L2_CAPABILITY_"

	maxFilesOfDir = 1000
)

// orders are the depths of a topic.
var orders = []string{"O1", "O2", "O3", "O4", "O5"}

type invariantsFile struct {
	Version    int          `yaml:"version"`
	Invariants []*Invariant `yaml:"invariants"`
}

type ownersFile struct {
	Version int     `yaml:"version"`
	Owners  []Owner `yaml:"owners"`
}

// Builtin returns the registry that is shipped.
func Builtin() fs.FS { return definition.Files }

// Load reads a registry and checks it: each file by the JSON Schema of its kind, which
// is the program's own, and by itself, then all of them against one another. The error
// joins a [*Problem] for each thing that is wrong, see [Problems]; where a file cannot be
// read, it is that of the file system. now is for what expires.
func Load(fsys fs.FS, now time.Time) (*Registry, error) {
	l := &loader{fsys: fsys, now: now, r: &Registry{documents: map[string]*document{}}, found: &findings{}, texts: map[string][]byte{}}
	l.all()
	if l.failed == nil && len(l.found.list) == 0 {
		l.finish()
	}
	if l.failed != nil {
		return nil, l.failed
	}
	if err := l.found.err(); err != nil {
		return nil, err
	}
	return l.r, nil
}

// loader is a registry while it is read.
type loader struct {
	fsys   fs.FS
	now    time.Time
	r      *Registry
	found  *findings
	texts  map[string][]byte // of all files, by name
	failed error             // of the file system
}

// all reads the files, each by itself.
func (l *loader) all() {
	l.r.Intents = load[Intent](l, intentsDir, "intent")
	l.r.Capabilities = load[Capability](l, capabilitiesDir, "capability")
	l.r.Scenarios = load[Scenario](l, scenariosDir, "scenario")
	if file := loadFile[invariantsFile](l, invariantsPath, "invariants"); file != nil {
		l.r.Invariants = file.Invariants
	}
	if rules := loadFile[Rules](l, rulesPath, "rules"); rules != nil {
		l.r.Rules = *rules
	}
	if file := loadFile[ownersFile](l, producersPath, "producers"); file != nil {
		l.r.Owners = file.Owners
	}
	l.strangers()
}

// fail keeps an error of the file system. What is not there is a problem of the registry.
func (l *loader) fail(file string, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		l.found.add(file, 0, "is missing")
	} else if l.failed == nil {
		l.failed = fmt.Errorf("registry: %w", err)
	}
}

// files returns the paths of the YAML files of a directory. Other files do not belong
// there: one with another ending would look as if it counted.
func (l *loader) files(dir string) []string {
	entries, err := fs.ReadDir(l.fsys, dir)
	if err != nil {
		l.fail(dir, err)
		return nil
	}
	var list []string
	for _, e := range entries {
		file := dir + "/" + e.Name()
		switch {
		case strings.HasPrefix(e.Name(), "."): // of an editor, or being written
		case e.IsDir() || !strings.HasSuffix(e.Name(), ".yaml"):
			l.found.add(file, 0, "is no file of the registry: those end in .yaml")
		default:
			list = append(list, file)
		}
	}
	if len(list) > maxFilesOfDir {
		l.found.add(dir, 0, "has more than %d files", maxFilesOfDir)
		return nil
	}
	return list
}

// strangers names YAML files at the top that nobody reads.
func (l *loader) strangers() {
	entries, err := fs.ReadDir(l.fsys, ".")
	if err != nil {
		l.fail(".", err)
		return
	}
	for _, e := range entries {
		name := e.Name()
		yaml := strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
		if yaml && !strings.HasPrefix(name, ".") && name != invariantsPath && name != rulesPath && name != producersPath {
			l.found.add(name, 0, "is no file of the registry")
		}
	}
}

func (l *loader) read(file string) ([]byte, bool) {
	f, err := l.fsys.Open(file)
	if err != nil {
		l.fail(file, err)
		return nil, false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		l.fail(file, err)
		return nil, false
	}
	l.texts[file] = text
	return text, true
}

// loadFile reads one file; nil: something is wrong with it, which has been added.
func loadFile[T any](l *loader, file, kind string) *T {
	text, ok := l.read(file)
	if !ok {
		return nil
	}
	n := slices.IndexFunc(kindsOfFile, func(k kindOfFile) bool { return k.name == kind })
	d := checkFile(kindsOfFile[n], file, text, l.now, l.found)
	if d == nil {
		return nil
	}
	l.r.documents[file] = d
	v, ok := decode[T](d, l.found)
	if !ok {
		return nil
	}
	return v
}

// load reads the files of a directory.
func load[T any](l *loader, dir, kind string) []*T {
	var list []*T
	for _, file := range l.files(dir) {
		v := loadFile[T](l, file, kind)
		if v == nil {
			continue
		}
		switch v := any(v).(type) {
		case *Intent:
			v.File = file
		case *Capability:
			v.File = file
		case *Scenario:
			v.File = file
		}
		list = append(list, v)
	}
	return list
}

// finish checks what was read as a whole, and takes its digest.
func (l *loader) finish() {
	r := l.r
	slices.SortStableFunc(r.Intents, func(a, b *Intent) int { return cmp.Compare(a.PanelID, b.PanelID) })
	slices.SortStableFunc(r.Capabilities, func(a, b *Capability) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortStableFunc(r.Scenarios, func(a, b *Scenario) int { return cmp.Compare(a.ID, b.ID) })
	checkTogether(r, l.found)
	var err error
	if r.Digest, err = l.digest(); err != nil {
		l.failed = err
	}
}

// digest returns that of the definition: "sha256:" and the SHA-256 of a line for each
// file, in the order of their names: the SHA-256 of its bytes in hex, two spaces, its
// name, a line feed. Of intents and capabilities it is that of their canonical JSON (RFC
// 8785) without what [Apply] writes, so that neither a status nor a comment counts.
func (l *loader) digest() (string, error) {
	sum := sha256.New()
	for _, file := range slices.Sorted(maps.Keys(l.texts)) {
		text := l.texts[file]
		if strings.HasPrefix(file, intentsDir+"/") || strings.HasPrefix(file, capabilitiesDir+"/") {
			var err error
			if text, err = canonical(l.r.documents[file].value); err != nil {
				return "", fmt.Errorf("%s: %w", file, err)
			}
		}
		one := sha256.Sum256(text)
		fmt.Fprintf(sum, "%s  %s\n", hex.EncodeToString(one[:]), file)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// canonical encodes an intent or a capability without what Apply writes.
func canonical(value any) ([]byte, error) {
	top, _ := value.(map[string]any)
	out := map[string]any{}
	for name, v := range top {
		switch name {
		case "status", "observation", "passing", "history":
			continue
		case "capability", "sdsr":
			inner := maps.Clone(v.(map[string]any)) // its schema says so
			delete(inner, "status")
			delete(inner, "verified")
			v = inner
		}
		out[name] = v
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	j := jsontext.Value(text)
	if err := j.Canonicalize(); err != nil {
		return nil, fmt.Errorf("%w: %w", evidence.ErrInvalid, err)
	}
	return j, nil
}
