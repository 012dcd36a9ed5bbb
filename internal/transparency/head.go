package transparency

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

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
	of := map[int64][]ledger.Attestation{}
	for _, a := range all {
		of[a.Size] = append(of[a.Size], a)
	}
	sizes := slices.Sorted(maps.Keys(of))
	for _, size := range slices.Backward(sizes) {
		if size <= s.Size && h.cfg.Quorum(of[size]) {
			note, err := s.NoteAt(ctx, size)
			return note, size, err
		}
	}
	return d.note, d.size, nil
}
