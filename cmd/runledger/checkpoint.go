package main

import (
	"net/url"
	"os"
	"strconv"
)

type checkpointCmd struct {
	Tenant string `help:"The tenant." required:"" placeholder:"NAME"`
	Out    string `help:"Write it to this file instead." placeholder:"FILE"`
	Stamp  bool   `help:"Have it stamped now by the authority of the server that holds the data directory."`
}

// Help implements kong.HelpProvider.
func (checkpointCmd) Help() string {
	return `A C2SP checkpoint: origin, size and root hash of the log's tree, signed. Keep one somewhere else: whoever has it can later show whether the log still extends it.

    runledger checkpoint --tenant acme --out acme.checkpoint
    runledger verify acme.zip --key "$VKEY" --since acme.checkpoint`
}

// Run prints the checkpoint.
func (c *checkpointCmd) Run(e *env) error {
	return e.with(func(s *session) error {
		ask := s.Checkpoint
		if c.Stamp {
			ask = s.Client.Stamp
		}
		cp, err := ask(e.ctx, c.Tenant)
		if err != nil {
			return err
		}
		if cp.Stamp != nil {
			e.notef("stamped by %s at %s, serial number %s\n", cp.Stamp.Authority, cp.Stamp.Time, cp.Stamp.Serial)
		}
		if c.Out != "" {
			if err := writeNew(c.Out, []byte(cp.Checkpoint)); err != nil {
				return err
			}
		}
		switch {
		case e.JSON:
			return e.json(cp)
		case c.Out == "":
			e.printf("%s", cp.Checkpoint)
		}
		return nil
	})
}

// writeNew writes a file that must not exist yet: what is evidence is never
// overwritten.
func writeNew(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if os.IsExist(err) {
		return usage("%s is there already", name)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return closeSynced(f, err)
}

type proveCmd struct {
	Tenant string `help:"The tenant." required:"" placeholder:"NAME"`
	ID     string `help:"The record's id." xor:"which" required:"" name:"id" placeholder:"UUID"`
	Seq    *int64 `help:"Its leaf index." xor:"which" required:"" placeholder:"N"`
	Span   string `help:"The span that a step records." xor:"which" required:"" placeholder:"TRACE:SPAN"`
	LogNo  int    `help:"With --seq: the number of the log, from 1. Default: the newest." placeholder:"N"`
	Out    string `help:"Write the proof to this file instead." placeholder:"FILE"`
	Leaf   string `help:"Write the leaf, which the proof is about, to this file." placeholder:"FILE"`
}

// Help implements kong.HelpProvider.
func (proveCmd) Help() string {
	return `A C2SP tlog-proof: the leaf's index, the hashes from it to the root, and the signed checkpoint. With the leaf and the log's verifier key it proves that the log holds the record.

    runledger prove --tenant acme --id 3f2a9c1e-5b7d-4e8a-9c60-1d2e3f4a5b6c
    runledger prove --tenant acme --seq 7 --out 7.tlog-proof --leaf 7.leaf
    runledger prove --tenant acme --span 4bf92f3577b34da6a3ce929d0e0e4736:00f067aa0ba902b7`
}

// Run prints the proof.
func (c *proveCmd) Run(e *env) error {
	query := url.Values{}
	switch {
	case c.ID != "":
		query.Set("id", c.ID)
	case c.Span != "":
		query.Set("span", c.Span)
	default:
		query.Set("seq", strconv.FormatInt(*c.Seq, 10))
	}
	if c.LogNo != 0 {
		if c.Seq == nil {
			return usage("--log-no goes with --seq")
		}
		query.Set("log_no", strconv.Itoa(c.LogNo))
	}
	return e.with(func(s *session) error {
		p, err := s.Prove(e.ctx, c.Tenant, query)
		if err != nil {
			return err
		}
		for _, f := range []struct{ name, text string }{{c.Out, p.Proof}, {c.Leaf, p.Leaf}} {
			if f.name == "" {
				continue
			}
			if err := writeNew(f.name, []byte(f.text)); err != nil {
				return err
			}
		}
		switch {
		case e.JSON:
			return e.json(p)
		case c.Out == "":
			e.printf("%s", p.Proof)
		}
		return nil
	})
}
