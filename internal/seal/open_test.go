package seal

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// checkRecords checks that decodeRecords reads what decodeSegment reads of these
// ids.
func checkRecords(t interface{ Fatal(args ...any) }, text []byte, ids []evidence.ID) {
	all, err := decodeSegment(text)
	if err != nil {
		t.Fatal(err)
	}
	if members, err := memberIDs(text); err != nil || len(members) != len(all) {
		t.Fatal(fmt.Sprintf("%d members of %d, %v: %s", len(members), len(all), err, text))
	} else {
		for _, id := range members {
			if all[id] == nil {
				t.Fatal(fmt.Sprintf("%s is no member of %s", id, text))
			}
		}
	}
	got, err := decodeRecords(text, ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		if diff := cmp.Diff(all[id], got[i]); diff != "" {
			t.Fatal(fmt.Sprintf("%s (-all +alone):\n%s\nof %s", id, diff, text))
		}
	}
}

// TestDecodeRecords asks for some openings in any order, for some twice, and for
// some that are not there.
func TestDecodeRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		openings := drawOpenings(t)
		ids := []evidence.ID{{1}}
		for id := range openings {
			ids = append(ids, id)
		}
		checkRecords(t, encode(openings), rapid.SliceOfN(rapid.SampledFrom(ids), 0, 8).Draw(t, "ids"))
	})
}

// FuzzDecodeRecords: content that looks like the segment around it is not taken
// for it. Each record says the same of the others.
func FuzzDecodeRecords(f *testing.F) {
	ids := []evidence.ID{{0x11}, {0x22}, {0x33}}
	for _, inside := range []string{
		ids[2].String(),
		`"` + ids[2].String() + `":{"seed":"AAAAAAAAAAAAAAAAAAAAAA","fields":{"/actor":"{}"}}`,
		`{"` + ids[2].String() + `":{}}`,
		`\"` + ids[2].String() + `\":{`, `\\"` + ids[2].String() + `":{`,
		ids[2].String() + `":{`, `,"` + ids[2].String() + `"`, `":{"`, "\\", `"`,
	} {
		f.Add(inside, uint8(6))
	}
	f.Fuzz(func(t *testing.T, content string, order uint8) {
		text := []byte(`{`)
		for i, id := range ids {
			if i > 0 {
				text = append(text, ',')
			}
			o := &Opening{Seed: evidence.Seed{byte(i)}, Fields: []Field{{"/actor", content}, {"/prompt", string(evidence.QuoteJSON(content)) + fmt.Sprint(i)}}}
			text = appendOpening(text, id, o)
		}
		text = append(text, '}')
		if _, err := decodeSegment(text); err != nil {
			return // no UTF-8: it is not sealed
		}
		n := int(order) % 3
		checkRecords(t, text, []evidence.ID{ids[n], ids[(n+1)%3], {0x44}, ids[(n+2)%3], ids[n]})
	})
}

func TestOpenRecords(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	b := f.seal(t, record(t, 1, `,"params":1`), record(t, 2, `,"params":{"a":"b"}`), record(t, 3, `,"prompt":"p"`))
	seg := stored(b, 0)
	ids := []evidence.ID{b.Records[2].Record.ID, {9}, b.Records[0].Record.ID}
	for range 3 { // the room is used again
		got, err := f.OpenRecords(ctx, f.keyStore, tenant, origin, seg, ids)
		if err != nil {
			t.Fatal(err)
		}
		all, err := f.Open(ctx, f.keyStore, tenant, origin, seg)
		if err != nil {
			t.Fatal(err)
		}
		want := []*Opening{all[ids[0]], nil, all[ids[2]]}
		if diff := cmp.Diff(want, got); diff != "" || got[0] == nil || got[2] == nil {
			t.Fatal(diff)
		}
	}
	other := seg
	other.Data = append([]byte(nil), seg.Data...)
	other.Data[len(other.Data)/2] ^= 1
	for name, open := range map[string]func() error{
		"a byte differs": func() error { _, err := f.OpenRecords(ctx, f.keyStore, tenant, origin, other, ids); return err },
		"another log":    func() error { _, err := f.OpenRecords(ctx, f.keyStore, tenant, origin2, seg, ids); return err },
	} {
		if err := open(); !errors.Is(err, evidence.ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.Destroyed([]store.KeyID{seg.Key})
	f.keyStore.keys[tenant] = f.keyStore.keys[tenant][:1]
	if _, err := f.OpenRecords(ctx, f.keyStore, tenant, origin, seg, ids); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("without its key: %v", err)
	}
}

// TestReplacement: who filters finds what sealing put there.
func TestReplacement(t *testing.T) {
	f := newFixture(t)
	r := record(t, 1, `,"model":"naïve ★"`)
	b := f.seal(t, r)
	got, err := f.Replacement(context.Background(), tenant, "model", "naïve ★")
	if err != nil || got != b.Records[0].Record.Text("model") || !evidence.IsReplacement(got) {
		t.Errorf("%q, %v; sealed %q", got, err, b.Records[0].Record.Text("model"))
	}
	if other, _ := f.Replacement(context.Background(), "globex", "model", "naïve ★"); other == got {
		t.Error("two tenants have the same replacement")
	}
}
