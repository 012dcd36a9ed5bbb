package producers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// stateVersion is that of the stored form. What has another is counted anew.
const stateVersion = 1

// state is a book as stored.
type state struct {
	Version   int         `json:"v"`
	LogNo     int         `json:"log"`
	Seq       int64       `json:"seq"`
	Last      string      `json:"last"`           // id of the leaf before the position
	Gone      int64       `json:"gone,omitempty"` // producers that were let go
	Records   int64       `json:"gone_records,omitempty"`
	Producers []*producer `json:"producers"`
}

func setting(tenant string) string { return "producers/" + tenant }

func (b *book) text() (string, error) {
	text, err := json.Marshal(state{
		Version: stateVersion, LogNo: b.at.LogNo, Seq: b.at.Seq, Last: b.last.String(), Gone: b.goneProducers, Records: b.goneRecords,
		Producers: b.sorted(),
	})
	return string(text), err
}

// sorted returns the producers, the server first, by credential and component.
func (b *book) sorted() []*producer {
	return slices.SortedFunc(maps.Values(b.list), byName)
}

func byName(x, y *producer) int {
	return cmp.Or(cmp.Compare(x.Credential, y.Credential), cmp.Compare(x.Component, y.Component))
}

func bookOf(tenant, text string) (*book, error) {
	var s state
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, err
	}
	b := newBook(tenant)
	if s.Version != stateVersion {
		return nil, fmt.Errorf("it has version %d", s.Version)
	}
	last, ok := evidence.ParseID(s.Last)
	if s.LogNo < 1 || s.Seq < 1 || !ok {
		return nil, errors.New("it has no position")
	}
	b.at, b.last = store.Position{LogNo: s.LogNo, Seq: s.Seq}, last
	b.goneProducers, b.goneRecords = s.Gone, s.Records
	for _, p := range s.Producers {
		if p == nil || p.Kinds == nil {
			return nil, errors.New("it has a producer without records")
		}
		b.list[key{p.Credential, p.Component}] = p
	}
	return b, nil
}

// load returns the book of a tenant as stored, or an empty one where none is stored, or
// one of another log. Errors are those of reading.
func (t *Tracker) load(ctx context.Context, tenant string, end store.Position) (*book, error) {
	text, err := t.cfg.Store.Setting(ctx, setting(tenant))
	if errors.Is(err, evidence.ErrNotFound) {
		return newBook(tenant), nil
	}
	if err != nil {
		return nil, fmt.Errorf("producers of %s: %w", tenant, err)
	}
	b, err := bookOf(tenant, text)
	if err == nil {
		if err = t.known(ctx, b, end); err == nil {
			return b, nil
		}
		if !errors.Is(err, errOther) {
			return nil, err
		}
	}
	t.log.Warn("producers are counted anew", "tenant", tenant, "why", err)
	return newBook(tenant), nil
}

// errOther says that a book is of other leaves than those of the log.
var errOther = errors.New("the log is not the one that was counted")

// known looks for the last leaf of a book in the log.
func (t *Tracker) known(ctx context.Context, b *book, end store.Position) error {
	if before(end, b.at) {
		return errOther
	}
	ref := store.LogRef{Tenant: b.tenant, No: b.at.LogNo}
	head, err := t.cfg.Store.Head(ctx, ref)
	if err != nil {
		return fmt.Errorf("head of log %d of %s: %w", ref.No, b.tenant, err)
	}
	if head.Size < b.at.Seq {
		return errOther
	}
	return t.cfg.Ledger.Leaves(ctx, b.tenant, b.at.LogNo, b.at.Seq-1, b.at.Seq, func(_ int64, raw []byte) error {
		l, err := evidence.ParseLeaf(raw)
		if err != nil || l.ID != b.last {
			return errOther
		}
		return nil
	})
}

// before reports whether a stands before b.
func before(a, b store.Position) bool {
	return a.LogNo < b.LogNo || a.LogNo == b.LogNo && a.Seq < b.Seq
}
