package stream

import (
	"fmt"

	cloud "github.com/cloudevents/sdk-go/v2/event"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// What events say of the form of their data. They are names, not addresses.
const (
	schemaRecord    = "urn:runledger:stream:record:1"
	schemaCondition = "urn:runledger:stream:condition:1"
	typePrefix      = "dev.runledger."
)

// cloudRecord makes a CloudEvent of a record (CloudEvents 1.0, JSON form).
// partitionkey and sequence are documented extensions: records of one log have one
// key, and stand in the order of their sequence.
func (e *encoder) cloudRecord(f *ledger.Fetched, s *shown) ([]byte, error) {
	s.Leaf = string(f.Raw)
	ev := cloud.New(cloud.CloudEventsVersionV1)
	ev.SetID(s.ID)
	ev.SetSource("/logs/" + s.Log)
	ev.SetType(typePrefix + s.Kind + "." + f.Leaf.Text("event_type"))
	ev.SetSubject(subject(f.Leaf))
	ev.SetTime(s.OccurredAt.Time())
	ev.SetDataSchema(schemaRecord)
	ev.SetExtension("partitionkey", s.Log)
	ev.SetExtension("sequence", fmt.Sprintf("%019d", s.LeafIndex))
	return finishCloud(&ev, s)
}

// subject is what the record is about: the run, else the thing.
func subject(l *evidence.Leaf) string {
	for _, run := range []string{l.Run, l.Text("about_run")} {
		if run != "" {
			return "run/" + run
		}
	}
	if l.Kind == evidence.KindSystem {
		return "component/" + l.Text("component")
	}
	return l.Text("entity_type") + "/" + l.Text("entity_id")
}

func (e *encoder) cloudCondition(c *condition) ([]byte, error) {
	ev := cloud.New(cloud.CloudEventsVersionV1)
	ev.SetID(c.eventID(e.instance))
	ev.SetSource("/instances/" + e.instance)
	ev.SetType(typePrefix + "condition." + c.Name)
	ev.SetSubject(c.subject())
	ev.SetTime(c.changed().Time())
	ev.SetDataSchema(schemaCondition)
	return finishCloud(&ev, c.shown())
}

func finishCloud(ev *cloud.Event, data any) ([]byte, error) {
	b, err := oneLine(data)
	if err != nil {
		return nil, err
	}
	ev.SetDataContentType(cloud.ApplicationJSON)
	ev.DataEncoded = b // SetData would take the bytes for binary data
	if err := ev.Validate(); err != nil {
		return nil, fmt.Errorf("event %s: %w", ev.ID(), err)
	}
	return ev.MarshalJSON()
}
