package audit

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// testSession is a session in a log of its own, what it warned of, and what it
// copied.
func testSession(t *testing.T, o SessionOptions) (s *Session, warnings *[]string, copies *[]Outcome) {
	t.Helper()
	warnings, copies = new([]string), new([]Outcome)
	o.Log, o.Common.Operation = testLog(t, november), "rewrap"
	o.Warn = func(format string, _ ...any) { *warnings = append(*warnings, format) }
	o.Copy = func(r Record) error { *copies = append(*copies, r.Outcome); return nil }
	o.Code = func(err error) (int, bool) {
		switch {
		case err == nil:
			return 0, false
		case errors.Is(err, context.Canceled):
			return 130, true
		}
		return 5, false
	}
	return NewSession(o), warnings, copies
}

func (l *Log) records(t *testing.T) (all []Record) {
	t.Helper()
	if err := Read(t.Context(), l.dir, func(e Entry) error { all = append(all, e.Record); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestSession: what changes has a record before it begins, one of each backup, and
// one of its end, which say who, where and with which code.
func TestSession(t *testing.T) {
	t.Parallel()
	s, warnings, copies := testSession(t, SessionOptions{Changes: true, Common: Record{Keys: []string{"file:/k"}, Version: "1"}})
	ctx, err := s.Begin(t.Context(), []string{"here", "s3://bucket/key"}, "")
	if err != nil {
		t.Fatal(err)
	}
	s.Note(ctx, Record{Path: "here/a.enc", Fault: io.ErrUnexpectedEOF, Keys: []string{"file:/other"}})
	s.Last().Detail = "some"
	if err := s.End(ctx, context.Canceled); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	all := s.Log.records(t)
	wd, _ := os.Getwd()
	if len(all) != 3 || !slices.Equal(*copies, []Outcome{Begun, Failed, Stopped}) || len(*warnings) > 0 {
		t.Fatalf("%+v, %q, %q", all, *copies, *warnings)
	}
	for _, r := range all {
		if r.Run != all[0].Run || len(r.Run) != 16 || r.PID != os.Getpid() || r.Operation != "rewrap" || r.User != UserName() || r.Host != Host() || r.Version != "1" {
			t.Errorf("%+v", r)
		}
	}
	if b := all[0]; b.Outcome != Begun || b.ExitCode != nil || !slices.Equal(b.Paths, []string{filepath.Join(wd, "here"), "s3://bucket/key"}) {
		t.Errorf("%+v", b)
	}
	if b := all[1]; *b.ExitCode != 5 || b.Path != filepath.Join(wd, "here/a.enc") || b.Error != io.ErrUnexpectedEOF.Error() || b.Keys[0] != "file:/other" {
		t.Errorf("%+v", b)
	}
	if b := all[2]; *b.ExitCode != 130 || b.Detail != "some" || b.Keys[0] != "file:/k" {
		t.Errorf("%+v", b)
	}
	if ctx.Err() == nil {
		t.Error("the context goes on")
	}
}

// TestSessionUnrecorded: what cannot be recorded does not begin, or is stopped
// when it changes something, and else goes on with one warning.
func TestSessionUnrecorded(t *testing.T) {
	t.Parallel()
	fails := func(s *Session) { s.Log.sync = func(*os.File) error { return io.ErrShortWrite } }
	s, _, _ := testSession(t, SessionOptions{Changes: true})
	fails(s)
	if _, err := s.Begin(t.Context(), nil, ""); !errors.Is(err, ErrUnrecorded) || !errors.Is(err, io.ErrShortWrite) || !strings.Contains(err.Error(), s.Log.dir) {
		t.Error(err)
	}

	s, _, _ = testSession(t, SessionOptions{Changes: true})
	ctx, err := s.Begin(t.Context(), []string{"a"}, "")
	if err != nil {
		t.Fatal(err)
	}
	fails(s)
	s.Note(ctx, Record{Path: "a.enc"})
	if cause := context.Cause(ctx); !errors.Is(cause, ErrUnrecorded) || !strings.Contains(cause.Error(), "a.enc") {
		t.Error(cause)
	}
	if err := s.End(ctx, io.EOF); !errors.Is(err, ErrUnrecorded) {
		t.Error(err)
	}

	for _, opens := range []bool{false, true} {
		s, warnings, _ := testSession(t, SessionOptions{Opens: opens})
		fails(s)
		ctx, err := s.Begin(t.Context(), nil, "the latest backup")
		if err != nil {
			t.Fatal(err)
		}
		if got := len(*warnings) == 1; got != opens {
			t.Errorf("warned: %v, opens: %v", got, opens)
		}
		s.Note(ctx, Record{})
		if err := ctx.Err(); err != nil {
			t.Error(err)
		}
		if err := s.End(ctx, nil); err != nil || len(*warnings) != 1 {
			t.Errorf("%v, %q", err, *warnings)
		}
	}

	// Who is stopped before it begins has nothing to refuse.
	s, _, _ = testSession(t, SessionOptions{Changes: true})
	held, err := s.Log.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Begin(gone, nil, ""); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnrecorded) {
		t.Error(err)
	}
}

// TestSessionOff: without a log nothing is written, and nothing refused.
func TestSessionOff(t *testing.T) {
	t.Parallel()
	s := NewSession(SessionOptions{Changes: true})
	ctx, err := s.Begin(t.Context(), []string{"a"}, "")
	if err != nil {
		t.Fatal(err)
	}
	s.Note(ctx, Record{})
	if err := s.End(ctx, io.EOF); err != io.EOF {
		t.Error(err)
	}
}

// TestCut: long text is cut between characters, and loses no more.
func TestCut(t *testing.T) {
	for _, char := range []string{"x ", "ü", "日", "😀"} {
		got := clean(strings.Repeat(char, 2000), 1024)
		if !utf8.ValidString(got) || len(got) < 1024-utf8.UTFMax || len(got) > 1024+len("…") {
			t.Errorf("%s: %d bytes, %.20q", char, len(got), got[max(0, len(got)-20):])
		}
	}
}
