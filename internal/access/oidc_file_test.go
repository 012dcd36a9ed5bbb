package access

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
)

const goodIssuers = `issuers:
  - issuer: https://login.example.com
    audience: runledger
    tenant_claim: tenant
    role_claim: realm_access.roles
    roles: {readers: viewer, auditors: auditor}
    actor_claim: email
    required_claims: {mfa: "true"}
`

func TestParseIssuers(t *testing.T) {
	got, err := ParseIssuers([]byte(goodIssuers))
	want := []Issuer{{
		Issuer: "https://login.example.com", Audience: "runledger", TenantClaim: "tenant", RoleClaim: "realm_access.roles",
		RoleMap: map[string]string{"readers": RoleViewer, "auditors": RoleAuditor}, ActorClaim: "email", RequiredClaims: map[string]string{"mfa": "true"},
	}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	for name, tt := range map[string]struct{ text, want string }{
		"empty":       {"", "EOF"},
		"none":        {"issuers: []", "issuers: is empty"},
		"unknown key": {strings.Replace(goodIssuers, "audience", "audiences", 1), "line 3: field audiences not found"},
		"key twice":   {goodIssuers + "    audience: x\n", "already"},
		"no audience": {strings.Replace(goodIssuers, "    audience: runledger\n", "", 1), "issuer 1: oidc.audience: is required"},
		"role":        {strings.Replace(goodIssuers, "viewer", "boss", 1), "oidc.role_map: readers: must be one of"},
		"second":      {goodIssuers + "---\nissuers: []\n", "second document"},
		"no YAML":     {"issuers: [", "yaml"},
	} {
		if _, err := ParseIssuers([]byte(tt.text)); !errors.Is(err, evidence.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}

func FuzzParseIssuers(f *testing.F) {
	f.Add(goodIssuers)
	f.Add("issuers: [{}]")
	f.Add("issuers: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseIssuers([]byte(text))
		if err != nil {
			if !errors.Is(err, evidence.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		for _, i := range list {
			if i.check() != nil || i.Audience == "" {
				t.Fatalf("%+v", i)
			}
		}
	})
}
