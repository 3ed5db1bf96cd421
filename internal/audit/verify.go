package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// ErrCut is returned when a log ends before its checkpoint.
var ErrCut = fail.New(fail.Damaged, "keep the log as it is, and find out who could write it; audit show shows what is proved", "records were cut off the end of the audit log")

// BrokenError is the first record that was changed.
type BrokenError struct {
	File string // its path
	Line int    // in the file, from 1
	Err  error
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("the audit log is broken at %s, line %d: %v", e.File, e.Line, e.Err)
}

func (*BrokenError) Fail() (fail.Class, string) {
	return fail.Damaged, "keep the log as it is, and find out who could write it; audit show shows what is proved"
}

func brokenAt(path string, n int, err error) error {
	if broken := (*BrokenError)(nil); errors.As(err, &broken) {
		return err
	}
	return &BrokenError{path, n, err}
}

func (e *BrokenError) Unwrap() error { return e.Err }

var (
	errChain = errors.New("it does not follow on the line before: one of the two was changed, or lines between them were deleted, added or moved")
	errFirst = errors.New("it is not the first record of the log: what was before it is gone")
	errTorn  = errors.New("it is not complete: a crash tore it, which the next record mends and notes, or somebody cut it")
	errLong  = fmt.Errorf("it has more than %d bytes", maxLine)
)

// Entry is a record and its place.
type Entry struct {
	File string // the path
	Line int    // in the file, from 1
	Raw  []byte // the line, without its line feed; valid until the next one
	Record
}

// State is the proved state of a log whose chain is intact.
type State struct {
	Dir    string    `json:"dir"`
	Files  int       `json:"files"`
	Lines  int       `json:"lines"` // records, and lines that were torn and mended
	Mended int       `json:"mended"`
	First  time.Time `json:"first,omitzero"`
	Last   time.Time `json:"last,omitzero"`
	File   string    `json:"file,omitempty"` // the name of the last file
	Hash   string    `json:"hash"`           // of the last line
	Plain  int       `json:"plain"`          // records before the first that carries a MAC
	Epochs []Epoch   `json:"epochs,omitempty"`
}

// Proof is evidence for a log. All fields are optional.
type Proof struct {
	Checkpoint *Checkpoint // who signed it is the caller's to check
	FirstKeys  []FirstKey  // of all epochs
}

// Verify checks the chain of the log in dir from end to end, and that no step of its MACs
// is missing. With a checkpoint it also checks that the log still holds, unchanged, what it
// held then. With first keys it checks that each record with a MAC is as written, except
// those whose key a writer of the log had: the last one, when a crash kept the key from
// advancing. With the log's current key, as on its own host, the log must reach up to it.
//
// The error is a *BrokenError, one that wraps ErrCut or ErrFirstKey, of the file system, or
// the context's cause. An empty log is whole.
//
// Concurrent appends may be seen or not. Without a checkpoint or the current key, a cut end
// goes unnoticed, and without MACs a change of the very last record.
func Verify(ctx context.Context, dir string, p Proof) (State, error) {
	id, step := reached(dir)
	s, err := scan(ctx, dir, p, func(Entry) error { return nil })
	if err != nil {
		return s, err
	}
	if at := p.Checkpoint; at != nil && s.Lines < at.Lines {
		return s, fmt.Errorf("%s holds %d lines, and held %d at %s: %w", dir, s.Lines, at.Lines, at.Time.Format(time.RFC3339), ErrCut)
	}
	if step > 0 && s.stepOf(id) < step {
		return s, fmt.Errorf("%s holds %d records with MACs of first key %s, and held %d: %w", dir, s.stepOf(id), id, step, ErrCut)
	}
	return s, nil
}

// Judged is what Judge has found.
type Judged struct {
	State
	Whole      bool        `json:"whole"`
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"`
	Trusted    bool        `json:"checkpoint_trusted"` // signed by the key that it has to be
	Fault      string      `json:"fault,omitempty"`
	BrokenFile string      `json:"broken_file,omitempty"`
	BrokenLine int         `json:"broken_line,omitempty"`
}

// Judge verifies the log in dir against the checkpoint at a path, or with "" against the
// one next to the log, if any, which trusted has to have signed, if it is not "". The
// error is that of Verify, or without a Judged that of the checkpoint.
func Judge(ctx context.Context, dir, checkpoint string, trusted PublicKey, first []FirstKey) (*Judged, error) {
	at, err := CheckpointAt(cmp.Or(checkpoint, filepath.Join(dir, CheckpointName)), trusted)
	if err != nil && (checkpoint != "" || trusted != "" || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	state, fault := Verify(ctx, dir, Proof{Checkpoint: at, FirstKeys: first})
	j := &Judged{State: state, Whole: fault == nil, Checkpoint: at, Trusted: at != nil && trusted != ""}
	if fault != nil {
		j.Fault = fault.Error()
		if broken := (*BrokenError)(nil); errors.As(fault, &broken) {
			j.BrokenFile, j.BrokenLine = broken.File, broken.Line
		}
	}
	return j, fault
}

// stepOf returns the step after the last record of a first key.
func (s *State) stepOf(id string) uint64 {
	for _, e := range slices.Backward(s.Epochs) {
		if e.KeyID == id {
			return e.next
		}
	}
	return 0
}

// Read calls visit for each record of the log in dir, the oldest first, and checks the
// chain as Verify does: all records given to visit before an error are proved, except the
// last.
func Read(ctx context.Context, dir string, visit func(Entry) error) error {
	_, err := scan(ctx, dir, Proof{}, visit)
	return err
}

type scanner struct {
	state State
	at    *Checkpoint
	macs  macs
	visit func(Entry) error
	in    *bufio.Reader // of maxLine

	// bytes after the last record that are not a record, where, and why not
	torn     []byte
	tornLine int
	tornWhy  error
}

func scan(ctx context.Context, dir string, p Proof, visit func(Entry) error) (State, error) {
	s := &scanner{state: State{Dir: dir, Hash: origin}, at: p.Checkpoint, macs: macs{first: p.FirstKeys}, visit: visit, in: bufio.NewReaderSize(nil, maxLine)}
	defer s.macs.wipe()
	names, err := months(dir)
	if err != nil {
		return s.state, fmt.Errorf("reading the audit log: %w", err)
	}
	for i, name := range names {
		s.state.Files++
		s.state.File = name
		if err := s.file(ctx, filepath.Join(dir, name), i == len(names)-1); err != nil {
			return s.state, err
		}
	}
	return s.state, s.macs.complete(&s.state)
}

func (s *scanner) file(ctx context.Context, path string, last bool) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	defer f.Close()
	return s.lines(ctx, f, path, last)
}

// lines reads the records of a file. A writer may be at the end of the last one.
func (s *scanner) lines(ctx context.Context, f io.Reader, path string, last bool) error {
	s.in.Reset(f)
	for n := 1; ; n++ {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		line, err := wholeLine(s.in, last)
		switch {
		case err == io.EOF && len(line) == 0:
			if s.torn != nil {
				return &BrokenError{path, s.tornLine, errTorn}
			}
			return nil
		case err == io.EOF:
			err = &BrokenError{path, n, errTorn}
		case err == bufio.ErrBufferFull:
			err = &BrokenError{path, n, errLong}
		case err != nil:
			err = fmt.Errorf("reading the audit log: %w", err)
		default:
			err = s.line(path, n, line)
		}
		if err != nil {
			return err
		}
	}
}

// wholeLine reads a line with its line feed, and waits for a writer to finish it.
func wholeLine(r *bufio.Reader, mayGrow bool) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != io.EOF || len(line) == 0 || !mayGrow {
		return line, err
	}
	line = bytes.Clone(line)
	for range 10 {
		time.Sleep(time.Millisecond)
		more, err := r.ReadSlice('\n')
		line = append(line, more...)
		if err != io.EOF {
			return line, err
		}
	}
	return line, io.EOF
}

// line checks that a line follows on the one before.
func (s *scanner) line(path string, n int, line []byte) error {
	s.state.Lines++
	hash := hashOf(line)
	if s.at != nil && s.state.Lines == s.at.Lines && hash != s.at.Hash {
		return &BrokenError{path, n, errors.New("the checkpoint saw another one there: this line or one before it was changed")}
	}
	r, err := parse(line)
	switch {
	case s.torn != nil && err == nil && r.Outcome == Mended && r.Over == s.state.Hash && r.Prev == hashOf(s.torn):
		s.torn = nil
	case err != nil && s.torn == nil:
		s.torn, s.tornLine, s.tornWhy = bytes.Clone(line), n, err
		return nil
	case err != nil && len(s.torn)+len(line) <= maxTorn:
		s.torn = append(s.torn, line...)
		return nil
	case s.torn != nil:
		return &BrokenError{path, s.tornLine, s.tornWhy}
	case r.Prev != s.state.Hash && s.state.Lines == 1:
		return &BrokenError{path, n, errFirst}
	case r.Prev != s.state.Hash:
		return &BrokenError{path, n, errChain}
	}
	if err := s.macs.check(&s.state, path, n, line, &r); err != nil {
		return brokenAt(path, n, err)
	}
	if r.Outcome == Mended {
		s.state.Mended++
	}
	if s.state.First.IsZero() {
		s.state.First = r.Time
	}
	s.state.Last, s.state.Hash = r.Time, hash
	return s.visit(Entry{File: path, Line: n, Raw: bytes.TrimSuffix(line, []byte("\n")), Record: r})
}
