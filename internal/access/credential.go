package access

import (
	"encoding/base64"
	"log/slog"
	"net/http"
	"strings"
)

// Credential is a key as a request presents it. Printing it shows nothing.
type Credential string

// String implements fmt.Stringer: it hides the secret.
func (Credential) String() string { return "[credential]" }

// GoString implements fmt.GoStringer.
func (c Credential) GoString() string { return c.String() }

// LogValue implements slog.LogValuer.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements encoding.TextMarshaler, which loggers use for what is
// inside of lists and structs. A [MadeKey] shows its key.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Reveal returns the key itself, for the one who is given it.
func (c Credential) Reveal() string { return string(c) }

// maxHeader bounds a header that is looked at, in bytes.
const maxHeader = 4 << 10

// FromRequest returns the credential of a request, or "" where it has none.
// The error wraps ErrUnauthenticated: it has several, or one that cannot be
// read.
func FromRequest(r *http.Request) (Credential, error) {
	return present(r.Header["Authorization"], r.Header["X-Api-Key"])
}

// FromMetadata is FromRequest for the metadata of a gRPC call: get returns the
// values of a key in lower case, as metadata.MD.Get does.
func FromMetadata(get func(key string) []string) (Credential, error) {
	return present(get("authorization"), get("x-api-key"))
}

// present finds the one credential in what was sent.
func present(authorization, apiKey []string) (Credential, error) {
	found := ""
	add := func(key string, ok bool) error {
		switch {
		case !ok:
			return refuse(reasonMalformed)
		case found != "" && found != key:
			return refuse(reasonSeveral)
		}
		found = key
		return nil
	}
	for _, v := range authorization {
		if err := add(fromAuthorization(v)); err != nil {
			return "", err
		}
	}
	for _, v := range apiKey {
		_, _, ok := splitKey(v)
		if err := add(v, ok); err != nil {
			return "", err
		}
	}
	return Credential(found), nil
}

// fromAuthorization reads an Authorization header (RFC 9110 section 11.4).
func fromAuthorization(v string) (key string, ok bool) {
	if len(v) > maxHeader {
		return "", false
	}
	scheme, rest, _ := strings.Cut(v, " ")
	rest = strings.Trim(rest, " ")
	switch {
	case strings.EqualFold(scheme, "bearer"):
		_, _, ok = splitKey(rest)
		return rest, ok
	case strings.EqualFold(scheme, "basic"):
		return fromBasic(rest)
	}
	return "", false
}

// fromBasic reads user:password (RFC 7617), of which one is the key: exporters
// that know a public and a secret part send the public one as user. Both may be
// the same key.
func fromBasic(v string) (key string, ok bool) {
	b, err := base64.StdEncoding.DecodeString(v)
	if err != nil {
		return "", false
	}
	user, password, _ := strings.Cut(string(b), ":")
	_, _, isUser := splitKey(user)
	_, _, isPassword := splitKey(password)
	switch {
	case isUser && isPassword:
		return user, user == password
	case isUser:
		return user, true
	default:
		return password, isPassword
	}
}
