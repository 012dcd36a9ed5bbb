package evidence

import (
	"strings"
	"time"
)

// Micros is a point in time: microseconds since 1970-01-01T00:00:00 UTC.
type Micros int64

// Bounds of the four-digit years that the time format can hold.
const (
	minMicros Micros = -62135596800_000000 // 0001-01-01T00:00:00.000000Z
	maxMicros Micros = 253402300799_999999 // 9999-12-31T23:59:59.999999Z
)

// MicrosOf drops what is finer than a microsecond.
func MicrosOf(t time.Time) Micros { return Micros(t.UnixMicro()) }

// Time returns the instant in UTC.
func (m Micros) Time() time.Time { return time.UnixMicro(int64(m)).UTC() }

// InRange reports whether the time can be written: years 0001 to 9999.
func (m Micros) InRange() bool { return minMicros <= m && m <= maxMicros }

const timeLen = len("2026-11-23T16:00:02.000000Z")

// String returns RFC 3339 UTC with exactly six decimals.
func (m Micros) String() string {
	var b [timeLen]byte
	return string(m.append(b[:0]))
}

// MarshalText implements encoding.TextMarshaler.
func (m Micros) MarshalText() ([]byte, error) { return m.append(nil), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Micros) UnmarshalText(b []byte) error {
	v, ok := ParseMicros(string(b))
	if !ok {
		return invalid("time", "not RFC 3339 UTC with six decimals: %q", b)
	}
	*m = v
	return nil
}

const usPerDay = 86400_000000

func (m Micros) append(dst []byte) []byte {
	days := int64(m) / usPerDay
	rest := int64(m) % usPerDay
	if rest < 0 {
		days--
		rest += usPerDay
	}
	y, mo, d := civil(days)
	us := rest % 1_000000
	sec := rest / 1_000000
	dst = digits(dst, y, 4)
	dst = digits(append(dst, '-'), mo, 2)
	dst = digits(append(dst, '-'), d, 2)
	dst = digits(append(dst, 'T'), sec/3600, 2)
	dst = digits(append(dst, ':'), sec/60%60, 2)
	dst = digits(append(dst, ':'), sec%60, 2)
	dst = digits(append(dst, '.'), us, 6)
	return append(dst, 'Z')
}

func digits(dst []byte, v int64, n int) []byte {
	at := len(dst)
	dst = append(dst, "0000000000"[:n]...)
	for i := n - 1; i >= 0; i-- {
		dst[at+i] = byte('0' + v%10)
		v /= 10
	}
	return dst
}

// civil turns days since 1970-01-01 into a proleptic Gregorian date.
func civil(days int64) (y, m, d int64) {
	days += 719468
	era := days / 146097
	if days < 0 {
		era = (days - 146096) / 146097
	}
	doe := days - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d = doy - (153*mp+2)/5 + 1
	m = mp + 3
	if m > 12 {
		m -= 12
	}
	y = yoe + era*400
	if m <= 2 {
		y++
	}
	return y, m, d
}

// daysOf is the inverse of civil.
func daysOf(y, m, d int64) int64 {
	if m <= 2 {
		y--
		m += 12
	}
	era := y / 400
	yoe := y - era*400
	doy := (153*(m-3)+2)/5 + d - 1
	return era*146097 + yoe*365 + yoe/4 - yoe/100 + doy - 719468
}

var daysIn = [...]int64{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// ParseMicros reads exactly the form of [Micros.String]. Leap seconds do not
// exist in it.
func ParseMicros(s string) (Micros, bool) {
	if len(s) != timeLen || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' ||
		s[16] != ':' || s[19] != '.' || s[26] != 'Z' {
		return 0, false
	}
	y, mo, d := twoDigits(s[0:2])*100+twoDigits(s[2:4]), twoDigits(s[5:7]), twoDigits(s[8:10])
	h, mi, sec := twoDigits(s[11:13]), twoDigits(s[14:16]), twoDigits(s[17:19])
	us := (twoDigits(s[20:22])*100+twoDigits(s[22:24]))*100 + twoDigits(s[24:26])
	if y < 1 || y > 9999 || mo < 1 || mo > 12 || d < 1 || h > 23 || mi > 59 || sec > 59 || us > 999999 {
		return 0, false
	}
	last := daysIn[mo]
	if mo == 2 && y%4 == 0 && (y%100 != 0 || y%400 == 0) {
		last = 29
	}
	if d > last {
		return 0, false
	}
	return Micros(daysOf(y, mo, d)*usPerDay + ((h*60+mi)*60+sec)*1_000000 + us), true
}

// twoDigits returns a number that is out of every range where s is not two
// digits.
func twoDigits(s string) int64 {
	a, b := s[0]-'0', s[1]-'0'
	if a > 9 || b > 9 {
		return 1_000_000
	}
	return int64(a)*10 + int64(b)
}

// parseProducerTime reads RFC 3339 with any offset and up to six decimals
// (more only if they are zeros: nothing is rounded). Package time is no help:
// it also accepts a comma, a one-digit hour and an offset of 24 hours, and
// drops decimals after the ninth.
func parseProducerTime(field, s string) (Micros, error) {
	if m, ok := ParseMicros(s); ok {
		return m, nil
	}
	bad := func() (Micros, error) {
		return 0, invalid(field, "must be a time in RFC 3339 form, e.g. 2026-11-23T16:00:02.000000Z")
	}
	const seconds = len("2026-11-23T16:00:02")
	if len(s) <= seconds {
		return bad()
	}
	frac, zone := "", s[seconds:]
	if zone[0] == '.' {
		frac = zone[1:]
		zone = strings.TrimLeft(frac, "0123456789")
		frac = frac[:len(frac)-len(zone)]
		if frac == "" {
			return bad()
		}
	}
	offset, ok := parseOffset(zone)
	if !ok {
		return bad()
	}
	if len(frac) > 6 {
		if strings.Trim(frac[6:], "0") != "" {
			return 0, invalid(field, "must not be finer than a microsecond: at most six decimals")
		}
		frac = frac[:6]
	}
	m, ok := ParseMicros(s[:seconds] + "." + frac + "000000"[len(frac):] + "Z")
	if !ok {
		return bad()
	}
	if m -= offset; !m.InRange() {
		return 0, invalid(field, "is outside the years 0001 to 9999")
	}
	return m, nil
}

// parseOffset reads Z or the ±hh:mm by which a local time is ahead of UTC.
func parseOffset(s string) (Micros, bool) {
	if s == "Z" {
		return 0, true
	}
	if len(s) != len("+00:00") || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, false
	}
	h, mi := twoDigits(s[1:3]), twoDigits(s[4:6])
	if h > 23 || mi > 59 {
		return 0, false
	}
	offset := Micros((h*60 + mi) * 60_000000)
	if s[0] == '-' {
		offset = -offset
	}
	return offset, true
}
