package server

import (
	"net/http"
	"slices"

	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/transparency"
	"github.com/runledger/runledger/verify"
)

// transparency puts the routes on the mux by which a log is watched from outside.
func (s *server) transparency(mux *http.ServeMux) {
	transparency.New(transparency.Config{
		Ledger: s.d.Ledger, Deny: s.d.gate.Deny, Quorum: quorumOf(s.cfg.Witnesses), Shared: s.d.db.shared(), Logger: s.log,
	}).Routes(mux)
}

// quorumOf reports of the cosignatures of one checkpoint whether they are as many as
// a policy asks for; nil where there is none.
func quorumOf(p *verify.Policy) func([]ledger.Attestation) bool {
	if p == nil {
		return nil
	}
	return func(signed []ledger.Attestation) bool {
		var keys []string
		for _, w := range p.Witnesses {
			k, err := c2sp.ParseVKey(w.Key)
			if err == nil && slices.ContainsFunc(signed, func(a ledger.Attestation) bool { return isBy(a, k) }) {
				keys = append(keys, w.Key)
			}
		}
		return p.Met(keys)
	}
}

// isBy reports whether a cosignature, which was checked when it was kept, is by a
// key: witnesses of one name may have several.
func isBy(a ledger.Attestation, k c2sp.VKey) bool {
	lines, err := c2sp.ParseSignatures(a.Data)
	return err == nil && len(lines) == 1 && lines[0].Name == k.Name && lines[0].KeyID == k.ID()
}
