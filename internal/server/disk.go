package server

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/runledger/runledger/evidence"
)

// maxReserve is the greatest part of a disk that ingest leaves alone by
// default: what is left then is for access records (contract section 8).
const maxReserve = 256 << 20

// disk watches the space of the data directory.
type disk struct {
	dir     string
	reserve int64 // 0: 5 % of the disk, at most maxReserve
	stat    func(dir string) (free, size int64, err error)
}

func statDisk(dir string) (free, size int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	unit := s.Bsize
	return int64(s.Bavail) * unit, int64(s.Blocks) * unit, nil
}

// full returns nil while ingest may go on; else an error that wraps
// evidence.ErrUnavailable. Space that cannot be asked for is no space.
func (d *disk) full() error {
	free, size, err := d.stat(d.dir)
	if err != nil {
		return fmt.Errorf("%w: %w", evidence.ErrUnavailable, err)
	}
	reserve := d.reserve
	if reserve == 0 {
		reserve = min(size/20, maxReserve)
	}
	if free < reserve {
		return fmt.Errorf("%w: the disk of the data directory has %d MiB free, and the last %d MiB are kept for records of access", evidence.ErrUnavailable, free>>20, reserve>>20)
	}
	return nil
}
