package audit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// ErrUnrecorded is why something did not begin, or was stopped.
var ErrUnrecorded = fail.New(fail.Store, "look at the folder of the audit log, its owner and its disk; nothing further was done", "nothing is done without a record; --audit=off works without one")

// Session writes one run's records to a log: [Session.Begin] before a change,
// [Session.Note] for each backup, [Session.End] for the outcome. Note is safe for
// concurrent use; Last is not.
type Session struct {
	SessionOptions
	last Record
	stop context.CancelCauseFunc

	warning, unsent sync.Once
}

// SessionOptions are what a session records. Only Log may be nil: nothing is recorded then.
type SessionOptions struct {
	Log    *Log
	Common Record // common to all records: Operation, DryRun, Version, Keys; NewSession fills in who and where

	// Changes is for operations that must not begin, nor go on, without records. Others go
	// on with a warning.
	Changes bool
	// Opens is for reads that need a record before they begin.
	Opens bool

	Code func(error) (code int, stopped bool) // exit code for an error; stopped is by a signal
	Warn func(format string, args ...any)
	Copy func(Record) error // sends a record elsewhere as well; may be nil
}

// NewSession returns a session of this process and user.
func NewSession(o SessionOptions) *Session {
	var run [8]byte
	rand.Read(run[:])
	c := &o.Common
	c.Run, c.PID, c.Host = hex.EncodeToString(run[:]), os.Getpid(), Host()
	c.User, c.SudoUser = UserName(), os.Getenv("SUDO_USER")
	return &Session{SessionOptions: o}
}

// Begin records the planned operation on paths, or its detail; a killed run leaves no other
// record. The returned context ends when a later record of a change cannot be written: its
// cause wraps ErrUnrecorded. So does the error, after which nothing may begin.
func (s *Session) Begin(ctx context.Context, paths []string, detail string) (context.Context, error) {
	var inner context.Context
	inner, s.stop = context.WithCancelCause(ctx)
	if s.Log == nil || !s.Changes && !s.Opens {
		return inner, nil
	}
	begun := s.Common
	begun.Outcome = Begun
	switch len(paths) {
	case 0:
		begun.Detail = detail
	case 1:
		begun.Path = Absolute(paths[0])
	default:
		for _, path := range paths {
			begun.Paths = append(begun.Paths, Absolute(path))
		}
	}
	err := s.write(ctx, begun)
	switch {
	case err == nil:
	case context.Cause(ctx) != nil:
		return inner, err
	case s.Changes:
		return inner, s.refusal(err)
	default:
		s.warn(err)
	}
	return inner, nil
}

// Last is End's record, for the program to fill in.
func (s *Session) Last() *Record { return &s.last }

// Note appends the record of one of several backups, with the outcome by its Fault.
func (s *Session) Note(ctx context.Context, rec Record) {
	switch err := s.append(ctx, rec); {
	case err == nil:
	case s.Changes:
		s.stop(s.refusal(fmt.Errorf("what became of %q, the last backup that was worked on: %w", rec.Path, err)))
	default:
		s.warn(err)
	}
}

// End records the outcome, and returns fault, or why a missing record stopped the run. ctx
// is that of Begin. A failure to write the last record is only a warning: the work is done.
func (s *Session) End(ctx context.Context, fault error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrUnrecorded) {
		fault = cause
	}
	defer s.stop(nil)
	s.last.Fault = fault
	if err := s.append(ctx, s.last); err != nil {
		s.warn(err)
	}
	return fault
}

func (s *Session) warn(err error) {
	s.warning.Do(func() { s.Warn("what was done is not recorded: %v", err) })
}

func (s *Session) refusal(err error) error {
	return fmt.Errorf("recording in %s: %w; %w", s.Log.Dir(), err, ErrUnrecorded)
}

func (s *Session) append(ctx context.Context, rec Record) error {
	if s.Log == nil {
		return nil
	}
	c := s.Common
	rec.Run, rec.PID, rec.Operation, rec.DryRun = c.Run, c.PID, c.Operation, c.DryRun
	rec.User, rec.SudoUser, rec.Host, rec.Version = c.User, c.SudoUser, c.Host, c.Version
	if rec.Keys == nil {
		rec.Keys = c.Keys
	}
	code, stopped := s.Code(rec.Fault)
	rec.ExitCode = &code
	switch {
	case stopped:
		rec.Outcome = Stopped
	case rec.Fault != nil:
		rec.Outcome = Failed
	case rec.Outcome == "":
		rec.Outcome = Done
	}
	if rec.Fault != nil {
		rec.Error = rec.Fault.Error()
	}
	if rec.Meter != nil {
		rec.BytesIn, rec.BytesOut = rec.Meter.In(), rec.Meter.Out()
	}
	rec.Path = Absolute(rec.Path)
	return s.write(context.WithoutCancel(ctx), rec)
}

func (s *Session) write(ctx context.Context, rec Record) error {
	err := s.Log.Append(ctx, rec)
	if s.Copy == nil {
		return err
	}
	if err := s.Copy(rec.Clean()); err != nil {
		s.unsent.Do(func() { s.Warn("the record was not copied: %v", err) })
	}
	return err
}

// Absolute makes a local path absolute, for a record.
func Absolute(path string) string {
	if path == "" || path == "-" || strings.Contains(path, "://") {
		return path
	}
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}

// UserName is who runs the program.
func UserName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}
