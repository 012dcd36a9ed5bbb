package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/verify"
)

// tour is a demo without a server on its way.
type tour struct {
	e      *env
	dir    string
	n      int // steps so far
	key    string
	answer []byte // standard output of the last command
}

// runOffline shows the tour without a server.
func (c *demoCmd) runOffline(e *env, dir string) error {
	t := &tour{e: e, dir: dir}
	for _, step := range []func() error{
		t.intro, t.tenant, t.append, t.sign, t.prove, t.export, t.verify, t.live, t.forge, t.outro,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (t *tour) path(name string) string { return filepath.Join(t.dir, name) }

// say prints a paragraph.
func (t *tour) say(format string, args ...any) {
	t.e.printf("%s", wrapLines("", "", fmt.Sprintf(format, args...)))
}

// step begins a step.
func (t *tour) step(title string) {
	t.n++
	bold, plain := "", ""
	if isTerminal(t.e.stdout) && os.Getenv("NO_COLOR") == "" {
		bold, plain = "\x1b[1m", "\x1b[0m"
	}
	t.e.printf("\n%s%d. %s%s\n\n", bold, t.n, title, plain)
}

// command shows a command as it is typed in the demo's directory, and runs
// it. Its standard output goes into t.answer; want is the exit status that
// the tour expects.
func (t *tour) command(want int, words ...string) error {
	shown := "$ runledger"
	args := make([]string, len(words), len(words)+1)
	for i, word := range words {
		text := word
		switch {
		case word == t.key && word != "":
			text = `"$VKEY"`
		case strings.HasPrefix(word, "@"): // a file in the demo's directory
			text = word[1:]
			word = t.path(text)
			if strings.HasSuffix(text, "/") {
				word += "/"
			}
		}
		args[i] = word
		shown += " " + text
	}
	for i, line := range strings.Split(strings.TrimRight(wrapCommand(shown), "\n"), "\n") {
		if i > 0 {
			line = "    " + line
		}
		t.e.printf("  %s\n", line)
	}
	t.e.printf("\n")
	var out, errs bytes.Buffer
	status := run(t.e.ctx, append(args, "--json"), t.e.stdin, &out, &errs)
	t.answer = out.Bytes()
	if status != want {
		return fmt.Errorf("the demo's command ended with exit status %d instead of %d: %s", status, want, strings.TrimSpace(errs.String()))
	}
	return nil
}

// wrapCommand breaks a command line where it is too wide.
func wrapCommand(s string) string {
	const width = columns - 8
	var b strings.Builder
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len(line)+1+len(word) > width {
			b.WriteString(line + " \\\n")
			line = word
			continue
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	b.WriteString(line + "\n")
	return b.String()
}

func (t *tour) decode(v any) error {
	if err := json.Unmarshal(t.answer, v); err != nil {
		return fmt.Errorf("the demo's answer: %w", err)
	}
	return nil
}

func (t *tour) intro() error {
	t.say("A support agent, refund-bot, wants to refund 480.00 where 250.00 is the limit. A guardrail stops it, a person overrides the limit for an hour, a worker restarts meanwhile, and the refund goes through. This is what is left of it as evidence.")
	t.e.printf("\n")
	t.say("The files are in %s; the commands are as typed there.", t.dir)
	return nil
}

func (t *tour) tenant() error {
	t.step("A tenant gets a log of its own, and a key")
	if err := t.command(statusDone, "init", "--data", "@data"); err != nil {
		return err
	}
	if err := t.command(statusDone, "tenants", "create", "acme", "--data", "@data"); err != nil {
		return err
	}
	var info ledger.LogInfo
	if err := t.decode(&info); err != nil {
		return err
	}
	t.key = info.VKey
	// In two lines, since the key is wider than a terminal.
	t.e.printf("  VKEY='%s'\n  VKEY=\"$VKEY%s\"\n\n", info.Origin, strings.TrimPrefix(info.VKey, info.Origin))
	t.say("Whoever shall be able to check the log gets this key, by another way than the evidence.")
	return nil
}

func (t *tour) append() error {
	t.step("Records are appended")
	records := demoRecords(time.Now())
	if err := os.WriteFile(t.path("incident.ndjson"), ndjson(records), 0o600); err != nil {
		return err
	}
	if err := t.command(statusDone, "append", "--tenant", "acme", "--data", "@data", "@incident.ndjson"); err != nil {
		return err
	}
	t.e.printf("  leaf  what happened                                     leaf hash\n")
	for i, line := range bytes.Split(bytes.TrimSpace(t.answer), []byte("\n")) {
		var r control.Receipt
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		t.e.printf("  %4d  %-48s  %s…\n", r.LeafIndex, records[i].story, r.LeafHash[:16])
	}
	t.e.printf("\n")
	t.say("Each line is a receipt: the record is on disk, in the tree, and under a signed head. Prompts, responses, parameters and people are sealed: the log holds a commitment to them, their text is encrypted and can be erased without breaking a proof.")
	return nil
}

func (t *tour) sign() error {
	t.step("The log is signed")
	if err := t.command(statusDone, "checkpoint", "--tenant", "acme", "--data", "@data", "--out", "@acme.checkpoint"); err != nil {
		return err
	}
	var c control.Checkpoint
	if err := t.decode(&c); err != nil {
		return err
	}
	for _, line := range strings.Split(strings.TrimSpace(c.Checkpoint), "\n") {
		if len([]rune(line)) > columns-2 {
			line = string([]rune(line)[:columns-3]) + "…"
		}
		t.e.printf("  %s\n", line)
	}
	t.e.printf("\n")
	t.say("Origin, number of leaves, root hash, signature. Keep it somewhere else: whoever holds one can tell whether the past was rewritten.")
	return nil
}

func (t *tour) prove() error {
	t.step("One record is proven")
	if err := t.command(statusDone, "prove", "--tenant", "acme", "--data", "@data", "--span", demoTrace+":"+demoDenied,
		"--out", "@denied.tlog-proof", "--leaf", "@denied.leaf"); err != nil {
		return err
	}
	var p control.Proof
	if err := t.decode(&p); err != nil {
		return err
	}
	hashes := strings.Count(p.Proof[:strings.Index(p.Proof, "\n\n")], "\n") - 1
	t.say("Leaf %d, the denial, is in the tree: %d hashes lead from it to the root. The proof holds for ever, and shows nothing of the other records.", p.LeafIndex, hashes)
	return nil
}

func (t *tour) export() error {
	t.step("The log is exported")
	if err := t.command(statusDone, "export", "--tenant", "acme", "--data", "@data", "--profile", "log", "--out", "@acme.zip"); err != nil {
		return err
	}
	var info control.ExportInfo
	if err := t.decode(&info); err != nil {
		return err
	}
	t.e.printf("  %d records, %d bytes\n  %s\n\n", info.Records, info.Bytes, info.Checksum)
	t.say("The export is itself recorded: that it was made, of what, and the digest of what was given out. README.txt in it says how to check it with other tools.")
	return nil
}

func (t *tour) verify() error {
	t.step("Anybody checks it, offline, with the key alone")
	if err := t.command(10, "verify", "@acme.zip", "--key", t.key, "--since", "@acme.checkpoint"); err != nil {
		return err
	}
	return t.verdict()
}

// verdict prints what a verification of a bundle said.
func (t *tour) verdict() error {
	var rep verify.Report
	if err := t.decode(&rep); err != nil {
		return err
	}
	t.e.printf("  %s\n", rep.Verdict)
	if n := rep.Counts["leaves"]; n > 0 && rep.Verdict != verify.Failed {
		t.e.printf("%s", wrap("  ", countText(rep.Counts)))
	}
	for i := range rep.Findings {
		f := &rep.Findings[i]
		t.e.printf("%s", wrap("  ", string(f.Code)+": "+f.Message))
	}
	return nil
}

func (t *tour) live() error {
	t.step("The whole deployment is checked, every table and column")
	if err := t.command(statusDone, "verify", "--data", "@data"); err != nil {
		return err
	}
	var a liveAnswer
	if err := t.decode(&a); err != nil {
		return err
	}
	t.e.printf("  %s  %d records in %d logs\n", a.Verdict, a.Leaves, len(a.Logs))
	return nil
}

func (t *tour) outro() error {
	t.step("Go on")
	t.say("Everything is still there. For instance:")
	t.e.printf("\n  cd %s\n", t.dir)
	for _, line := range []string{
		"unzip -l acme.zip", "cat denied.leaf",
		"runledger verify acme.zip --key \"$VKEY\"",
		"runledger export --tenant acme --data data --withhold '*' --out sealed.zip",
		"runledger serve --data data",
	} {
		t.e.printf("  %s\n", line)
	}
	return nil
}
