package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/anchor"
	"github.com/runledger/runledger/internal/store"
)

// clockSilence is after how long without a scheduler nothing expires before somebody
// says that the clock is right.
const clockSilence = 48 * time.Hour

// settingSeen is when a scheduler last looked, in microseconds.
const settingSeen = "lifecycle/seen"

// lifecycleFindings looks at the archive, at the anchor where it is in a bucket, and at
// what was begun and not ended.
func (c *Config) lifecycleFindings(ctx context.Context, db store.Store, logs []store.Log) (list []Finding, err error) {
	tenants := map[string]bool{}
	for _, lg := range logs {
		tenants[lg.Tenant] = true
	}
	for tenant := range tenants {
		pending, rows := 0, map[string]bool{}
		err := db.Expiries(ctx, tenant, func(e store.Expiry) error {
			if !e.Done {
				pending++
				rows[e.Table] = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if pending > 0 {
			list = append(list, Finding{
				"D_EXPIRY", SeverityWarning, fmt.Sprintf("tenant %s: %d expiries of %d tables were ordered and are not done", tenant, pending, len(rows)),
				"runledger retention run --tenant " + tenant,
			})
		}
	}
	seen, err := db.Setting(ctx, settingSeen)
	if err != nil && !errors.Is(err, evidence.ErrNotFound) {
		return nil, err
	}
	if us, perr := strconv.ParseInt(seen, 10, 64); err == nil && perr == nil {
		if silent := c.now().Sub(time.UnixMicro(us)); silent > clockSilence {
			list = append(list, Finding{
				"D_EXPIRY", SeverityWarning, fmt.Sprintf("nothing has looked for what is due for %s: nothing expires before somebody says that the clock is right", silent.Round(time.Hour)),
				"runledger retention run --confirm-clock --tenant TENANT",
			})
		}
	}
	units, err := c.unitFindings(ctx, db, logs)
	if err != nil {
		return nil, err
	}
	return slices.Concat(list, units, c.storageFindings(ctx)), nil
}

func (c *Config) now() time.Time {
	if c.Clock.Now != nil {
		return c.Clock.Now()
	}
	return time.Now()
}

// bucketScheme is how the specification of a bucket begins.
const bucketScheme = "s3://"

// unitFindings looks whether the directories are there that units were written to.
func (c *Config) unitFindings(ctx context.Context, db store.Store, logs []store.Log) (list []Finding, err error) {
	gone := map[string]int{}
	for _, lg := range logs {
		units := map[string][]store.ArchiveUnit{}
		err := db.Archives(ctx, lg.LogRef, func(u store.ArchiveUnit) error {
			units[u.Archive] = append(units[u.Archive], u)
			return nil
		})
		if err != nil {
			return nil, err
		}
		for spec, list := range units {
			if unitGone(spec, list[len(list)-1]) && (c.Archive == Off || unitGone(c.Archive, list[len(list)-1])) {
				gone[spec] += len(list)
			}
		}
	}
	for _, spec := range slices.Sorted(maps.Keys(gone)) {
		list = append(list, Finding{
			"D_ARCHIVE", SeverityBroken, fmt.Sprintf("the archive %s is not there, with %d units, or is empty", spec, gone[spec]),
			"Mount it, put it back, or name the place where it is now with serve --archive: what was moved there is nowhere else.",
		})
	}
	return list, nil
}

// unitGone reports whether a unit is not in an archive that is a directory: that one is not there, or is another, as one
// is that is not mounted.
func unitGone(spec string, u store.ArchiveUnit) bool {
	if strings.HasPrefix(spec, bucketScheme) {
		return false
	}
	_, err := os.Lstat(filepath.Join(spec, filepath.FromSlash(u.Name), "manifest.json"))
	return errors.Is(err, fs.ErrNotExist)
}

// storageFindings asks the archive and the anchor what is wrong with them, or weaker than
// it could be.
func (c *Config) storageFindings(ctx context.Context) (list []Finding) {
	add := func(code, where string, lines []string, err error) {
		if err != nil {
			list = append(list, Finding{code, SeverityWarning, where + ": " + err.Error(), "See that it answers, and that its credentials are in the environment."})
		}
		for _, line := range lines {
			list = append(list, Finding{code, SeverityWarning, where + ": " + line, ""})
		}
	}
	// That whoever may write in a directory may change it is no finding: the anchor's is no
	// other, and what is changed is found.
	if strings.HasPrefix(c.Archive, bucketScheme) {
		if a, err := c.openArchive(c.Archive); err != nil {
			add("D_ARCHIVE", "the archive "+c.Archive, nil, err)
		} else {
			lines, err := a.Problems(ctx)
			add("D_ARCHIVE", "the archive "+a.String(), lines, err)
		}
	}
	if !strings.HasPrefix(c.Anchor, bucketScheme) {
		return list
	}
	bucket, err := openAnchor(c.Anchor)
	if err != nil {
		add("D_ANCHOR", "the anchor "+c.Anchor, nil, err)
		return list
	}
	if s3, ok := bucket.(*anchor.S3); ok {
		lines, err := s3.Problems()
		add("D_ANCHOR", "the anchor "+c.Anchor, lines, err)
	}
	return list
}
