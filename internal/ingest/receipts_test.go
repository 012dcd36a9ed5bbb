package ingest

import (
	"slices"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
)

// TestReceiptLeaf: what may not be read is proven and not shown.
func TestReceiptLeaf(t *testing.T) {
	leaf := func(kind evidence.Kind, producer string, synthetic bool) *evidence.Leaf {
		l := &evidence.Leaf{Kind: kind}
		if producer != "" {
			l.SetFact(evidence.Fact{Field: evidence.PublicField(kind, "producer"), Str: producer})
		}
		n := int64(0)
		if synthetic {
			n = 1
		}
		l.SetFact(evidence.Fact{Field: evidence.PublicField(kind, "is_synthetic"), Int: n})
		return l
	}
	who := func(credential string, permissions ...string) Caller {
		return Caller{Tenant: "acme", Credential: credential, Has: func(p string) bool { return slices.Contains(permissions, p) }}
	}
	all := access.Grant{Authority: access.Authority{IncludeSynthetic: true}}
	only := access.Grant{Authority: access.Authority{IncludeSynthetic: true, SyntheticOnly: true}}
	for i, tt := range []struct {
		caller Caller
		grant  access.Grant
		leaf   *evidence.Leaf
		want   bool
	}{
		{who("k1", permIngest), access.Grant{}, leaf(evidence.KindAudit, "k1", false), true},
		{who("k1", permIngest), access.Grant{}, leaf(evidence.KindTraceStep, "k1", true), true},
		{who("k1", permIngest), access.Grant{}, leaf(evidence.KindTraceStep, "k2", false), false},
		{who("k1", permIngest), access.Grant{}, leaf(evidence.KindAudit, "", false), false},
		{who("", permIngest), access.Grant{}, leaf(evidence.KindAudit, "", false), false},
		{who("k1"), all, leaf(evidence.KindTraceStep, "k1", false), false}, // it sends no more
		{who("k3", permRead), access.Grant{}, leaf(evidence.KindTraceStep, "k1", false), true},
		{who("k3", permRead), access.Grant{}, leaf(evidence.KindTraceStep, "k1", true), false},
		{who("k3", permRead), all, leaf(evidence.KindTraceStep, "k1", true), true},
		{who("k3", permRead), only, leaf(evidence.KindTraceStep, "k1", true), true},
		{who("k3", permRead), only, leaf(evidence.KindTraceStep, "k1", false), false},
		{who("k3", permRead), all, leaf(evidence.KindAudit, "", false), false},
		{who("k3", permRead), all, leaf(evidence.KindExport, "", false), false},
		{who("k3", permRead, permAudit), all, leaf(evidence.KindAudit, "", false), true},
		{who("k3", permRead, permAudit), all, leaf(evidence.KindExport, "", false), true},
		{who("k3", permAudit), all, leaf(evidence.KindAudit, "", false), false},
	} {
		if got := shows(tt.caller, tt.grant, tt.leaf); got != tt.want {
			t.Errorf("case %d: %v, want %v", i, got, tt.want)
		}
	}
	// Over HTTP: the proof is there, and the leaf is not.
	r := newRig(t, nil)
	r.records("?wait=checkpoint", typeJSON, system(uuid1, "a"))
	origin := r.leaves("acme")[0].ID.String() // LOG_OPENED is no producer's
	p := r.receiptOf("producer-acme", origin)
	if p.Leaf != "" || p.Proof == "" || p.LeafHash == "" || p.ID != origin {
		t.Errorf("%+v", p)
	}
	if p := r.receiptOf("viewer-acme", origin); p.Leaf == "" {
		t.Errorf("%+v", p)
	}
}
