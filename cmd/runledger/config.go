package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// configFile is the YAML file of serve. Its keys are the flags' names, nested
// at will: "otlp: {http: …}" is --otlp-http. What the command line or the
// environment says comes first.
type configFile struct {
	values map[string]any
}

// readConfig is a kong.ConfigurationLoader.
func readConfig(r io.Reader) (kong.Resolver, error) {
	var doc map[string]any
	if err := yaml.NewDecoder(r).Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c := &configFile{values: map[string]any{}}
	return c, c.flatten("", doc)
}

func (c *configFile) flatten(prefix string, doc map[string]any) error {
	for key, v := range doc {
		name := prefix + strings.ReplaceAll(key, "_", "-")
		if inner, ok := v.(map[string]any); ok {
			if err := c.flatten(name+"-", inner); err != nil {
				return err
			}
			continue
		}
		if _, ok := c.values[name]; ok {
			return fmt.Errorf("configuration: %s stands twice", name)
		}
		if list, ok := v.([]any); ok {
			words := make([]any, len(list)) // not joined: a value may have a comma
			for i, e := range list {
				words[i] = fmt.Sprint(e)
			}
			c.values[name] = words
			continue
		}
		if v == nil {
			return fmt.Errorf("configuration: %s has no value", name)
		}
		c.values[name] = fmt.Sprint(v)
	}
	return nil
}

var (
	onceOnly   = []string{"accept-rollback", "confirm-clock"}
	noSettings = []string{"help", "config", "json"}
)

// Validate implements kong.Resolver: a key that is no flag of serve is a
// mistake, not a remark.
func (c *configFile) Validate(app *kong.Application) error {
	var known []string
	for _, flags := range app.Leaves(true) {
		if flags.Name != "serve" {
			continue
		}
		for _, group := range flags.AllFlags(true) {
			for _, f := range group {
				known = append(known, f.Name)
			}
		}
	}
	for name := range c.values {
		switch {
		case slices.Contains(onceOnly, name):
			return fmt.Errorf("configuration: %s is a decision for one start: give it on the command line", name)
		case !slices.Contains(known, name) || slices.Contains(noSettings, name):
			return fmt.Errorf("configuration: %s is no setting", name)
		}
	}
	return nil
}

// Resolve implements kong.Resolver.
func (c *configFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, ok := os.LookupEnv(env); ok {
			return nil, nil
		}
	}
	if v, ok := c.values[flag.Name]; ok {
		return v, nil
	}
	return nil, nil
}

// configFromEnv returns the option that reads the file named by the
// environment, which kong's own flag does not look at.
func configFromEnv(args []string) ([]kong.Option, error) {
	path := os.Getenv("RUNLEDGER_CONFIG")
	given := func(a string) bool { return a == "--config" || strings.HasPrefix(a, "--config=") }
	if path == "" || len(args) == 0 || args[0] != "serve" || slices.ContainsFunc(args, given) {
		return []kong.Option{kong.Configuration(readConfig)}, nil
	}
	if _, err := os.Stat(path); err != nil {
		return nil, &usageError{fmt.Sprintf("RUNLEDGER_CONFIG: %v", err)}
	}
	return []kong.Option{kong.Configuration(readConfig, path)}, nil
}

// size is a number of bytes: 1048576, 64MiB, 1GiB.
type size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *size) UnmarshalText(text []byte) error {
	t, unit := string(text), int64(1)
	for suffix, n := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, ok := strings.CutSuffix(t, suffix); ok {
			t, unit = rest, n
		}
	}
	var n int64
	if _, err := fmt.Sscanf(t+" ", "%d ", &n); err != nil || n < 0 || fmt.Sprint(n) != t || n > (1<<62)/unit {
		return fmt.Errorf("%q is no size such as 64MiB", text)
	}
	*s = size(n * unit)
	return nil
}
