package verify

import (
	"fmt"

	"github.com/runledger/runledger/evidence"
)

// compare sees that the statement, the orders and the rest of the certificate say the
// same. It is only of use where what is disclosed is what was committed to, but finds
// what it can in any case.
func (c *certificateChecker) compare() {
	c.facts = &CertifiedErasure{Orders: []CertifiedOrder{}}
	wrong := func(what, expected, found string) {
		c.rep.add(Finding{Code: ECertificate, Log: c.leaf.Log, Path: what, Expected: expected, Found: found, Message: "the statement and the certificate say different things"})
	}
	var body *ErasureStatement
	for i := range c.cert.Statement.Disclosures {
		d := &c.cert.Statement.Disclosures[i]
		switch d.Path {
		case pathActor:
			c.facts.OrderedBy = evidence.ActorOf(d.Value)
		case pathAfter:
			var err error
			if body, err = ParseErasureStatement(d.Value); err != nil {
				c.rep.add(Finding{Code: ECertificate, Log: c.leaf.Log, From: c.leaf.Seq, To: c.leaf.Seq + 1, Path: pathAfter, Message: err.Error()})
				return
			}
		}
	}
	if body == nil {
		c.rep.add(Finding{Code: ECertificate, Log: c.leaf.Log, From: c.leaf.Seq, To: c.leaf.Seq + 1, Path: pathAfter, Message: "the statement is not disclosed"})
		return
	}
	count := func(what string, stated, found int64) {
		if stated != found {
			wrong(what, fmt.Sprint(stated), fmt.Sprint(found))
		}
	}
	text := func(what, stated, found string) {
		if stated != found {
			wrong(what, stated, found)
		}
	}
	records, fields, runs := c.targets()
	text("tenant_id", body.TenantID, c.cert.TenantID)
	text("erasure_id", body.ErasureID, c.cert.ErasureID)
	text("entity_id", c.leaf.Text("entity_id"), body.ErasureID)
	text("entity_type", "RETENTION", c.leaf.Text("entity_type"))
	text("backups", body.Backups(), c.cert.Backups)
	text("policy keys_retired", fmt.Sprint(body.KeysToRetire == 0), fmt.Sprint(c.cert.KeysRetired))
	text("policy in_archives", fmt.Sprint(body.InArchives), fmt.Sprint(c.cert.InArchives))
	count("orders", body.Orders, int64(len(c.orders)))
	count("records", body.Records, records)
	count("fields", body.Fields, fields)
	count("runs", body.Runs, runs)
	hashes := make([]evidence.Hash, len(c.cert.Orders))
	for i := range c.cert.Orders {
		hashes[i] = evidence.LeafHash(c.cert.Orders[i].Leaf)
	}
	text("orders_digest", evidence.Checksum(body.OrdersDigest), evidence.Checksum(OrdersDigest(hashes)))
	if body.ExecutedAt > c.leaf.RecordedAt {
		wrong("executed_at", "not after "+c.leaf.RecordedAt.String(), body.ExecutedAt.String())
	}
	f := c.facts
	f.TenantID, f.ErasureID = body.TenantID, body.ErasureID
	f.ExecutedAt, f.RecordedAt = body.ExecutedAt.String(), c.leaf.RecordedAt.String()
	f.Records, f.Fields, f.Runs = body.Records, body.Fields, body.Runs
	f.KeysDestroyed, f.KeysToRetire, f.InArchives, f.Backups = body.KeysDestroyed, body.KeysToRetire, body.InArchives, body.Backups()
}

// targets reads what the orders name: records and fields that lost content, each counted
// once, and runs.
func (c *certificateChecker) targets() (records, fields, runs int64) {
	var all []cover
	seen := map[string]bool{}
	for i := range c.orders {
		o, d := &c.orders[i], &c.cert.Orders[i].Disclosures[0]
		wrong := func(text string) {
			c.rep.add(Finding{Code: ECertificate, Log: o.Log, From: o.Seq, To: o.Seq + 1, Path: pathTargets, Message: text})
		}
		if o.Log == c.leaf.Log && o.Seq >= c.leaf.Seq {
			wrong("the order comes behind the statement")
		}
		covers, err := certifiedTargets(d.Value, o)
		if err != nil {
			wrong(err.Error())
			continue
		}
		out := CertifiedOrder{
			Log: o.Log, LeafIndex: o.Seq, RecordID: o.ID.String(), RecordedAt: o.RecordedAt.String(), RunID: o.Run,
		}
		if covers[0].log != o.Log {
			out.TargetLog = covers[0].log
		}
		out.Records, out.Fields = countCovers(covers)
		c.facts.Orders = append(c.facts.Orders, out)
		c.rep.Counts["orders"]++
		c.rep.Counts["ranges"] += int64(len(covers))
		all = append(all, covers...)
		if o.Run != "" && !seen[o.Run] {
			seen[o.Run] = true
			runs++
		}
	}
	records, fields = countCovers(all)
	return records, fields, runs
}

// certifiedTargets reads the targets of an order. They name paths, so that fields can be
// counted, and leaves before the order.
func certifiedTargets(value []byte, o *evidence.Leaf) ([]cover, error) {
	t, err := evidence.ParseTargets(value)
	if err != nil {
		return nil, err
	}
	log, before := o.Log, o.Seq
	if t.Log != "" && t.Log != o.Log {
		log, before = t.Log, evidence.MaxInt
	}
	var out []cover
	for _, r := range t.Ranges {
		if r.To > before {
			return nil, invalid("the order is about leaves behind it")
		}
		if len(r.Paths) == 0 {
			return nil, invalid("the order names no fields")
		}
		for _, p := range r.Paths {
			at := pathIndex(p)
			if at < 0 {
				return nil, invalid("unknown path %.100q", p)
			}
			out = append(out, cover{log: log, from: r.From, to: r.To, path: at})
		}
	}
	if out == nil {
		return nil, invalid("the order names no records")
	}
	return out, nil
}

// countCovers counts the leaves, and the fields of leaves, that ranges name, each once.
func countCovers(covers []cover) (records, fields int64) {
	type key struct {
		log  string
		path int
	}
	const anyPath = -1
	by := map[key][]interval{}
	for _, c := range covers {
		for _, k := range []key{{c.log, c.path}, {c.log, anyPath}} {
			by[k] = append(by[k], interval{c.from, c.to})
		}
	}
	for k, list := range by {
		n := int64(0)
		for _, r := range merge(list) {
			n += r.to - r.from
		}
		if k.path == anyPath {
			records += n
		} else {
			fields += n
		}
	}
	return records, fields
}
