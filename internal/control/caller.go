package control

import (
	"context"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
)

// Caller is the user of the operating system who runs a command.
type Caller struct {
	Name string // a fit name
}

type callerKey struct{}

// WithCaller says who makes the requests of a context.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

func callerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	if c.Name == "" {
		c.Name = "unknown"
	}
	return c
}

func (c Caller) producer() string { return "cli:" + c.Name }

func (c Caller) requester() export.Requester {
	return export.Requester{Name: c.producer(), Human: true}
}

// CurrentUser returns the user of this process.
func CurrentUser() Caller { return userByID(strconv.Itoa(os.Getuid())) }

func userByID(uid string) Caller {
	name := "uid-" + uid
	if u, err := user.LookupId(uid); err == nil && u.Username != "" {
		name = u.Username
	}
	return Caller{Name: fit(name)}
}

// fit makes a user's name one that may stand in a leaf.
func fit(name string) string {
	name = strings.Map(func(r rune) rune {
		if !evidence.FitName(string(r)) {
			return '-'
		}
		return r
	}, name)
	return name[:min(len(name), evidence.MaxName-len("cli:"))]
}
