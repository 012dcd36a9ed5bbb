package registry

import (
	"cmp"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// projection is the document that a console draws its panels from.
type projection struct {
	Version int              `json:"version"` // of this form: 1
	Digest  string           `json:"digest"`  // of the definition
	Topics  []projectedTopic `json:"topics"`  // LLM_RUNS, SYSTEM_LOGS, AUDIT
}

type projectedTopic struct {
	Topic      string              `json:"topic"`
	TopicID    string              `json:"topic_id"`
	Capability projectedCapability `json:"capability"`
	Panels     []projectedPanel    `json:"panels"` // O1 to O5
}

type projectedCapability struct {
	ID          string   `json:"id"`
	Status      string   `json:"status"`
	Reason      string   `json:"reason"`      // of the newest entry of its history, "" where there is none
	Observation *Applied `json:"observation"` // the newest; null: none
	Passing     *Passing `json:"passing"`     // null: the newest did not pass, or there is none
	Acceptance  []string `json:"acceptance"`
}

type projectedPanel struct {
	PanelID  string     `json:"panel_id"`
	Order    string     `json:"order"`
	Name     string     `json:"name"`
	Question string     `json:"question"`
	Endpoint string     `json:"endpoint"`
	Method   string     `json:"method"`
	Status   string     `json:"status"` // of its capability
	Verified bool       `json:"verified"`
	Scenario string     `json:"scenario"` // that proves it
	Layout   string     `json:"layout"`
	Rows     string     `json:"rows"` // member of the answer with the entries, "" where it is one record
	Fields   []string   `json:"fields"`
	Empty    string     `json:"empty"` // what to say where there is nothing
	Data     DataAccess `json:"data"`
	Controls []Control  `json:"controls"`
}

// topicOrder is the order of the contract; others come after it, by name.
var topicOrder = []string{"LLM_RUNS", "SYSTEM_LOGS", "AUDIT"}

func rankOfTopic(topic string) int {
	if i := slices.Index(topicOrder, topic); i >= 0 {
		return i
	}
	return len(topicOrder)
}

// Project compiles intents and capabilities to one JSON document: all panels in their
// order, with what to ask, how to draw it, and what stands behind it. The same registry
// gives the same bytes, whenever that is. The document ends in a newline.
func Project(r *Registry) []byte {
	intents := slices.Clone(r.Intents)
	slices.SortStableFunc(intents, func(a, b *Intent) int {
		return cmp.Or(
			cmp.Compare(rankOfTopic(a.Metadata.Topic), rankOfTopic(b.Metadata.Topic)),
			cmp.Compare(a.Metadata.Topic, b.Metadata.Topic),
			cmp.Compare(a.Metadata.Order, b.Metadata.Order),
			cmp.Compare(a.PanelID, b.PanelID),
		)
	})
	doc := projection{Version: 1, Digest: r.Digest, Topics: []projectedTopic{}}
	for _, i := range intents {
		n := len(doc.Topics)
		if n == 0 || doc.Topics[n-1].Topic != i.Metadata.Topic {
			doc.Topics = append(doc.Topics, projectedTopic{
				Topic: i.Metadata.Topic, TopicID: i.Metadata.TopicID, Capability: r.projected(i.Capability.ID),
			})
			n++
		}
		t := &doc.Topics[n-1]
		t.Panels = append(t.Panels, i.projected())
	}
	text, err := json.Marshal(&doc, jsontext.AllowInvalidUTF8(true), jsontext.WithIndent("  "))
	if err != nil {
		panic("registry: projection: " + err.Error()) // nothing in it can fail to be written
	}
	return append(text, '\n')
}

func (r *Registry) projected(id string) projectedCapability {
	for _, c := range r.Capabilities {
		if c.ID != id {
			continue
		}
		p := projectedCapability{ID: c.ID, Status: c.Status, Observation: c.Observation, Passing: c.Passing, Acceptance: c.Acceptance}
		if n := len(c.History); n > 0 {
			p.Reason = c.History[n-1].Reason
		}
		return p
	}
	return projectedCapability{ID: id, Status: Declared} // no registry that Load accepts
}

func (i *Intent) projected() projectedPanel {
	return projectedPanel{
		PanelID: i.PanelID, Order: i.Metadata.Order, Name: i.Display.Name, Question: i.Display.Question,
		Endpoint: i.Capability.Endpoint, Method: i.Capability.Method, Status: i.Capability.Status,
		Verified: i.SDSR.Verified, Scenario: i.SDSR.Scenario,
		Layout: i.Display.Layout, Rows: i.Display.Rows, Fields: i.Display.Fields, Empty: i.Display.Empty,
		Data: i.Data, Controls: i.Controls,
	}
}
