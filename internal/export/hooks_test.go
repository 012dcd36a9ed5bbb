package export

import "io"

// SpoolBytes returns what a spool has on the disk.
func SpoolBytes(s *Spool) ([]byte, error) {
	s.flush()
	return io.ReadAll(io.NewSectionReader(s.f, 0, s.size))
}
