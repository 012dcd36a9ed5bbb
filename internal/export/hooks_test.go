package export

import (
	"context"
	"io"
)

// SpoolBytes returns what a spool has on the disk.
func SpoolBytes(s *Spool) ([]byte, error) {
	s.flush()
	return io.ReadAll(io.NewSectionReader(s.f, 0, s.size))
}

// Collect makes the files of an export by name, without the receipt, and records
// nothing of it.
func Collect(ctx context.Context, e *Exporter, req Request) (map[string][]byte, error) {
	j, err := e.job(&req)
	if err != nil {
		return nil, err
	}
	logs, err := e.cfg.Ledger.Logs(ctx, req.Tenant)
	if err != nil {
		return nil, err
	}
	if err := j.chooseRun(ctx, logs); err != nil {
		return nil, err
	}
	manifest, err := j.collect(ctx)
	if err != nil {
		return nil, err
	}
	files := append([]file{manifest}, j.files...)
	if j.doc != nil {
		files = []file{*j.doc}
	}
	out := map[string][]byte{}
	for i := range files {
		if out[files[i].path], err = io.ReadAll(files[i].open()); err != nil {
			return nil, err
		}
	}
	for _, s := range j.spools {
		if err := s.Close(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Defused is what a cell of a table becomes.
func Defused(text string) string { return defused(text) }
