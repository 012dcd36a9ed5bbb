package storetest

import (
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

func attestation(size int64, kind, by, key, data string) store.Attestation {
	a := store.Attestation{Size: size, Kind: kind, By: by, Key: key, At: evidence.Micros(1_764_000_000_000_001 + size), Data: []byte(data)}
	if kind == store.KindTimestamp {
		a.Note = []byte("a note\nwith \x00 and \xff\n")
	}
	return a
}

func testAttestations(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	const cosignature, timestamp = store.KindCosignature, store.KindTimestamp
	want := []store.Attestation{ // in their order
		attestation(1, cosignature, "W.example", "0a0b0c0d", "\x00line\xff\n"),
		attestation(1, cosignature, "w.example", "0a0b0c0d", "line\n"),
		attestation(1, cosignature, "w.example", "11111111", "another key\n"),
		attestation(1, timestamp, "authority", "", "DER"),
		attestation(1, timestamp, "zürich", "", "DER"),
		attestation(2, timestamp, "authority", "", "DER 2"),
		attestation(5, cosignature, "w.example", "0a0b0c0d", "line 5\n"),
		attestation(9, timestamp, "authority", "", "DER 9"),
	}
	keep := func(list ...store.Attestation) {
		t.Helper()
		if err := s.KeepAttestations(ctx, l.ref, list); err != nil {
			t.Fatal(err)
		}
	}
	keep(want[6], want[1], want[4])
	keep(want[7], want[2], want[0])
	keep(want[3])
	keep()
	later := want[1]
	later.At, later.Data = later.At+1, []byte("later")
	keep(later, want[5]) // the first stays, the rest is kept
	if err := s.KeepAttestations(ctx, other.ref, []store.Attestation{attestation(7, timestamp, "authority", "", "b")}); err != nil {
		t.Fatal(err)
	}

	all := store.AttestationQuery{To: 1 << 50}
	for what, c := range map[string]struct {
		query func(q *store.AttestationQuery)
		want  []store.Attestation
	}{
		"all":                 {func(*store.AttestationQuery) {}, want},
		"from 2":              {func(q *store.AttestationQuery) { q.From = 2 }, want[5:]},
		"2 to 5":              {func(q *store.AttestationQuery) { q.From, q.To = 2, 5 }, want[5:7]},
		"below":               {func(q *store.AttestationQuery) { q.From, q.To = -9, 0 }, nil},
		"nothing":             {func(q *store.AttestationQuery) { q.From, q.To = 5, 2 }, nil},
		"limit":               {func(q *store.AttestationQuery) { q.Limit = 3 }, want[:3]},
		"cosignatures":        {func(q *store.AttestationQuery) { q.Kind = cosignature }, []store.Attestation{want[0], want[1], want[2], want[6]}},
		"stamps":              {func(q *store.AttestationQuery) { q.Kind = timestamp }, []store.Attestation{want[3], want[4], want[5], want[7]}},
		"newest":              {func(q *store.AttestationQuery) { q.Newest, q.Limit = true, 3 }, []store.Attestation{want[7], want[6], want[5]}},
		"newest stamp":        {func(q *store.AttestationQuery) { q.Kind, q.Newest, q.Limit = timestamp, true, 1 }, want[7:]},
		"newest stamp to 1":   {func(q *store.AttestationQuery) { q.Kind, q.Newest, q.To = timestamp, true, 1 }, []store.Attestation{want[4], want[3]}},
		"newest cosignatures": {func(q *store.AttestationQuery) { q.Kind, q.Newest = cosignature, true }, []store.Attestation{want[6], want[2], want[1], want[0]}},
	} {
		q := all
		c.query(&q)
		got := collect(t, func(fn func(store.Attestation) error) error { return s.Attestations(ctx, l.ref, q, fn) })
		wantEqual(t, what, got, c.want)
	}
}

func testAttestationsRefused(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	good := attestation(1, store.KindTimestamp, "authority", "", "DER")
	for what, bad := range map[string]store.Attestation{
		"another kind": attestation(1, "rumour", "authority", "", "DER"), "no kind": attestation(1, "", "authority", "", "DER"),
		"no data": attestation(1, store.KindTimestamp, "b", "", ""), "a size below 0": attestation(-1, store.KindTimestamp, "b", "", "DER"),
	} {
		wantErr(t, what, s.KeepAttestations(ctx, l.ref, []store.Attestation{good, bad}), evidence.ErrInvalid)
	}
	nowhere := store.LogRef{Tenant: "a", No: 2}
	wantErr(t, "of a log that is not there", s.KeepAttestations(ctx, nowhere, []store.Attestation{good}), evidence.ErrNotFound)
	none := func(store.Attestation) error { return errStop }
	wantErr(t, "reading a log that is not there", s.Attestations(ctx, nowhere, store.AttestationQuery{To: 9}, none), evidence.ErrNotFound)
	wantErr(t, "reading another kind", s.Attestations(ctx, l.ref, store.AttestationQuery{Kind: "rumour", To: 9}, none), evidence.ErrInvalid)
	if err := s.Attestations(ctx, l.ref, store.AttestationQuery{To: 9}, none); err != nil {
		t.Errorf("something of a refused list was kept: %v", err)
	}
	if err := s.KeepAttestations(ctx, l.ref, []store.Attestation{good}); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "an error of the callback", s.Attestations(ctx, l.ref, store.AttestationQuery{To: 9}, none), errStop)
	snap := must[store.Snapshot](t)(s.Snapshot(ctx))
	later := good
	later.Size = 2
	if err := s.KeepAttestations(ctx, l.ref, []store.Attestation{later}); err != nil {
		t.Fatal(err)
	}
	got := collect(t, func(fn func(store.Attestation) error) error {
		return snap.Attestations(ctx, l.ref, store.AttestationQuery{To: 9}, fn)
	})
	wantEqual(t, "in an older snapshot", got, []store.Attestation{good})
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}
}
