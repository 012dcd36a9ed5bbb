package postgres

import (
	"context"
	"time"
)

// DoctorFuture is what the doctor will say of the months to come.
func (db *DB) DoctorFuture(ctx context.Context, at time.Time) ([]Finding, error) {
	return db.futureFindings(ctx, at)
}

// Places are the tables that are distributed, those that are copied everywhere, and
// those of the coordinator alone.
func Places() (distributed, copied, local []string) {
	return tenantTables(), copiedTables(), coordinatorTables
}
