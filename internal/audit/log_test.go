package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// november is a time at which tests append.
var november = time.Date(2026, 11, 30, 23, 59, 0, 0, time.UTC)

// testLog is a log whose clock stands.
func testLog(t testing.TB, at time.Time) *Log {
	t.Helper()
	l := New(t.TempDir())
	l.now = func() time.Time { return at }
	return l
}

func (l *Log) mustAppend(t testing.TB, records ...Record) {
	t.Helper()
	if err := l.Append(context.Background(), records...); err != nil {
		t.Fatal(err)
	}
}

// holds proves a log and checks how many lines it has.
func (l *Log) holds(t testing.TB, lines int) State {
	t.Helper()
	s, err := Verify(t.Context(), l.dir, Proof{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Lines != lines {
		t.Fatalf("%d lines, want %d", s.Lines, lines)
	}
	return s
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func writeFile(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRollover: a new month is a new file of the same chain, and a clock that
// goes back goes on in the newest.
func TestRollover(t *testing.T) {
	t.Parallel()
	l := testLog(t, november)
	for _, at := range []time.Time{november, november.Add(time.Hour), november, november.AddDate(1, 0, 0), november.AddDate(-1, 0, 0)} {
		l.now = func() time.Time { return at }
		l.mustAppend(t, Record{Operation: "seal"}, Record{Operation: "open"})
	}
	if names, err := months(l.dir); err != nil || !slices.Equal(names, []string{"audit-2026-11.jsonl", "audit-2026-12.jsonl", "audit-2027-11.jsonl"}) {
		t.Fatalf("%q, %v", names, err)
	}
	if s := l.holds(t, 10); s.Files != 3 || s.File != "audit-2027-11.jsonl" || !s.First.Equal(november) {
		t.Errorf("%+v", s)
	}
	for _, gone := range []struct {
		name  string
		first bool
	}{{"audit-2026-11.jsonl", true}, {"audit-2026-12.jsonl", false}} {
		path := filepath.Join(l.dir, gone.name)
		text := readFile(t, path)
		os.Remove(path)
		_, err := Verify(t.Context(), l.dir, Proof{})
		if broken := (*BrokenError)(nil); !errors.As(err, &broken) || broken.Line != 1 || errors.Is(err, errFirst) != gone.first {
			t.Errorf("without %s: %v", gone.name, err)
		}
		writeFile(t, path, text)
	}
	l.holds(t, 10)
}

// TestModes: nobody else reads who did what.
func TestModes(t *testing.T) {
	t.Parallel()
	l := testLog(t, november)
	l.dir = filepath.Join(l.dir, "audit")
	l.mustAppend(t, Record{})
	for path, want := range map[string]os.FileMode{l.dir: 0o700, filepath.Join(l.dir, fileOf(november)): 0o600, filepath.Join(l.dir, lockName): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

// TestTorn: whatever a crash leaves of the last appends, the next one mends and
// notes it, and the chain goes on over it.
func TestTorn(t *testing.T) {
	t.Parallel()
	l := testLog(t, november)
	l.mustAppend(t, Record{Operation: "seal"}, Record{Operation: "open"})
	path := filepath.Join(l.dir, fileOf(november))
	whole := readFile(t, path)
	second := bytes.IndexByte(whole, '\n') + 1
	whole = whole[:len(whole):len(whole)]
	// check cuts the log at size, and wants so many lines after the next record,
	// in the month after.
	check := func(log []byte, size, lines, mended int) []byte {
		t.Helper()
		l := testLog(t, november.AddDate(0, 1, 0))
		l.sync = func(*os.File) error { return nil }
		path := filepath.Join(l.dir, fileOf(november))
		writeFile(t, path, log[:size])
		l.mustAppend(t, Record{Operation: "prune"})
		if s := l.holds(t, lines); s.Mended != mended {
			t.Fatalf("cut at %d: %d mended, want %d", size, s.Mended, mended)
		}
		return readFile(t, path)
	}
	for size := range len(whole) + 1 {
		if off := size % second; size%5 > 0 && off > 3 && off < second-3 {
			continue
		}
		records := bytes.Count(whole[:size], []byte("\n"))
		switch size {
		case 0, second, len(whole):
			check(whole, size, records+1, 0)
			continue
		case second - 1, len(whole) - 1: // a record that lacks no more than its line feed
			check(whole, size, records+2, 0)
			continue
		}
		mended := check(whole, size, records+3, 1)
		if size != second+20 {
			continue
		}
		// A crash while it is mended: what was torn got its line feed first.
		end := size + 1 + bytes.IndexByte(mended[size+1:], '\n')
		for again := size + 1; again < end; again += 3 {
			check(mended, again, 2+bytes.Count(mended[size:again], []byte("\n"))+min(again-size-1, 1)+1, 1)
		}
		check(mended, end, 4, 1)
		check(mended, end+1, 4, 1)
	}
	// Before it is mended, it is told.
	writeFile(t, path, whole[:second+20])
	_, err := Verify(t.Context(), l.dir, Proof{})
	if broken := (*BrokenError)(nil); !errors.As(err, &broken) || broken.Line != 2 || !errors.Is(err, errTorn) {
		t.Errorf("torn: %v", err)
	}
}

// TestHostileFields: whatever is in a field, a record is one line, is bounded,
// and has no key in it.
func TestHostileFields(t *testing.T) {
	t.Parallel()
	l := testLog(t, november)
	secret := strings.Repeat("8f1c5a0e", 8)
	hostile := "a\nb\r\x00\x1b[2J\u2028\u202e\xff\"}\n{\"operation\":\"forged\"} " + secret + strings.Repeat("\x01", 20_000)
	many := slices.Repeat([]string{hostile}, 1000)
	l.mustAppend(t, Record{
		Operation: hostile, Error: hostile, User: hostile, SudoUser: hostile, Host: hostile, Version: hostile, Path: hostile, Detail: hostile,
		BackupID: hostile, Name: hostile, Kind: hostile, Keys: many, KeyIDs: slices.Repeat([]string{"0123456789abcdef"}, 1000),
	}, Record{Operation: "after"})
	text := readFile(t, filepath.Join(l.dir, fileOf(november)))
	if n := bytes.Count(text, []byte("\n")); n != 2 || len(text) > 2*maxLine {
		t.Errorf("%d lines, %d bytes", n, len(text))
	}
	if bytes.Contains(text, []byte(secret)) {
		t.Error("a key is in the log")
	}
	l.holds(t, 2)
	if many[0] != hostile {
		t.Error("the caller's list was changed")
	}
}

// TestConcurrent: goroutines share a log, and nothing is lost.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	l := testLog(t, november)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 10 {
				l.mustAppend(t, Record{Operation: fmt.Sprint(n, "/", i)})
			}
		})
	}
	wg.Wait()
	l.holds(t, 80)
}

// TestNotAFile: what is where the log should be is not written to.
func TestNotAFile(t *testing.T) {
	t.Parallel()
	for _, make := range []func(path string) error{
		func(path string) error { return os.Symlink("/dev/null", path) },
		func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		l := testLog(t, november)
		if err := make(filepath.Join(l.dir, fileOf(november))); err != nil {
			t.Fatal(err)
		}
		if err := l.Append(t.Context(), Record{}); err == nil {
			t.Error("appended")
		}
	}
}

// TestStopped: who waits for another writer can be stopped.
func TestStopped(t *testing.T) {
	t.Parallel()
	l := testLog(t, november)
	held, err := l.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, os.ErrProcessDone)
	defer cancel()
	if err := l.Append(ctx, Record{}); !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}

// BenchmarkAppend appends to a log of 100,000 records, without the sync.
func BenchmarkAppend(b *testing.B) {
	l := testLog(b, november)
	b.StopTimer()
	for range 100 {
		l.mustAppend(b, make([]Record, 1000)...)
	}
	l.sync = func(*os.File) error { return nil }
	b.StartTimer()
	for b.Loop() {
		l.mustAppend(b, Record{Operation: "seal", Path: "/var/backups/takumi/database/takumi_db.sql.zst.enc"})
	}
}

// TestBusy: a writer waits as long as others get on, and gives up on one that hangs.
func TestBusy(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		grows int
		want  error
	}{"others write": {5, nil}, "hangs": {0, ErrBusy}, "hangs at last": {3, ErrBusy}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := testLog(t, november)
			held, err := fsutil.LockFile(filepath.Join(l.dir, lockName))
			if err != nil {
				t.Fatal(err)
			}
			defer held.Release()
			left := tc.grows
			l.patience = 1
			l.now = func() time.Time { // it is asked at each look at the log
				switch {
				case left > 0:
					if err := os.WriteFile(filepath.Join(l.dir, fileOf(november)), make([]byte, tc.grows-left), 0o600); err != nil {
						t.Error(err)
					}
					left--
				case tc.want == nil:
					os.Remove(filepath.Join(l.dir, fileOf(november)))
					held.Release()
				}
				return november
			}
			if err := l.Append(t.Context(), Record{Detail: "0"}); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}
