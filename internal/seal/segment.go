package seal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Bounds of one segment: reading one record opens a whole segment.
const (
	maxSegmentRecords = 256
	maxSegmentBytes   = 512 << 10
)

// segmentWriter gathers the openings of a batch by data key, and then writes the
// segments of one key after the other: there is one text at a time.
type segmentWriter struct {
	sealer         *Sealer
	tenant, origin string
	batch          *Batch
	macs           *macs
	seeds          []evidence.Seed // by record
	groups         []group
	byScope        map[groupOf]int // in groups
}

// groupOf tells groups apart: persons by the MAC that their label is made of.
type groupOf struct {
	scope  string
	person macSum
}

// group is what is sealed under one data key.
type group struct {
	scope, label string
	parts        []part
}

// part is what a group has of a record.
type part struct {
	record int
	take   taken
}

// taken says which fields of a record a part has.
type taken int

const (
	all       taken = iota
	actorOnly       // under that person's key
	allButActor
)

// place says where the content of a record goes.
func (w *segmentWriter) place(day string, i int) {
	r := w.batch.Records[i].Record
	of, label := groupOf{scope: store.ScopeDay}, day
	if subject := r.SealedJSON("/subject"); subject != nil {
		of, label = groupOf{store.ScopePerson, w.macs.person(evidence.IndexText(subject))}, ""
	}
	take := all
	if actor := r.HumanActor(); actor != "" {
		if own := (groupOf{store.ScopePerson, w.macs.person(actor)}); own != of {
			w.add(own, "", part{i, actorOnly})
			take = allButActor
		}
	}
	if take == all && len(r.Sealed) > 0 || len(r.Sealed) > 1 {
		w.add(of, label, part{i, take})
	}
}

// add puts a part into its group. The label of a person's is made of the MAC.
func (w *segmentWriter) add(of groupOf, label string, p part) {
	at, ok := w.byScope[of]
	if !ok {
		if of.scope == store.ScopePerson {
			label = hex.EncodeToString(of.person[:])
		}
		if w.byScope == nil {
			w.byScope = map[groupOf]int{}
		}
		at = len(w.groups)
		w.byScope[of] = at
		w.groups = append(w.groups, group{scope: of.scope, label: label})
	}
	w.groups[at].parts = append(w.groups[at].parts, p)
}

// write makes the segments of all groups.
func (w *segmentWriter) write(ctx context.Context) error {
	room, packed := texts.Get().(*[]byte), texts.Get().(*[]byte)
	defer giveBack(room)
	defer giveBack(packed)
	for i := range w.groups {
		if err := w.writeGroup(ctx, &w.groups[i], room, packed); err != nil {
			return err
		}
	}
	return nil
}

func (w *segmentWriter) writeGroup(ctx context.Context, g *group, room, packed *[]byte) error {
	key, err := w.sealer.keys.forScope(ctx, w.tenant, g.scope, g.label)
	if err != nil {
		return err
	}
	text, records := (*room)[:0], 0
	flush := func() error {
		text = append(text, '}')
		small := Compress((*packed)[:0], text)
		written(room, text)
		written(packed, small)
		out, err := encryptPacked(key, w.origin, small)
		w.batch.Segments = append(w.batch.Segments, out)
		w.batch.keys = append(w.batch.keys, key)
		text, records = text[:0], 0
		return err
	}
	for _, p := range g.parts {
		if records >= maxSegmentRecords || len(text) >= maxSegmentBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		sep := byte(',')
		if records == 0 {
			sep = '{'
		}
		text = w.appendPart(append(text, sep), p)
		records++
		sealed := &w.batch.Records[p.record]
		if at := len(w.batch.Segments); p.take == actorOnly { // where flush will put it
			sealed.Actor = at
		} else {
			sealed.Segment = at
		}
	}
	return flush()
}

// written notes that b was written into room, or has outgrown it.
func written(room *[]byte, b []byte) {
	if len(b) > len(*room) || cap(b) > cap(*room) {
		*room = b
	}
}

// appendPart writes a record's member of a segment. Two openings of one record must
// not share a seed: whoever may open one segment would have the salts of the other.
func (w *segmentWriter) appendPart(dst []byte, p part) []byte {
	r, seed := w.batch.Records[p.record].Record, w.seeds[p.record]
	dst = r.ID.AppendText(append(dst, '"'))
	dst = append(dst, `":{`...)
	if p.take == all {
		dst = append(b64.AppendEncode(append(dst, `"seed":"`...), seed[:]), '"')
	} else {
		dst = append(dst, `"salts":{`...)
		first := true
		for _, v := range r.Sealed {
			if p.has(v.Path) {
				salt := seed.Salt(v.Path)
				dst = append(b64.AppendEncode(append(appendName(dst, v.Path, &first), '"'), salt[:]), '"')
			}
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `,"fields":{`...)
	first := true
	for _, v := range r.Sealed {
		if p.has(v.Path) {
			dst = appendQuoted(appendName(dst, v.Path, &first), v.JSON)
		}
	}
	return append(dst, `}}`...)
}

func (p part) has(path string) bool {
	return p.take == all || (p.take == actorOnly) == (path == "/actor")
}

// appendName writes a member's name, which needs no escapes.
func appendName(dst []byte, name string, first *bool) []byte {
	if !*first {
		dst = append(dst, ',')
	}
	*first = false
	return append(append(append(dst, '"'), name...), `":`...)
}

func encrypt(key *dataKey, origin string, text []byte) (Segment, error) {
	return encryptPacked(key, origin, Compress(nil, text))
}

func encryptPacked(key *dataKey, origin string, packed []byte) (Segment, error) {
	out := Segment{Key: key.ID}
	rand.Read(out.ID[:])
	data, err := key.aead.Encrypt(packed, aad(origin, out.ID))
	if err != nil {
		return out, fmt.Errorf("encrypt segment: %w", err)
	}
	out.Data = data
	return out, nil
}
