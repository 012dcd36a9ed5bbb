package archive

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// batchLeaves are the leaves of an entry bundle, which go through the pipelines together.
const batchLeaves = c2sp.TileWidth

// maxKinds is more than any kind's number.
const maxKinds = 16

// batch is an entry bundle on its way.
type batch struct {
	first int64  // leaf index of its first
	data  []byte // the bundle
	leaf  []evidence.Leaf
	raw   []string // the leaves' bytes; those of leaf point into them
	hash  []evidence.Hash
	skip  int    // so many of its leaves are of the unit before
	kinds uint32 // a bit each, of the leaves that are of the unit
	tile  []byte // of its hashes, where it is read from an archive

	dataBuf, tileBuf readBuffer

	users sync.WaitGroup
}

// parse reads the leaves of a bundle and hashes them. A leaf must be one of this log, and at
// its place.
func (b *batch) parse(origin string, width int) error {
	if err := b.split(width); err != nil {
		return err
	}
	b.leaf = b.leaf[:width]
	for i, raw := range b.raw {
		seq := b.first + int64(i)
		if err := b.leaf[i].ParseText(raw); err != nil {
			return fmt.Errorf("leaf %d: %w: %w", seq, evidence.ErrTampered, err)
		}
		if l := &b.leaf[i]; l.Log != origin || l.Seq != seq {
			return fmt.Errorf("%w: leaf %d is that of log %s, leaf %d", evidence.ErrTampered, seq, l.Log, l.Seq)
		}
	}
	return nil
}

// split cuts a bundle into its leaves and hashes them.
func (b *batch) split(width int) error {
	text := unsafe.String(unsafe.SliceData(b.data), len(b.data)) // not changed before all users are done
	b.raw, b.hash = b.raw[:0], b.hash[:0]
	if cap(b.leaf) < batchLeaves {
		b.leaf = make([]evidence.Leaf, batchLeaves)
	}
	at := 0
	for i := range width {
		if at+2 > len(text) || at+2+int(binary.BigEndian.Uint16(b.data[at:])) > len(text) || i == batchLeaves {
			return fmt.Errorf("%w: bundle of leaf %d does not have %d leaves", evidence.ErrTampered, b.first, width)
		}
		n := int(binary.BigEndian.Uint16(b.data[at:]))
		at += 2
		b.raw = append(b.raw, text[at:at+n])
		b.hash = append(b.hash, evidence.LeafHash(b.data[at:at+n]))
		at += n
	}
	if at != len(text) {
		return fmt.Errorf("%w: bundle of leaf %d has more than %d leaves", evidence.ErrTampered, b.first, width)
	}
	return nil
}

// inTile compares the leaves' hashes with a tile of level 0.
func (b *batch) inTile(tile []byte) error {
	for i, h := range b.hash {
		if (i+1)*len(h) > len(tile) || hashAt(tile, i) != h {
			return fmt.Errorf("%w: leaf %d is not the one in the signed tree", evidence.ErrTampered, b.first+int64(i))
		}
	}
	return nil
}

// own are the leaves of the unit.
func (b *batch) own() []evidence.Leaf { return b.leaf[b.skip:] }

type paceKey struct{}

// pace keeps what works under it to one processor while somebody else is busy.
type pace struct {
	busy func() bool
	one  sync.Mutex
}

// Paced lets busy be asked, under ctx, about each entry bundle that a unit is written or checked
// by. While it says so, what is worked at takes one processor and leaves the others alone, but
// for reading.
func Paced(ctx context.Context, busy func() bool) context.Context {
	return context.WithValue(ctx, paceKey{}, &pace{busy: busy})
}

// paceOf returns nil where nobody is to be asked.
func paceOf(ctx context.Context) *pace {
	p, _ := ctx.Value(paceKey{}).(*pace)
	return p
}

// do does a piece of work that waits for nobody.
func (p *pace) do(work func() error) error {
	if p != nil && p.busy() {
		p.one.Lock()
		defer p.one.Unlock()
	}
	return work()
}

// objects is how many objects are written or read at the same time: while one waits, another is
// hashed. Somebody else would wait for both.
func (p *pace) objects() int {
	if p != nil && p.busy() {
		return 1
	}
	return 2
}

// pipe hands batches from one that makes them, through one that parses them, to several that
// take each of them at the same time. At most so many are under way; they are used again.
type pipe struct {
	free chan *batch
}

const underWay = 12

func newPipe() *pipe {
	p := &pipe{make(chan *batch, underWay)}
	for range underWay {
		p.free <- &batch{}
	}
	return p
}

// run calls produce, which calls its argument with each batch it has filled, then parse, then
// every one of take. The order of batches is the same for all. The first error ends all.
func (p *pipe) run(ctx context.Context, produce func(ctx context.Context, next func() (*batch, error), send func(*batch) error) error,
	parse func(*batch) error, take ...func(*batch) error,
) error {
	g, ctx := errgroup.WithContext(ctx)
	pace := paceOf(ctx)
	raw := make(chan *batch, 2)
	g.Go(func() error {
		defer close(raw)
		next := func() (*batch, error) {
			select {
			case b := <-p.free:
				b.users.Wait()
				return b, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		return produce(ctx, next, func(b *batch) error {
			select {
			case raw <- b:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	})
	outs := make([]chan *batch, len(take))
	for i := range outs {
		outs[i] = make(chan *batch, 4)
		g.Go(func() error {
			for b := range outs[i] {
				if ctx.Err() == nil {
					if err := pace.do(func() error { return take[i](b) }); err != nil {
						return err
					}
				}
				b.users.Done()
			}
			return nil
		})
	}
	g.Go(func() error {
		defer func() {
			for _, out := range outs {
				close(out)
			}
		}()
		for b := range raw {
			if err := pace.do(func() error { return parse(b) }); err != nil {
				return err
			}
			b.users.Add(len(outs))
			for _, out := range outs {
				select {
				case out <- b:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			p.free <- b // its users are waited for before it is filled again
		}
		return nil
	})
	return g.Wait()
}
