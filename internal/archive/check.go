package archive

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// Check verifies units by what they hold alone: digests, every leaf against the signed
// tree, every line and every Parquet column against its leaf, and that units follow one another.
// It goes on behind a finding. An error, with which the report is of the units before, is that it could not go on: evidence.ErrUnavailable
// (the storage), evidence.ErrInvalid (a key), evidence.ErrNotFound (no unit of that name, or
// none at all).
func (a *Archive) Check(ctx context.Context, o CheckOptions) (*Report, error) {
	keys := make([]c2sp.VKey, len(o.Keys))
	for i, s := range o.Keys {
		k, err := c2sp.ParseVKey(s)
		if err != nil || k.Alg != c2sp.Ed25519 {
			return nil, fmt.Errorf("archive: key %q: %w: it is not the key of a log", s, evidence.ErrInvalid)
		}
		keys[i] = k
	}
	var want *evidence.Hash
	if o.Manifest != "" {
		digest, err := hex.DecodeString(strings.TrimPrefix(o.Manifest, "sha256:"))
		if want = new(evidence.Hash); err != nil || !isDigest(o.Manifest) || o.Name == "" || copy(want[:], digest) != len(want) {
			return nil, fmt.Errorf("archive: %w: %q is not the digest of a manifest", evidence.ErrInvalid, o.Manifest)
		}
	}
	r := &Report{Units: []UnitReport{}, Findings: []Finding{}}
	units, err := a.units(ctx, o.Name, r)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", a.spec, err)
	}
	names := slices.Sorted(maps.Keys(units))
	ends := map[string][]*unitCheck{} // by log and end
	var before *unitCheck
	places := map[string]string{} // of logs, by origin
	whole := finishedBegins(units)
	for i, name := range names {
		if !slices.Contains(units[name], manifestName) && whole[beginOf(name)] {
			continue // writing it was interrupted, and it was written with another end later
		}
		c, err := a.checkUnit(ctx, name, want, keys, nil)
		if err != nil {
			return r, fmt.Errorf("archive: unit %s: %w", name, err)
		}
		c.others(units[name])
		if c.m != nil {
			if o.Name == "" {
				c.follows(ends[endOf(name, c.m.From)], before)
			}
			ends[endOf(name, c.m.To)] = append(ends[endOf(name, c.m.To)], c)
			if at, known := places[c.m.Log.Origin]; known && at != path.Dir(name) {
				c.find(CodeGap, "", "the same log stands below %s", at)
			} else {
				places[c.m.Log.Origin] = path.Dir(name)
			}
		}
		before = c
		r.add(c)
		c.release()
		if o.Progress != nil {
			o.Progress(i+1, len(names))
		}
	}
	for _, k := range keys {
		if _, there := places[k.Name]; o.Name == "" && !there && !slices.Contains(r.Absent, k.Name) {
			r.Absent = append(r.Absent, k.Name)
		}
	}
	return r, nil
}

// beginOf is what the names of all units have in common that begin where this one does.
func beginOf(name string) string { return name[:strings.LastIndexByte(name, '-')+1] }

// finishedBegins are where units begin that have a manifest.
func finishedBegins(units map[string][]string) map[string]bool {
	out := map[string]bool{}
	for name, objects := range units {
		if slices.Contains(objects, manifestName) {
			out[beginOf(name)] = true
		}
	}
	return out
}

// Begun returns where a unit of a log ends that begins at a leaf behind one with that manifest (zero: it is the first), and that was
// begun, or finished, and is not on record: so it is finished, and no other one is written over the same leaves. It is at
// most size; 0 where there is none. What stands there and is none of this log is passed over.
func (a *Archive) Begun(ctx context.Context, lg store.Log, from, size int64, prev evidence.Hash) (to int64, err error) {
	prefix := strings.TrimSuffix(unitName(lg.Tenant, lg.No, lg.Origin, from, from), fmt.Sprintf("%012d", from))
	var finished []string
	err = a.dest.list(ctx, prefix, func(name string) error {
		unit, object, ok := splitName(name)
		if !ok {
			return nil
		}
		end, err := strconv.ParseInt(unit[strings.LastIndexByte(unit, '-')+1:], 10, 64)
		switch {
		case err != nil || end > size || end-from > maxUnit:
		case object == manifestName && len(finished) < maxOthers:
			finished = append(finished, unit)
		case object == logName || object == checkpointName:
			to = max(to, end)
		}
		return nil
	})
	if err != nil && !errors.Is(err, evidence.ErrNotFound) {
		return 0, fmt.Errorf("archive: %w", err)
	}
	for _, unit := range finished {
		text, err := readAll(ctx, a.dest, unit+"/"+manifestName, maxManifest)
		if errors.Is(err, evidence.ErrUnavailable) {
			return 0, fmt.Errorf("archive: %w", err)
		}
		if err != nil {
			continue
		}
		if m, err := parseManifest(text); err == nil && m.name() == unit && m.Log.VKey == lg.VKey && m.Previous == digestOrNone(prev) {
			return m.To, nil
		}
	}
	if slices.Contains(finished, unitName(lg.Tenant, lg.No, lg.Origin, from, to)) {
		return 0, nil // its manifest is none: another end is free
	}
	return to, nil
}

// maxOthers bounds the objects of a unit that are remembered, and named: a few are more than it has.
const maxOthers = 64

// units returns the objects of each unit by the unit's name, the first ones by their own.
func (a *Archive) units(ctx context.Context, only string, r *Report) (map[string][]string, error) {
	units := map[string][]string{}
	prefix := ""
	if only != "" {
		prefix = only + "/"
		if unit, _, ok := splitName(prefix + manifestName); !ok || unit != only {
			return nil, fmt.Errorf("%w: %q is no name of a unit", evidence.ErrInvalid, only)
		}
	}
	err := a.dest.list(ctx, prefix, func(name string) error {
		if strings.HasSuffix(name, "/") {
			if len(r.Findings) < maxOthers {
				r.Findings = append(r.Findings, Finding{Code: CodeFile, Object: strings.TrimSuffix(name, "/"), Message: "it is a link, and what it leads to is not part of the archive"})
			}
			return nil
		}
		if unit, object, ok := splitName(name); ok && len(units[unit]) < maxOthers {
			units[unit] = append(units[unit], object[:min(len(object), evidence.MaxName)])
		}
		return nil
	})
	if err != nil && !errors.Is(err, evidence.ErrNotFound) {
		return nil, err
	}
	if len(units) == 0 && len(r.Findings) == 0 {
		if only != "" {
			return nil, fmt.Errorf("unit %s: %w", only, evidence.ErrNotFound)
		}
		return nil, fmt.Errorf("it has no unit: %w", evidence.ErrNotFound)
	}
	return units, nil
}

func (r *Report) add(c *unitCheck) {
	u := UnitReport{Name: c.name, Signed: c.signed, OK: c.signed && len(c.findings) == 0}
	if c.m != nil {
		u.TenantID, u.Log, u.From, u.To, u.Size = c.m.TenantID, c.m.Log.Origin, c.m.From, c.m.To, c.m.CheckpointSize
		u.Manifest = evidence.Checksum(c.digest)
	}
	r.Units = append(r.Units, u)
	r.Findings = append(r.Findings, c.findings...)
	r.Records += c.records
}

// others finds objects that the manifest does not name.
func (c *unitCheck) others(objects []string) {
	if c.m == nil {
		return
	}
	for _, name := range objects {
		if name != manifestName && c.m.file(name) == nil {
			c.find(CodeFile, name, "the manifest does not name it")
		}
	}
}

// endOf is where a unit ends, or another begins, within a log.
func endOf(name string, leaf int64) string { return fmt.Sprintf("%s %d", path.Dir(name), leaf) }

// follows looks whether a unit begins where one that was read ends, and names it. Of several that end there, which is
// so where writing one was interrupted, it is the one whose manifest it names. last is the unit that was read last.
func (c *unitCheck) follows(ends []*unitCheck, last *unitCheck) {
	if c.m.From == 0 {
		return
	}
	var before *unitCheck
	for _, u := range ends {
		if before == nil || c.m.Previous == evidence.Checksum(u.digest) {
			before = u
		}
	}
	switch {
	case before == nil && (last == nil || path.Dir(last.name) != path.Dir(c.name)):
		c.find(CodeGap, "", "the units from leaf 0 to %d are missing", c.m.From)
	case before == nil && last.m == nil:
		c.find(CodeGap, "", "the unit before it, %s, cannot be read", last.name)
	case before == nil:
		c.find(CodeGap, "", "the unit before it, %s, ends at leaf %d", last.name, last.m.To)
	case c.m.Previous != evidence.Checksum(before.digest):
		c.find(CodeGap, manifestName, "it follows a unit with digest %s; the one before it, %s, has %s", c.m.Previous, before.name, evidence.Checksum(before.digest))
	case before.m.Log != c.m.Log:
		c.find(CodeGap, manifestName, "it names another log or key than the unit before it")
	case before.after != c.before && before.after != (evidence.Hash{}) && c.before != (evidence.Hash{}):
		c.find(CodeInclusion, logName, "its tree has other leaves before it than the units before it: the log was signed with two histories")
	case before.m.LastAt > c.m.FirstAt:
		c.find(CodeLeaf, logName, "its first leaf is older than the last of the unit before it")
	}
}

// Verify is Check of one unit that is on record: its manifest must have that digest, and its
// checkpoint must be signed by that key. Errors as of Leaves.
func (a *Archive) Verify(ctx context.Context, u store.ArchiveUnit, vkey string) error {
	key, err := c2sp.ParseVKey(vkey)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	if unit, _, ok := splitName(u.Name + "/" + manifestName); !ok || unit != u.Name || strings.HasPrefix(u.Name, "/") {
		return fmt.Errorf("archive: %w: %q is no name of a unit", evidence.ErrInvalid, u.Name)
	}
	c, err := a.checkUnit(ctx, u.Name, &u.Manifest, []c2sp.VKey{key}, nil)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	if c.m != nil && len(c.findings) == 0 {
		switch {
		case !c.signed:
			c.find(CodeLogSig, checkpointName, "it is not of the log of the key")
		case c.m.TenantID != u.Tenant || c.m.Log.LogNo != u.No || c.m.From != u.From || c.m.To != u.To:
			c.find(CodeFile, manifestName, "it is not the unit on record")
		}
	}
	if err := c.err(); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}
