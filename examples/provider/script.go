package main

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// turn is a request in neutral form: the script does not know which protocol it
// came by.
type turn struct {
	texts   []string // of all messages, for counting
	user    string   // the user's last message
	results []string // what tools returned since then
	called  []string // names of the tools called since then
	tools   []tool   // that the request offers
}

type tool struct {
	Name       string
	Parameters struct {
		Properties map[string]struct{ Type string }
		Required   []string
	}
}

// answer is what the script decides.
type answer struct {
	text string // empty where a tool is called
	tool string
	args map[string]any
}

// answer follows the rules of the package comment.
func (t *turn) answer() answer {
	user := strings.ToLower(t.user)
	for _, tl := range t.tools {
		if wants(user, tl.Name) && !contains(t.called, tl.Name) {
			return answer{tool: tl.Name, args: arguments(t.user, tl)}
		}
	}
	if len(t.results) == 0 {
		return answer{text: "There is no tool for that. You said: " + t.user}
	}
	return answer{text: "This is what I know: " + strings.Join(t.results, " ")}
}

func wants(user, tool string) bool {
	for _, word := range strings.FieldsFunc(tool, func(r rune) bool { return r == '_' || r == '-' }) {
		if len(word) >= 4 && strings.Contains(user, strings.ToLower(word)) {
			return true
		}
	}
	return false
}

func contains(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}

var (
	place  = regexp.MustCompile(`\bin ([A-Z][a-z]+)`)
	code   = regexp.MustCompile(`\b[A-Z]+-?[0-9]+\b`)
	number = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)
)

// arguments fills the required parameters of a tool from the user's message: a
// number with a number that is in no code, an id with a code such as A-17, other
// text with a place.
func arguments(user string, t tool) map[string]any {
	args := map[string]any{}
	for _, name := range t.Parameters.Required {
		switch typ := t.Parameters.Properties[name].Type; {
		case typ == "number" || typ == "integer":
			n, _ := strconv.ParseFloat(number.FindString(code.ReplaceAllString(user, "")), 64)
			args[name] = n
		case strings.HasSuffix(name, "id"):
			args[name] = code.FindString(user)
		default:
			m := place.FindStringSubmatch(user)
			if m == nil {
				m = []string{"", "nowhere"}
			}
			args[name] = m[1]
		}
	}
	return args
}

// failure returns the status that the message asks for, or 0.
func (p *provider) failure(user string) int {
	switch {
	case strings.Contains(user, "[500]"):
		return http.StatusInternalServerError
	case strings.Contains(user, "[429]") && p.failOnce(user):
		return http.StatusTooManyRequests
	default:
		return 0
	}
}

const perMessage = 4 // tokens that a message costs besides its text

func tokens(text string) int { return (len(text) + 3) / 4 }

func (t *turn) inputTokens() int {
	n := 0
	for _, text := range t.texts {
		n += perMessage + tokens(text)
	}
	return n
}
