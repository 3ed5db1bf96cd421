package drill

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// TestPast: drills are remembered, the newest first, no more than so many, and what
// somebody else left in the file hides none.
func TestPast(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	if past, err := Past(dir, 5); err != nil || len(past) != 0 {
		t.Errorf("of nothing: %v, %v", past, err)
	}
	for i := range maxPast + 3 {
		if err := Keep(dir, &Report{Who: strconv.Itoa(i), Results: []Result{{RTO: 1.5, RPO: 60}}}); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, PastName)
	text, err := os.ReadFile(path)
	if err != nil || bytes.Count(text, []byte("\n")) != maxPast {
		t.Errorf("%d lines, %v", bytes.Count(text, []byte("\n")), err)
	}
	if err := os.WriteFile(path, append(text, "{torn\n\n[]\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	past, err := Past(dir, 2)
	if err != nil || len(past) != 2 || past[0].Who != strconv.Itoa(maxPast+2) || past[1].Results[0].RTO != 1.5 {
		t.Errorf("%+v, %v", past, err)
	}
	// A file that has grown beyond all bounds is read from its end.
	if err := os.WriteFile(path, append(bytes.Repeat([]byte("x"), 2*maxPastSize), append([]byte("\n"), text...)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if past, err := Past(dir, 2*maxPast); err != nil || len(past) != maxPast {
		t.Errorf("%d, %v", len(past), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
