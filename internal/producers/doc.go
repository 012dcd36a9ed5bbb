// Package producers knows who writes into a tenant's logs, and notices who has stopped:
// when each producer was first and last heard of, which of its numbers never came, and
// whether it has fallen silent. So the absence of evidence is itself evidence.
//
// A producer is a credential together with a source_component, in one tenant. What the
// server writes by itself has no credential (no `producer`), and is listed by
// source_component alone.
//
// It reads the public facts of leaves in their order, and opens nothing that is sealed.
// What it knows follows from the leaves alone: reading a log anew from its start gives
// the same, so what is stored is a shortcut and no evidence. It stands in a setting of
// the store for each tenant, with the position behind the last leaf that was counted and
// the id of that leaf. Where that leaf is not in the log any more (a backup was
// restored), everything is counted anew. Leaves are not proven against the signed tree
// here: that a log was altered is for continuous verification to find.
//
// # Numbers
//
// A producer may number its records (`producer_seq`). Its numbers count one up, for one
// credential and source_component. See [sequence] for what follows from one that is
// missing, late, or comes again.
//
// # Silence
//
// A producer that has sent three heartbeats (system records HEALTH_CHECK, at different
// times) is expected to go on. The interval is the median of the last gaps between
// them, by recorded_at; those within a second are one, since exporters send in batches.
// It is silent when nothing at all has come from it for three intervals, and at least a
// minute. Time in which the server was not there to listen does not count, nor what was
// before its clock was set. A SHUTDOWN
// record of the producer says that it stopped in order: then nothing is expected of it
// until it sends HEALTH_CHECK, STARTUP or RESTART again, which must have happened later.
//
// Silence is stated once, as a record PRODUCER_SILENT of the server in that tenant's
// log. Its id follows from the producer and from when it was last heard of, so however
// many processes state it, and however often they die in doing so, there is one.
// Whatever the producer sends next ends the silence; another one has another id.
//
// Synthetic heartbeats are expected to go on in the synthetic tenant only.
package producers
