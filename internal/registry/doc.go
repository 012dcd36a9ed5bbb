// Package registry says what the product claims it can do, and proves it.
//
// An intent is one panel of the product: one answer of the read facade, with the
// question it answers. A capability is what backs the panels of a topic. A scenario
// brings about causes through the public ingest API (or by an access, where the access
// itself is the cause), waits for their effects, reads the public facade as an observer,
// and checks invariants and expectations of what it says. It never writes a consequence.
//
// What a run of scenarios found is an [Observation]: a file whose digest stands in the
// ledger of the server that was observed, as a record OBSERVATION, so that a file that
// was edited is found out. [Apply] moves a capability from DECLARED to OBSERVED and on to
// TRUSTED, or to DEGRADED, and takes only observations whose receipt verifies with a key
// that it was given.
//
// All of it is YAML below one directory, checked by JSON Schemas that lie beside it:
//
//	intents/*.yaml       15 panels
//	capabilities/*.yaml  3 capabilities with their status and history
//	scenarios/*.yaml     19 scenarios
//	invariants.yaml      what holds of every answer
//	rules.yaml           when a capability is trusted
//	producers.yaml       who owns which evidence (contract section 5)
//	schemas/*.json       JSON Schemas, of these and of the other YAML of the project
//	observations/        what observe writes; not part of the definition
//
// The package is a client: it knows the API and nothing behind it.
package registry
