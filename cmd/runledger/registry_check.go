package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/api"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/prices"
	"github.com/runledger/runledger/internal/registry"
	"github.com/runledger/runledger/internal/stream"
)

type registryCheckCmd struct {
	registryFlags
	As    string   `help:"Check FILE as one of this kind, in place of the registry." placeholder:"KIND"`
	Files []string `arg:"" optional:"" help:"Files to check, with --as." type:"path" name:"file"`
}

// Help implements kong.HelpProvider.
func (registryCheckCmd) Help() string {
	return `Checks every file of the registry by its JSON Schema and against the others; that each endpoint that it names is in this program's own OpenAPI document with that method; and the rules of access, dialects, prices and controls that are built in. Prints each mistake as FILE:LINE: REASON, and exits 1 where there is one.

    runledger registry check
    runledger registry check --as rbac /etc/runledger/rules.yaml

--as checks a file of one's own, and as the server would read it where it does: ` + strings.Join(registry.Kinds(), ", ") + ` (gateway is the file of serve --config).`
}

// parsers are those of the program, by kind of file: a schema says what a file looks
// like, and the parser whether it makes sense. Files of the registry have none beside.
var parsers = map[string]func(text []byte) error{
	"rbac":     func(b []byte) error { _, err := access.ParseRules(b); return err },
	"oidc":     func(b []byte) error { _, err := access.ParseIssuers(b); return err },
	"streams":  func(b []byte) error { _, err := stream.Parse(b); return err },
	"prices":   func(b []byte) error { _, err := prices.Parse(b); return err },
	"dialects": func(b []byte) error { _, err := dialect.Parse(b); return err },
	"controls": export.CheckControls,
	"gateway":  checkConfig,
}

// builtIn are the files of these kinds that are part of the program.
var builtIn = []struct {
	kind, name string // the name is that in the repository
	text       func() []byte
}{
	{"rbac", "internal/access/RBAC_RULES.yaml", access.DefaultRulesFile},
	{"dialects", "internal/dialect/dialects.yaml", dialect.DefaultFile},
	{"prices", "internal/prices/prices.yaml", prices.DefaultFile},
	{"controls", "internal/export/controls.yaml", export.DefaultControls},
}

// checkConfig reads the file of serve --config as serve does.
func checkConfig(text []byte) error {
	c, err := readConfig(bytes.NewReader(text))
	if err != nil {
		return err
	}
	parser, err := kong.New(&cli{})
	if err != nil {
		return err
	}
	return c.Validate(parser.Model)
}

// now is the time by which files are judged.
func now() time.Time { return time.Now().UTC() }

// checked is what a check says.
type checked struct {
	Registry     string             `json:"registry,omitempty"` // the directory, or "built in"
	Digest       string             `json:"digest,omitempty"`
	Intents      int                `json:"intents,omitempty"`
	Capabilities int                `json:"capabilities,omitempty"`
	Scenarios    int                `json:"scenarios,omitempty"`
	Invariants   int                `json:"invariants,omitempty"`
	Files        []string           `json:"files"` // checked beside the registry
	Problems     []registry.Problem `json:"problems"`
}

// Run checks.
func (c *registryCheckCmd) Run(e *env) error {
	out := &checked{Files: []string{}, Problems: []registry.Problem{}}
	var say string
	switch {
	case c.As == "" && len(c.Files) > 0:
		return usage("which kind of file is %s? Give --as: %s", shortPath(c.Files[0]), strings.Join(registry.Kinds(), ", "))
	case c.As != "":
		if err := c.own(out); err != nil {
			return err
		}
		say = fmt.Sprintf("%s: well formed\n", strings.Join(out.Files, ", "))
	default:
		at, err := c.find()
		if err != nil {
			return err
		}
		if err := out.registry(at); err != nil {
			return err
		}
		say = fmt.Sprintf("%s: %d intents, %d capabilities, %d scenarios, %d invariants\n  digest    %s\n  api       this program has every endpoint\n",
			at.name, out.Intents, out.Capabilities, out.Scenarios, out.Invariants, out.Digest)
		for _, name := range out.Files {
			say += fmt.Sprintf("  built in  %s\n", name)
		}
	}
	if e.JSON {
		if err := e.json(out); err != nil {
			return err
		}
	} else if len(out.Problems) == 0 {
		e.printf("%s", say)
	}
	if len(out.Problems) == 0 {
		return nil
	}
	if !e.JSON {
		for _, p := range out.Problems {
			e.printf("%s\n", p.Error())
		}
	}
	return exit(statusBad)
}

// registry checks a registry, and what is built in.
func (out *checked) registry(at *registryAt) error {
	out.Registry = "built in"
	if at.dir != "" {
		out.Registry = shortPath(at.dir)
	}
	reg, err := registry.Load(at.FS, now())
	if err == nil {
		err = reg.CheckAPI(api.Describe(version()))
		out.Digest, out.Intents, out.Capabilities = reg.Digest, len(reg.Intents), len(reg.Capabilities)
		out.Scenarios, out.Invariants = len(reg.Scenarios), len(reg.Invariants)
	}
	if err := out.add(at, err); err != nil {
		return err
	}
	for _, f := range builtIn {
		if err := out.file(f.kind, f.name, f.text()); err != nil {
			return err
		}
	}
	return nil
}

// own checks files that somebody wrote.
func (c *registryCheckCmd) own(out *checked) error {
	switch {
	case !slices.Contains(registry.Kinds(), c.As):
		return usage("--as %s: must be one of %s", c.As, strings.Join(registry.Kinds(), ", "))
	case len(c.Files) == 0:
		return usage("--as %s: which file?", c.As)
	}
	for _, path := range c.Files {
		text, err := os.ReadFile(path)
		if err != nil {
			return inputError(err)
		}
		if err := out.file(c.As, shortPath(path), text); err != nil {
			return err
		}
	}
	return nil
}

// file checks a file by its schema, and where that holds by the parser of the program.
func (out *checked) file(kind, name string, text []byte) error {
	out.Files = append(out.Files, name)
	if err := registry.CheckFile(kind, name, text, now()); err != nil {
		return out.add(&registryAt{}, err)
	}
	if parse := parsers[kind]; parse != nil {
		if err := parse(text); err != nil {
			out.Problems = append(out.Problems, registry.Problem{File: name, Line: lineOf(err), Reason: oneLine(err.Error())})
		}
	}
	return nil
}

func (out *checked) add(at *registryAt, err error) error {
	list, other := at.problems(err)
	out.Problems = append(out.Problems, list...)
	return other
}

var lineNumber = regexp.MustCompile(`\bline (\d+)\b`)

// lineOf finds the line that the error of a parser names, 0 where it names none.
func lineOf(err error) int {
	if m := lineNumber.FindStringSubmatch(err.Error()); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return n
		}
	}
	return 0
}
