package c2sp

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// TileWidth is the number of hashes of a full tile and of leaves of a full
// entry bundle; tiles have height 8.
const TileWidth = 256

// EntriesLevel is what [ParseTilePath] returns as the level of an entry
// bundle.
const EntriesLevel = -1

// maxLevel: a tree of MaxSize leaves has no hash of height 8*7 or above.
const maxLevel = 6

// TilePath returns tile/<L>/<N>[.p/<W>], C2SP tlog-tiles section "Merkle
// Tree": N in groups of three digits, all but the last with x before them. A
// width of 256 is a full tile, 1 to 255 a partial one.
func TilePath(level int, n int64, width int) string {
	return tilePath("tile/"+strconv.Itoa(level), n, width)
}

// EntriesPath returns tile/entries/<N>[.p/<W>], C2SP tlog-tiles section "Log
// entries".
func EntriesPath(n int64, width int) string { return tilePath("tile/entries", n, width) }

func tilePath(prefix string, n int64, width int) string {
	s := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		s = fmt.Sprintf("x%03d/%s", n%1000, s)
	}
	s = prefix + "/" + s
	if width != TileWidth {
		s += ".p/" + strconv.Itoa(width)
	}
	return s
}

// ParseTilePath reads what [TilePath] and [EntriesPath] write and nothing
// else; the level of an entry bundle is [EntriesLevel]. The error wraps
// evidence.ErrInvalid.
func ParseTilePath(path string) (level int, n int64, width int, err error) {
	bad := func() (int, int64, int, error) {
		return 0, 0, 0, invalid("%q is not the path of a tile", path)
	}
	rest, ok := strings.CutPrefix(path, "tile/")
	first, rest, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return bad()
	}
	if first == "entries" {
		level = EntriesLevel
	} else {
		l, ok := parseDecimal(first)
		if !ok || l > maxLevel {
			return bad()
		}
		level = int(l)
	}
	number, partial, hasPartial := strings.Cut(rest, ".p/")
	width = TileWidth
	if hasPartial {
		w, ok := parseDecimal(partial)
		if !ok || w < 1 || w >= TileWidth {
			return bad()
		}
		width = int(w)
	}
	groups := strings.Split(number, "/")
	for i, g := range groups {
		if i < len(groups)-1 {
			if g, ok = strings.CutPrefix(g, "x"); !ok {
				return bad()
			}
		}
		if len(g) != 3 || i == 0 && len(groups) > 1 && g == "000" {
			return bad()
		}
		d, err := strconv.ParseUint(g, 10, 16)
		if err != nil {
			return bad()
		}
		if n = n*1000 + int64(d); n > MaxSize {
			return bad()
		}
	}
	return level, n, width, nil
}

// AppendEntry adds a leaf to an entry bundle: u16be length || leaf, C2SP
// tlog-tiles section "Log entries". A leaf over evidence.MaxLeafSize is
// evidence.ErrTooLarge.
func AppendEntry(dst, leaf []byte) ([]byte, error) {
	if len(leaf) > evidence.MaxLeafSize {
		return dst, fmt.Errorf("entry of %d bytes: %w", len(leaf), evidence.ErrTooLarge)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(leaf)))
	return append(dst, leaf...), nil
}

// NextEntry returns the first leaf of a bundle and what follows it, both
// within the given bytes. The error wraps evidence.ErrInvalid: the bundle is
// empty, ends within an entry, or has an entry over evidence.MaxLeafSize.
func NextEntry(bundle []byte) (leaf, rest []byte, err error) {
	if len(bundle) < 2 {
		return nil, nil, invalid("entry bundle ends before an entry's length")
	}
	n := int(binary.BigEndian.Uint16(bundle))
	if n > evidence.MaxLeafSize {
		return nil, nil, invalid("entry bundle: an entry of %d bytes", n)
	}
	if bundle = bundle[2:]; len(bundle) < n {
		return nil, nil, invalid("entry bundle ends within an entry")
	}
	return bundle[:n:n], bundle[n:], nil
}

// SplitEntries returns the leaves of a bundle, which must be exactly width
// of them. They share the bundle's memory. The error wraps
// evidence.ErrInvalid.
func SplitEntries(bundle []byte, width int) ([][]byte, error) {
	leaves := make([][]byte, 0, min(max(width, 0), TileWidth))
	for len(bundle) > 0 {
		leaf, rest, err := NextEntry(bundle)
		if err != nil {
			return nil, err
		}
		leaves = append(leaves, leaf)
		if len(leaves) > width {
			break
		}
		bundle = rest
	}
	if len(leaves) != width || width > TileWidth {
		return nil, invalid("entry bundle does not have %d entries", width)
	}
	return leaves, nil
}
