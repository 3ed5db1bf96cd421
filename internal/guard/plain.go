package guard

import (
	"bytes"
	"fmt"
)

const (
	dumpBegins    = "-- PostgreSQL database dump"
	dumpEnds      = "-- PostgreSQL database dump complete"
	clusterBegins = "-- PostgreSQL database cluster dump"
	clusterEnds   = "-- PostgreSQL database cluster dump complete"

	restrict   = `\restrict `
	unrestrict = `\unrestrict `
)

// plain judges a plain SQL dump. The closing line counts only between statements: not in a
// string, a function or a row; a COPY there does not begin rows either.
type plain struct {
	lex    lexer
	ending []byte // the closing line that the opening line calls for
	pos    int64
	dashes bool // the line before was a comment, and empty
	ended  bool
	found  *gathering
	pieces *pieces // nil: nobody asks
}

func newPlain(tell func(Piece)) *plain {
	d := &plain{found: newGathering()}
	d.lex.to = d
	if tell != nil {
		d.pieces = &pieces{tell: tell}
		d.lex.rows = d.pieces.rows
	}
	return d
}

// plainEnding returns the closing line of the plain dump that begins with head, or nil for
// other inputs.
func plainEnding(head []byte) []byte {
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\n"))
		switch line = trimCR(line); {
		case string(line) == dumpBegins:
			return []byte(dumpEnds)
		case string(line) == clusterBegins:
			return []byte(clusterEnds)
		case len(line) == 0, string(line) == "--", bytes.HasPrefix(line, []byte(restrict)):
		default:
			return nil
		}
	}
	return nil
}

func (d *plain) write(p []byte) error {
	if at := bytes.IndexByte(p, 0); at >= 0 { // never in PostgreSQL's text: a hole in a file reads as these
		d.pos += int64(at)
		return d.incomplete("it has a NUL byte, and psql does not read on there")
	}
	d.pos += int64(len(p))
	return d.lex.write(p)
}

func (d *plain) span(spanKind, []byte) error { return nil }

func (d *plain) comment(line []byte) error {
	switch {
	case d.dashes && string(line) == string(d.ending):
		d.ended = true
	case (d.ending == nil || d.ended) && string(line) == dumpBegins:
		d.several(d.ending != nil)
		d.ending, d.ended = []byte(dumpEnds), false
	case (d.ending == nil || d.ended) && string(line) == clusterBegins:
		d.several(true)
		d.ending, d.ended, d.found.c.Cluster = []byte(clusterEnds), false, true
	}
	d.dashes = string(line) == "--"
	d.found.comment(line)
	return nil
}

// several takes that the input is not one dump of one database.
func (d *plain) several(is bool) {
	if d.pieces != nil {
		d.pieces.bad = d.pieces.bad || is
	}
}

func (d *plain) query(s statement, cut bool) error {
	d.ended, d.dashes = false, false
	if d.pieces != nil {
		d.pieces.statement(s, d.lex.kept, d.lex.begun, d.lex.offset())
	}
	d.found.query(s)
	if aboutDatabase(s) && !d.found.c.Cluster && !cut && len(d.found.c.Properties) < maxProperties {
		if s.hasPrefix("create", "database") {
			d.found.c.Database = s.name(2)
		}
		d.found.c.Properties = append(d.found.c.Properties, string(d.lex.kept))
	}
	return nil
}

// maxProperties is more than a database has of rights and settings.
const maxProperties = 10000

func (d *plain) order(line []byte) error {
	if d.dashes = false; !bytes.HasPrefix(line, []byte(restrict)) && !bytes.HasPrefix(line, []byte(unrestrict)) {
		d.ended = false
		d.several(d.pieces != nil && d.pieces.began) // \connect leads to another database
	}
	return nil
}

func (d *plain) copied(s statement, n int64) error {
	schema, table := s.path(1)
	d.found.table(schema, table, n)
	if d.pieces != nil {
		d.pieces.end = d.lex.offset()
	}
	return nil
}

func (d *plain) finish() error {
	line := d.lex.kept
	switch open := d.lex.open(); {
	case open != "":
		return d.incomplete("it ends inside " + open)
	case !d.ended:
		return d.incomplete(fmt.Sprintf("it does not end with the line %q", d.ending))
	case d.lex.state == inCommand && !bytes.HasPrefix(line, []byte(unrestrict)) && !bytes.HasPrefix([]byte(unrestrict), line):
		return d.incomplete("it ends inside a command of psql")
	}
	// After the closing line a cut comment or \unrestrict is harmless.
	if d.pieces != nil {
		d.pieces.finish(d.pos)
	}
	return nil
}

func (d *plain) incomplete(reason string) error {
	return &IncompleteError{Format: PlainDump, Offset: d.pos, Reason: reason}
}

// aboutDatabase reports whether a statement of pg_dump -C is about the database itself and
// not its content.
func aboutDatabase(s statement) bool {
	switch {
	case s.hasPrefix("create", "database"), s.hasPrefix("alter", "database"), s.hasPrefix("drop", "database"), s.hasPrefix("comment", "on", "database"):
		return true
	case s.hasPrefix("grant"), s.hasPrefix("revoke"), s.hasPrefix("security", "label"):
		return s.find("on", "database") > 0
	case s.hasPrefix("alter", "role"):
		return s.find("in", "database") > 0
	case s.hasPrefix("update"):
		_, table := s.path(1)
		return table == "pg_database"
	}
	return false
}
