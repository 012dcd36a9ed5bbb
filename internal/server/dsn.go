package server

import (
	"net/url"
	"strings"
)

// ParseStore reads how people name a store: a DSN of PostgreSQL, or the directory of
// an SQLite store.
func ParseStore(text string) StoreSpec {
	if isDSN(text) {
		return StoreSpec{Store: text}
	}
	return StoreSpec{Data: strings.TrimPrefix(text, "sqlite:")}
}

func isURL(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// isDSN reports a URL of PostgreSQL, or its key=value pairs.
func isDSN(text string) bool {
	if isURL(text) {
		return true
	}
	for _, p := range dsnPairs(text) {
		switch p[0] {
		case "host", "hostaddr", "dbname", "service":
			return true
		}
	}
	return false
}

// DescribeStore names a store for people and records: without a password.
func DescribeStore(dsn string) string {
	if dsn == "" {
		return "sqlite"
	}
	if !isURL(dsn) {
		out := "postgres"
		for _, p := range dsnPairs(dsn) {
			switch p[0] {
			case "host", "port", "dbname":
				out += " " + p[0] + "=" + p[1]
			}
		}
		return out
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "postgres" // what is wrong with it, opening it says
	}
	host := u.Host
	if host == "" {
		host = u.Query().Get("host") // of a socket
	}
	return "postgres " + host + u.Path
}

// dsnPairs reads key=value pairs as libpq does: a value with spaces stands in single
// quotes, and a backslash takes the next character as it is. It stops at what is none.
func dsnPairs(text string) (pairs [][2]string) {
	for {
		key, rest, ok := strings.Cut(strings.TrimLeft(text, space), "=")
		key = strings.TrimRight(key, space)
		if !ok || key == "" || strings.ContainsAny(key, space+"'\\/") {
			return pairs
		}
		value, rest, ok := dsnValue(strings.TrimLeft(rest, space))
		if !ok {
			return pairs
		}
		pairs = append(pairs, [2]string{key, value})
		text = rest
	}
}

const space = " \t\r\n\f\v"

func dsnValue(text string) (value, rest string, ok bool) {
	end := space
	if quoted, isQuoted := strings.CutPrefix(text, "'"); isQuoted {
		text, end = quoted, "'"
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case strings.IndexByte(end, c) >= 0:
			return b.String(), text[i+1:], true
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", end == space
}
