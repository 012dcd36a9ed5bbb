package otlp

import "testing"

// Pieces do not overlap, also where one grows, whatever their sizes.
func TestArena(t *testing.T) {
	var m arena
	var pieces [][]byte
	for i := range 500 {
		n := (i * 37) % 5000
		p := m.roomForBytes(n)
		if len(p) != 0 || cap(p) != n {
			t.Fatalf("asked for %d: %d of %d", n, len(p), cap(p))
		}
		for range n {
			p = append(p, byte(i))
		}
		pieces = append(pieces, p)
		_ = append(p, 255)
	}
	for i, p := range pieces {
		for _, c := range p {
			if c != byte(i) {
				t.Fatalf("piece %d of %d bytes has one of %d", i, len(p), c)
			}
		}
	}
}
