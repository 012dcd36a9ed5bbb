package transparency

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

type logID struct {
	tenant string
	no     int
}

// heads are the checkpoints that are served, one for each log that was asked for.
type heads struct {
	mu sync.Mutex // guards of, not the heads
	of map[logID]*head
}

// head is what is served of one log as its checkpoint.
type head struct {
	mu   sync.Mutex
	size int64
	note []byte    // with the log's signature alone; nil before the first request
	full []byte    // with the cosignatures that there were
	at   time.Time // when it was put together
}

func (h *heads) get(id logID) *head {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of[id] == nil {
		h.of[id] = &head{}
	}
	return h.of[id]
}

// current returns the checkpoint to serve of a log, with cosignatures, and its size.
// It changes at most once in Every.
func (h *Handler) current(ctx context.Context, s *ledger.Served) ([]byte, int64, error) {
	if h.cfg.Shared {
		return h.shared(ctx, s)
	}
	d := h.heads.get(logID{s.Tenant, s.No})
	d.mu.Lock()
	defer d.mu.Unlock()
	now := h.cfg.Now()
	if since := now.Sub(d.at); d.note != nil && since >= 0 && since < h.cfg.Every {
		return d.full, d.size, nil
	}
	note, size, err := h.newest(ctx, s, d)
	if err != nil {
		return nil, 0, err
	}
	full, err := h.cfg.Ledger.Cosigned(ctx, s.Tenant, s.No, note)
	if err != nil {
		return nil, 0, err
	}
	d.note, d.full, d.size, d.at = note, full, size, now
	return full, size, nil
}

// shared is current where other processes serve the log too. It follows from what the
// store has alone, which only grows: the newest checkpoint that is published, or with a
// quorum the newest that has it. An earlier answer only says below what size nobody
// needs to look.
func (h *Handler) shared(ctx context.Context, s *ledger.Served) ([]byte, int64, error) {
	note, size := s.Note, s.Size
	if h.cfg.Quorum != nil {
		d := h.heads.get(logID{s.Tenant, s.No})
		d.mu.Lock()
		from := d.size
		d.mu.Unlock()
		all, err := h.cfg.Ledger.Cosignatures(ctx, s.Tenant, s.No, from)
		if err != nil {
			return nil, 0, err
		}
		if size = h.cosigned(all, s.Size); size == 0 {
			return nil, 0, fmt.Errorf("checkpoint of %s: %w: no quorum of witnesses has cosigned one of late", s.Origin, evidence.ErrUnavailable)
		}
		if note, err = s.NoteAt(ctx, size); err != nil {
			return nil, 0, err
		}
		d.mu.Lock()
		d.size = max(d.size, size)
		d.mu.Unlock()
	}
	full, err := h.cfg.Ledger.Cosigned(ctx, s.Tenant, s.No, note)
	return full, size, err
}

// cosigned returns the largest size, at most most, of which these cosignatures are a
// quorum; 0 where there is none.
func (h *Handler) cosigned(all []ledger.Attestation, most int64) int64 {
	of := map[int64][]ledger.Attestation{}
	for _, a := range all {
		of[a.Size] = append(of[a.Size], a)
	}
	for _, size := range slices.Backward(slices.Sorted(maps.Keys(of))) {
		if size <= most && h.cfg.Quorum(of[size]) {
			return size
		}
	}
	return 0
}

// newest returns the newest checkpoint of a log that may be served. The first one of
// this process is the newest published, whoever has cosigned it: nothing larger was
// served by another process, and to those who watch, a smaller one would be a log
// that was cut.
func (h *Handler) newest(ctx context.Context, s *ledger.Served, d *head) ([]byte, int64, error) {
	if h.cfg.Quorum == nil || d.note == nil {
		return s.Note, s.Size, nil
	}
	all, err := h.cfg.Ledger.Cosignatures(ctx, s.Tenant, s.No, d.size+1)
	if err != nil {
		return nil, 0, err
	}
	if size := h.cosigned(all, s.Size); size > 0 {
		note, err := s.NoteAt(ctx, size)
		return note, size, err
	}
	return d.note, d.size, nil
}
