package main

import (
	"archive/zip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// heldLog is an exported log: its leaves in order, and the texts of the sealed
// fields.
type heldLog struct {
	leaves []*evidence.Leaf
	texts  map[string]string // seq and path -> JSON
}

// text returns a sealed JSON string, or "".
func (h *heldLog) text(seq int64, path string) string {
	var s string
	_ = json.Unmarshal([]byte(h.texts[key(seq, path)]), &s) // not there: ""
	return s
}

func key(seq int64, path string) string { return strconv.FormatInt(seq, 10) + path }

// readLog reads what the verifier has verified; it checks nothing again.
func readLog(path string) (*heldLog, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	h := &heldLog{texts: map[string]string{}}
	// Entry bundles stand in the ZIP in the order of the log.
	for _, f := range z.File {
		switch {
		case strings.HasPrefix(f.Name, "logs/0/tile/entries/"):
			err = read(f, h.addLeaves)
		case f.Name == "logs/0/disclosures.jsonl":
			err = read(f, h.addTexts)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return h, nil
}

func read(f *zip.File, add func([]byte) error) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return add(b)
}

// addLeaves reads an entry bundle, C2SP tlog-tiles: u16be length || leaf.
func (h *heldLog) addLeaves(b []byte) error {
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
			return errors.New("the bundle ends within an entry")
		}
		n := 2 + int(binary.BigEndian.Uint16(b))
		leaf, err := evidence.ParseLeaf(b[2:n])
		if err != nil {
			return err
		}
		if leaf.Seq != int64(len(h.leaves)) {
			return fmt.Errorf("leaf %d stands at place %d", leaf.Seq, len(h.leaves))
		}
		h.leaves = append(h.leaves, leaf)
		b = b[n:]
	}
	return nil
}

func (h *heldLog) addTexts(b []byte) error {
	for line := range strings.Lines(string(b)) {
		var d struct {
			Seq         int64
			Path, Value string
		}
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			return err
		}
		h.texts[key(d.Seq, d.Path)] = d.Value
	}
	return nil
}
