package archive

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	fast "github.com/klauspost/compress/flate"
)

// texts are what is packed in these tests: lines like leaves, noise, one byte, nothing.
func texts(t testing.TB) map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	l := newTestLog(t, 600)
	few := bytes.Repeat([]byte("ab"), 100_000)
	skewed := make([]byte, 200_000) // codes of all lengths
	for i := range skewed {
		skewed[i] = byte(min(r.ExpFloat64()*9, 255))
	}
	return map[string][]byte{"lines": bytes.Join(l.leaves, []byte("\n")), "noise": noise, "few": few, "one": few[:1], "nothing": nil, "skewed": skewed}
}

// unpackBoth unpacks with what checks the size, in one piece and as a stream.
func unpackBoth(packed []byte, size int) (whole []byte, werr error, stream []byte, serr error) {
	whole = make([]byte, size)
	werr = inflate(whole, packed)
	g := &gunzip{r: iotest.HalfReader(bytes.NewReader(packed)), in: make([]byte, 64<<10), out: make([]byte, window+ahead)}
	g.z.reset(g.in[:0], g.more)
	for {
		if keep := g.to - window; keep > 0 {
			copy(g.out, g.out[keep:g.to])
			g.to = window
		}
		from := g.to
		g.to, serr = g.z.run(g.out, g.to, false)
		stream = append(stream, g.out[from:g.to]...)
		if serr != nil || len(stream) > 1<<24 {
			return whole, werr, stream, serr
		}
	}
}

func TestInflate(t *testing.T) {
	t.Parallel()
	for name, text := range texts(t) {
		for level := -2; level <= 9; level++ {
			var ours, std bytes.Buffer
			a, err := fast.NewWriter(&ours, level)
			if err != nil {
				t.Fatal(err)
			}
			b, err := flate.NewWriter(&std, level)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range []io.WriteCloser{a, b} {
				_, err := w.Write(text)
				if err := errors.Join(err, w.Close()); err != nil {
					t.Fatal(err)
				}
			}
			for _, packed := range [][]byte{ours.Bytes(), std.Bytes()} {
				whole, werr, stream, serr := unpackBoth(packed, len(text))
				if werr != nil || !errors.Is(serr, io.EOF) || !bytes.Equal(whole, text) || !bytes.Equal(stream, text) {
					t.Errorf("%s, level %d: %v, %v", name, level, werr, serr)
				}
				if len(text) > 0 && inflate(whole[1:], packed) == nil {
					t.Errorf("%s, level %d: it is too long, and nobody says so", name, level)
				}
				if inflate(append(whole, 0), packed) == nil || inflate(whole, append(bytes.Clone(packed), 0)) == nil || inflate(whole, packed[:len(packed)-1]) == nil {
					t.Errorf("%s, level %d: what is too short, or goes on, is accepted", name, level)
				}
			}
		}
	}
}

// FuzzInflate: it unpacks what the standard library does, to the same, and nothing else.
func FuzzInflate(f *testing.F) {
	for _, text := range texts(f) {
		for _, level := range []int{-2, 0, 1, 6} {
			var b bytes.Buffer
			w, _ := flate.NewWriter(&b, level)
			_, _ = w.Write(text[:min(len(text), 3000)])
			_ = w.Close()
			f.Add(b.Bytes())
		}
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		in := bytes.NewReader(packed)
		want, err := io.ReadAll(io.LimitReader(flate.NewReader(in), 1<<22))
		if len(want) == 1<<22 {
			return
		}
		good := err == nil
		whole, werr, stream, serr := unpackBoth(packed, len(want))
		if good != errors.Is(serr, io.EOF) || good && !bytes.Equal(stream, want) {
			t.Errorf("as a stream: %v, not %v", serr, err)
		}
		if ok := good && in.Len() == 0; ok != (werr == nil) || ok && !bytes.Equal(whole, want) {
			t.Errorf("in one piece: %v, not %v", werr, err)
		}
	})
}

// TestGunzip: what is no gzip file of ours.
func TestGunzip(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(bytes.Repeat([]byte("a line\n"), 100_000))
	_ = w.Close()
	good := b.Bytes()
	read := func(b []byte) ([]byte, error) {
		g, err := newGunzip(iotest.OneByteReader(bytes.NewReader(b)))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(g)
	}
	if got, err := read(good); err != nil || len(got) != 700_000 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, err := read(bad); err == nil && (i < 4 || i > 9) { // the header has a time and a system
			t.Errorf("byte %d may be another", i)
		}
		if _, err := read(good[:i]); err == nil {
			t.Errorf("it may end at byte %d", i)
		}
	}
	if _, err := read(append(good, 0)); err == nil {
		t.Error("something may stand behind it")
	}
}
