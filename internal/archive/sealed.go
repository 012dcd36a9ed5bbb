package archive

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/klauspost/compress/gzip"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// sealed reads the lines of the sealed segments.
func (c *unitCheck) sealed(ctx context.Context) error {
	o := c.files[sealedName]
	if o == nil {
		return nil
	}
	return c.bad(ctx, CodeFile, sealedName, eachSealed(at{ctx, o}, o.size(), c.m, func(store.SealedSegment) error { return nil }))
}

// maxSealed is what content of a segment can take at most.
const maxSealed = 4*evidence.MaxSealed + 1<<20

// eachSealed reads sealed.jsonl.gz.
func eachSealed(r io.ReaderAt, size int64, m *manifest, fn func(store.SealedSegment) error) error {
	z, err := openGzip(r, size)
	if err != nil {
		return err
	}
	last := int64(-1)
	for {
		line, err := z.next(maxSealed*4/3 + 256)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s, err := parseSealed(line)
		if err != nil {
			return err
		}
		if s.No <= last || s.No>>store.SegmentBits < m.From || s.No>>store.SegmentBits >= m.To {
			return fmt.Errorf("%w: segment %d does not stand where it belongs", evidence.ErrTampered, s.No)
		}
		last, s.LogNo = s.No, m.Log.LogNo
		if err := fn(s); err != nil {
			return err
		}
	}
}

// parseSealed reads what appendSealed writes and nothing else.
func parseSealed(line []byte) (s store.SealedSegment, err error) {
	var in struct {
		Data string `json:"data"`
		ID   string `json:"id"`
		Key  string `json:"key"`
		No   int64  `json:"no"`
	}
	bad := fmt.Errorf("%w: a line is no sealed segment", evidence.ErrTampered)
	if err := json.Unmarshal(line, &in); err != nil {
		return s, fmt.Errorf("%w: %w", bad, err)
	}
	if s.Data, err = base64.StdEncoding.DecodeString(in.Data); err != nil || len(in.ID) != 32 || len(in.Key) != 32 || in.No < 0 {
		return s, bad
	}
	s.No = in.No
	if _, err := hex.Decode(s.ID[:], []byte(in.ID)); err != nil {
		return s, bad
	}
	if _, err := hex.Decode(s.Key[:], []byte(in.Key)); err != nil {
		return s, bad
	}
	if string(appendSealed(nil, &s)) != string(line)+"\n" {
		return s, bad
	}
	return s, nil
}

// sealed writes the sealed segments, by number.
func (b *builder) sealed(ctx context.Context) error {
	if b.u.Sealed == nil {
		return nil
	}
	f, err := b.create(sealedName)
	if err != nil {
		return err
	}
	w, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return fmt.Errorf("archive: gzip: %w", err)
	}
	last := int64(-1)
	var line []byte
	err = b.u.Sealed(ctx, func(s store.SealedSegment) error {
		if s.No <= last || s.No>>store.SegmentBits < b.u.From || s.No>>store.SegmentBits >= b.u.To {
			return fmt.Errorf("archive: %w: sealed segment %d behind %d, in a unit of leaves %d to %d", evidence.ErrInvalid, s.No, last, b.u.From, b.u.To)
		}
		if len(s.Data) > maxSealed {
			return fmt.Errorf("archive: %w: sealed segment %d has %d bytes", evidence.ErrTooLarge, s.No, len(s.Data))
		}
		last = s.No
		line = appendSealed(line[:0], &s)
		if _, err := w.Write(line); err != nil {
			return spoolError(err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return spoolError(err)
	}
	return nil
}

func appendSealed(dst []byte, s *store.SealedSegment) []byte {
	dst = append(dst, `{"data":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, s.Data)
	dst = append(dst, `","id":"`...)
	dst = hex.AppendEncode(dst, s.ID[:])
	dst = append(dst, `","key":"`...)
	dst = hex.AppendEncode(dst, s.Key[:])
	return fmt.Appendf(dst, `","no":%d}`+"\n", s.No)
}
