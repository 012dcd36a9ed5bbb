package ledger

// ForgetNear empties what is kept of the logs.
func (l *Ledger) ForgetNear() {
	l.near.leaves.mu.Lock()
	for k := range l.near.leaves.entries {
		l.near.leaves.remove(k)
	}
	l.near.leaves.mu.Unlock()
	l.near.tiles.mu.Lock()
	defer l.near.tiles.mu.Unlock()
	for k := range l.near.tiles.entries {
		l.near.tiles.remove(k)
	}
}
