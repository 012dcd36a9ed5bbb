package sqlite

// numbers remembers which number a text has, for the writer. It holds at most
// 2*limit entries: when the younger half is full it becomes the older one, and
// what is used of the older moves over. It follows the transaction: what was
// put in since the last settle is forgotten by undo, because a rolled-back
// number is given to the next text.
//
// The zero value with a limit is ready to use. It is the writer's, under its
// mutex.
type numbers[K comparable] struct {
	limit      int
	young, old map[K]int64
	fresh      []K // put in by the running transaction
}

func (c *numbers[K]) get(k K) (int64, bool) {
	if n, ok := c.young[k]; ok {
		return n, true
	}
	n, ok := c.old[k]
	if ok {
		c.insert(k, n)
	}
	return n, ok
}

// put remembers a number that the running transaction gave or read.
func (c *numbers[K]) put(k K, n int64) {
	c.fresh = append(c.fresh, k)
	c.insert(k, n)
}

func (c *numbers[K]) insert(k K, n int64) {
	if len(c.young) >= c.limit {
		c.old, c.young = c.young, nil
	}
	if c.young == nil {
		c.young = make(map[K]int64)
	}
	c.young[k] = n
}

func (c *numbers[K]) settle() {
	clear(c.fresh)
	c.fresh = c.fresh[:0]
}

func (c *numbers[K]) undo() {
	for _, k := range c.fresh {
		delete(c.young, k)
		delete(c.old, k)
	}
	c.settle()
}
