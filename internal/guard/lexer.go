package guard

import "bytes"

type spanKind byte

const (
	between spanKind = iota // spaces and comments outside of statements
	inQuery                 // a statement, to its semicolon
	inOrder                 // a backslash command of psql, with its line break
	inCopy                  // what follows a COPY: the rest of its line, rows, end marker
)

// A listener gets a lexer's findings in order. Texts are valid until it returns. An error
// ends the lexing.
type listener interface {
	span(kind spanKind, text []byte) error // every byte of the script, once
	comment(line []byte) error             // a whole -- line outside of statements
	query(s statement, cut bool) error     // a statement has ended; cut: s is its beginning
	order(line []byte) error               // a backslash command has ended
	copied(query statement, n int64) error // the n rows of a COPY have ended
}

// maxKept bounds a statement in memory. A COPY of 1,600 columns with the longest names
// fits.
const maxKept = 256 << 10

type lexState byte

const (
	inText lexState = iota
	afterDash
	afterSlash
	inLine  // a -- comment
	inBlock // a /* comment
	inString
	afterBackslash // in a string where it escapes
	afterQuote     // in such a string
	inName         // "…"
	inTag          // the $tag$ that opens a string
	inBody
	inCommand
	inCopyLine // the rest of the line of a COPY
	inRows
)

// stateWords are for people: what an input may not end in.
var stateWords = map[lexState]string{
	inBlock: "a comment", inString: "a string", afterBackslash: "a string", inName: "a quoted name",
	inBody: "a $-quoted string", inCopyLine: "the rows of a table", inRows: "the rows of a table",
}

// lexer follows a script as psql does: quotes, dollar quotes, nested comments, backslash
// commands, and the rows of COPY … FROM stdin. It holds at most maxKept bytes of a
// statement.
type lexer struct {
	to    listener
	state lexState
	kind  spanKind

	p       []byte // the piece at hand
	i, from int    // the next byte of it; the first that no span had
	base    int64  // where the piece is in the input
	begun   int64  // where the statement at hand begins, and the rows behind a COPY

	kept    []byte // of the statement, comment or command at hand
	keeping bool
	cut     bool // there was more, or nothing of it is of interest

	parens       int
	nested       int  // block comments
	before, last byte // the two bytes before, in text and block comments
	escaped      bool // backslashes escape in the string at hand
	legacy       bool // and in every string: standard_conforming_strings is off
	tag          []byte
	match        int // bytes of the tag that the input has just matched

	copy    statement
	counter rowCounter
	// rows, if set, gets the range and number of whole rows of a COPY so far.
	rows func(begin, end, n int64, last bool)
}

// maxMarker exceeds the longest end marker of a COPY, `\.` and CR.
const maxMarker = 4

func (l *lexer) write(p []byte) error {
	l.p, l.i, l.from = p, 0, 0
	for l.i < len(l.p) {
		if err := l.step(); err != nil {
			return err
		}
	}
	err := l.emit()
	l.base += int64(len(p))
	l.p = nil
	return err
}

func (l *lexer) offset() int64 { return l.base + int64(l.i) }

// emit hands out what was read since the last span.
func (l *lexer) emit() error {
	if l.i == l.from {
		return nil
	}
	text := l.p[l.from:l.i]
	l.from = l.i
	return l.to.span(l.kind, text)
}

func (l *lexer) enter(kind spanKind, state lexState) error {
	err := l.emit()
	l.kind, l.state = kind, state
	return err
}

func (l *lexer) take(n int) {
	if l.keeping {
		l.keep(l.p[l.i : l.i+n])
	}
	l.i += n
}

func (l *lexer) keep(text []byte) {
	if room := maxKept - len(l.kept); len(text) > room {
		text, l.cut = text[:room], true
	}
	l.kept = append(l.kept, text...)
	if isInsert(l.kept) {
		l.keeping, l.cut = false, true
	}
}

func isInsert(sql []byte) bool {
	return len(sql) >= len(insert) && bytes.EqualFold(sql[:len(insert)], []byte(insert))
}

// insert begins statements that may be many and do not matter.
const insert = "INSERT "

var (
	anInsert = statement{{word, "insert"}}
	dull     = statement{{word, "select"}}
)

// interesting reports whether to parse a statement; others are many in some dumps.
func interesting(sql []byte) bool {
	var first [8]byte
	n := copy(first[:], sql)
	for i := range first[:n] {
		first[i] |= 0x20
	}
	for _, w := range []string{"create", "alter", "copy", "set", "grant", "revoke", "comment", "security", "update", "drop"} {
		if n >= len(w) && string(first[:len(w)]) == w {
			return true
		}
	}
	return bytes.Contains(sql[:min(len(sql), 40)], []byte("lo_"))
}

func (l *lexer) startKeeping() { l.kept, l.keeping, l.cut = l.kept[:0], true, false }

// upTo takes all before the first of the bytes, and reports whether there is one.
func (l *lexer) upTo(b byte) bool {
	n := bytes.IndexByte(l.p[l.i:], b)
	if n < 0 {
		l.take(len(l.p) - l.i)
		return false
	}
	l.take(n)
	return true
}

func (l *lexer) step() error {
	switch l.state {
	case inText:
		if l.kind == between {
			return l.outside()
		}
		return l.text()
	case afterDash:
		return l.dash()
	case afterSlash:
		return l.slash()
	case inLine:
		if l.upTo('\n') {
			return l.endLine()
		}
	case inBlock:
		l.block()
	case inString:
		l.string()
	case afterBackslash:
		l.take(1)
		l.state = inString
	case afterQuote:
		if l.state = inText; l.p[l.i] == '\'' {
			l.take(1)
			l.state = inString
		}
	case inName:
		if l.upTo('"') { // two of them open another name, which comes to the same
			l.take(1)
			l.state = inText
		}
	case inTag:
		l.openTag()
	case inBody:
		l.body()
	case inCommand:
		if l.upTo('\n') {
			l.take(1)
			err := l.emit()
			l.kind, l.state, l.keeping = between, inText, false
			if err == nil {
				err = l.to.order(trimLine(l.kept))
			}
			return err
		}
	case inCopyLine:
		if l.upTo('\n') {
			l.take(1)
			l.state, l.begun = inRows, l.offset()
			l.counter.reset()
		}
	case inRows:
		n, ended := l.counter.take(l.p[l.i:])
		if l.rows != nil {
			l.rows(l.begun, l.begun+l.counter.end, l.counter.n, ended)
		}
		if l.i += n; ended {
			err := l.emit()
			l.kind, l.state = between, inText
			if err == nil {
				err = l.to.copied(l.copy, l.counter.n)
			}
			return err
		}
	}
	return nil
}

func (l *lexer) outside() error {
	rest := l.p[l.i:]
	n := 0
	for n < len(rest) && (isSpace(rest[n]) || rest[n] == ';') {
		n++
	}
	if l.take(n); n == len(rest) {
		return nil
	}
	l.last, l.before, l.parens, l.begun = 0, 0, 0, l.offset()
	switch rest[n] {
	case '-', '/':
		l.startKeeping()
		l.state = afterDash
		if rest[n] == '/' {
			l.state = afterSlash
		}
		l.take(1)
		return nil
	case '\\':
		err := l.enter(inOrder, inCommand)
		l.startKeeping()
		return err
	}
	err := l.enter(inQuery, inText)
	l.startKeeping()
	return err
}

// plainByte are the bytes that mean nothing by themselves.
var plainByte = func() (t [256]bool) {
	for i := range t {
		t[i] = bytes.IndexByte([]byte(`'"$-/;()\`), byte(i)) < 0
	}
	return t
}()

func (l *lexer) text() error {
	rest := l.p[l.i:]
	n := 0
	for n < len(rest) && plainByte[rest[n]] {
		n++
	}
	switch {
	case n > 1:
		l.before, l.last = rest[n-2], rest[n-1]
	case n == 1:
		l.before, l.last = l.last, rest[0]
	}
	l.take(n)
	if n == len(rest) {
		return nil
	}
	c := rest[n]
	switch c {
	case '\'':
		l.state = inString
		l.escaped = l.legacy || (l.last|0x20 == 'e' && !isIdent(l.before))
	case '"':
		l.state = inName
	case '$':
		if !isIdent(l.last) {
			l.state, l.tag = inTag, append(l.tag[:0], '$')
		}
	case '-':
		l.state = afterDash
	case '/':
		l.state = afterSlash
	case '(':
		l.parens++
	case ')':
		l.parens = max(0, l.parens-1)
	case ';':
		if l.parens == 0 && !insideBody(l.kept) {
			l.take(1)
			return l.endQuery()
		}
	case '\\':
		err := l.enter(inOrder, inCommand)
		l.startKeeping()
		return err
	}
	l.before, l.last = l.last, c
	l.take(1)
	return nil
}

// insideBody reports whether a statement continues inside the BEGIN ATOMIC … END of an
// SQL function, as psql knows it.
func insideBody(sql []byte) bool {
	if len(sql) < len("create") || !bytes.EqualFold(sql[:len("create")], []byte("create")) || !bytes.Contains(bytes.ToLower(sql), []byte("begin")) {
		return false
	}
	s := tokens(sql)
	of := s[1:]
	if of.hasPrefix("or", "replace") {
		of = of[2:]
	}
	if !of.hasPrefix("function") && !of.hasPrefix("procedure") {
		return false
	}
	depth, parens := 0, 0
	for _, t := range s {
		switch {
		case t == token{symbol, "("}:
			parens++
		case t == token{symbol, ")"}:
			parens--
		case parens > 0: // a parameter or a column may have the name begin
		case t == token{word, "begin"}, depth > 0 && t == token{word, "case"}:
			depth++
		case depth > 0 && t == token{word, "end"}:
			depth--
		}
	}
	return depth > 0
}

func (l *lexer) endQuery() error {
	l.keeping = false
	if err := l.emit(); err != nil {
		return err
	}
	l.kind = between
	s := dull
	if interesting(l.kept) {
		s = tokens(l.kept)
	} else if isInsert(l.kept) {
		s = anInsert
	}
	switch {
	case isCopy(s):
		l.kind, l.state, l.copy = inCopy, inCopyLine, s
	case s.hasPrefix("set", "standard_conforming_strings"):
		l.legacy = s.has("off")
	}
	return l.to.query(s, l.cut)
}

func (l *lexer) dash() error {
	if l.p[l.i] == '-' {
		l.take(1)
		l.state = inLine
		return nil
	}
	return l.operator('-')
}

func (l *lexer) slash() error {
	if l.p[l.i] == '*' {
		l.take(1)
		l.state, l.nested, l.last = inBlock, 1, 0
		return nil
	}
	return l.operator('/')
}

// operator continues a statement in which a dash or slash was an operator.
func (l *lexer) operator(c byte) error {
	l.state, l.before, l.last = inText, 0, c
	if l.kind == between {
		return l.enter(inQuery, inText)
	}
	return nil
}

func (l *lexer) endLine() error {
	l.state = inText
	if l.kind != between {
		return nil
	}
	l.keeping = false
	return l.to.comment(trimLine(l.kept))
}

func (l *lexer) block() {
	for l.i < len(l.p) {
		c := l.p[l.i]
		l.take(1)
		switch {
		case c == '*' && l.last == '/':
			l.nested++
			c = 0
		case c == '/' && l.last == '*':
			l.nested--
			c = 0
		}
		if l.last = c; l.nested == 0 {
			if l.state = inText; l.kind == between {
				l.keeping = false
			}
			return
		}
	}
}

func (l *lexer) string() {
	if !l.escaped {
		if l.upTo('\'') { // two of them open another string, which comes to the same
			l.take(1)
			l.state = inText
			l.before, l.last = 0, '\''
		}
		return
	}
	n := bytes.IndexAny(l.p[l.i:], `'\`)
	if n < 0 {
		l.take(len(l.p) - l.i)
		return
	}
	l.take(n)
	l.state = afterBackslash
	if l.p[l.i] == '\'' {
		l.state = afterQuote
		l.before, l.last = 0, '\''
	}
	l.take(1)
}

// maxTag is more than a name can have.
const maxTag = 256

func (l *lexer) openTag() {
	c := l.p[l.i]
	switch {
	case c == '$':
		l.tag = append(l.tag, c)
		l.state, l.match = inBody, 0
	case len(l.tag) < maxTag && isIdent(c) && (len(l.tag) > 1 || c < '0' || c > '9'):
		l.tag = append(l.tag, c)
	default:
		l.state, l.before, l.last = inText, 0, 'x'
		return
	}
	l.take(1)
}

func (l *lexer) body() {
	for l.i < len(l.p) {
		if l.match == 0 && !l.upTo('$') {
			return
		}
		switch c := l.p[l.i]; c {
		case l.tag[l.match]:
			l.match++
		case '$':
			l.match = 1
		default:
			l.match = 0
		}
		l.take(1)
		if l.match == len(l.tag) {
			l.state, l.before, l.last = inText, 0, '$'
			return
		}
	}
}

type rowCounter struct {
	n    int64
	line []byte // the beginning of a row that goes on, up to maxMarker bytes
	pos  int64  // bytes taken
	end  int64  // of the last whole row, in bytes from the first
}

func (r *rowCounter) reset() { *r = rowCounter{line: r.line[:0]} }

// take returns how much of p are rows, and whether their end marker came.
func (r *rowCounter) take(p []byte) (used int, ended bool) {
	if len(r.line) > 0 { // a row that goes on
		n := bytes.IndexByte(p, '\n')
		if n < 0 {
			r.line = append(r.line, p[:min(len(p), maxMarker-len(r.line))]...)
			r.pos += int64(len(p))
			return len(p), false
		}
		r.line = append(r.line, p[:min(n, maxMarker-len(r.line))]...)
		ended = string(trimCR(r.line)) == `\.`
		if r.pos, r.line = r.pos+int64(n+1), r.line[:0]; !ended {
			r.n++
			r.end = r.pos
		}
		return n + 1, ended
	}
	whole := p[:bytes.LastIndexByte(p, '\n')+1]
	at, length := findMarker(whole)
	if at >= 0 {
		r.n += int64(bytes.Count(whole[:at], []byte{'\n'}))
		r.end = r.pos + int64(at)
		return at + length, true
	}
	if len(whole) > 0 {
		r.end = r.pos + int64(len(whole))
	}
	r.pos += int64(len(p))
	r.n += int64(bytes.Count(whole, []byte{'\n'}))
	r.line = append(r.line, p[len(whole):][:min(maxMarker, len(p)-len(whole))]...)
	return len(p), false
}

// findMarker returns the offset of a COPY's end marker in whole rows, and its length with
// the line break, or -1.
func findMarker(text []byte) (at, length int) {
	for from := 0; ; {
		n := bytes.Index(text[from:], []byte(`\.`))
		if n < 0 {
			return -1, 0
		}
		at = from + n
		from = at + 2
		if at > 0 && text[at-1] != '\n' {
			continue
		}
		switch after := text[from:]; {
		case bytes.HasPrefix(after, []byte("\n")):
			return at, 3
		case bytes.HasPrefix(after, []byte("\r\n")):
			return at, 4
		}
	}
}

func (l *lexer) open() string {
	if word := stateWords[l.state]; word != "" {
		return word
	}
	if l.kind == inQuery {
		return "a statement"
	}
	return ""
}

func isSpace(b byte) bool { return b == ' ' || b >= '\t' && b <= '\r' }

func isIdent(b byte) bool {
	return b >= 0x80 || b == '_' || b == '$' || b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z'
}

func trimLine(line []byte) []byte { return trimCR(bytes.TrimSuffix(line, []byte("\n"))) }

func trimCR(line []byte) []byte { return bytes.TrimSuffix(line, []byte("\r")) }
