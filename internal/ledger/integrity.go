package ledger

type integrityState struct{}

func (s *integrityState) appended(p *plan) {}
