package access

import (
	"fmt"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// Permission is one thing that a credential may do. It is a bit, so that a Set
// is a number and checking one costs nothing.
type Permission uint16

// Permissions of the contract, section 8.
const (
	LogsRead        Permission = 1 << iota // logs.read: topics and proofs, without sealed content
	LogsReadContent                        // logs.read_content: sealed content too
	LogsExport                             // logs.export
	AuditRead                              // audit.read: the AUDIT topic
	IngestWrite                            // ingest.write
	TenantAdmin                            // tenant.admin: keys and settings of the own tenant
	PlatformAdmin                          // platform.admin: tenants, and keys of any
)

var permissionNames = []string{
	"logs.read", "logs.read_content", "logs.export", "audit.read", "ingest.write", "tenant.admin", "platform.admin",
}

// String returns the name of the contract.
func (p Permission) String() string { return Set(p).String() }

// Set is a set of permissions.
type Set uint16

// Has reports whether the set holds a permission.
func (s Set) Has(p Permission) bool { return p != 0 && Set(p)&s == Set(p) }

// Names returns the permissions in the contract's order, never nil.
func (s Set) Names() []string {
	names := []string{}
	for i, name := range permissionNames {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String joins the names by commas.
func (s Set) String() string { return strings.Join(s.Names(), ",") }

// parsePermission returns the permission of that name, or 0.
func parsePermission(name string) Set {
	for i, n := range permissionNames {
		if n == name {
			return 1 << i
		}
	}
	return 0
}

// Roles.
const (
	RoleViewer        = "viewer"
	RoleOperator      = "operator"
	RoleAuditor       = "auditor"
	RoleObserver      = "observer"
	RoleProducer      = "producer"
	RoleTenantAdmin   = "tenant_admin"
	RolePlatformAdmin = "platform_admin"
)

// roles is what each role may do. Administrators manage credentials and read
// no content: giving access and having it are two jobs.
var roles = []struct {
	name string
	set  Set
}{
	{RoleViewer, Set(LogsRead)},
	{RoleOperator, Set(LogsRead | LogsReadContent | LogsExport)},
	{RoleAuditor, Set(LogsRead | LogsReadContent | LogsExport | AuditRead)},
	{RoleObserver, Set(LogsRead | LogsReadContent | LogsExport | AuditRead)},
	{RoleProducer, Set(IngestWrite)},
	{RoleTenantAdmin, Set(TenantAdmin | LogsRead | AuditRead)},
	{RolePlatformAdmin, Set(PlatformAdmin | TenantAdmin)},
}

// Roles returns the names of all roles.
func Roles() []string {
	var names []string
	for _, r := range roles {
		names = append(names, r.name)
	}
	return names
}

// permissionsIn is permissionsOf of a credential of a tenant, "" for the platform.
// An observer's gives nothing but in the synthetic tenant, whenever it was made.
func permissionsIn(tenant, role string, scopes []string) Set {
	if !roleFits(tenant, role) {
		return 0
	}
	return permissionsOf(role, scopes)
}

// roleFits reports whether a role may be had in a tenant, as far as the synthetic one
// is concerned.
func roleFits(tenant, role string) bool {
	return role != RoleObserver || tenant == evidence.SyntheticTenant
}

// permissionsOf returns what a role may do, narrowed to scopes where there are
// any. A role or scope that is unknown, such as one of a newer program, gives
// nothing.
func permissionsOf(role string, scopes []string) Set {
	var all, narrow Set
	for _, r := range roles {
		if r.name == role {
			all = r.set
		}
	}
	if len(scopes) == 0 {
		return all
	}
	for _, s := range scopes {
		narrow |= parsePermission(s)
	}
	return all & narrow
}

// checkRole refuses roles and scopes that make no sense for a new key.
func checkRole(tenant, role string, scopes []string) error {
	all := permissionsOf(role, nil)
	switch {
	case all == 0:
		return invalid("role", "must be one of %s", strings.Join(Roles(), ", "))
	case role == RolePlatformAdmin && tenant != "":
		return invalid("role", "platform_admin is a role of the platform, not of a tenant")
	case role == RoleTenantAdmin && tenant == "":
		return invalid("role", "tenant_admin is a role of a tenant; the platform's is platform_admin")
	case !roleFits(tenant, role):
		return invalid("role", "observer is a role of the tenant %s only: what it does is synthetic there", evidence.SyntheticTenant)
	}
	for _, s := range scopes {
		if p := parsePermission(s); p == 0 || all&p == 0 {
			return invalid("scopes", "%q is no permission of the role %s: those are %s", s, role, strings.Join(all.Names(), ", "))
		}
	}
	return nil
}

func invalid(field, format string, args ...any) error {
	return &evidence.FieldError{Field: field, Reason: fmt.Sprintf(format, args...), Err: evidence.ErrInvalid}
}
