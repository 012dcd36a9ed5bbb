package ledger

import (
	"context"
	"fmt"
	"sync"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Find returns records of a tenant's logs, see store.Query.
func (l *Ledger) Find(ctx context.Context, q store.Query) ([]store.Found, error) {
	var out []store.Found
	err := l.store.Find(ctx, q, func(f store.Found) error {
		out = append(out, f)
		return nil
	})
	return out, err
}

// Finder gives the other queries of the store.
func (l *Ledger) Finder() store.Finder { return l.store }

// End returns the position behind a tenant's newest durable record: what a list
// pins. Where ctx lets a read replica answer, it is that of the replica. The error
// wraps evidence.ErrNotFound where the tenant has no log.
func (l *Ledger) End(ctx context.Context, tenant string) (store.Position, error) {
	if store.ReplicaOf(ctx) != nil && l.shared {
		return l.endOfReplica(ctx, tenant)
	}
	o, st, err := l.latestLog(ctx, tenant)
	if err != nil {
		return store.Position{}, err
	}
	return store.Position{LogNo: o.No, Seq: st.tree.size()}, nil
}

// endOfReplica is End as a replica has it. The head there is one that the log had.
func (l *Ledger) endOfReplica(ctx context.Context, tenant string) (store.Position, error) {
	logs, err := l.store.Logs(ctx, tenant)
	if err != nil {
		return store.Position{}, err
	}
	if len(logs) == 0 {
		return store.Position{}, fmt.Errorf("tenant %q: %w", tenant, evidence.ErrNotFound)
	}
	newest := logs[len(logs)-1]
	head, err := l.store.Head(ctx, newest.LogRef)
	return store.Position{LogNo: newest.No, Seq: head.Size}, err
}

// FilterName returns the text by which a public name is found: the name itself,
// or what stands in its place where it is not fit to be public. A text that
// already has the form of a replacement is taken as one: answers show it, and
// who reads them filters by it. That a name of an IDENTITY is sealed although it
// is fit is not known here: see IndexTerm.
func (l *Ledger) FilterName(ctx context.Context, tenant, field, name string) (string, error) {
	if evidence.FitName(name) {
		return name, nil
	}
	return l.sealer.Replacement(ctx, tenant, field, name)
}

// AskedName is FilterName of a name that somebody asks for. What stands in the place of one that was not fit to
// be public stays for good; where the name itself is erased everywhere, it is that of no record any more.
func (l *Ledger) AskedName(ctx context.Context, tenant, field, name string) (string, error) {
	stands, err := l.FilterName(ctx, tenant, field, name)
	if err != nil || stands == name || !indexNames()[field] {
		return stands, err
	}
	term, err := l.IndexTerm(ctx, tenant, field, name)
	if err != nil {
		return "", err
	}
	entries, err := l.store.FindIndex(ctx, tenant, term.Name, term.MAC, 1)
	if err == nil && len(entries) == 0 {
		return nobody, nil
	}
	return stands, err
}

// nobody is the name of no record: what stands for an unfit name has digits behind it.
const nobody = "h:"

// IndexTerm returns the term of the sealed index for a value. These names exist:
//
//   - actor: the human actor; text is the person's id
//   - subject: the data subject
//   - root_hash and plan_hash of a trace: the text of a string, else the JSON text
//   - every field of type name or names: a name that is not fit to be public; of a
//     list each such member by itself
//   - entity_id, as one of those: for a person (IDENTITY) also where it is fit
//
// Any other is evidence.ErrInvalid.
func (l *Ledger) IndexTerm(ctx context.Context, tenant, name, text string) (store.IndexTerm, error) {
	if !indexNames()[name] {
		return store.IndexTerm{}, &evidence.FieldError{Field: name, Reason: "is not in the sealed index", Err: evidence.ErrInvalid}
	}
	if name == indexActor {
		// The index has the JSON text of /actor, which has one form only.
		var r evidence.Record
		r.Kind = evidence.KindAudit
		r.SetHumanActor(text)
		text = string(r.SealedJSON("/actor"))
	}
	mac, err := l.sealer.FindMAC(ctx, tenant, name, text)
	if err != nil {
		return store.IndexTerm{}, fmt.Errorf("index term %s: %w", name, err)
	}
	return store.IndexTerm{Name: name, MAC: mac}, nil
}

const indexActor = "actor"

// indexNames are the names of the sealed index, as package seal uses them.
var indexNames = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for _, k := range evidence.Kinds() {
		for _, f := range evidence.SealedFields(k) {
			if f.Indexed || f.Shape == evidence.ShapeActor {
				names[f.NativeName()] = true
			}
		}
	}
	return names
})
