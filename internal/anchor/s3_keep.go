package anchor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/runledger/runledger/evidence"
)

// Accept implements ledger.Anchor. Nobody else may move the anchor meanwhile: a process
// that still does has a state that the operator has just given up.
func (s *S3) Accept(origin string, lost, note []byte) error {
	if err := checkOrigin(origin); err != nil {
		return err
	}
	conditional, err := s.conditionalWrites()
	if err != nil {
		return of(origin, err)
	}
	l, _ := s.known(origin)
	l.writing.Lock()
	defer l.writing.Unlock()
	s.remember(origin, nil)
	if lost != nil {
		if err := s.keep(s.key(origin+".lost-"+nameOf(lost)), lost, conditional); err != nil {
			return of(origin, err)
		}
	}
	key := s.key(origin + ".note")
	if note == nil {
		return of(origin, s.remove(key))
	}
	have, err := s.get(key)
	if err != nil && !errors.Is(err, ErrAbsent) {
		return of(origin, err)
	}
	if bytes.Equal(have.bytes(), note) {
		return nil
	}
	next, err := s.put(key, note, have, conditional)
	if errors.Is(err, ErrMoved) {
		// It may have been this very write, whose answer was lost.
		if now, again := s.get(key); again == nil && bytes.Equal(now.data, note) {
			return nil
		}
		err = fmt.Errorf("%w: another process moves the anchor while a rollback is accepted; stop all others first", evidence.ErrUnavailable)
	}
	if err != nil {
		return of(origin, err)
	}
	s.remember(origin, next)
	return nil
}

// nameOf names what is kept by what it is, so that it is kept once.
func nameOf(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		sum := sha256.Sum256(p)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// keep writes what is never written over.
func (s *S3) keep(key string, data []byte, conditional bool) error {
	have, err := s.get(key)
	if errors.Is(err, ErrAbsent) {
		if _, err = s.put(key, data, nil, conditional); errors.Is(err, ErrMoved) {
			have, err = s.get(key) // another process keeps the same
		} else {
			return err
		}
	}
	if err == nil && !bytes.Equal(have.data, data) {
		err = fmt.Errorf("%s: %w: it is not what was kept under this name", s.where(key), evidence.ErrTampered)
	}
	return err
}

func (s *S3) remove(key string) error {
	err := s.do("remove "+s.where(key), func(ctx context.Context) error {
		return s.client.RemoveObject(ctx, s.cfg.Bucket, key, minio.RemoveObjectOptions{})
	})
	if errors.Is(err, ErrAbsent) {
		return nil
	}
	return err
}

// Lost implements ledger.Anchor.
func (s *S3) Lost(origin string) ([][]byte, error) { return s.aside(origin, ".lost-") }

// Forks implements ledger.Anchor.
func (s *S3) Forks(origin string) ([][]byte, error) { return s.aside(origin, ".fork-") }

// aside reads what was put aside, in order of the keys.
func (s *S3) aside(origin, kind string) ([][]byte, error) {
	if err := checkOrigin(origin); err != nil {
		return nil, err
	}
	keys, err := s.list(s.key(origin + kind))
	if err != nil {
		return nil, of(origin, err)
	}
	var out [][]byte
	for _, key := range keys {
		o, err := s.get(key)
		if errors.Is(err, ErrAbsent) {
			err = fmt.Errorf("%w: %s was there just now", evidence.ErrUnavailable, s.where(key))
		}
		if err != nil {
			return nil, of(origin, err)
		}
		out = append(out, o.data)
	}
	return out, nil
}

// KeepFork implements ledger.Anchor.
func (s *S3) KeepFork(origin string, ours, seen []byte) (string, error) {
	if err := checkOrigin(origin); err != nil {
		return "", err
	}
	conditional, err := s.conditionalWrites()
	if err != nil {
		return "", of(origin, err)
	}
	keys, err := s.list(s.key(origin + ".fork-"))
	if err != nil {
		return "", of(origin, err)
	}
	name := s.key(origin + ".fork-" + nameOf(ours, seen))
	where := s.where(name) + ".ours"
	if seen != nil {
		where += " and .seen"
	}
	if slices.Contains(keys, name+".ours") {
		return where, nil
	}
	pairs := 0
	for _, key := range keys {
		if strings.HasSuffix(key, ".ours") {
			pairs++
		}
	}
	if pairs >= maxForks {
		return "", nil
	}
	if seen != nil {
		if err := s.keep(name+".seen", seen, conditional); err != nil {
			return "", of(origin, err)
		}
	}
	return where, of(origin, s.keep(name+".ours", ours, conditional)) // last: it says that both are there
}
