package access

import (
	"context"
	"time"
)

// Authority is what a rule lets a request ask for.
type Authority struct {
	// IncludeSynthetic: synthetic records may be asked for. SyntheticOnly:
	// nothing else is shown.
	IncludeSynthetic, SyntheticOnly bool
	MaxRows                         int           // of one page
	MaxRange                        time.Duration // of one query window; 0: no bound
	ExportAllowed                   bool
}

// Grant is what let a request in.
type Grant struct {
	Principal
	Rule string // id of the rule
	Authority
}

// Content reports whether sealed content may be shown.
func (g Grant) Content() bool { return g.Permissions.Has(LogsReadContent) }

// View is what a handler says about what it discloses; the guard records it.
// It is for the goroutine of the request.
type View struct {
	// Event is LOG_VIEW or LOG_EXPORT. Where it is empty it is LOG_EXPORT if the
	// rule says so and the answer is no error, else LOG_VIEW.
	Event string
	// EntityType and EntityID are what is looked at. Default: LOG and the topic of
	// the rule.
	EntityType, EntityID string
	// Run is the run it is about, where this tenant has it.
	Run string
	// Records is how many records are disclosed.
	Records int64
	// Digest ("sha256:" and hex) and Bytes are of what is given out where that is not the body of
	// the answer itself: the bytes of an export.
	Digest string
	Bytes  int64
	// Status is that of an answer which is recorded before it is begun, see RecordNow.
	// Default: 200.
	Status int
	// Recorded says that the request has its record, and the guard appends none:
	// RecordNow did, or the handler through what has a record of its own.
	Recorded bool
}

type grantKey struct{}

type viewKey struct{}

// GrantOf returns the grant of a request, the zero value where it has none: it
// may do nothing.
func GrantOf(ctx context.Context) Grant {
	g, _ := ctx.Value(grantKey{}).(Grant)
	return g
}

// ViewOf returns the view of a request; where it has none, one that nobody
// records.
func ViewOf(ctx context.Context) *View {
	if v, ok := ctx.Value(viewKey{}).(*View); ok {
		return v
	}
	return &View{}
}

func withGrant(ctx context.Context, g Grant, v *View) context.Context {
	return context.WithValue(context.WithValue(ctx, grantKey{}, g), viewKey{}, v)
}
