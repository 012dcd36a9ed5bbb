package ledger

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/verify"
)

// erasureNote is what is kept of an erasure until its statement is written and the keys
// that it left are on record: a crash in between loses neither. The list of its orders would
// link the runs of a person, so it is kept encrypted, and no longer than that.
type erasureNote struct {
	ID      string          `json:"id"`
	At      evidence.Micros `json:"at"`
	By      string          `json:"by,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	Records int64           `json:"records"`
	Fields  int64           `json:"fields"`
	Runs    int64           `json:"runs"`
	Keys    int64           `json:"keys"`
	Retire  []store.KeyID   `json:"retire"`
	Orders  []string        `json:"orders"` // ids of the records with targets
}

// SettingErasure begins the settings of erasures, with tenant and id after it (<tenant>/<id>): the
// wrapped note of one that is not finished, "" once its statement is written.
const SettingErasure = "erasure/"

// settingRetire begins the settings of keys that are to go (<tenant>/<key>): the order by which one
// does and the erasures that it belongs to, "" once it is gone.
const settingRetire = "erasure_retire/"

func (w *eraser) note(records []*evidence.Record) *erasureNote {
	n := w.counts()
	note := &erasureNote{
		ID: erasureID + randomHex(6), At: evidence.MicrosOf(w.l.clock.Now()), By: w.ask.orderedBy(), Reason: w.ask.Reason,
		Records: int64(n.records), Fields: int64(n.fields), Runs: int64(n.runs), Keys: int64(len(w.keys)),
		Retire: w.toRetire(),
	}
	for _, r := range records {
		note.Orders = append(note.Orders, r.ID.String())
	}
	return note
}

func (l *Ledger) keepErasureNote(ctx context.Context, tenant string, n *erasureNote) error {
	name := SettingErasure + tenant + "/" + n.ID
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	wrapped, err := l.sealer.WrapSecret(name, text)
	if err != nil {
		return err
	}
	return l.store.SetSetting(ctx, name, base64.StdEncoding.EncodeToString(wrapped))
}

func (l *Ledger) openErasureNote(name, value string) (*erasureNote, error) {
	wrapped, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return nil, fmt.Errorf("setting %s: %w: %w", name, evidence.ErrTampered, err)
	}
	text, err := l.sealer.UnwrapSecret(name, wrapped)
	if err != nil {
		return nil, err
	}
	n := &erasureNote{}
	if err := json.Unmarshal(text, n); err != nil {
		return nil, fmt.Errorf("setting %s: %w: %w", name, evidence.ErrTampered, err)
	}
	return n, nil
}

// stateErasure writes the statement of an erasure whose records may be there: if they are
// not, there was no erasure. It may be called again.
func (l *Ledger) stateErasure(ctx context.Context, tenant string, n *erasureNote) (statement Receipt, body string, err error) {
	err = l.control(ctx, tenant, func(ctx context.Context, c *committer) error {
		o, err := c.newest(tenant)
		if err != nil {
			return err
		}
		hashes, by, err := l.erasureOrders(ctx, tenant, n)
		if err != nil {
			return err
		}
		if len(hashes) > 0 {
			if statement, body, err = l.appendStatement(ctx, c, o, n, hashes); err != nil {
				return err
			}
			for _, k := range n.Retire {
				if err := l.noteRetire(ctx, tenant, k, by, n.ID); err != nil {
					return err
				}
			}
		}
		return l.store.SetSetting(ctx, SettingErasure+tenant+"/"+n.ID, "")
	})
	if err != nil {
		err = fmt.Errorf("statement of %s: %w", n.ID, err)
	}
	return statement, body, err
}

// erasureOrders returns the leaf hashes of an erasure's records in order, and where the first
// one stands.
func (l *Ledger) erasureOrders(ctx context.Context, tenant string, n *erasureNote) ([]evidence.Hash, store.Position, error) {
	var ids []evidence.ID
	for _, text := range n.Orders {
		id, ok := evidence.ParseID(text)
		if !ok {
			return nil, store.Position{}, fmt.Errorf("%s: %w: %q is not an id", n.ID, evidence.ErrTampered, text)
		}
		ids = append(ids, id)
	}
	found, err := l.store.FindIDs(ctx, tenant, ids)
	if err != nil || len(found) == 0 {
		return nil, store.Position{}, err
	}
	var at []store.Position
	for _, p := range found {
		at = append(at, p)
	}
	slices.SortFunc(at, comparePositions)
	var hashes []evidence.Hash
	for _, p := range at {
		o, err := l.logByNo(ctx, tenant, p.LogNo)
		if err != nil {
			return nil, store.Position{}, err
		}
		leaf, hash, err := l.storedLeaf(ctx, o, p.Seq)
		if err != nil {
			return nil, store.Position{}, err
		}
		if !ServerErasure(leaf) {
			return nil, store.Position{}, fmt.Errorf("leaf %d: %w: it is not of an erasure", p.Seq, evidence.ErrTampered)
		}
		hashes = append(hashes, hash)
	}
	if len(hashes) != len(ids) {
		return nil, store.Position{}, fmt.Errorf("%s: %w: %d of its %d records are there", n.ID, evidence.ErrTampered, len(hashes), len(ids))
	}
	return hashes, at[0], nil
}

// appendStatement appends the record that says of an erasure as a whole what was done,
// unless it is there.
func (l *Ledger) appendStatement(ctx context.Context, c *committer, o *openLog, n *erasureNote, hashes []evidence.Hash) (Receipt, string, error) {
	body := string((&verify.ErasureStatement{
		TenantID: o.Tenant, ErasureID: n.ID, ExecutedAt: n.At, Records: n.Records, Fields: n.Fields, Runs: n.Runs,
		KeysDestroyed: n.Keys, KeysToRetire: int64(len(n.Retire)),
		Orders: int64(len(hashes)), OrdersDigest: verify.OrdersDigest(hashes),
	}).JSON())
	r := l.auditRecord(max(n.At, evidence.MicrosOf(l.clock.Now())), eventErased, "RETENTION", n.ID)
	r.ID, r.NaturalKey = evidence.ID{}, statementKey(n.ID)
	if err := r.AssignID(o.Tenant); err != nil {
		return Receipt{}, "", err
	}
	have, err := l.store.FindIDs(ctx, o.Tenant, []evidence.ID{r.ID})
	if err != nil {
		return Receipt{}, "", err
	}
	if at, there := have[r.ID]; there {
		in, err := l.logByNo(ctx, o.Tenant, at.LogNo)
		if err != nil {
			return Receipt{}, "", err
		}
		leaf, hash, err := l.storedLeaf(ctx, in, at.Seq)
		if err != nil {
			return Receipt{}, "", err
		}
		return receiptOf(in, leaf, hash), body, nil
	}
	r.SetSealed("/after_state", []byte(body))
	if n.By != "" {
		r.SetHumanActor(n.By)
	}
	if n.Reason != "" {
		r.SetSealed("/action_reason", evidence.QuoteJSON(n.Reason))
	}
	p := c.newPlan()
	receipts, err := l.planOwn(ctx, p, o, r)
	if err != nil {
		p.restore(l)
		return Receipt{}, "", err
	}
	if err := c.commitNow(ctx, p); err != nil {
		return Receipt{}, "", err
	}
	return receipts[0], body, nil
}

// statementKey is the natural key of the statement of an erasure.
func statementKey(id string) string { return "erasure:" + id }

// retireSetting names the note that a key is to be destroyed.
func retireSetting(tenant string, k store.KeyID) string {
	return settingRetire + tenant + "/" + hex.EncodeToString(k[:])
}

// noteRetire writes down that a key is to be destroyed, by which order, and of which erasure ("": of none).
func (l *Ledger) noteRetire(ctx context.Context, tenant string, k store.KeyID, by store.Position, erasure string) error {
	name := retireSetting(tenant, k)
	order, err := l.store.Setting(ctx, name)
	if err != nil && !errors.Is(err, evidence.ErrNotFound) {
		return err
	}
	if order == "" {
		order = formatPosition(by)
	}
	if erasure != "" && !slices.Contains(strings.Fields(order), erasure) {
		order += " " + erasure
	}
	return l.store.SetSetting(ctx, name, order)
}

// Retiring counts, by the id of the erasure, the keys of a tenant that are still to be destroyed.
func (l *Ledger) Retiring(ctx context.Context, tenant string) (map[string]int, error) {
	out := map[string]int{}
	list, err := l.settingsOf(store.NoLag(ctx), settingRetire+tenant+"/")
	for _, order := range list {
		if parts := strings.Fields(order); len(parts) > 2 {
			for _, id := range parts[2:] {
				out[id]++
			}
		}
	}
	return out, err
}

// FinishErasures goes on with what erasures of a tenant left to be done: a statement that a crash
// came before; and keys that opened what was erased, or what has expired although it was
// kept longer than its day's key (retireLater), are destroyed, once the rest under them has
// been sealed anew under another key of the same label. It is called at start, after
// each erasure, and after each expiry. What cannot be done does not keep the rest from it.
func (l *Ledger) FinishErasures(ctx context.Context, tenant string) (Retired, error) {
	ctx = store.NoLag(ctx)
	var out Retired
	notes, err := l.settingsOf(ctx, SettingErasure+tenant+"/")
	if err != nil {
		return out, err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(notes)) {
		stated, err := l.finishErasure(ctx, tenant, name, notes[name])
		errs = append(errs, err)
		if stated {
			out.Erasures++
		}
	}
	retire, err := l.settingsOf(ctx, settingRetire+tenant+"/")
	errs = append(errs, err)
	for _, name := range slices.Sorted(maps.Keys(retire)) {
		done, err := l.finishKey(ctx, tenant, name, retire[name])
		errs = append(errs, err)
		out.Keys, out.Segments = out.Keys+done.Keys, out.Segments+done.Segments
	}
	return out, errors.Join(append(errs, l.ScrubDue(ctx))...)
}

// finishErasure writes the statement of an erasure that may have been executed, and reports whether it
// was.
func (l *Ledger) finishErasure(ctx context.Context, tenant, name, note string) (stated bool, err error) {
	n, err := l.openErasureNote(name, note)
	if err != nil {
		return false, err
	}
	_, unlock := l.life(tenant) // an erasure of this process may be about to commit it
	defer unlock()
	statement, _, err := l.stateErasure(ctx, tenant, n)
	return err == nil && statement.Log != "", err
}

// finishKey destroys a key that an order says the end of.
func (l *Ledger) finishKey(ctx context.Context, tenant, name, order string) (out Retired, err error) {
	var key store.KeyID
	by, ok := parsePosition(order)
	raw, err := hex.DecodeString(name[strings.LastIndexByte(name, '/')+1:])
	if !ok || err != nil || copy(key[:], raw) != len(key) {
		return out, fmt.Errorf("setting %s: %w", name, evidence.ErrTampered)
	}
	if _, err = l.store.DataKey(ctx, tenant, key); err == nil {
		out, err = l.retire(ctx, tenant, []retiring{{key, ""}}, by)
	}
	if err != nil && !errors.Is(err, evidence.ErrNotFound) {
		return out, err
	}
	return out, l.store.SetSetting(ctx, name, "")
}

// settingsOf returns the settings under a prefix that have a value.
func (l *Ledger) settingsOf(ctx context.Context, prefix string) (map[string]string, error) {
	out := map[string]string{}
	err := l.store.SettingsUnder(ctx, prefix, math.MaxInt32, func(name, value string) error {
		if value != "" {
			out[name] = value
		}
		return nil
	})
	return out, err
}

func formatPosition(p store.Position) string { return fmt.Sprintf("%d %d", p.LogNo, p.Seq) }

func parsePosition(text string) (p store.Position, ok bool) {
	n, err := fmt.Sscanf(text, "%d %d", &p.LogNo, &p.Seq)
	return p, err == nil && n == 2
}
