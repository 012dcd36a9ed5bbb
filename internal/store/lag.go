package store

import (
	"context"
	"sync"
)

// Lag says how old what a read replica answers may be.
type Lag struct {
	// Log and Size: a tenant's log must have as many leaves as that on the replica,
	// else the primary answers. The zero value asks for nothing.
	Log  LogRef
	Size int64
}

type lagKey struct{}

// MayLag lets a backend that has read replicas answer the reads under ctx from one
// of them, the same for all: they show a state of the past, whole and in order. What
// decides what is written must not be read so.
func MayLag(ctx context.Context, lag Lag) context.Context {
	return context.WithValue(ctx, lagKey{}, &Replica{Lag: lag})
}

// NoLag takes MayLag back: reads under ctx are answered by the primary.
func NoLag(ctx context.Context) context.Context {
	return context.WithValue(ctx, lagKey{}, (*Replica)(nil))
}

// Replica is what a backend remembers of the replica that it chose for the reads of
// one context.
type Replica struct {
	Lag
	// Choice is the backend's: it sets it once, before its first read.
	Choice Chosen
}

// ReplicaOf returns what MayLag put into a context; nil where reads are answered by
// the primary.
func ReplicaOf(ctx context.Context) *Replica {
	r, _ := ctx.Value(lagKey{}).(*Replica)
	return r
}

// Chosen is a choice that is made once.
type Chosen struct {
	once sync.Once
	v    any
}

// Do returns what choose returned the first time.
func (c *Chosen) Do(choose func() any) any {
	c.once.Do(func() { c.v = choose() })
	return c.v
}
