package main

import (
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/control"
)

type apiKeysCmd struct {
	Create apiKeysCreateCmd `cmd:"" help:"Make a key and print it, this once."`
	List   apiKeysListCmd   `cmd:"" help:"List the keys, without their secrets."`
	Revoke apiKeysRevokeCmd `cmd:"" help:"Revoke a key for good."`
}

type apiKeysCreateCmd struct {
	Tenant   string   `help:"The tenant that the key is for." placeholder:"NAME" xor:"for" required:""`
	Platform bool     `help:"A key of the platform: its requests name their tenant in X-Tenant-ID." xor:"for" required:""`
	Role     string   `help:"What it may do: viewer, operator, auditor, observer, producer, tenant_admin, platform_admin." required:"" placeholder:"ROLE"`
	Name     string   `help:"A name for people." placeholder:"TEXT"`
	Scope    []string `help:"Narrow the key to this permission of its role. May be given several times." placeholder:"PERMISSION" sep:"none"`
	Expires  string   `help:"When it expires: 90d, 12h, or a time such as 2027-01-31T00:00:00Z. Default: never." placeholder:"TIME"`
}

// Help implements kong.HelpProvider.
func (apiKeysCreateCmd) Help() string {
	return `Prints the key on standard output, and what it is on standard error. The key is shown this once and stored only as a hash. That it was made, first used and revoked is recorded in the log of its tenant; what it may do never changes.

    runledger apikeys create --tenant acme --role producer --name collector
    runledger apikeys create --tenant acme --role auditor --expires 90d
    runledger apikeys create --platform --role platform_admin --expires 12h`
}

// Run makes a key.
func (c *apiKeysCreateCmd) Run(e *env) error {
	if !c.Platform && !evidence.ValidTenant(c.Tenant) {
		return usage("tenant %q: must be 1 to 63 characters of [a-z0-9-]", c.Tenant)
	}
	return e.with(func(s *session) error {
		made, err := s.CreateAPIKey(e.ctx, control.NewAPIKey{
			TenantID: c.Tenant, Platform: c.Platform, Role: c.Role, Name: c.Name, Scopes: c.Scope, Expires: c.Expires,
		})
		if err != nil {
			return err
		}
		if e.JSON {
			return e.json(made)
		}
		e.printf("%s\n", made.Secret.Reveal())
		e.notef("%sKeep the key: it is not shown again.\n", keyText(made.Key))
		return nil
	})
}

type apiKeysListCmd struct {
	Tenant   string `help:"Of this tenant only." placeholder:"NAME" xor:"for"`
	Platform bool   `help:"Of the platform only." xor:"for"`
}

// Help implements kong.HelpProvider.
func (apiKeysListCmd) Help() string {
	return `The oldest first, with those that have expired or were revoked.

    runledger apikeys list --tenant acme`
}

// Run lists keys.
func (c *apiKeysListCmd) Run(e *env) error {
	tenant := access.AllTenants
	if c.Tenant != "" || c.Platform {
		tenant = c.Tenant
	}
	return e.with(func(s *session) error {
		list, err := s.APIKeys(e.ctx, tenant)
		if err != nil {
			return err
		}
		if e.JSON {
			return e.json(list)
		}
		for _, k := range list.Keys {
			e.printf("%s", keyText(k))
		}
		return nil
	})
}

type apiKeysRevokeCmd struct {
	ID string `arg:"" help:"The id of the key; a whole key will do, too."`
}

// Help implements kong.HelpProvider.
func (apiKeysRevokeCmd) Help() string {
	return `The key is refused from now on, and the revocation is recorded in the log of its tenant. It cannot be taken back.

    runledger apikeys revoke 3fj5k2mqzv7xw4tn`
}

// Run revokes a key.
func (c *apiKeysRevokeCmd) Run(e *env) error {
	return e.with(func(s *session) error {
		key, err := s.RevokeAPIKey(e.ctx, access.KeyID(c.ID))
		if err != nil {
			return err
		}
		if e.JSON {
			return e.json(key)
		}
		e.printf("%s", keyText(key))
		return nil
	})
}

// keyText describes a key for people.
func keyText(k access.Key) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			b.WriteString("  " + name + strings.Repeat(" ", 9-len(name)) + value + "\n")
		}
	}
	when := func(name string, at *evidence.Micros) {
		if at != nil {
			line(name, at.String())
		}
	}
	of := "of the platform"
	if k.Tenant != nil {
		of = "of tenant " + *k.Tenant
	}
	b.WriteString(k.ID + ", " + k.Role + " " + of + ", " + k.Status + "\n")
	line("name", k.Name)
	line("may", strings.Join(k.Permissions, ", "))
	_, by, _ := strings.Cut(k.CreatedBy, ":")
	line("created", k.CreatedAt.String()+" by "+by)
	when("expires", k.ExpiresAt)
	when("used", k.FirstUsedAt)
	when("revoked", k.RevokedAt)
	return b.String()
}
