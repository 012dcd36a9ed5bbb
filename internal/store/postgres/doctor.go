package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Severities of a Finding.
const (
	Broken  = "broken"  // what guards the evidence is not whole: a server does not start
	Warning = "warning" // it is, but something should be looked at
)

// Codes of findings.
const (
	CodeSchema      = "D_SCHEMA"       // a table, column, view, index, constraint, trigger, rule or function
	CodePartition   = "D_PARTITION"    // a partition, or what is on it
	CodeFuture      = "D_FUTURE"       // partitions of the months to come
	CodeGrant       = "D_GRANT"        // a right that is missing
	CodeExcess      = "D_EXCESS"       // a right that is too much
	CodeRole        = "D_ROLE"         // what the application's role is
	CodeOwner       = "D_OWNER"        // who owns what
	CodeTenant      = "D_TENANT"       // a key that does not begin with its tenant
	CodeRowSecurity = "D_ROW_SECURITY" // policies hide rows
	CodeSetting     = "D_SETTING"      // of the server, database, role or session
	CodeVersion     = "D_VERSION"      // of the server
	CodeEncoding    = "D_ENCODING"     // of the database
	CodeDistributed = "D_DISTRIBUTED"  // a table that is not where it belongs
)

// Finding is something that is not as it should be.
type Finding struct {
	Code     string
	Severity string
	What     string
	// Mend is the SQL that mends it, to be run as the owner in the schema unless it
	// says otherwise, or where there is none what to do. A comment in front of the SQL
	// says what to look at first.
	Mend string
}

// Doctor examines the database and returns what it finds, the broken first. It
// looks at the catalogs, not at the evidence: that is what verification does. It
// looks as the application's role, and sees all it needs as that.
func (q queries) Doctor(ctx context.Context) ([]Finding, error) {
	var list []Finding
	whole := true
	err := q.with(ctx, func(r *reader) error {
		found, err := r.standInFindings(ctx)
		if list = found; err != nil || len(found) > 0 {
			whole = false
			return err
		}
		if found, err = r.schemaFindings(ctx); err != nil {
			return err
		}
		list = found
		for _, f := range found {
			whole = whole && (!strings.HasPrefix(f.What, "table ") || !strings.HasSuffix(f.What, " is missing"))
		}
		if !whole { // what is asked of the others is asked of that one, too
			return nil
		}
		for _, check := range []func(context.Context) ([]Finding, error){
			r.partitionFindings, r.roleFindings, r.grantFindings, r.ownerFindings, r.tenantFindings,
			r.serverFindings, r.settingFindings, r.distributedFindings,
		} {
			found, err := check(ctx)
			if err != nil {
				return err
			}
			list = append(list, found...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	if whole {
		f, err := q.futureFindings(ctx, time.Now())
		if err != nil {
			return nil, fmt.Errorf("doctor: %w", err)
		}
		list = append(list, f...)
	}
	slices.SortFunc(list, func(a, b Finding) int {
		if a.Severity != b.Severity {
			return strings.Compare(a.Severity, b.Severity)
		}
		return strings.Compare(a.What, b.What)
	})
	return list, nil
}

func (q queries) futureFindings(ctx context.Context, at time.Time) ([]Finding, error) {
	until, err := q.PartitionsUntil(ctx, at)
	if now := monthOf(at); err == nil && monthOf(until) < now+1+ShortMonths {
		return []Finding{warning(CodeFuture, fmt.Sprintf("SELECT runledger_ensure_partitions('%s', '%s')", now.date(), (now+monthsAhead).date()),
			"partitions are made only until %s", until.Format(time.DateOnly))}, nil
	}
	return nil, err
}

// Guards implements store.Reader: of what Doctor finds, what is broken.
func (q queries) Guards(ctx context.Context) ([]string, error) {
	found, err := q.Doctor(ctx)
	var list []string
	for _, f := range found {
		if f.Severity == Broken {
			list = append(list, f.What)
		}
	}
	return list, err
}

func broken(code, mend, format string, args ...any) Finding {
	return Finding{code, Broken, visible(fmt.Sprintf(format, args...)), visible(mend)}
}

func warning(code, mend, format string, args ...any) Finding {
	return Finding{code, Warning, visible(fmt.Sprintf(format, args...)), visible(mend)}
}
