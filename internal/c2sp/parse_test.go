package c2sp

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
)

func TestParseVKeyRefuses(t *testing.T) {
	good := vectors(t).LogVKey
	if _, err := ParseVKey(good); err != nil {
		t.Fatal(err)
	}
	name, rest, _ := strings.Cut(good, "+")
	id, key, _ := strings.Cut(rest, "+")
	for _, bad := range []string{
		"", "+", "++", name, name + "+" + id, good + "+", good + "\n", " " + good,
		name + "x+" + id + "+" + key,
		name + "+" + strings.ToUpper(id) + "+" + key,
		name + "+00000000+" + key,
		name + "+" + id + "+" + strings.TrimRight(key, "=") + "A",
		name + "+" + id + "+" + key[:len(key)-4],
		"a b+" + id + "+" + key,
		"PRIVATE+KEY+" + good,
	} {
		if k, err := ParseVKey(bad); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("ParseVKey(%q) = %v, %v", bad, k, err)
		}
	}
}

func TestParseNoteRefuses(t *testing.T) {
	good := vectors(t).CheckpointCosigned
	edit := func(old, new string) string {
		s := strings.Replace(good, old, new, 1)
		if s == good {
			t.Fatalf("%q is not in the note", old)
		}
		return s
	}
	for name, bad := range map[string]string{
		"empty":               "",
		"no signatures":       good[:strings.Index(good, "\n\n")+2],
		"no blank line":       edit("\n\n", "\n"),
		"extension line":      edit("\n\n", "\nextension\n\n"),
		"leading zero":        edit("\n700\n", "\n0700\n"),
		"plus sign":           edit("\n700\n", "\n+700\n"),
		"negative":            edit("\n700\n", "\n-700\n"),
		"huge size":           edit("\n700\n", "\n9007199254740992\n"),
		"size over int64":     edit("\n700\n", "\n18446744073709551616\n"),
		"spare bits in root":  edit("7+s=\n", "7+t=\n"),
		"unpadded root":       edit("7+s=\n", "7+s\n"),
		"origin with a space": "a b" + good,
		"carriage return":     edit("\n700\n", "\r\n700\n"),
		"trailing line":       good + "x\n",
		"trailing newline":    good + "\n",
		"no last newline":     good[:len(good)-1],
		"hyphen for dash":     edit("— log", "- log"),
		"two spaces":          edit("— log", "—  log"),
		"empty tree":          edit("\n700\n", "\n0\n"),
		"too large":           good + strings.Repeat(good[strings.Index(good, "— "):], 1000),
	} {
		if _, _, err := ParseNote([]byte(bad)); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: ParseNote(%.80q) = %v", name, bad, err)
		}
	}
}

func TestVerify(t *testing.T) {
	v := vectors(t)
	log, w := v.signer(t), v.cosigner(t)
	stranger, err := NewSigner(v.Origin, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	c, sigs, err := ParseNote([]byte(v.CheckpointCosigned))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(s interface {
		Sign([]byte) ([]byte, error)
		VKey() VKey
	}, c Checkpoint,
	) Signature {
		sig, _ := s.Sign([]byte(c.Body()))
		return Signature{s.VKey().Name, s.VKey().ID(), sig}
	}
	other := Checkpoint{v.Origin, 8, v.root(t, 8)}
	tests := []struct {
		name string
		note []byte
		keys []VKey
		want error
	}{
		{"good", []byte(v.CheckpointCosigned), []VKey{log.VKey(), w.VKey()}, nil},
		{"witness unknown", []byte(v.CheckpointCosigned), []VKey{log.VKey()}, nil},
		{"no keys", []byte(v.CheckpointCosigned), nil, ErrNoSignature},
		{"only the witness is known", []byte(v.CheckpointCosigned), []VKey{w.VKey()}, ErrNoSignature},
		{"key of another with the same name", []byte(v.Checkpoint), []VKey{stranger.VKey()}, ErrNoSignature},
		{"unknown signature first", FormatNote(c, []Signature{sign(stranger, c), sigs[0]}), []VKey{log.VKey()}, nil},
		{"signature of another checkpoint", FormatNote(other, sigs[:1]), []VKey{log.VKey()}, evidence.ErrTampered},
		{"cosignature of another checkpoint", FormatNote(other, []Signature{sign(log, other), sigs[1]}), []VKey{log.VKey(), w.VKey()}, evidence.ErrTampered},
		{"the same signature twice", FormatNote(c, []Signature{sigs[0], sigs[0]}), []VKey{log.VKey()}, evidence.ErrTampered},
		{"log key as a witness", FormatNote(c, []Signature{sigs[1]}), []VKey{log.VKey(), w.VKey()}, ErrNoSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Verify(tt.note, tt.keys...)
			if !errors.Is(err, tt.want) {
				t.Errorf("Verify = %v, want %v", err, tt.want)
			}
		})
	}
}

// Any altered byte of a note that must be signed by log and witness is
// noticed by someone who knows both keys.
func TestVerifyEveryByte(t *testing.T) {
	v := vectors(t)
	log, w := v.signer(t).VKey(), v.cosigner(t).VKey()
	for i := range v.CheckpointCosigned {
		for _, flip := range []byte{1, 0x20, 0x80} {
			b := []byte(v.CheckpointCosigned)
			b[i] ^= flip
			if got, err := Verify(b, log, w); err == nil && len(got.Cosignatures) == 1 {
				t.Errorf("byte %d ^ %#x is not noticed", i, flip)
			}
		}
	}
}

func TestParseTilePath(t *testing.T) {
	for _, p := range []string{"tile/0/000", "tile/entries/000", "tile/entries/x001/x234/067", "tile/6/005.p/255", "tile/entries/000.p/1"} {
		level, n, width, err := ParseTilePath(p)
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		again := TilePath(level, n, width)
		if level == EntriesLevel {
			again = EntriesPath(n, width)
		}
		if again != p {
			t.Errorf("%s written again is %s", p, again)
		}
	}
	for _, p := range []string{
		"", "tile", "tile/", "tile/0", "tile/0/", "/tile/0/000", "tile/0/0", "tile/0/0000", "tile/00/000", "tile/7/000",
		"tile/-1/000", "tile/0/x000/000", "tile/0/001/000", "tile/0/x001", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01",
		"tile/0/000.p", "tile/0/000.p/", "tile/0/000/", "tile/0//000", "tile/data/000", "tile/8/0/000", "tile/0/+01",
		"tile/0/x999/x999/x999/x999/x999/x999/x999/999",
	} {
		if _, _, _, err := ParseTilePath(p); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("ParseTilePath(%q) = %v", p, err)
		}
	}
}

func TestEntries(t *testing.T) {
	var bundle []byte
	var err error
	want := [][]byte{[]byte("one"), {}, bytes.Repeat([]byte("x"), evidence.MaxLeafSize)}
	for _, e := range want {
		if bundle, err = AppendEntry(bundle, e); err != nil {
			t.Fatal(err)
		}
	}
	got, err := SplitEntries(bundle, 3)
	if err != nil || len(got) != 3 || !bytes.Equal(got[0], want[0]) || !bytes.Equal(got[2], want[2]) {
		t.Errorf("SplitEntries = %d entries, %v", len(got), err)
	}
	for _, width := range []int{0, 2, 4, 257, -1} {
		if _, err := SplitEntries(bundle, width); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("width %d: %v", width, err)
		}
	}
	if _, err := SplitEntries(bundle[:len(bundle)-1], 3); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("cut short: %v", err)
	}
	if _, err := AppendEntry(nil, make([]byte, evidence.MaxLeafSize+1)); !errors.Is(err, evidence.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

func FuzzParseNote(f *testing.F) {
	v := vectors(f)
	f.Add([]byte(v.Checkpoint))
	f.Add([]byte(v.CheckpointCosigned))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, sigs, err := ParseNote(b)
		if err != nil {
			return
		}
		if again := FormatNote(c, sigs); !bytes.Equal(again, b) {
			t.Fatalf("%q written again is %q", b, again)
		}
	})
}

func FuzzParseProof(f *testing.F) {
	f.Add([]byte(vectors(f).TLogProof))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ParseProof(b); err == nil && !bytes.Equal(p.Marshal(), b) {
			t.Fatalf("%q written again is %q", b, p.Marshal())
		}
	})
}

func FuzzParseConsistency(f *testing.F) {
	f.Add([]byte(vectors(f).AddCheckpoint))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ParseConsistency(b); err == nil && !bytes.Equal(p.Marshal(), b) {
			t.Fatalf("%q written again is %q", b, p.Marshal())
		}
	})
}

func FuzzParseVKey(f *testing.F) {
	v := vectors(f)
	f.Add(v.LogVKey)
	f.Add(v.WitnessVKey)
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseVKey(s); err == nil && k.String() != s {
			t.Fatalf("%q written again is %q", s, k)
		}
	})
}

func FuzzParseTilePath(f *testing.F) {
	for _, p := range vectors(f).TilePaths {
		f.Add(p)
	}
	f.Add("tile/entries/x001/000.p/7")
	f.Fuzz(func(t *testing.T, s string) {
		level, n, width, err := ParseTilePath(s)
		if err != nil {
			return
		}
		again := TilePath(level, n, width)
		if level == EntriesLevel {
			again = EntriesPath(n, width)
		}
		if again != s {
			t.Fatalf("%q written again is %q", s, again)
		}
	})
}

func FuzzSplitEntries(f *testing.F) {
	f.Add([]byte("\x00\x03one\x00\x00"), 2)
	f.Fuzz(func(t *testing.T, b []byte, width int) {
		entries, err := SplitEntries(b, width)
		if err != nil {
			return
		}
		var again []byte
		for _, e := range entries {
			if again, err = AppendEntry(again, e); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%q written again is %q", b, again)
		}
	})
}
