package producers

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
)

// leaf is one that was never in a log.
func leaf(seq int64, at evidence.Micros, credential, event string) *evidence.Leaf {
	l := &evidence.Leaf{Seq: seq, ID: evidence.ID{1}, Kind: evidence.KindSystem, RecordedAt: at, OccurredAt: at}
	for name, value := range map[string]string{"producer": credential, "source_component": "worker", "event_type": event} {
		l.SetFact(evidence.Fact{Field: evidence.PublicField(l.Kind, name), Str: value})
	}
	return l
}

// Of more producers than are kept those go that are of the past; it says so.
func TestTooManyProducers(t *testing.T) {
	b := newBook("acme")
	seq, at := int64(0), evidence.MicrosOf(newClock().now())
	put := func(credential, event string) {
		at += 1e6
		b.apply(leaf(seq, at, credential, event))
		seq++
	}
	for range enough {
		put("key_beats", eventHealth) // the first, and expected to go on
	}
	for i := range maxProducers + 10 {
		put(fmt.Sprintf("key_%05d", i), "ERROR")
		if i == 5000 {
			put("key_00001", "ERROR") // has come later than its neighbours
		}
	}
	l := b.shown(at, false)
	if len(l.Producers) > maxProducers || l.More != maxLetGo || l.MoreRecords != maxLetGo {
		t.Fatalf("%d producers, %d more with %d records", len(l.Producers), l.More, l.MoreRecords)
	}
	for _, kept := range []string{"key_beats", "key_00001", fmt.Sprintf("key_%05d", maxProducers+9)} {
		find(t, l, kept, "worker")
	}
	if b.list[key{"key_00000", "worker"}] != nil {
		t.Error("the oldest is kept")
	}
	text, err := b.text()
	if err != nil {
		t.Fatal(err)
	}
	again, err := bookOf("acme", text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l, again.shown(at, false)); diff != "" {
		t.Error(diff)
	}
	t.Logf("%d producers are %d KiB of state", len(b.list), len(text)>>10)
}

// One whose silence is on record is let go before those that are still there.
func TestSilentIsLetGo(t *testing.T) {
	b := newBook("acme")
	seq, at := int64(0), evidence.MicrosOf(newClock().now())
	put := func(l *evidence.Leaf) {
		at += 1e6
		l.Seq, l.RecordedAt, l.OccurredAt = seq, at, at
		b.apply(l)
		seq++
	}
	for range enough {
		put(leaf(0, 0, "key_dead", eventHealth))
		put(leaf(0, 0, "key_quiet", eventHealth))
	}
	dead := b.list[key{"key_dead", "worker"}]
	told := leaf(0, 0, "", eventSilent)
	told.ID = evidence.NaturalID("acme", evidence.KindSystem, dead.silence())
	for name, value := range map[string]string{"correlation_id": "key_dead", "component": "worker"} {
		told.SetFact(evidence.Fact{Field: evidence.PublicField(told.Kind, name), Str: value})
	}
	put(told)
	if !dead.silent() {
		t.Fatal("its silence is not on record")
	}
	for i := range maxProducers {
		put(leaf(0, 0, fmt.Sprintf("key_%05d", i), "ERROR"))
	}
	if b.list[key{"key_dead", "worker"}] != nil || b.list[key{"key_quiet", "worker"}] == nil {
		t.Error("who is silent is kept, or who is expected is not")
	}
}
