package otlp

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

// maxBatch bounds the content of all records of a request together. Resource
// and scope are written into each of them, names and persons too, so that a
// request of 64 MiB could otherwise become terabytes.
const maxBatch = 512 << 20

// recordSize is what a record takes in memory besides its content, from here to
// its receipt: facts, sealed fields, keys. It counts, so that a request of
// nothing but the smallest spans has a bound too.
const recordSize = 2 << 10

// spendStep is how much room is asked for at a time.
const spendStep = 4 << 20

// request is a request while it is mapped.
type request struct {
	m     *Mapper
	batch *Batch
	enc   encoder // its buffer is used again for each record
	spent int     // bytes of content so far
	taken int     // bytes that grow gave
	arena arena

	traces    map[pcommon.TraceID]*traceSeen
	order     []*traceSeen // by arrival
	lastID    pcommon.TraceID
	lastTrace string // lastID in hex

	ordinals map[[sha256.Size]byte]int // of equal contents
}

func newRequest(m *Mapper, records int) *request {
	return &request{
		m: m, traces: map[pcommon.TraceID]*traceSeen{}, ordinals: map[[sha256.Size]byte]int{},
		// A producer may state a count without sending so many.
		batch: &Batch{Items: make([]Item, 0, min(records, 1<<16))},
	}
}

func (q *request) encoder() *encoder {
	q.enc = encoder{b: append(q.enc.b[:0], '[')}
	return &q.enc
}

// spend takes n bytes off what the request may have, or says why it cannot.
func (q *request) spend(n int) string {
	if q.batch.Err != nil {
		return "there is no room for it now"
	}
	if q.spent+n > q.m.room {
		return fmt.Sprintf("the records of the request, each with its resource, are over %d MiB together; send smaller requests", q.m.room>>20)
	}
	if q.m.grow != nil && q.spent+n > q.taken {
		more := max(spendStep, q.spent+n-q.taken)
		if q.batch.Err = q.m.grow(more); q.batch.Err != nil {
			return q.spend(n)
		}
		q.taken += more
	}
	q.spent += n
	return ""
}

// trace returns the id in hex; spans of one trace come together.
func (q *request) trace(id pcommon.TraceID) string {
	if q.lastTrace == "" || q.lastID != id {
		q.lastID, q.lastTrace = id, hexTrace(id)
	}
	return q.lastTrace
}

func (q *request) add(r *evidence.Record, h dialect.Hints) {
	q.batch.Items = append(q.batch.Items, Item{r, h})
}

// content makes the record's key from its content.
func (q *request) content(r *evidence.Record, content []byte) {
	sum := sha256.Sum256(content)
	r.ContentKey, r.Content, r.ContentOrdinal = true, content, q.ordinals[sum]
	q.ordinals[sum]++
}

// complete checks a record. What a dialect found in a span must not cost the
// span: content that cannot be sealed as it is becomes a JSON string, and is
// left out where it is too large; /attrs has it.
func complete(r *evidence.Record) error {
	err := r.Complete()
	for tries := 0; err != nil && tries < 5; tries++ {
		var fe *evidence.FieldError
		if !errors.As(err, &fe) || !unread(r, fe) {
			return err
		}
		err = r.Complete()
	}
	return err
}

func unread(r *evidence.Record, fe *evidence.FieldError) bool {
	if r.Kind != evidence.KindTraceStep {
		return false
	}
	copies := []string{pathPrompt, pathResponse, pathParams, pathOutcome}
	path := "/" + fe.Field
	switch {
	case errors.Is(fe, evidence.ErrTooLarge):
		n := len(r.Sealed)
		r.Sealed = slices.DeleteFunc(r.Sealed, func(v evidence.SealedValue) bool { return slices.Contains(copies, v.Path) })
		if len(r.Sealed) == n {
			return false
		}
	case slices.Contains(copies, path) && r.SealedJSON(path) != nil:
		r.SetSealed(path, appendQuoted(nil, string(r.SealedJSON(path))))
	default:
		return false
	}
	flags, _ := r.Fact("flags")
	if i, found := slices.BinarySearch(flags.List, FlagContentUnread); !found {
		r.SetNames("flags", slices.Insert(slices.Clone(flags.List), i, FlagContentUnread))
	}
	return true
}

// traceSeen gathers what a request says of a trace.
type traceSeen struct {
	id    pcommon.TraceID
	at    evidence.Micros // earliest
	src   *source         // of the earliest
	hints dialect.Hints
}

func (q *request) seen(id pcommon.TraceID, at evidence.Micros, src *source, h *dialect.Hints) {
	t := q.traces[id]
	if t == nil {
		t = &traceSeen{id: id, at: at, src: src}
		q.traces[id] = t
		q.order = append(q.order, t)
		_ = q.spend(recordSize) // what has a step has its trace too: the next record finds that there is no room
	}
	if at < t.at {
		t.at, t.src = at, src
	}
	t.hints = mergeHints(t.hints, *h)
}

// mergeHints fills what a does not say from b.
func mergeHints(a, b dialect.Hints) dialect.Hints {
	for _, p := range []struct {
		to   *string
		from string
	}{
		{&a.RunAlias, b.RunAlias},
		{&a.Conversation, b.Conversation},
		{&a.AgentName, b.AgentName},
		{&a.Source, b.Source},
		{&a.ScenarioID, b.ScenarioID},
		{&a.CorrelationID, b.CorrelationID},
		{&a.Executor, b.Executor},
	} {
		if *p.to == "" {
			*p.to = p.from
		}
	}
	a.Synthetic = a.Synthetic || b.Synthetic
	return a
}

// finish adds the trace records.
func (q *request) finish() {
	for _, t := range q.order {
		trace := hexTrace(t.id)
		r := &evidence.Record{Kind: evidence.KindTrace, OccurredAt: t.at, Run: trace, Said: saidByTrace}
		r.SetText("trace_id", trace)
		r.SetText("source_domain", "ACTIVITY")
		r.SetText("source_component", t.src.component)
		r.SetText("service_name", t.src.service)
		r.SetText("system_id", t.src.service)
		r.SetText("run_alias", t.hints.RunAlias)
		r.SetText("schema_version", t.src.schema)
		r.SetText("correlation_id", t.hints.CorrelationID)
		r.SetText("synthetic_scenario_id", t.hints.ScenarioID)
		r.SetBool("is_synthetic", t.hints.Synthetic)
		if err := complete(r); err != nil {
			q.batch.note("trace " + trace + ": " + err.Error())
			continue
		}
		q.batch.Traces = append(q.batch.Traces, Item{r, t.hints})
	}
}
