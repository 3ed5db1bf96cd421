package audit

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestFind: the log stays where it is, whatever comes into being: the folder of
// the backups, one with a log of another time in it, or a former place that is
// mounted again.
func TestFind(t *testing.T) {
	t.Parallel()
	state, root := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "root")
	own, former := filepath.Join(state, "audit"), filepath.Join(root, "audit")
	at := func(dir string, month int) {
		t.Helper()
		l := New(dir)
		l.now = func() time.Time { return november.AddDate(0, month, 0) }
		l.mustAppend(t, Record{Operation: "seal"})
	}
	finds := func(want string, others ...string) {
		t.Helper()
		if dir, also := Find(state, root); dir != want || !slices.Equal(also, others) {
			t.Errorf("%s and %q, want %s and %q", dir, also, want, others)
		}
	}
	finds(own)
	if err := os.MkdirAll(former, 0o700); err != nil {
		t.Fatal(err)
	}
	finds(own)
	at(former, 1) // by an earlier version
	finds(former)
	if err := os.Rename(root, root+".away"); err != nil {
		t.Fatal(err)
	}
	finds(own)
	at(own, 2)
	if err := os.Rename(root+".away", root); err != nil {
		t.Fatal(err)
	}
	finds(own, former)
	// A log that is broken at its end is one all the same.
	at(former, 3)
	finds(former, own)
	broken := filepath.Join(former, fileOf(november.AddDate(0, 3, 0)))
	writeFile(t, broken, make([]byte, 2*maxTorn))
	for _, written := range []struct { // own was at month 2
		month       int
		dir, others string
	}{{1, own, former}, {4, former, own}} {
		if err := os.Chtimes(broken, time.Time{}, november.AddDate(0, written.month, 0)); err != nil {
			t.Fatal(err)
		}
		finds(written.dir, written.others)
	}
}
