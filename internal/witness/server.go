package witness

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/runledger/runledger/internal/c2sp"
)

const (
	// maxRequest bounds a request: 63 hashes and a note.
	maxRequest = 4<<10 + c2sp.MaxNoteSize
	// sizeType is the content type of a tree size, tlog-witness.
	sizeType = "text/x.tlog.size"
)

// ServerConfig says what a witness does.
type ServerConfig struct {
	Dir  string // its state
	Name string // its key name, for the first start; later empty or the same
	// Logs are the verifier keys of the logs that it cosigns.
	Logs   []string
	Logger *slog.Logger     // default: none
	Now    func() time.Time // default time.Now
	// MaxInFlight bounds the requests that are worked on. Default 64.
	MaxInFlight int
	// PerSecond bounds the checkpoints of one log. Default 20.
	PerSecond int
}

// Server is a witness. It is safe for concurrent use.
type Server struct {
	state *state
	log   *slog.Logger
	now   func() time.Time
	room  chan struct{}
	rate  *rate
	mux   *http.ServeMux
}

// NewServer opens the state of a witness. Another process that has it open is
// evidence.ErrConflict; state that this witness has not signed, evidence.ErrTampered.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.MaxInFlight <= 0 {
		cfg.MaxInFlight = 64
	}
	if cfg.PerSecond <= 0 {
		cfg.PerSecond = 20
	}
	st, err := openState(cfg.Dir, cfg.Name, cfg.Logger)
	if err != nil {
		return nil, err
	}
	s := &Server{
		state: st, log: cfg.Logger, now: cfg.Now, room: make(chan struct{}, cfg.MaxInFlight),
		rate: &rate{per: cfg.PerSecond, of: map[string]*bucket{}}, mux: http.NewServeMux(),
	}
	if err := s.AddLogs(cfg.Logs); err != nil {
		return nil, errors.Join(err, st.close())
	}
	s.mux.HandleFunc("POST /add-checkpoint", s.addCheckpoint)
	s.mux.HandleFunc("GET /checkpoint", s.checkpoint)
	s.mux.HandleFunc("GET /{$}", s.show)
	return s, nil
}

// AddLogs lets the witness cosign further logs. One that it has already stays.
func (s *Server) AddLogs(vkeys []string) error {
	for _, text := range vkeys {
		k, err := c2sp.ParseVKey(text)
		if err != nil {
			return err
		}
		if err := s.state.add(k); err != nil {
			return err
		}
	}
	return nil
}

// VKey returns the witness's verifier key.
func (s *Server) VKey() string { return s.state.key.VKey().String() }

// Close gives the state back.
func (s *Server) Close() error { return s.state.close() }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	select {
	case s.room <- struct{}{}:
		defer func() { <-s.room }()
		s.mux.ServeHTTP(w, r)
	default:
		refuse(w, http.StatusServiceUnavailable, "busy")
	}
}

func refuse(w http.ResponseWriter, status int, why string) {
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, why, status)
}

// show tells who the witness is.
func (s *Server) show(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, s.VKey())
}

// checkpoint shows what was last cosigned of a log.
func (s *Server) checkpoint(w http.ResponseWriter, r *http.Request) {
	l := s.state.of(r.URL.Query().Get("origin"))
	if l == nil {
		refuse(w, http.StatusNotFound, "unknown log")
		return
	}
	l.mu.Lock()
	note := l.note
	l.mu.Unlock()
	if note == nil {
		refuse(w, http.StatusNotFound, "nothing of this log was cosigned yet")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(note)
}

// addCheckpoint is tlog-witness section "add-checkpoint".
func (s *Server) addCheckpoint(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		refuse(w, http.StatusBadRequest, "the request cannot be read, or is too large")
		return
	}
	req, err := c2sp.ParseConsistency(body)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	c, _, err := c2sp.ParseNote(req.Note)
	if err != nil { // ParseConsistency has read it
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	l := s.state.of(c.Origin)
	if l == nil {
		refuse(w, http.StatusNotFound, "unknown log")
		return
	}
	if _, err := c2sp.Verify(req.Note, l.vkey); err != nil {
		refuse(w, http.StatusForbidden, "not signed by the log's key")
		return
	}
	if req.Old > c.Size {
		refuse(w, http.StatusBadRequest, "the old size is greater than the new one")
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// What was signed before can be sent again by anyone: it must not use up what the log
	// has.
	if req.Old != l.size {
		conflict(w, l.size)
		return
	}
	if c.Size > l.size && !s.rate.allow(c.Origin, s.now()) {
		refuse(w, http.StatusTooManyRequests, "too many checkpoints of this log")
		return
	}
	s.extend(w, l, c, req)
}

// extend compares a signed checkpoint with what was last cosigned, and cosigns it.
// l is locked, and of the request's old size.
func (s *Server) extend(w http.ResponseWriter, l *witnessed, c c2sp.Checkpoint, req *c2sp.Consistency) {
	if req.Old == c.Size && c.Root != l.root {
		s.fork(l, sortFork, c, req.Note)
		conflict(w, l.size)
		return
	}
	if err := c2sp.CheckConsistency(req.Hashes, c.Size, c.Root, l.size, l.root); err != nil {
		if l.size > 0 && len(req.Hashes) > 0 {
			s.fork(l, sortDoubt, c, req.Note)
		}
		refuse(w, http.StatusUnprocessableEntity, "the consistency proof does not hold")
		return
	}
	sig, note, err := s.cosign(l, c, req.Note)
	if err == nil && (c.Size != l.size || l.note == nil) {
		err = s.state.keep(l, c, note)
	}
	if err != nil {
		s.log.Error("cosign", "log", c.Origin, "size", c.Size, "err", err)
		refuse(w, http.StatusInternalServerError, "internal error")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(sig)
}

// cosign returns the signature line, and the note as it is kept.
func (s *Server) cosign(l *witnessed, c c2sp.Checkpoint, signed []byte) (line, note []byte, err error) {
	sig, err := s.state.key.Cosign(c, s.now().Unix())
	if err != nil {
		return nil, nil, err
	}
	if note, err = c2sp.OnlyLogSignature(signed, l.vkey); err != nil {
		return nil, nil, err
	}
	return sig.AppendLine(nil), sig.AppendLine(note), nil
}

func conflict(w http.ResponseWriter, size int64) {
	w.Header().Set("Content-Type", sizeType)
	w.WriteHeader(http.StatusConflict)
	_, _ = io.WriteString(w, strconv.FormatInt(size, 10)+"\n")
}

// fork keeps what the log signed against itself, or what may be that.
func (s *Server) fork(l *witnessed, sort string, c c2sp.Checkpoint, signed []byte) {
	note, err := c2sp.OnlyLogSignature(signed, l.vkey)
	file := ""
	if err == nil {
		file, err = s.state.keepFork(l, sort, c.Origin, note)
	}
	if err != nil {
		s.log.Error("keep the proof of a fork", "log", c.Origin, "err", err)
	}
	say := "the log contradicts itself: E_FORK"
	if sort == sortDoubt {
		say = "a signed checkpoint came without a proof that it extends the last one"
	}
	s.log.Error(say, "log", c.Origin, "seen_size", l.size, "seen_root", l.root.String(),
		"offered_size", c.Size, "offered_root", c.Root.String(), "kept", file)
}

// rate bounds how often each log may ask.
type rate struct {
	per int
	mu  sync.Mutex
	of  map[string]*bucket // by origin: no more than there are logs
}

type bucket struct {
	left float64
	at   time.Time
}

func (r *rate) allow(origin string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.of[origin]
	if b == nil {
		b = &bucket{left: float64(2 * r.per), at: now}
		r.of[origin] = b
	}
	b.left = min(float64(2*r.per), b.left+max(0, now.Sub(b.at).Seconds())*float64(r.per))
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
