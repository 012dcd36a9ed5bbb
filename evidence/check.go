package evidence

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the greatest size of a name in bytes, MaxRun of a run id.
const (
	MaxName = 128
	MaxRun  = 128
	maxText = 1024
)

var nameByte = func() (t [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ._:/@-" {
		t[c] = true
	}
	return t
}()

// FitName reports whether s may stand in a leaf as a name.
func FitName(s string) bool { return checkName(s) == "" }

// IsReplacement reports whether a name has the form that stands for an
// unfit name: "h:" and 16 hex digits. A producer's own name of that form is
// treated as unfit, so that the form can always be trusted.
func IsReplacement(s string) bool {
	return strings.HasPrefix(s, "h:") && isHex(s[2:], 16)
}

// check returns what is wrong with a text value, or "". The wording follows
// the name of a field.
func (f *Field) check(s string) string {
	switch f.Type {
	case TypeName:
		return checkName(s)
	case TypeEnum:
		if !slices.Contains(f.Enum, s) {
			return "must be one of " + strings.Join(f.Enum, ", ")
		}
	case TypeInteger:
		if !decimal(s, false) {
			return "must be a decimal integer in a string"
		}
	case TypeDecimal:
		if !decimal(s, true) {
			return "must be a decimal number in a string, e.g. \"12.50\""
		}
	case TypeText:
		return checkText(s, maxText)
	case TypeRun:
		return checkRun(s)
	case TypeTraceID:
		if !isHex(s, 32) {
			return "must be 32 lower-case hex digits"
		}
	case TypeSpanID:
		if !isHex(s, 16) {
			return "must be 16 lower-case hex digits"
		}
	}
	return ""
}

func checkName(s string) string {
	if s == "" {
		return "must not be empty"
	}
	if len(s) > MaxName {
		return "must not be over 128 bytes"
	}
	for i := 0; i < len(s); i++ {
		if !nameByte[s[i]] {
			return "has a character outside [A-Za-z0-9 ._:/@-]"
		}
	}
	return ""
}

func checkRun(s string) string { return checkText(s, MaxRun) }

func checkText(s string, limit int) string {
	if s == "" {
		return "must not be empty"
	}
	if len(s) > limit {
		return "is too long"
	}
	ascii := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == 0x7f {
			if c == 0 {
				return "has a NUL character"
			}
			return "has a control character"
		}
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	if ascii {
		return ""
	}
	if !utf8.ValidString(s) {
		return "is not valid UTF-8"
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return "has a control character"
		}
	}
	return ""
}

// decimal accepts -?(0|[1-9][0-9]*) and, with a fraction, (\.[0-9]+)?, in at
// most 128 bytes.
func decimal(s string, fraction bool) bool {
	if len(s) > MaxName {
		return false
	}
	s = strings.TrimPrefix(s, "-")
	whole, frac, dot := strings.Cut(s, ".")
	if dot && (!fraction || !allDigits(frac)) {
		return false
	}
	return allDigits(whole) && (len(whole) == 1 || whole[0] != '0')
}

func allDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// ValidOrigin reports whether s is the origin of a log:
// <instance name>/<12 lower-case hex digits>.
func ValidOrigin(s string) bool {
	i := len(s) - 13
	return i > 0 && s[i] == '/' && isHex(s[i+1:], 12) && ValidInstance(s[:i])
}

// ValidInstance reports whether s is an instance name: 1 to 63 bytes of
// [a-z0-9.-], beginning and ending with a letter or digit.
func ValidInstance(s string) bool {
	return s != "" && len(s) <= 63 && onlyLower(s, ".-") && alnum(s[0]) && alnum(s[len(s)-1])
}

// SystemTenant is the reserved tenant of system-wide records.
const SystemTenant = "system"

// SyntheticTenant is the reserved tenant of scenarios: what the server records about
// access, credentials and exports there is synthetic, and the role observer exists
// there only. Unlike SystemTenant it is made like any other.
const SyntheticTenant = "synthetic"

// ValidTenant reports whether s is a tenant id: [a-z0-9-]{1,63}.
func ValidTenant(s string) bool { return s != "" && len(s) <= 63 && onlyLower(s, "-") }

func onlyLower(s, extra string) bool {
	for i := 0; i < len(s); i++ {
		if !alnum(s[i]) && strings.IndexByte(extra, s[i]) < 0 {
			return false
		}
	}
	return true
}

func alnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
