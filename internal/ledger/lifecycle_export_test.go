package ledger

// Steps of tests end within what little they have.
func init() { expireLeaves = 64 }

// SetExpireLeaves sets how large a step of an expiry is, and returns how large it was.
func SetExpireLeaves(n int64) (was int64) {
	was, expireLeaves = expireLeaves, n
	return was
}
