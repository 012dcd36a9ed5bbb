package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// replicaRest is how long a replica that failed is left alone.
const replicaRest = 15 * time.Second

// replicaTimeout bounds how long a replica may take to say how far it has come,
// connecting included: the primary would have answered by then.
const replicaTimeout = 2 * time.Second

// How far a replica has come: the size of a log, and how many seconds ago the last
// transaction it has seen was committed. Where writing rests that grows, although
// nothing is missing; then the primary has time to answer.
const sqlReplica = `SELECT pg_is_in_recovery(),
	coalesce(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8, 'infinity'),
	coalesce((SELECT size FROM heads WHERE tenant_id = $1 AND log_no = $2), -1)`

// replica is a database that follows the primary, some way behind.
type replica struct {
	*pool
	rests atomic.Int64 // until when it is left alone, Unix nanoseconds
}

func (r *replica) fail() { r.rests.Store(time.Now().Add(replicaRest).UnixNano()) }

func (r *replica) resting() bool { return time.Now().UnixNano() < r.rests.Load() }

// replicas take turns.
type replicas struct {
	all  []*replica
	next atomic.Uint64
}

func (rs *replicas) pools() []*pool {
	list := make([]*pool, 0, len(rs.all)+2)
	for _, r := range rs.all {
		list = append(list, r.pool)
	}
	return list
}

// choice says who answers the reads of one context: a replica, or the primary.
// It changes at most once, from the one to the other, and only before the replica
// has answered anything: what a caller reads is never of two databases.
type choice struct {
	mu       sync.Mutex // guards what follows
	replica  *replica   // nil: the primary
	answered bool       // by the replica
}

// errSwitched says that the choice fell on the primary meanwhile.
var errSwitched = errors.New("postgres: the primary answers")

// answers is called before a replica's first row is passed on.
func (c *choice) answers() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.replica == nil {
		return errSwitched
	}
	c.answered = true
	return nil
}

// giveUp reports whether the primary may answer in place of the replica.
func (c *choice) giveUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.answered {
		c.replica = nil
	}
	return c.replica == nil
}

func (c *choice) get() *replica {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.replica
}

// read lends a connection to f for reading: to the primary, or where the context
// allows it to a replica.
func (db *DB) read(ctx context.Context, f func(*reader) error) error {
	may := store.ReplicaOf(ctx)
	if may == nil || len(db.replicas.all) == 0 {
		return db.readers.with(ctx, f)
	}
	made := may.Choice.Do(func() any { return db.choose(ctx, may.Lag) })
	chosen, ok := made.(*choice)
	if !ok { // another store's
		return db.readers.with(ctx, f)
	}
	from := chosen.get()
	if from == nil {
		return db.readers.with(ctx, f)
	}
	err := from.ask(ctx, chosen, f)
	switch {
	case errors.Is(err, errSwitched):
	case err == nil, ctx.Err() != nil, !chosen.giveUp():
		return err
	default: // whatever it is, the primary may know better
		if errors.Is(err, evidence.ErrUnavailable) {
			from.fail()
		}
		db.log.WarnContext(ctx, "read replica failed", "error", err)
		db.metrics.chose(choseDown)
	}
	return db.readers.with(ctx, f)
}

// ask lends f a connection to the replica.
func (r *replica) ask(ctx context.Context, c *choice, f func(*reader) error) error {
	conn, err := r.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.release()
	return f(&reader{conn: conn.Conn, answers: c.answers})
}

// choose chooses among the replicas that are well and have come far enough.
func (db *DB) choose(ctx context.Context, lag store.Lag) *choice {
	why := choseDown
	n := uint64(len(db.replicas.all))
	turn := db.replicas.next.Add(1)
	for i := range n {
		r := db.replicas.all[(turn+i)%n]
		if r.resting() {
			continue
		}
		good, err := r.reaches(ctx, lag, db.cfg.ReplicaLag)
		switch {
		case ctx.Err() != nil:
			return &choice{}
		case err != nil:
			r.fail()
			db.log.WarnContext(ctx, "read replica failed", "error", err)
		case good:
			db.metrics.chose(choseReplica)
			return &choice{replica: r}
		default:
			why = choseBehind
		}
	}
	db.metrics.chose(why)
	return &choice{}
}

// reaches reports whether the replica has come as far as a reader wants.
func (r *replica) reaches(ctx context.Context, lag store.Lag, most time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, replicaTimeout)
	defer cancel()
	var follows bool
	var age float64
	var size int64
	err := r.with(ctx, func(q *reader) error {
		_, err := q.one(ctx, sqlReplica, []any{lag.Log.Tenant, lag.Log.No}, &follows, &age, &size)
		return err
	})
	switch {
	case err != nil:
		return false, err
	case !follows: // it was promoted, and goes its own way
		return false, errors.New("postgres: the server follows no other")
	}
	return (most < 0 || age <= most.Seconds()) && (lag.Log.No == 0 || size >= lag.Size), nil
}
