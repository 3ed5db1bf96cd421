package guard

import (
	"bytes"
	"fmt"
	"io"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// ErrUnsafe is wrapped for a script that would do more than fill its database.
var ErrUnsafe = fail.New(fail.Damaged, "look at what the backup holds with takumi-backup open, and make a new one", "the dump is not one that pg_dump makes")

// Script passes a plain dump of one database on to psql, without
//
//   - the statements of pg_dump -C about the database itself, of which DROP DATABASE
//     would drop the live one, and \connect, which would lead there;
//   - the statements of pg_dump -c that drop what a new database does not have;
//   - \restrict and \unrestrict, so that the caller can put its own pair around;
//   - the settings that Without names.
//
// Any other command of psql is ErrUnsafe: pg_dump writes none, and \! runs programs. It is
// not safe for concurrent use.
type Script struct {
	// Without says of a setting that its SET is left out. It may be nil.
	Without func(setting string) bool

	src io.Reader
	lex lexer
	buf []byte

	held    []byte // the statement at hand, while it may still be dropped
	passing bool   // too much of it came to be one of those
	out     []byte // to hand out
	at      int
	made    bool // the dump has made something
	err     error
}

// NewScript returns a Script over src.
func NewScript(src io.Reader) *Script {
	s := &Script{src: src, buf: make([]byte, 256<<10)}
	s.lex.to = s
	return s
}

// Read returns the script for psql. Errors of the source are returned as they are.
func (s *Script) Read(p []byte) (int, error) {
	for s.at == len(s.out) {
		if s.err != nil {
			return 0, s.err
		}
		s.out, s.at = s.out[:0], 0
		n, err := s.src.Read(s.buf)
		if n > 0 {
			if lexErr := s.lex.write(s.buf[:n]); lexErr != nil {
				err = lexErr
			}
		}
		if err == io.EOF {
			s.out = append(s.out, s.held...)
			s.held = nil
		}
		s.err = err
	}
	n := copy(p, s.out[s.at:])
	s.at += n
	return n, nil
}

func (s *Script) span(kind spanKind, text []byte) error {
	switch {
	case kind == inOrder:
		// What is let through of these is nothing.
	case kind == inQuery && !s.passing:
		s.held = append(s.held, text...)
		if len(s.held) > maxKept {
			s.release()
			s.passing = true
		}
	default:
		s.out = append(s.out, text...)
	}
	return nil
}

func (s *Script) release() {
	s.out = append(s.out, s.held...)
	s.held = s.held[:0]
}

func (s *Script) comment([]byte) error { return nil }

func (s *Script) query(q statement, _ bool) error {
	switch {
	case s.passing:
	case aboutDatabase(q), !s.made && drops(q), q.hasPrefix("set") && s.Without != nil && s.Without(q.name(1)):
		s.held = s.held[:0]
	default:
		s.release()
	}
	s.passing = false
	s.made = s.made || q.hasPrefix("create") && !aboutDatabase(q)
	return nil
}

// drops reports whether a statement of pg_dump -c drops what a new database lacks. It has
// the schema public, and older dumps make that again.
func drops(q statement) bool {
	if q.hasPrefix("alter") {
		return q.has("drop")
	}
	if q.hasPrefix("select", "pg_catalog") && len(q) > 3 {
		return q[3].value == "lo_unlink"
	}
	if !q.hasPrefix("drop") {
		return false
	}
	if q.hasPrefix("drop", "schema") {
		return q.name(len(q)-2) != "public"
	}
	return true
}

func (s *Script) order(line []byte) error {
	if len(s.held) > 0 || s.passing {
		return fmt.Errorf("%w: a statement has a command of psql in it", ErrUnsafe)
	}
	for _, known := range []string{restrict, unrestrict, `\connect `} {
		if bytes.HasPrefix(line, []byte(known)) {
			return nil
		}
	}
	return fmt.Errorf("%w: it has the command %.40q of psql", ErrUnsafe, line)
}

func (s *Script) copied(statement, int64) error { return nil }
