package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/runledger/runledger/evidence"
)

// maxObservation bounds an observation file, in bytes. One of all scenarios has about 140 KiB.
const maxObservation = 16 << 20

// Digest returns "sha256:" and the hex SHA-256 of the observation's canonical JSON
// (RFC 8785): what its record in the ledger holds as correlation_id.
func (o *Observation) Digest() string {
	sum := sha256.Sum256(canonicalJSON(o))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// canonicalJSON writes a value of this package's own types: nothing in them can fail to
// be written. Text that is no UTF-8 gets U+FFFD, as it does in a file.
func canonicalJSON(v any) []byte {
	b, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true))
	if err == nil {
		err = (*jsontext.Value)(&b).Canonicalize()
	}
	if err != nil {
		panic("registry: canonical JSON: " + err.Error())
	}
	return b
}

// FileName returns the name that an observation's file has: when it began, without
// colons, and the first 12 digits of its digest. Names sort by time.
func (o *Observation) FileName() string {
	began := strings.NewReplacer("-", "", ":", "").Replace(o.StartedAt.String())
	return began + "-" + o.Digest()[len("sha256:"):][:12] + ".json"
}

// WriteFile writes an observation into dir, which it makes if need be, and returns the
// path. The file is there as a whole or not at all. A file of the same observation is
// replaced.
func WriteFile(dir string, f *File) (string, error) {
	text, err := json.Marshal(f, jsontext.AllowInvalidUTF8(true), jsontext.WithIndent("  "))
	if err != nil {
		return "", fmt.Errorf("observation: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("observation: %w", err)
	}
	d, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("observation: %w", err)
	}
	defer d.Close()
	name := f.Observation.FileName()
	if err = stageFile(d, name, append(text, '\n'), 0o644); err == nil {
		err = unstageFile(d, name)
	}
	if err == nil {
		err = syncDir(d, ".")
	}
	if err != nil {
		return "", fmt.Errorf("observation: %w", err)
	}
	return filepath.Join(dir, name), nil
}

// ReadFile reads an observation file. What [WriteFile] would not write so is refused:
// members that are unknown, missing or there twice, numbers in another form. Whether
// the file was edited is for [File.Verify] to say. Errors wrap evidence.ErrInvalid or
// evidence.ErrTooLarge, or are of the system.
func ReadFile(path string) (*File, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxObservation+1))
	if err != nil {
		return nil, err
	}
	f, err := parseFile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func parseFile(text []byte) (*File, error) {
	if len(text) > maxObservation {
		return nil, fmt.Errorf("an observation file has at most %d bytes: %w", maxObservation, evidence.ErrTooLarge)
	}
	f := new(File)
	if err := json.Unmarshal(text, f, json.RejectUnknownMembers(true)); err != nil {
		return nil, notObservation("%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if err := plainIntegers(text); err != nil {
		return nil, err
	}
	// A member that is missing, or null where it may not be, is read as if it were empty.
	given := jsontext.Value(bytes.Clone(text))
	if err := given.Canonicalize(); err != nil {
		return nil, notObservation("%s", err.Error())
	}
	if !bytes.Equal(given, canonicalJSON(f)) {
		return nil, notObservation("a member is missing, or null where it may not be")
	}
	return f, nil
}

// plainIntegers refuses numbers that canonical JSON would write in another way than
// they stand there: it knows floats only, so two large integers can become one.
func plainIntegers(text []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(text))
	for {
		tok, err := dec.ReadToken()
		if err == io.EOF { //nolint:errorlint // the decoder wraps no end of a whole text
			return nil
		}
		if err != nil {
			return notObservation("%s", err.Error())
		}
		if tok.Kind() != '0' {
			continue
		}
		s := tok.String()
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != s || n > evidence.MaxInt || n < -evidence.MaxInt {
			return notObservation("%s is no integer within ±(2^53−1) in plain form", s)
		}
	}
}

func notObservation(format string, args ...any) error {
	return fmt.Errorf("not an observation file: "+format+": %w", append(args, evidence.ErrInvalid)...)
}

// check says whether an observation agrees with itself: what a runner writes always does.
func (o *Observation) check() error {
	switch {
	case o.Version != 1:
		return notObservation("version %d is not known", o.Version)
	case len(o.Scenarios) == 0:
		return notObservation("no scenario was run")
	case o.FinishedAt < o.StartedAt || !o.StartedAt.InRange() || !o.FinishedAt.InRange():
		return notObservation("it began at %s and ended at %s", o.StartedAt, o.FinishedAt)
	}
	passed, last := true, ""
	for i := range o.Scenarios {
		s := &o.Scenarios[i]
		if s.ID <= last {
			return notObservation("scenario %s stands twice or out of order", s.ID)
		}
		last = s.ID
		passed = passed && s.Passed
		if reason := s.check(); reason != "" {
			return notObservation("scenario %s %s", s.ID, reason)
		}
	}
	if passed != o.Passed {
		return notObservation("passed is %v, and its scenarios say otherwise", o.Passed)
	}
	return nil
}

func (s *ScenarioResult) check() string {
	if !s.Passed {
		if s.Failure == nil {
			return "failed for no reason"
		}
		switch s.Failure.Reason {
		case EndpointMissing, AuthFailed, SchemaMismatch, InvariantViolated, Timeout:
			return ""
		}
		return fmt.Sprintf("failed for an unknown reason %q", s.Failure.Reason)
	}
	if s.Failure != nil {
		return "passed, and names a failure"
	}
	if len(s.Seen) == 0 {
		return "passed, and nothing was seen"
	}
	for _, seen := range s.Seen {
		for _, checks := range [][]Checked{seen.Invariants, seen.Expectations} {
			for _, c := range checks {
				if c.Level == Required && !c.Passed {
					return fmt.Sprintf("passed, and %s of %s did not hold", c.ID, seen.ID)
				}
			}
		}
	}
	return ""
}
