package witness

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

const keyName = "key"

// keyPrefix begins a signing key in the text form of golang.org/x/mod/sumdb/note:
// PRIVATE+KEY+<name>+<key id>+<base64(type || seed)>.
const keyPrefix = "PRIVATE+KEY+"

// ErrNoKey says that there is no key, and no name to make one under.
var ErrNoKey = errors.New("there is none, and no name was given to make one")

// OpenKey reads the signing key of the witness in dir. Where there is none, it makes
// one under that name, mode 0600, synced before it returns. A name that is not that
// of the key is evidence.ErrInvalid; an empty one is any, or ErrNoKey.
func OpenKey(dir, name string) (*c2sp.Cosigner, error) {
	path := filepath.Join(dir, keyName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if name == "" {
			return nil, fmt.Errorf("key of the witness: %w: %w", ErrNoKey, err)
		}
		text, err = makeKey(path, name)
	}
	if err != nil {
		return nil, fmt.Errorf("key of the witness: %w", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		return nil, errors.Join(err, fmt.Errorf("key of the witness: %w: others may read %s (chmod 600)", evidence.ErrForbidden, path))
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("key of the witness: %s: %w", path, err)
	}
	if have := key.VKey().Name; name != "" && name != have {
		return nil, fmt.Errorf("key of the witness: %w: it is that of %s, not of %s", evidence.ErrInvalid, have, name)
	}
	return key, nil
}

func makeKey(path, name string) ([]byte, error) {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	key, err := c2sp.NewCosigner(name, seed)
	if err != nil {
		return nil, err
	}
	raw := append([]byte{byte(c2sp.Cosignature)}, seed...)
	text := fmt.Appendf(nil, "%s%s+%08x+%s\n", keyPrefix, name, key.VKey().ID(), base64.StdEncoding.EncodeToString(raw))
	return text, writeNew(path, text)
}

func parseKey(text []byte) (*c2sp.Cosigner, error) {
	line, ok := strings.CutSuffix(string(text), "\n")
	rest, ok2 := strings.CutPrefix(line, keyPrefix)
	parts := strings.Split(rest, "+")
	if !ok || !ok2 || len(parts) < 3 {
		return nil, fmt.Errorf("%w: not a signing key", evidence.ErrInvalid)
	}
	name, id := parts[0], parts[1]
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.Join(parts[2:], "+")) // + is a digit of base64
	if err != nil || len(raw) != 1+ed25519.SeedSize || raw[0] != byte(c2sp.Cosignature) {
		return nil, fmt.Errorf("%w: not a signing key of a witness", evidence.ErrInvalid)
	}
	key, err := c2sp.NewCosigner(name, raw[1:])
	if err != nil {
		return nil, err
	}
	if fmt.Sprintf("%08x", key.VKey().ID()) != id {
		return nil, fmt.Errorf("%w: its key id does not match", evidence.ErrInvalid)
	}
	return key, nil
}

// writeNew writes a file that is not there, whole and synced, or not at all.
func writeNew(path string, data []byte) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s: %w", path, fs.ErrExist))
	}
	return writeFile(path, data)
}

// writeFile replaces a file durably: aside, sync, rename, sync the directory.
func writeFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".tmp-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sameFile reports whether a file has these bytes.
func sameFile(path string, data []byte) bool {
	have, err := os.ReadFile(path)
	return err == nil && bytes.Equal(have, data)
}
