package guard

import (
	"slices"
)

// Statement is a statement of a script. Its methods take keywords in lower case; numbers
// count parts: words, names, texts and single symbols.
type Statement struct {
	Text  []byte // with its semicolon
	parts statement
	spans [][2]int
}

// Ref is a name with a schema in a statement.
type Ref struct {
	Schema, Name string
	// Begin and End are the range of the schema in the text, or of a whole text that names
	// a relation, as 'public.s'::regclass.
	Begin, End int
	Literal    bool
}

// Statements splits a script, dropping comments, commands of psql and the rows of COPY.
func Statements(script []byte) []Statement {
	c := new(cutter)
	l := lexer{to: c}
	_ = l.write(script) // nothing in it fails
	return c.all
}

type cutter struct {
	sql []byte
	all []Statement
}

func (c *cutter) span(kind spanKind, text []byte) error {
	if kind == inQuery {
		c.sql = append(c.sql, text...)
	}
	return nil
}

func (c *cutter) comment([]byte) error          { return nil }
func (c *cutter) order([]byte) error            { return nil }
func (c *cutter) copied(statement, int64) error { return nil }

func (c *cutter) query(statement, bool) error {
	s := Statement{Text: c.sql}
	cut(s.Text, func(t token, begin, end int) {
		s.parts, s.spans = append(s.parts, t), append(s.spans, [2]int{begin, end})
	}, func() {
		s.parts, s.spans = s.parts[:len(s.parts)-1], s.spans[:len(s.spans)-1]
	})
	c.sql = nil
	c.all = append(c.all, s)
	return nil
}

// Begins says whether the statement begins with these words.
func (s *Statement) Begins(words ...string) bool { return s.parts.hasPrefix(words...) }

// Has says whether part i and those after it are these words.
func (s *Statement) Has(i int, words ...string) bool {
	return i >= 0 && i <= len(s.parts) && s.parts[i:].hasPrefix(words...)
}

// Find returns where a row of words is outside of parentheses, or -1.
func (s *Statement) Find(words ...string) int { return s.parts.find(words...) }

// Name returns the name that is part i, or "".
func (s *Statement) Name(i int) string { return s.parts.name(i) }

// Path returns the name, with its schema, that begins with part i.
func (s *Statement) Path(i int) (schema, name string) { return s.parts.path(i) }

// Value returns the name or text that is part i, or "".
func (s *Statement) Value(i int) string { return s.parts.value(i) }

// Refs returns the statement's names with a schema except pg_catalog's, and texts that name
// relations: before ::regclass, and of setval.
func (s *Statement) Refs() (refs []Ref) {
	setval := s.Begins("select", "pg_catalog") && s.Name(3) == "setval"
	dot := token{symbol, "."}
	for i := 0; i < len(s.parts); i++ {
		switch t := s.parts[i]; {
		case t.kind == text && (setval || s.regclass(i+1)):
			inner := tokens([]byte(t.value))
			if schema, name := inner.path(0); len(inner) == 3 && schema != "" {
				refs = append(refs, Ref{schema, name, s.spans[i][0], s.spans[i][1], true})
			}
			setval = false
		case t.kind <= name && i+2 < len(s.parts) && s.parts[i+1] == dot && s.parts[i+2].kind <= name:
			if number := t.kind == word && t.value[0] <= '9'; t.value != "pg_catalog" && !number {
				refs = append(refs, Ref{t.value, s.parts[i+2].value, s.spans[i][0], s.spans[i][1], false})
			}
			for i += 2; i+2 < len(s.parts) && s.parts[i+1] == dot; i += 2 { // columns
			}
		}
	}
	return refs
}

func (s *Statement) regclass(i int) bool {
	colon := token{symbol, ":"}
	return i+2 < len(s.parts) && slices.Equal(s.parts[i:i+2], statement{colon, colon}) && s.parts[i+2] == token{word, "regclass"}
}

// Len is the number of parts.
func (s *Statement) Len() int { return len(s.parts) }
