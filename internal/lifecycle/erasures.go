package lifecycle

import (
	"context"
	"errors"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/verify"
)

const (
	// MaxErasures bounds a page of the list of erasures; defaultErasures is one.
	MaxErasures     = 1000
	defaultErasures = 100
)

// ErasureInfo is an erasure as its statement has it. OrderedBy and Reason are shown to who may read content.
type ErasureInfo struct {
	ID         string `json:"erasure_id"`
	ExecutedAt string `json:"executed_at"`
	RecordedAt string `json:"recorded_at"`
	OrderedBy  string `json:"ordered_by,omitempty"`
	Reason     string `json:"reason,omitempty"`
	Records    int64  `json:"records"`
	Fields     int64  `json:"fields"`
	Runs       int64  `json:"runs"`
	Keys       int64  `json:"keys_destroyed"`
	Retire     int64  `json:"keys_to_retire"` // when it was executed
	Retiring   int    `json:"keys_retiring"`  // of these, by now
	Orders     int64  `json:"orders"`         // records that name what was erased
	Record     string `json:"record_id"`
	// Until is when the certificate can no longer be asked for; "" where that has passed.
	Until string `json:"certificate_until,omitempty"`
	// Unreadable: the statement cannot be opened, or is none. Nothing of it is known but its record.
	Unreadable bool `json:"unreadable,omitempty"`
}

// ErasureQuery asks for a page of the list of erasures, the newest first.
type ErasureQuery struct {
	Before string // the last erasure of the page before
	Limit  int    // 0: 100
}

// ErasureList is a page of them.
type ErasureList struct {
	TenantID string        `json:"tenant_id"`
	Erasures []ErasureInfo `json:"erasures"`
	More     bool          `json:"more"` // ask again with before
}

// Erasures lists what was erased of a tenant, as the log states it.
func (s *Service) Erasures(ctx context.Context, tenant string, q ErasureQuery) (ErasureList, error) {
	out := ErasureList{TenantID: tenant, Erasures: []ErasureInfo{}}
	if q.Limit == 0 {
		q.Limit = defaultErasures
	}
	if q.Limit < 1 || q.Limit > MaxErasures {
		return out, invalid("limit", "must be 1 to %d", MaxErasures)
	}
	if err := s.known(ctx, tenant); err != nil {
		return out, err
	}
	list, more, err := s.cfg.Ledger.Erasures(ctx, tenant, q.Before, q.Limit)
	if err != nil {
		return out, err
	}
	retiring, err := s.cfg.Ledger.Retiring(ctx, tenant)
	if err != nil {
		return out, err
	}
	for i := range list {
		info := s.erasureInfo(&list[i])
		info.Retiring = retiring[info.ID]
		out.Erasures = append(out.Erasures, info)
	}
	out.More = more
	return out, nil
}

func (s *Service) erasureInfo(f *ledger.Fetched) ErasureInfo {
	info := ErasureInfo{ID: f.Leaf.Text("entity_id"), RecordedAt: micros(f.Leaf.RecordedAt), Record: f.Leaf.ID.String()}
	e, err := verify.ParseErasureStatement([]byte(f.Open[pathAfter].JSON))
	if err != nil {
		s.cfg.Logger.Error("statement of an erasure", "erasure", info.ID, "log", f.Leaf.Log, "leaf", f.Seq, "err", err)
		info.Unreadable = true
		return info
	}
	info.ID, info.ExecutedAt = e.ErasureID, micros(e.ExecutedAt)
	info.OrderedBy, info.Reason = evidence.ActorOf([]byte(f.Open[pathActor].JSON)), textOf(f, "/action_reason")
	info.Records, info.Fields, info.Runs, info.Keys = e.Records, e.Fields, e.Runs, e.KeysDestroyed
	info.Retire, info.Orders = e.KeysToRetire, e.Orders
	if until := certificateUntil(e.ExecutedAt); s.now() < until {
		info.Until = micros(until)
	}
	return info
}

func certificateUntil(executed evidence.Micros) evidence.Micros {
	return executed + evidence.Micros(certificatesFor.Microseconds())
}

// fromLog makes the certificate of an erasure that has none: making it failed, or a crash
// came before. One that is older than certificates are kept is evidence.ErrNotFound.
func (s *Service) fromLog(ctx context.Context, tenant, id string) ([]byte, error) {
	e, err := s.cfg.Ledger.Erasure(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	if s.now() >= certificateUntil(e.At) {
		return nil, noCertificate(id)
	}
	return s.certify(ctx, tenant, e)
}

// certifyMissing makes the certificates that erasures have not got. What cannot be made now is
// tried in the next round.
func (s *Service) certifyMissing(ctx context.Context) {
	var executed []string // <tenant>/<erasure>
	have := map[string]bool{}
	err := s.cfg.Store.SettingsUnder(ctx, ledger.SettingErasure, 1, func(name, value string) error {
		if value == "" {
			executed = append(executed, strings.TrimPrefix(name, ledger.SettingErasure))
		}
		return nil
	})
	if err == nil {
		err = s.cfg.Store.SettingsUnder(ctx, settingCertificate, 1, func(name, _ string) error {
			have[strings.TrimPrefix(name, settingCertificate)] = true // or it is forgotten
			return nil
		})
	}
	if err != nil && ctx.Err() == nil {
		s.cfg.Logger.Warn("look for erasures without a certificate", "err", err)
		return
	}
	for _, of := range executed {
		tenant, id, ok := strings.Cut(of, "/")
		if !ok || have[of] || ctx.Err() != nil {
			continue
		}
		_, err := s.fromLog(ctx, tenant, id)
		// That something else is not found, of what it takes to make one, is no answer for ever.
		if errors.Is(err, ledger.ErrNotExecuted) || errors.Is(err, errForgotten) {
			err = s.cfg.Store.SetSetting(ctx, settingCertificate+of, "")
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Logger.Error("certificate of an erasure", "tenant", tenant, "erasure", id, "err", err)
		}
	}
}
