package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// Receipt says where a record stands.
type Receipt struct {
	ID        evidence.ID
	Log       string // origin
	LogNo     int
	LeafIndex int64
	LeafHash  evidence.Hash
	// N is the record's number within its run, and StepIndex a step's within
	// it; both -1 where there is none.
	N, StepIndex int64
	// Late: the step came after its run had ended.
	Late bool
	// Duplicate: the record was there already, with the same content.
	Duplicate bool
	// ConflictOf is the record that this one contradicts; zero if none.
	ConflictOf evidence.ID
}

// AppendOptions say who appends and how.
type AppendOptions struct {
	// Producer is the credential or command that the records come from; it
	// becomes their public fact `producer`. Empty for the server's own
	// records, and only then may they be facts of the server.
	Producer string
	// Partial keeps the good records of a batch that has refused ones.
	Partial bool
	// RunRecords says, for the runs of a batch of llm_run records, how many
	// records each had when its totals were read. Where one has another number
	// by now, nothing is appended and the error is a [*StaleError].
	RunRecords map[string]int64
}

// StaleError names the runs that got another record since their totals were
// read.
type StaleError struct{ Runs []string }

func (e *StaleError) Error() string {
	return fmt.Sprintf("%d runs have changed since they were read", len(e.Runs))
}

// RecordError is an error at one record of a batch, counted from 0.
type RecordError struct {
	Index int
	Err   error
}

func (e *RecordError) Error() string { return fmt.Sprintf("record %d: %v", e.Index+1, e.Err) }

// Unwrap returns the error of the record.
func (e *RecordError) Unwrap() error { return e.Err }

// RecordErrors takes the joined error of an Append apart: the errors at single
// records; or, where there is any that is none, the whole error as other.
func RecordErrors(err error) (single []*RecordError, other error) {
	if err == nil {
		return nil, nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok { // a join itself, not what wraps one
		for _, e := range j.Unwrap() {
			s, o := RecordErrors(e)
			single = append(single, s...)
			if o != nil {
				return nil, err
			}
		}
		return single, nil
	}
	if re := (*RecordError)(nil); errors.As(err, &re) {
		return []*RecordError{re}, nil
	}
	return nil, err
}

// Append makes records durable in a tenant's log and returns a receipt for
// each, in order. It takes the records over: they may not be used
// afterwards. All are stored, or (without Partial) none. Records that are
// stored already give the first receipt again; a record that contradicts a
// stored one of the same natural key becomes a conflict record, and one
// with an id of its producer's is refused with evidence.ErrConflict. Errors
// at single records are [*RecordError]s, joined. An error that wraps
// evidence.ErrUnavailable may be retried; after ctx is done the outcome is
// unknown and a retry is harmless.
func (l *Ledger) Append(ctx context.Context, tenant string, records []*evidence.Record, opts AppendOptions) ([]Receipt, error) {
	if len(records) == 0 {
		return nil, nil
	}
	if len(records) > MaxAppend {
		return nil, fmt.Errorf("batch of %d records: %w: at most %d at once", len(records), evidence.ErrTooLarge, MaxAppend)
	}
	if opts.Producer != "" {
		l.sent.Store(int64(l.clock.Boot()))
	}
	ctx = store.NoLag(ctx) // it may be the context of a read that has its record made
	o, err := l.current(ctx, tenant)
	if err != nil {
		return nil, err
	}
	repeated, err := l.prepare(ctx, o.Tenant, records, opts)
	if err != nil {
		return nil, err
	}
	// The room is for what waits; a batch larger than it waits for all of it.
	weight := int64(min(len(records), l.cfg.MaxQueuedRecords))
	if err := l.room.Acquire(ctx, weight); err != nil {
		return nil, fmt.Errorf("queue is full: %w: %w", evidence.ErrUnavailable, err)
	}
	defer l.room.Release(weight)
	batch, err := l.sealer.Seal(ctx, tenant, o.Origin, records, l.clock.Now())
	if err != nil {
		return nil, err
	}
	req := &request{ctx: ctx, log: o, batch: batch, opts: opts, careful: repeated}
	from := time.Now()
	receipts, err := l.submit(ctx, tenant, req)
	if opts.Producer != "" && err == nil {
		l.waits.appended(from, time.Now())
	}
	return receipts, err
}

// busyFor is how long after a producer's batch this process counts as busy.
const busyFor = time.Second

// Busy reports whether producers are sending to this process: then what can wait shall.
func (l *Ledger) Busy() bool {
	sent := l.sent.Load()
	return sent != 0 && l.clock.Boot()-time.Duration(sent) < busyFor
}

func (l *Ledger) submit(ctx context.Context, tenant string, req *request) ([]Receipt, error) {
	if err := l.Writable(); err != nil {
		return nil, err
	}
	req.done = make(chan result, 1)
	c := l.committers.enter(tenant)
	if c == nil {
		return nil, errStopped
	}
	defer l.committers.exit(c)
	select {
	case c.queue <- req:
	case <-l.stop:
		return nil, errStopped
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case r := <-req.done:
		return r.receipts, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.ended:
	}
	select {
	case r := <-req.done:
		return r.receipts, r.err
	default: // it came into the queue after the committer's last look
		return nil, errStopped
	}
}

// prepare sets what is known before sequencing and checks what sequencing
// could not refuse any more. It reports whether two records have one id.
func (l *Ledger) prepare(ctx context.Context, tenant string, records []*evidence.Record, opts AppendOptions) (repeated bool, err error) {
	var errs []error
	seen := make(map[evidence.ID]struct{}, len(records))
	for i, r := range records {
		if r.ContentKey && r.NaturalKey == "" {
			if r.NaturalKey, err = l.contentKey(ctx, tenant, r); err != nil {
				return false, err
			}
		}
		err := prepareOne(tenant, r, opts)
		if err != nil {
			errs = append(errs, &RecordError{i, err})
			continue
		}
		if _, ok := seen[r.ID]; ok {
			repeated = true
		}
		seen[r.ID] = struct{}{}
	}
	return repeated, errors.Join(errs...)
}

// contentKey returns the natural key of a record that has its content for one
// (fields.md): its content MAC, and ":k" for the k-th equal one of a request.
func (l *Ledger) contentKey(ctx context.Context, tenant string, r *evidence.Record) (string, error) {
	mac, err := l.sealer.ContentMAC(ctx, tenant, r.ContentText())
	if err != nil || r.ContentOrdinal == 0 {
		return mac, err
	}
	return mac + ":" + strconv.Itoa(r.ContentOrdinal), nil
}

func prepareOne(tenant string, r *evidence.Record, opts AppendOptions) error {
	if opts.Producer != "" {
		if evidence.ServerOnly(r.Kind, r.Text("event_type")) {
			return &evidence.FieldError{Field: "event_type", Reason: "is a fact that only the server may state", Err: evidence.ErrForbidden}
		}
		r.SetText("producer", opts.Producer)
	}
	if err := r.AssignID(tenant); err != nil {
		return err
	}
	switch r.Kind {
	case evidence.KindTraceStep:
		r.SetInt("step_index", 0)
		r.SetBool("late", false)
	case evidence.KindLLMRun:
		r.SetInt("record_count", 0)
		if _, ok := r.Fact("step_count"); !ok {
			r.SetInt("step_count", stepCountOfRun)
		}
		if r.Text("sealed_by") == "" {
			r.SetText("sealed_by", "completion")
		}
	}
	return checkSize(r)
}

// stepCountOfRun stands for "as many steps as the run has", which only
// sequencing knows.
const stepCountOfRun = -1

// checkSize makes sure that the leaf fits whatever sequencing puts in.
func checkSize(r *evidence.Record) error {
	size := 512 + 2*len(r.Run) + 96*(len(r.Sealed)+1)
	for _, f := range r.Pub {
		size += 32 + len(f.Field.Name) + 2*len(f.Str)
		for _, s := range f.List {
			size += 4 + 2*len(s)
		}
	}
	if size <= evidence.MaxLeafSize {
		return nil
	}
	leaf := evidence.Leaf{
		Log: longestOrigin, Seq: evidence.MaxInt, ID: r.ID, Kind: r.Kind,
		Run: r.Run, N: evidence.MaxInt, Pub: append([]evidence.Fact(nil), r.Pub...),
	}
	// A later conflict names what it contradicts.
	leaf.SetFact(evidence.Fact{Field: evidence.PublicField(r.Kind, "conflict_of"), Str: r.ID.String()})
	for _, v := range r.Sealed {
		leaf.H = append(leaf.H, evidence.Commitment{Path: v.Path})
	}
	_, err := leaf.Append(nil)
	return err
}

var longestOrigin = func() string {
	b := make([]byte, 63)
	for i := range b {
		b[i] = 'x'
	}
	return string(b) + "/000000000000"
}()

// request is one Append on its way through the committer, or a control
// function that runs while nothing else is in flight.
type request struct {
	ctx     context.Context
	log     *openLog
	batch   *seal.Batch
	opts    AppendOptions
	careful bool // its records must be looked up before they are sequenced
	tries   int

	// receipts of records that were resolved without being sequenced; nil
	// until then. place maps the batch's records to indexes in receipts.
	receipts   []Receipt
	place      []int
	follow     [][2]int           // receipts of records that repeat one of the batch: {of, as}
	partialErr error              // errors at the refused records of a partial batch
	refusals   []*evidence.Record // ConflictRecorded of the refused ones

	control func(ctx context.Context, c *committer) error

	done chan result
}

type result struct {
	receipts []Receipt
	err      error
}

// settle gives the records that repeat one of the batch its receipt.
func (r *request) settle() {
	for _, f := range r.follow {
		r.receipts[f[0]] = r.receipts[f[1]]
		r.receipts[f[0]].Duplicate = true
	}
}

func (r *request) fail(err error) { r.done <- result{err: err} }

// WaitPublished returns the newest published checkpoint of a log once it
// covers size leaves.
func (l *Ledger) WaitPublished(ctx context.Context, tenant string, logNo int, size int64) ([]byte, error) {
	o, err := l.logByNo(ctx, tenant, logNo)
	if err != nil {
		return nil, err
	}
	for {
		o.mu.Lock()
		note, to, wake := o.published, o.publishedTo, o.wake
		o.mu.Unlock()
		if to >= size {
			return note, nil
		}
		if err := errors.Join(l.Writable(), o.failure()); err != nil {
			return nil, err
		}
		select {
		case <-wake:
		case <-time.After(l.cfg.PublishEvery): // writing may have stopped, or another process wrote
			if !l.shared {
				break
			}
			_, err := l.latest(ctx, o)
			if err == nil {
				err = l.publish(ctx, o)
			}
			if err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
