package sqlite

import (
	"context"
	"math"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	sqlAddAttestation  = `INSERT INTO attestations (row, kind, by_name, key_id, at, note, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)`
	sqlFindAttestation = `SELECT 1 FROM attestations WHERE row = ?1 AND kind = ?2 AND by_name = ?3 AND key_id = ?4`

	// A constant for the kind, so that the index of stamps is seen to fit. The plus
	// keeps the order of the primary key in sight.
	sqlAttestationColumns = `SELECT row, kind, by_name, key_id, at, note, data FROM attestations`
	sqlAttestations       = sqlAttestationColumns + ` WHERE row >= ?1 AND row <= ?2 ORDER BY row, kind, by_name, key_id LIMIT ?3`
	sqlAttestationsBack   = sqlAttestationColumns + ` WHERE row >= ?1 AND row <= ?2 ORDER BY row DESC, kind DESC, by_name DESC, key_id DESC LIMIT ?3`
	sqlCosignatures       = sqlAttestationColumns + ` WHERE row >= ?1 AND row <= ?2 AND +kind = 'cosignature' ORDER BY row, kind, by_name, key_id LIMIT ?3`
	sqlCosignaturesBack   = sqlAttestationColumns + ` WHERE row >= ?1 AND row <= ?2 AND +kind = 'cosignature' ORDER BY row DESC, kind DESC, by_name DESC, key_id DESC LIMIT ?3`
	sqlStamps             = sqlAttestationColumns + ` INDEXED BY attestations_stamps WHERE row >= ?1 AND row <= ?2 AND kind = 'timestamp' ORDER BY row, by_name, key_id LIMIT ?3`
	sqlStampsBack         = sqlAttestationColumns + ` INDEXED BY attestations_stamps WHERE row >= ?1 AND row <= ?2 AND kind = 'timestamp' ORDER BY row DESC, by_name DESC, key_id DESC LIMIT ?3`
)

// attestationQueries are the statements by kind, in rising and in falling order.
var attestationQueries = map[string][2]string{
	"":                    {sqlAttestations, sqlAttestationsBack},
	store.KindCosignature: {sqlCosignatures, sqlCosignaturesBack},
	store.KindTimestamp:   {sqlStamps, sqlStampsBack},
}

// Attestations implements store.Reader.
func (q queries) Attestations(ctx context.Context, log store.LogRef, query store.AttestationQuery, fn func(store.Attestation) error) error {
	sql, ok := attestationQueries[query.Kind]
	if !ok {
		return invalid("attestations of kind %q", query.Kind)
	}
	from, to, limit := max(query.From, 0), min(query.To, numberMask), int64(query.Limit)
	if limit <= 0 {
		limit = math.MaxInt64
	}
	return q.inLog(ctx, log, func(r *reader, key int64) error {
		if from > to {
			return nil
		}
		text := sql[0]
		if query.Newest {
			text = sql[1]
		}
		return r.run(ctx, text, func(s *sqlite.Stmt) error {
			return fn(store.Attestation{
				Size: s.ColumnInt64(0) & numberMask, Kind: s.ColumnText(1), By: s.ColumnText(2), Key: s.ColumnText(3),
				At: evidence.Micros(s.ColumnInt64(4)), Note: blob(s, 5), Data: blob(s, 6),
			})
		}, rowKey(key, from), rowKey(key, to), limit)
	})
}

// KeepAttestations implements store.Store.
func (db *DB) KeepAttestations(ctx context.Context, log store.LogRef, list []store.Attestation) error {
	w, err := db.writing()
	if err != nil {
		return err
	}
	return w.transact(ctx, func() error {
		key, _, err := w.logKey(log)
		if err != nil {
			return err
		}
		for i := range list {
			if err := w.keepAttestation(key, &list[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *writer) keepAttestation(key int64, a *store.Attestation) error {
	_, known := attestationQueries[a.Kind]
	if !known || a.Kind == "" || len(a.Data) == 0 || !inRange(a.Size) {
		return invalid("attestation of kind %q at size %d with %d bytes", a.Kind, a.Size, len(a.Data))
	}
	find := w.st.findAttestation
	bindAttestation(find, key, a)
	found, err := find.Step()
	if err != nil {
		return err
	}
	if err := find.Reset(); err != nil || found {
		return err
	}
	s := w.st.addAttestation
	bindAttestation(s, key, a)
	s.BindInt64(5, int64(a.At))
	if len(a.Note) == 0 {
		s.BindNull(6)
	} else {
		s.BindBytes(6, a.Note)
	}
	s.BindBytes(7, a.Data)
	return step(s)
}

func bindAttestation(s *sqlite.Stmt, key int64, a *store.Attestation) {
	s.BindInt64(1, rowKey(key, a.Size))
	s.BindText(2, a.Kind)
	s.BindText(3, a.By)
	s.BindText(4, a.Key)
}
