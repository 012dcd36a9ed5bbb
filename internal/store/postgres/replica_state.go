package postgres

import (
	"context"
	"fmt"

	"github.com/runledger/runledger/internal/store"
)

// ReplicasDown asks each read replica whether it answers and follows, and returns why
// those that do not are out of use. One that is behind is not among them: the metric of
// choices shows how often that is so. A replica that rests is not asked.
func (db *DB) ReplicasDown(ctx context.Context) []string {
	var down []string
	for i, r := range db.replicas.all {
		what := fmt.Sprintf("read replica %d", i+1)
		if r.resting() {
			down = append(down, what+" failed and is left alone for a while")
			continue
		}
		if _, err := r.reaches(ctx, store.Lag{}, -1); err != nil && ctx.Err() == nil {
			r.fail()
			down = append(down, what+": "+err.Error())
		}
	}
	return down
}
