package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/runledger/runledger/internal/demo"
)

// show is a demo with a server on its way.
type show struct {
	e      *env
	dir    string
	server *demoServer
	values map[string]string // of shell variables, see demo.Stop
}

// runServer plays the demo to a server, and then takes the tour, or prints it and
// serves on until ctx is done.
func (c *demoCmd) runServer(e *env, dir string) error {
	ctx, stop := context.WithCancel(e.ctx)
	defer stop()
	s := &show{e: e, dir: dir}
	var err error
	if s.server, err = startDemo(ctx, dir); err != nil {
		return err
	}
	err = s.play(ctx)
	switch {
	case err != nil:
	case c.Once:
		err = s.take(ctx)
	default:
		s.print()
		err = s.wait(ctx)
	}
	if e.ctx.Err() != nil {
		err = nil // Ctrl-C ends the demo whenever it comes
	}
	stop()
	if err = errors.Join(err, s.server.wait()); err != nil {
		return fmt.Errorf("%w (the log of the server: %s)", err, filepath.Join(dir, "server.log"))
	}
	e.printf("\nThe server has stopped. What it holds stays in %s:\n\n  %s serve --data %s\n", dir, invocation(), shellWord(s.server.data))
	return nil
}

// wait waits for Ctrl-C, or for the server to fail.
func (s *show) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.server.stopped:
		s.server.stopped <- nil // for who waits for its end
		return errors.Join(errors.New("the server stopped"), err)
	}
}

func (s *show) say(format string, args ...any) {
	s.e.printf("%s", wrapLines("", "", fmt.Sprintf(format, args...)))
}

func (s *show) heading(text string) {
	bold, plain := "", ""
	if isTerminal(s.e.stdout) && os.Getenv("NO_COLOR") == "" {
		bold, plain = "\x1b[1m", "\x1b[0m"
	}
	s.e.printf("\n%s%s%s\n\n", bold, text, plain)
}

// play sends everything and tells about it.
func (s *show) play(ctx context.Context) error {
	e, now := s.e, time.Now()
	e.printf("A server is running. Its data and its log are in\n  %s\n", s.dir)
	if s.server.elsewhere {
		e.printf("Usual ports are taken, so it is elsewhere: API %s, OTLP/HTTP %s\n", s.server.api, s.server.otlp)
	} else {
		e.printf("API %s, OTLP/HTTP %s\n", s.server.api, s.server.otlp)
	}
	keys, vkey, err := s.server.keys(ctx)
	if err != nil {
		return err
	}
	e.printf("\n")
	p := demo.Player{
		API: "http://" + s.server.api, OTLP: "http://" + s.server.otlp, Keys: keys, Now: now,
		Say: func(line string) { e.printf("%s", wrapLines("  + ", "    ", line)) },
	}
	played, err := p.Play(ctx, filepath.Join(s.dir, "refund.zip"))
	if err != nil {
		return err
	}
	s.values = map[string]string{"URL": p.API, "DIR": s.dir, "RUN": demo.Run, "EXPORT": played.Export, "VKEY": vkey}
	for who, key := range keys {
		s.values[who] = key
	}
	s.heading("What happened at " + demo.Tenant)
	for _, entry := range p.Story() {
		if entry.Story != "" {
			e.printf("  %s  %s\n", entry.At.UTC().Format(time.TimeOnly), entry.Story)
		}
	}
	return nil
}

// print prints the tour for who wants to take it.
func (s *show) print() {
	file, err := s.variables()
	if err != nil {
		s.e.notef("the variables are not in a file: %v\n", err)
	}
	s.heading("Look at it: in another terminal, in this directory")
	s.e.printf("  . %s\n\n", shellWord(file))
	s.say("sets the address, the names and the keys that the commands below use; VIEWER, for example, is the key of somebody who may see no content. Answers are JSON; under each the same question on the command line, as a table.")
	for i, stop := range demo.Tour() {
		s.question(i, &stop)
		if curl := stop.Curl(); curl != "" {
			s.e.printf("  %s\n", curl)
		}
		if len(stop.Command) > 0 {
			s.e.printf("  %s\n", s.commandLine(&stop))
		}
		s.see(&stop)
	}
	s.e.printf("\nYour reads are on record, too: ask again who looked.\nThe server runs until Ctrl-C.\n")
}

func (s *show) question(i int, stop *demo.Stop) { s.heading(fmt.Sprintf("%d. %s", i+1, stop.Question)) }

func (s *show) see(stop *demo.Stop) { s.e.printf("%s", wrapLines("\n  ", "  ", stop.See)) }

// commandLine is the command of a stop as it is typed.
func (s *show) commandLine(stop *demo.Stop) string {
	words := []string{invocation()}
	for _, word := range stop.Command {
		if strings.Contains(word, "$") {
			word = `"` + word + `"`
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// variables writes a file that sets the variables of the tour. It holds keys.
func (s *show) variables() (string, error) {
	var b strings.Builder
	for _, name := range []string{
		"URL", "DIR", "RUN", "EXPORT", "VKEY", demo.Operator, demo.Viewer, demo.Auditor, demo.Producer, demo.Outsider,
	} {
		fmt.Fprintf(&b, "%s=%s\n", name, demo.Quote(s.values[name]))
	}
	file := filepath.Join(s.dir, "tour.sh")
	return file, os.WriteFile(file, []byte(b.String()), 0o600)
}

// take takes the tour: every command is run, and shown with its answer.
func (s *show) take(ctx context.Context) error {
	for i, stop := range demo.Tour() {
		s.question(i, &stop)
		if err := s.ask(ctx, &stop); err != nil {
			return err
		}
		if err := s.command(ctx, &stop); err != nil {
			return err
		}
		s.see(&stop)
	}
	return nil
}

// answered shows the beginning of what a command said.
func (s *show) answered(lines []string, most int) {
	if left := len(lines) - most; left > 1 {
		lines = append(lines[:most:most], fmt.Sprintf("… %d more lines", left))
	}
	s.e.printf("\n")
	for _, line := range lines {
		s.e.printf("%s\n", strings.TrimRight("    "+line, " "))
	}
}

func (s *show) ask(ctx context.Context, stop *demo.Stop) error {
	if stop.Path == "" {
		return nil
	}
	s.e.printf("  %s\n", stop.Curl())
	body, err := stop.Ask(ctx, s.values)
	if err != nil {
		return err
	}
	var shown []string
	switch {
	case stop.Save != "":
		shown = []string{fmt.Sprintf("%d bytes", len(body))}
		err = os.WriteFile(demo.Expand(stop.Save, s.values), body, 0o600)
	case stop.Show == nil:
		shown = []string{fmt.Sprintf("a page of %d bytes", len(body))}
	default:
		shown, err = demo.Shorten(body, stop.Show)
	}
	if err == nil {
		s.answered(shown, len(shown))
	}
	return err
}

// maxShown is how many lines of a command's output the tour shows.
const maxShown = 22

// command runs the command of a stop in this process, which reaches the server as
// any other would.
func (s *show) command(ctx context.Context, stop *demo.Stop) error {
	if len(stop.Command) == 0 {
		return nil
	}
	if stop.Path != "" {
		s.e.printf("\n")
	}
	s.e.printf("  %s\n", s.commandLine(stop))
	args := make([]string, len(stop.Command))
	for i, word := range stop.Command {
		args[i] = demo.Expand(word, s.values)
	}
	var out, errs bytes.Buffer
	if status := run(ctx, args, s.e.stdin, &out, &errs); status != stop.Exit {
		return fmt.Errorf("%s: exit status %d instead of %d: %s", strings.Join(args, " "), status, stop.Exit, strings.TrimSpace(errs.String()))
	}
	s.answered(strings.Split(strings.TrimRight(out.String(), "\n"), "\n"), maxShown)
	return nil
}

// invocation is how this program is run, for commands that are typed after it.
func invocation() string {
	if goRun.MatchString(filepath.ToSlash(os.Args[0])) {
		return "go run ./cmd/runledger" // nobody types where go run keeps what it made
	}
	return shellWord(os.Args[0])
}

// goRun is where go run puts a program: a temporary directory, or the build cache.
var goRun = regexp.MustCompile(`/go-build\d+/b\d+/exe/[^/]+$|/[0-9a-f]{64}-d/[^/]+$`)

// shellWord quotes what a shell would take apart.
func shellWord(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("/._-+=:@%", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return demo.Quote(s)
	}
	return s
}
