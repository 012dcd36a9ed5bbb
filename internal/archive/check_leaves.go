package archive

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// leaves compares the leaves with the tree, the lines and the columns, in one pass.
func (c *unitCheck) leaves(ctx context.Context) error {
	for _, k := range c.m.kinds() {
		name := k.String()
		if o := c.files[name+jsonlSuffix]; o != nil {
			l, err := openLines(at{ctx, o}, o.size())
			if err := c.bad(ctx, CodeColumn, name+jsonlSuffix, err); err != nil {
				return err
			}
			c.lines[k] = l
		}
		if o := c.files[name+parquetSuffix]; o != nil {
			t, err := openParquet(at{ctx, o}, o.size(), k, c.m.TenantID, c.m.Log.LogNo, c.m.Kinds[name].Records)
			if err := c.bad(ctx, CodeColumn, name+parquetSuffix, err); err != nil {
				return err
			}
			c.tables[k] = t
			if c.by == nil && t != nil {
				c.said[k] = newSaid(k, c.m.TenantID, c.m.Log.LogNo)
			}
		}
	}
	defer func() {
		for _, t := range c.tables {
			if t != nil {
				t.close()
			}
		}
	}()
	f := &leafFold{unitCheck: c}
	var err error
	if c.by == nil {
		if err = newPipe().run(ctx, f.read, f.parse, f.toLines, f.toTables); err == nil {
			err = f.compareTables(ctx, func(k evidence.Kind) *columnSums { return c.said[k].sums })
		}
	} else {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return newPipe().run(ctx, f.read, f.known, f.toLines) })
		g.Go(func() error { return f.compareTables(ctx, func(k evidence.Kind) *columnSums { return c.by.sums[k] }) })
		err = g.Wait()
	}
	if errors.Is(err, errStopped) {
		return nil // and the finding says why
	}
	if err == nil {
		err = f.ends(ctx)
	}
	return err
}

// leafFold is the pass over the leaves.
type leafFold struct {
	*unitCheck
	mu sync.Mutex // of findings, while several goroutines look
}

// errStopped ends the pass: behind a leaf that is not the signed one nothing can be compared.
var errStopped = errors.New("stopped")

func (f *leafFold) add(code, object, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.find(code, object, "%s", message)
}

func (f *leafFold) stop(code string, err error) error {
	f.add(code, logName, err.Error())
	return errStopped
}

// ends looks whether there is more than what the leaves make.
func (f *leafFold) ends(ctx context.Context) error {
	for _, k := range evidence.Kinds() {
		name := k.String()
		if f.counts[k] != f.m.Kinds[name].Records {
			f.find(CodeFile, manifestName, "it says %d records of kind %s; there are %d", f.m.Kinds[name].Records, name, f.counts[k])
		}
		if l := f.lines[k]; l != nil {
			if err := f.bad(ctx, CodeColumn, name+jsonlSuffix, l.end()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *leafFold) read(ctx context.Context, next func() (*batch, error), send func(*batch) error) error {
	s := f.m.span()
	first, end := s.bundles()
	for n := first; n < end; n++ {
		b, err := next()
		if err != nil {
			return err
		}
		b.first, b.skip = n*batchLeaves, int(max(s.from-n*batchLeaves, 0))
		id, tile := tileID{c2sp.EntriesLevel, n, int(min(s.to-n*batchLeaves, batchLeaves))}, s.tile(0, n)
		var data []byte
		err = paceOf(ctx).do(func() (err error) { // what is read was fetched, and is decompressed here
			if data, err = f.zip.readInto(ctx, tile, &b.tileBuf); err == nil {
				b.data, err = f.zip.readInto(ctx, id, &b.dataBuf)
			}
			return err
		})
		if err != nil {
			if errors.Is(err, evidence.ErrUnavailable) || ctx.Err() != nil {
				return err
			}
			return f.stop(CodeFile, err)
		}
		if err := f.tree.add(tile, data); err != nil {
			return f.stop(CodeInclusion, err)
		}
		b.tile = data
		if err := send(b); err != nil {
			return err
		}
	}
	return nil
}

func (f *leafFold) parse(b *batch) error {
	width := int(min(f.m.To-b.first, batchLeaves))
	if err := b.parse(f.m.Log.Origin, width); err != nil {
		return f.stop(CodeLeaf, err)
	}
	if err := b.inTile(b.tile); err != nil {
		return f.stop(CodeInclusion, err)
	}
	b.kinds = 0
	for i := range b.own() {
		l := &b.own()[i]
		b.kinds |= 1 << l.Kind
		f.counts[l.Kind]++
		if l.RecordedAt < f.last {
			return f.stop(CodeLeaf, fmt.Errorf("leaf %d is older than the one before it", l.Seq))
		}
		if l.Seq == f.m.From && l.RecordedAt != f.m.FirstAt {
			return f.stop(CodeFile, fmt.Errorf("the manifest says another time of leaf %d", l.Seq))
		}
		if l.Seq == f.m.To-1 && l.RecordedAt != f.m.LastAt {
			return f.stop(CodeFile, fmt.Errorf("the manifest says another time of leaf %d", l.Seq))
		}
		f.last = l.RecordedAt
		f.records++
	}
	return nil
}

// known is parse of a unit that was written just now: a leaf with a hash of the signed
// tree is the one that was parsed then, so that its kind, place and time are known.
func (f *leafFold) known(b *batch) error {
	width := int(min(f.m.To-b.first, batchLeaves))
	if err := b.split(width); err != nil {
		return f.stop(CodeLeaf, err)
	}
	if err := b.inTile(b.tile); err != nil {
		return f.stop(CodeInclusion, err)
	}
	own := f.by.kinds[b.first+int64(b.skip)-f.m.From:]
	b.leaf = b.leaf[:width]
	for i := range b.own() {
		b.own()[i].Kind, b.own()[i].Seq = own[i], b.first+int64(b.skip+i)
		f.counts[own[i]]++
		f.records++
	}
	return nil
}

// compareTables reads the tables, and compares their columns with what the leaves say, or what was written just now.
func (f *leafFold) compareTables(ctx context.Context, said func(evidence.Kind) *columnSums) error {
	for k, t := range f.tables {
		if t == nil {
			continue
		}
		if err := t.compare(said(evidence.Kind(k)), paceOf(ctx)); err != nil {
			if errors.Is(err, evidence.ErrUnavailable) || ctx.Err() != nil {
				return err
			}
			f.add(CodeColumn, evidence.Kind(k).String()+parquetSuffix, err.Error())
		}
		t.close()
		f.tables[k] = nil
	}
	return nil
}

func (f *leafFold) toLines(b *batch) error {
	for i := range b.own() {
		k := b.own()[i].Kind
		if f.lines[k] == nil { // it is missing, or was found wrong before
			continue
		}
		if err := f.lines[k].line(b.raw[b.skip+i]); err != nil {
			if errors.Is(err, evidence.ErrUnavailable) {
				return err
			}
			f.lines[k] = nil
			f.add(CodeColumn, k.String()+jsonlSuffix, fmt.Sprintf("leaf %d: %v", b.own()[i].Seq, err))
		}
	}
	return nil
}

// said is what the leaves of a kind say, as digests of columns.
type said struct {
	*columns
	sums *columnSums
}

func newSaid(k evidence.Kind, tenant string, logNo int) *said {
	c := newColumns(k, tenant, logNo)
	return &said{c, newColumnSums(maphash.MakeSeed(), c.count())}
}

func (f *leafFold) toTables(b *batch) error {
	for i := range b.own() {
		if s := f.said[b.own()[i].Kind]; s != nil {
			s.add(&b.own()[i], &b.hash[b.skip+i])
		}
	}
	for k, s := range f.said {
		if s == nil || b.kinds>>k&1 == 0 {
			continue
		}
		for col := range s.count() {
			s.sums.add(col, s.column(col))
		}
		s.reset()
	}
	return nil
}
