package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// splitter cuts a body into records, verbatim: each is a slice of the body.
type splitter func(body []byte) ([][]byte, error)

// splitterOf returns how bodies of a Content-Type are cut, or nil.
func splitterOf(contentType string) splitter {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil
	}
	switch media {
	case typeJSON:
		return splitJSON
	case "application/x-ndjson", "application/ndjson", "application/jsonl":
		return splitLines
	}
	return nil
}

func tooMany() error {
	return fmt.Errorf("batch: %w: at most %d records at once", evidence.ErrTooLarge, ledger.MaxAppend)
}

// splitLines cuts NDJSON; empty lines are skipped.
func splitLines(body []byte) ([][]byte, error) {
	var out [][]byte
	for len(body) > 0 {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte("\n"))
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if len(out) == ledger.MaxAppend {
			return nil, tooMany()
		}
		out = append(out, line)
	}
	return out, nil
}

// splitJSON cuts a JSON array into its elements; anything else is one record.
// It checks no more than it must to find where elements end: names that stand
// twice and bytes that are not UTF-8 are found in the record, and are its error
// alone.
func splitJSON(body []byte) ([][]byte, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	next := func() ([]byte, error) {
		v, err := dec.ReadValue()
		if err != nil {
			return nil, malformedJSON(err)
		}
		end := dec.InputOffset()
		return body[end-int64(len(v)) : end : end], nil
	}
	var out [][]byte
	if dec.PeekKind() != '[' {
		v, err := next()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	} else {
		if _, err := dec.ReadToken(); err != nil {
			return nil, malformedJSON(err)
		}
		for dec.PeekKind() != ']' {
			v, err := next()
			if err != nil {
				return nil, err
			}
			if len(out) == ledger.MaxAppend {
				return nil, tooMany()
			}
			out = append(out, v)
		}
		if _, err := dec.ReadToken(); err != nil {
			return nil, malformedJSON(err)
		}
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("body: %w: text after the JSON value", errMalformed)
	}
	return out, nil
}

func malformedJSON(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("body: %w: it is not complete JSON", errMalformed)
	}
	return fmt.Errorf("body: %w: %w", errMalformed, err)
}
