package transparency

import (
	"fmt"
	"sync"

	"github.com/runledger/runledger/internal/problem"
)

// room bounds how many requests are worked on, and how many of those are about one
// tenant: nobody who reads a log must slow down who writes it.
type room struct {
	most, mostOfOne int

	mu  sync.Mutex
	all int
	of  map[string]int // by tenant; none is 0
}

// enter takes a place, which done gives back. Without one the error is
// problem.ErrTooMany.
func (r *room) enter(tenant string) (done func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all >= r.most || r.of[tenant] >= r.mostOfOne {
		return nil, fmt.Errorf("%w: other requests read logs", problem.ErrTooMany)
	}
	r.all++
	r.of[tenant]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all--
		if r.of[tenant]--; r.of[tenant] == 0 {
			delete(r.of, tenant)
		}
	}, nil
}
