package evidence

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const microsLayout = "2006-01-02T15:04:05.000000Z"

func checkMicros(t rapid.TB, m Micros) {
	t.Helper()
	want := time.UnixMicro(int64(m)).UTC()
	if got := m.String(); got != want.Format(microsLayout) {
		t.Fatalf("%d is written %s, want %s", m, got, want.Format(microsLayout))
	}
	if got, ok := ParseMicros(m.String()); !ok || got != m {
		t.Fatalf("%s is read as %d, %v, want %d", m, got, ok, m)
	}
	if !m.Time().Equal(want) || MicrosOf(want) != m || !m.InRange() {
		t.Fatalf("%d: Time %v, MicrosOf %d", m, m.Time(), MicrosOf(want))
	}
}

// TestMicrosDays compares every day of the range with package time, at its
// first and last microsecond.
func TestMicrosDays(t *testing.T) {
	step := int64(1)
	if testing.Short() {
		step = 97
	}
	for m := int64(minMicros); m < int64(maxMicros); m += step * usPerDay {
		y, mo, d := time.UnixMicro(m).UTC().Date()
		if gy, gm, gd := civil(m / usPerDay); gy != int64(y) || gm != int64(mo) || gd != int64(d) {
			t.Fatalf("%d is %d-%d-%d, want %d-%d-%d", m, gy, gm, gd, y, mo, d)
		}
		if got := daysOf(int64(y), int64(mo), int64(d)); got != m/usPerDay {
			t.Fatalf("%d-%d-%d is day %d, want %d", y, mo, d, got, m/usPerDay)
		}
	}
	for _, m := range []Micros{minMicros, minMicros + 1, -1, 0, 1, -usPerDay, -usPerDay - 1, maxMicros - 1, maxMicros} {
		checkMicros(t, m)
	}
	if (minMicros - 1).InRange() || (maxMicros + 1).InRange() {
		t.Error("the range is too wide")
	}
}

func TestMicrosRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkMicros(t, genMicros().Draw(t, "m")) })
}

func TestParseMicrosRefuses(t *testing.T) {
	const good = "2024-02-29T23:59:59.123456Z"
	if _, ok := ParseMicros(good); !ok {
		t.Fatal(good)
	}
	for _, s := range []string{
		"", "2024-02-29T23:59:59.123456", "2024-02-29T23:59:59.12345Z", "2024-02-29T23:59:59.1234567Z", "2024-02-29T23:59:59Z",
		"2024-02-29T23:59:59,123456Z", "2024-02-29t23:59:59.123456Z", "2024-02-29T23:59:59.123456z", "2024-02-29 23:59:59.123456Z",
		"2024-02-30T23:59:59.123456Z", "2023-02-29T23:59:59.123456Z", "1900-02-29T23:59:59.123456Z", "2024-04-31T23:59:59.123456Z",
		"2024-00-29T23:59:59.123456Z", "2024-13-29T23:59:59.123456Z", "2024-02-00T23:59:59.123456Z", "2024-02-29T24:00:00.000000Z",
		"2024-02-29T23:60:59.123456Z", "2024-02-29T23:59:60.123456Z", "0000-02-29T23:59:59.123456Z", "-001-02-29T23:59:59.123456Z",
		"2024-02-29T23:59:59.12345+Z", "2024-02-29T23:59:59.+23456Z", "20/4-02-29T23:59:59.123456Z", "2024-02-29T2\xff:59:59.123456Z",
	} {
		if m, ok := ParseMicros(s); ok {
			t.Errorf("%q is read as %s", s, m)
		}
	}
	for i := range good {
		for c := range 256 {
			s := good[:i] + string([]byte{byte(c)}) + good[i+1:]
			want, err := time.Parse(microsLayout, s)
			m, ok := ParseMicros(s)
			if wantOK := err == nil && want.Format(microsLayout) == s && want.Year() > 0; ok != wantOK || ok && m != MicrosOf(want) {
				t.Errorf("%q: %s %v, time says %v", s, m, ok, err)
			}
		}
	}
}

func TestMicrosText(t *testing.T) {
	b, err := json.Marshal(map[string]Micros{"a": 1})
	if err != nil || string(b) != `{"a":"1970-01-01T00:00:00.000001Z"}` {
		t.Errorf("%s %v", b, err)
	}
	var m Micros
	if err := json.Unmarshal([]byte(`"1969-12-31T23:59:59.999999Z"`), &m); err != nil || m != -1 {
		t.Errorf("%d %v", m, err)
	}
	if err := m.UnmarshalText([]byte("1970-01-01")); !errors.Is(err, ErrInvalid) || m != -1 {
		t.Errorf("%d %v", m, err)
	}
}

// producerTimes are times as producers may send them, or not.
var producerTimes = map[string]bool{
	"2026-11-23T16:00:02Z":                true,
	"2026-11-23T16:00:02.5Z":              true,
	"2026-11-23T16:00:02.123456Z":         true,
	"2026-11-23T16:00:02.123456000Z":      true,
	"2026-11-23T16:00:02.1234560000000Z":  true,
	"2026-11-23T16:00:02.000000+05:30":    true,
	"2026-11-23T16:00:02.5+01:09":         true,
	"2026-11-23T16:00:02.55-12:59":        true,
	"2026-11-23T16:00:02-00:00":           true,
	"0001-01-01T00:00:00Z":                true,
	"9999-12-31T23:59:59.999999Z":         true,
	"2026-11-23T16:00:02.1234567Z":        false,
	"2026-11-23T16:00:02.123456789Z":      false,
	"2026-11-23T16:00:02.0000000001Z":     false,
	"2026-11-23T16:00:02.1234560000001Z":  false,
	"2026-11-23T16:00:02.123456001+01:00": false,
	"2026-11-23T16:00:02":                 false,
	"2026-11-23T16:00:02.Z":               false,
	"2026-11-23T16:00:02,5Z":              false,
	"2026-11-23 16:00:02Z":                false,
	"2026-11-23t16:00:02z":                false,
	"2026-11-23T6:00:02Z":                 false,
	"2026-11-23T16:00Z":                   false,
	"2026-11-23T24:00:00Z":                false,
	"2026-11-23T23:59:60Z":                false,
	"2026-06-30T23:59:60.000000Z":         false,
	"2026-02-30T00:00:00Z":                false,
	"2026-11-23T16:00:02+24:00":           false,
	"2026-11-23T16:00:02+23:60":           false,
	"2026-11-23T16:00:02+0100":            false,
	"2026-11-23T16:00:02+01":              false,
	"0000-01-01T00:00:00Z":                false,
	"0000-12-31T23:59:59.999999Z":         false,
	"0000-12-31T23:59:59-01:00":           false,
	"20260-11-23T16:00:02Z":               false,
	"2026-11-23T16:00:02Z ":               false,
	"Mon, 23 Nov 2026 16:00:02 GMT":       false,
	"1764000000":                          false,
	"":                                    false,
}

func TestProducerTimes(t *testing.T) {
	for s, want := range producerTimes {
		m, err := parseProducerTime("occurred_at", s)
		if (err == nil) != want {
			t.Errorf("%q: %s, %v, want ok %v", s, m, err, want)
			continue
		}
		if err != nil {
			if !errors.Is(err, ErrInvalid) || !strings.HasPrefix(err.Error(), "occurred_at: ") {
				t.Errorf("%q: %v", s, err)
			}
			continue
		}
		if tt, err := time.Parse(time.RFC3339Nano, s); err != nil || MicrosOf(tt) != m {
			t.Errorf("%q is %s, want %v (%v)", s, m, tt, err)
		}
	}
	for in, want := range map[string]string{
		"2026-11-23T16:00:02.5+05:30": "2026-11-23T10:30:02.500000Z",
		"2026-11-23T23:59:59-00:01":   "2026-11-24T00:00:59.000000Z",
	} {
		if m, err := parseProducerTime("t", in); err != nil || m.String() != want {
			t.Errorf("%s is %s, want %s (%v)", in, m, want, err)
		}
	}
	for _, in := range []string{"0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"} {
		if m, err := parseProducerTime("t", in); err == nil || !strings.Contains(err.Error(), "years") {
			t.Errorf("%s is %s, %v", in, m, err)
		}
	}
}
