package values

import (
	"flag"
	"testing"
)

// TestWhatIsTaken: each kind of value takes what its help says, writes it as it reads it,
// and refuses the rest.
func TestWhatIsTaken(t *testing.T) {
	for name, tc := range map[string]struct {
		value flag.Value
		takes map[string]string // and is then written as
		not   []string
	}{
		"age": {new(Age), map[string]string{"180d": "180d", "26w": "182d", "36h": "36h0m0s", "48h": "2d", "36500d": "36500d"},
			[]string{"", "d", "0d", "-1d", "1.5d", "36501d", "5215w", "70000d", "0s", "-1h", "soon"}},
		"age or none": {new(Within), map[string]string{"0": "0d", "1w": "7d"}, []string{"", "0d", "-1h"}},
		"count":       {new(Count), map[string]string{"0": "0", "65535": "65535"}, []string{"", "-1", "65536", "1k"}},
		"size": {new(Size), map[string]string{"1": "1", "500MB": "500000000", "20GiB": "21474836480", "7b": "7", "1kib": "1024", "2T": "2000000000000"},
			[]string{"", "0", "MB", "1.5G", "-1", "1XB", "1BB", "1099511627775TiB"}},
		"time": {new(Time), map[string]string{"2026-11-25": "2026-11-25T00:00:00Z", "2026-11-25T02:00:00+09:00": "2026-11-25T02:00:00+09:00"},
			[]string{"", "2026-02-30", "2026-11-25 02:00", "yesterday"}},
	} {
		for text, want := range tc.takes {
			if err := tc.value.Set(text); err != nil || tc.value.String() != want {
				t.Errorf("%s %q: %s, want %s, %v", name, text, tc.value, want, err)
			}
		}
		for _, text := range tc.not {
			if err := tc.value.Set(text); err == nil {
				t.Errorf("%s %q is taken as %s", name, text, tc.value)
			}
		}
	}
	if got := new(Time).String(); got != "" {
		t.Errorf("no time is %q", got)
	}
}

func TestPartSize(t *testing.T) {
	for text, want := range map[string]int64{"7": 7, "8K": 8 << 10, "8kB": 8 << 10, "64MiB": 64 << 20, "5g": 5 << 30} {
		if got, err := PartSize(text); got != want || err != nil {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "M", "1T", "1MK", "x", "4294967296"} {
		if got, err := PartSize(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}
