package access

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/evidence"
)

// issuersFile is an operator's file of identity providers.
type issuersFile struct {
	Issuers []struct {
		Issuer         string            `yaml:"issuer"`
		Audience       string            `yaml:"audience"`
		Tenant         string            `yaml:"tenant"`
		TenantClaim    string            `yaml:"tenant_claim"`
		RoleClaim      string            `yaml:"role_claim"`
		Roles          map[string]string `yaml:"roles"`
		ActorClaim     string            `yaml:"actor_claim"`
		RequiredClaims map[string]string `yaml:"required_claims"`
		AllowHTTP      bool              `yaml:"allow_http"`
	} `yaml:"issuers"`
}

// ParseIssuers reads a YAML file of identity providers: a list issuers, whose
// keys are the fields of Issuer in lower case with underscores (roles is
// RoleMap). The error wraps evidence.ErrInvalid and says where.
func ParseIssuers(text []byte) ([]Issuer, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var f issuersFile
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("%w: %w", evidence.ErrInvalid, err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: there is a second document in the file", evidence.ErrInvalid)
	}
	if len(f.Issuers) == 0 {
		return nil, invalid("issuers", "is empty")
	}
	var list []Issuer
	for n, i := range f.Issuers {
		issuer := Issuer{
			Issuer: i.Issuer, Audience: i.Audience, Tenant: i.Tenant, TenantClaim: i.TenantClaim, RoleClaim: i.RoleClaim,
			RoleMap: i.Roles, ActorClaim: i.ActorClaim, RequiredClaims: i.RequiredClaims, AllowHTTP: i.AllowHTTP,
		}
		if err := issuer.check(); err != nil {
			return nil, fmt.Errorf("issuer %d: %w", n+1, err)
		}
		list = append(list, issuer)
	}
	return list, nil
}
