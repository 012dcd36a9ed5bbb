package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

const masterName = "master.keyset.json"

// openMaster reads the master keyset, or makes it where nothing is wrapped by
// one yet. Where it is lost a new one would be of no use and would hide why.
func openMaster(ctx context.Context, db store.Store, path string) (tink.AEAD, error) {
	logs, err := db.Logs(ctx, "")
	if err != nil {
		return nil, err
	}
	master, err := seal.OpenMaster(path, len(logs) == 0)
	if errors.Is(err, fs.ErrExist) { // another process made it just now
		master, err = seal.OpenMaster(path, false)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: put it back from its backup; without it nothing can be signed or read", path)
	}
	if err != nil {
		return nil, err
	}
	return master, checkMaster(ctx, db, master, path)
}

// checkMaster refuses a keyset that is not the one of the store. Two processes that
// start on an empty database, each with a keyset of its own, both get as far as to
// open the first log: one does, and the other is told here. Until a process has opened
// that log it wraps nothing, so nothing is lost.
func checkMaster(ctx context.Context, db store.Store, master tink.AEAD, path string) error {
	logs, err := db.Logs(ctx, "")
	if err != nil || len(logs) == 0 {
		return err
	}
	if _, err := seal.New(db, master).Unwrap(logs[0].WrappedKey, logs[0].Origin); err != nil {
		return fmt.Errorf("%s is not the master keyset of this ledger: all processes need the one that it was made with (%s)", path, err.Error())
	}
	return nil
}
