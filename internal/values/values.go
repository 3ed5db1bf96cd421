// Package values reads what people write for ages, times, counts and sizes, in flags and
// in settings. Each type is a [flag.Value], and that of pflag.
package values

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Within is an age, or 0.
type Within time.Duration

func (w *Within) Set(text string) error {
	if text == "0" {
		*w = 0
		return nil
	}
	return (*Age)(w).Set(text)
}

func (w *Within) String() string { return (*Age)(w).String() }

func (*Within) Type() string { return "time" }

// Count is a number of backups.
type Count int

func (c *Count) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return errors.New("want a whole number, up to 65535")
	}
	*c = Count(n)
	return nil
}

func (c *Count) String() string { return strconv.Itoa(int(*c)) }

func (*Count) Type() string { return "N" }

// Size is a number of bytes, as 500MB or 20GiB.
type Size int64

func (s *Size) Set(text string) error {
	digits := strings.TrimRight(text, "BKMGTikmgtb")
	n, err := strconv.ParseUint(digits, 10, 40)
	unit, ok := map[string]int64{
		"": 1, "B": 1, "K": 1e3, "KB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9, "T": 1e12, "TB": 1e12,
		"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
	}[strings.ToUpper(text[len(digits):])]
	if err != nil || !ok || n == 0 || n > uint64(math.MaxInt64/unit) {
		return errors.New("want a number of bytes, as 500MB or 20GiB")
	}
	*s = Size(int64(n) * unit)
	return nil
}

func (s *Size) String() string {
	if *s == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*s), 10)
}

func (*Size) Type() string { return "size" }

// Age is a time span that may be given in days or weeks.
type Age time.Duration

const Day = 24 * time.Hour

// Set reads 180d, 26w, or what Go takes for a duration.
func (a *Age) Set(text string) error {
	unit := map[string]time.Duration{"d": Day, "w": 7 * Day}[text[max(0, len(text)-1):]]
	if unit == 0 {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return errors.New("want a time span such as 180d, 26w or 36h")
		}
		*a = Age(d)
		return nil
	}
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 16)
	if err != nil || n == 0 || time.Duration(n) > 100*365*Day/unit {
		return errors.New("want a whole number of days or weeks, of a hundred years at most")
	}
	*a = Age(time.Duration(n) * unit)
	return nil
}

// String writes whole days as Set reads them.
func (a *Age) String() string {
	if d := time.Duration(*a); d%Day != 0 {
		return d.String()
	}
	return fmt.Sprintf("%dd", time.Duration(*a)/Day)
}

// Type is what the help calls the value.
func (*Age) Type() string { return "time" }

// Time is a time in UTC, as RFC 3339 or as a Day.
type Time struct{ time.Time }

func (f *Time) String() string {
	if f.IsZero() {
		return ""
	}
	return f.Format(time.RFC3339)
}

func (*Time) Type() string { return "time" }

// Set is pflag's.
func (f *Time) Set(text string) (err error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if f.Time, err = time.Parse(layout, text); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%q is neither a Day, as 2026-11-25, nor a time, as 2026-11-25T02:00:00Z", text)
}

// PartSize reads a number of bytes, or of KiB, MiB or GiB with the letter behind it.
func PartSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "kKmMgGiB")
	unit := strings.ToUpper(strings.TrimRight(text[len(digits):], "iB"))
	shift := slices.Index([]string{"", "K", "M", "G"}, unit)
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || shift < 0 {
		return 0, fmt.Errorf("%q is not a size", text)
	}
	return n << (10 * shift), nil
}

// BytesText is a size for people.
func BytesText(n int64) string {
	size, unit := float64(n), 0
	for ; size >= 1024 && unit < len(units)-1; unit++ {
		size /= 1024
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", size, units[unit])
}

var units = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
