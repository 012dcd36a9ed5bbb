package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/runledger/runledger/internal/zipstore"
	"github.com/runledger/runledger/verify"
)

// What the forger changes: the amount that the limit check observed.
const (
	demoObserved = `"observed_value":"480.00"`
	demoForged   = `"observed_value":"180.00"`
)

func (t *tour) forge() error {
	t.step("Somebody makes the breach look smaller")
	good, err := os.ReadFile(t.path("acme.zip"))
	if err != nil {
		return err
	}
	bad := bytes.Replace(good, []byte(demoObserved), []byte(demoForged), 1)
	if bytes.Equal(good, bad) {
		return fmt.Errorf("the demo's bundle does not hold the breach")
	}
	t.say("One byte of a copy of the bundle is changed: 480.00 becomes 180.00.")
	t.e.printf("\n")
	if err := t.forged("forged.zip", bad); err != nil {
		return err
	}
	t.e.printf("\n")
	t.say("That was too easy. The next forger mends every checksum too: of the ZIP, and of the manifest.")
	t.e.printf("\n")
	if bad, err = forgeWell(good); err != nil {
		return err
	}
	if err := t.forged("forged-well.zip", bad); err != nil {
		return err
	}
	t.e.printf("\n")
	t.say("The signature covers the root of the tree, and the root covers every byte of every leaf. To mend that takes the key; and who has the key still has to explain the checkpoint that somebody kept in step 3.")
	return nil
}

func (t *tour) forged(name string, data []byte) error {
	if err := os.WriteFile(t.path(name), data, 0o600); err != nil {
		return err
	}
	if err := t.command(statusBad, "verify", "@"+name, "--key", t.key); err != nil {
		return err
	}
	return t.verdict()
}

// forgeWell changes the leaf and mends all that can be mended without a key.
func forgeWell(good []byte) ([]byte, error) {
	in, err := zipstore.Open(bytes.NewReader(good), int64(len(good)))
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, e := range in.Entries() {
		b, err := in.ReadFile(e.Name)
		if err != nil {
			return nil, err
		}
		files[e.Name] = bytes.ReplaceAll(b, []byte(demoObserved), []byte(demoForged))
	}
	m, err := verify.ParseManifest(files["manifest.json"])
	if err != nil {
		return nil, err
	}
	for i, f := range m.Files {
		sum := sha256.Sum256(files[f.Path])
		m.Files[i].SHA256 = hex.EncodeToString(sum[:])
	}
	files["manifest.json"] = m.Marshal()
	var out bytes.Buffer
	w := zipstore.NewWriter(&out)
	for _, e := range in.Entries() {
		if err := w.Add(e.Name, files[e.Name]); err != nil {
			return nil, err
		}
	}
	err = w.Close()
	return out.Bytes(), err
}
