// Package pick finds in a plain dump what makes some of its tables, and nothing else:
// their types, sequences, indexes and constraints, as far as those need nothing that is
// left out.
package pick

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// Name is that of a table or of another thing in a schema.
type Name = postgres.TableName

// ErrAlone is wrapped for a table that cannot be made alone.
var ErrAlone = fail.New(fail.Usage, "name the other too, with --table, or restore the whole database with --into", "the table cannot be made alone")

// Server says what the database has already that the tables go into.
type Server interface {
	// Has says whether there is a type, function, sequence, collation or schema (with
	// its name as Schema alone).
	Has(kind Kind, n Name) (bool, error)
	// MayOwn says whether there is a role of this name that the tables can be given to.
	MayOwn(role string) (bool, error)
}

// Kind is a kind of thing that a table may need.
type Kind string

// The kinds of things.
const (
	Table     Kind = "table"
	Type      Kind = "type"
	Function  Kind = "function"
	Sequence  Kind = "sequence"
	Collation Kind = "collation"
	Schema    Kind = "schema"
	Extension Kind = "extension"
	other     Kind = "other" // views and the like, which are not made
)

// Choice is what is to be done.
type Choice struct {
	Tables   []Name // as they are in the dump, with the partitions of those asked for
	To       map[Name]Name
	Settings []string // of the session
	Pre      []string // what makes the tables
	Set      []string // what sets their sequences
	Post     []string // indexes and constraints
	Uses     []string // what is there already and is used
	Rest     []string // what belongs to the tables and is not made
}

type chooser struct {
	server  Server
	to      string // schema, or ""
	all     []guard.Statement
	post    int             // where post begins in all
	makers  map[Name][]int  // statements that make something
	kinds   map[Name]Kind   // of what they make
	of      map[Name][]int  // statements about something
	chosen  map[Name]bool   // tables, their sequences and indexes
	keep    map[int]bool    // statements
	support map[Name]string // "" it is made, otherwise why not
	out     Choice
	spaces  []int // CREATE EXTENSION statements
	err     error
}

// Choose finds what makes the tables, by what the dump has before its rows, for its
// sequences, and after its rows. With a schema in to, what is made goes there.
func Choose(pre, sequences, post []byte, names []Name, to string, server Server) (*Choice, error) {
	c := &chooser{
		server: server, to: to, makers: make(map[Name][]int), kinds: make(map[Name]Kind), of: make(map[Name][]int),
		chosen: make(map[Name]bool), keep: make(map[int]bool), support: make(map[Name]string),
	}
	c.all = guard.Statements(pre)
	c.post = len(c.all)
	c.all = append(c.all, guard.Statements(post)...)
	for i := range c.all {
		c.learn(i, &c.all[i])
	}
	for _, n := range names {
		found, err := c.find(n)
		if err != nil {
			return nil, err
		}
		c.chosen[found] = true
	}
	c.partitions()
	c.sequences()
	for _, n := range slices.SortedFunc(maps.Keys(c.chosen), byName) {
		for _, i := range c.of[n] {
			c.consider(n, i)
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	c.indexes()
	if c.err != nil {
		return nil, c.err
	}
	return c.write(guard.Statements(sequences))
}

func (c *chooser) find(n Name) (Name, error) {
	if n.Schema != "" {
		if c.kinds[n] != Table {
			return n, fmt.Errorf("the dump makes no table %s", n)
		}
		return n, nil
	}
	var found []Name
	for m, kind := range c.kinds {
		if kind == Table && m.Table == n.Table {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return n, fmt.Errorf("the dump makes no table %s", n)
	case 1:
		return found[0], nil
	}
	return n, fmt.Errorf("there are %s and %s: name the schema", found[0], found[1])
}

func path(s *guard.Statement, i int) Name {
	schema, name := s.Path(i)
	return Name{Schema: schema, Table: name}
}

// creates are the words behind CREATE, and what they make.
var creates = []struct {
	words []string
	kind  Kind
}{
	{[]string{"table"}, Table}, {[]string{"unlogged", "table"}, Table}, {[]string{"foreign", "table"}, Table},
	{[]string{"type"}, Type}, {[]string{"domain"}, Type},
	{[]string{"function"}, Function}, {[]string{"procedure"}, Function}, {[]string{"aggregate"}, Function},
	{[]string{"sequence"}, Sequence}, {[]string{"collation"}, Collation},
	{[]string{"view"}, other}, {[]string{"materialized", "view"}, other},
}

func (c *chooser) learn(i int, s *guard.Statement) {
	about := func(n Name) {
		if n.Table != "" {
			c.of[n] = append(c.of[n], i)
		}
	}
	switch {
	case s.Begins("create", "extension"):
		c.spaces = append(c.spaces, i)
	case s.Begins("create", "schema"):
		n := Name{Schema: s.Name(2)}
		c.makers[n], c.kinds[n] = append(c.makers[n], i), Schema
	case s.Begins("create"):
		at := 1
		if s.Has(1, "or", "replace") {
			at = 3
		}
		for _, k := range creates {
			if s.Has(at, k.words...) {
				n := path(s, at+len(k.words))
				c.makers[n] = append(c.makers[n], i)
				if c.kinds[n] != Table {
					c.kinds[n] = k.kind
				}
				about(n)
				return
			}
		}
		about(tableOf(s))
	case s.Begins("alter"), s.Begins("comment", "on"), s.Begins("grant"), s.Begins("revoke"), s.Begins("security", "label"):
		about(tableOf(s))
		if at := s.Find("attach", "partition"); at > 0 {
			about(path(s, at+2))
		}
	}
}

// tableOf is what a statement that makes no table changes or adds to: a table, or
// another thing.
func tableOf(s *guard.Statement) Name {
	on := func() Name {
		for at := 2; ; at++ {
			if at = next(s, at, "on"); at < 0 {
				return Name{}
			}
			n := at + 1
			for s.Has(n, "only") || s.Has(n, "table") || s.Has(n, "column") || s.Has(n, "sequence") {
				n++
			}
			if p := path(s, n); p.Schema != "" {
				return p
			}
		}
	}
	switch {
	case s.Begins("create", "statistics"):
		return path(s, s.Find("from")+1)
	case s.Begins("create", "rule"), s.Begins("create", "or", "replace", "rule"):
		return path(s, next(s, 2, "to")+1)
	case s.Begins("create"), s.Begins("grant"), s.Begins("revoke"):
		return on()
	case s.Begins("alter", "publication"):
		if at := s.Find("add", "table"); at > 0 {
			if at += 2; s.Has(at, "only") {
				at++
			}
			return path(s, at)
		}
	case s.Begins("alter"):
		at := 2
		for s.Has(at, "only") || s.Has(at, "table") || s.Has(at, "if") || s.Has(at, "exists") {
			at++
		}
		return path(s, at)
	case s.Begins("comment", "on", "constraint"), s.Begins("comment", "on", "trigger"), s.Begins("comment", "on", "policy"), s.Begins("comment", "on", "rule"):
		return path(s, next(s, 3, "on")+1)
	case s.Begins("comment", "on"):
		return path(s, 3)
	case s.Begins("security", "label"):
		return on()
	}
	return Name{}
}

// next returns where a word is from part at on, or -1.
func next(s *guard.Statement, at int, word string) int {
	for ; at < s.Len(); at++ {
		if s.Has(at, word) {
			return at
		}
	}
	return -1
}

func (c *chooser) partitions() {
	for more := true; more; {
		more = false
		for n := range c.chosen {
			for _, i := range c.of[n] {
				s := &c.all[i]
				if at := s.Find("attach", "partition"); at > 0 && s.Begins("alter", "table") && tableOf(s) == n {
					if child := path(s, at+2); !c.chosen[child] {
						c.chosen[child], more = true, true
					}
				}
			}
		}
	}
	for n := range c.chosen {
		c.out.Tables = append(c.out.Tables, n)
	}
	slices.SortFunc(c.out.Tables, byName)
}

func byName(a, b Name) int { return strings.Compare(a.String(), b.String()) }

func (c *chooser) sequences() {
	for i := range c.all {
		s := &c.all[i]
		var owner, sequence Name
		if at := s.Find("owned", "by"); s.Begins("alter", "sequence") && at > 0 {
			owner, sequence = path(s, at+2), path(s, 2)
		} else if at := next(s, 0, "identity"); s.Begins("alter", "table") && at > 0 {
			if name := next(s, at, "sequence"); s.Has(name, "sequence", "name") {
				owner, sequence = tableOf(s), path(s, name+2)
			}
		}
		if c.chosen[owner] && c.kinds[owner] == Table && sequence.Table != "" {
			c.chosen[sequence] = true
		}
	}
}

// left takes a statement that is not run.
func (c *chooser) left(i int) {
	words := strings.Join(strings.Fields(string(c.all[i].Text)), " ")
	if r := []rune(words); len(r) > 120 {
		words = string(r[:120]) + "…"
	}
	c.out.Rest = append(c.out.Rest, words)
}

func (c *chooser) consider(n Name, i int) {
	s := &c.all[i]
	needed := slices.Contains(c.makers[n], i)
	switch {
	case c.err != nil || c.keep[i]:
		return
	case needed:
	case s.Begins("create", "index"), s.Begins("create", "unique", "index"), s.Begins("create", "statistics"):
	case s.Begins("comment", "on", "trigger"), s.Begins("comment", "on", "policy"), s.Begins("comment", "on", "rule"):
		return
	case s.Begins("comment", "on"):
	case s.Find("enable", "trigger") > 0, s.Find("disable", "trigger") > 0, s.Find("enable", "always") > 0, s.Find("enable", "replica") > 0:
		return
	case s.Find("owner", "to") > 0:
		if may, err := c.server.MayOwn(s.Name(s.Find("owner", "to") + 2)); err != nil || !may {
			c.err = err
			c.left(i)
			return
		}
	case s.Find("attach", "partition") > 0:
		if !c.chosen[tableOf(s)] {
			c.left(i)
			return
		}
	case s.Begins("alter") && !s.Begins("alter", "publication"):
	default:
		c.left(i)
		return
	}
	if lacks := c.needs(s); lacks == "" {
		c.keep[i] = true
	} else if needed {
		c.err = fmt.Errorf("table %s needs %s: %w", n, lacks, ErrAlone)
	} else {
		c.left(i)
	}
}

// needs chooses what a statement needs, and returns what of that is not made, or "".
func (c *chooser) needs(s *guard.Statement) string {
	for _, r := range s.Refs() {
		n := Name{Schema: r.Schema, Table: r.Name}
		if c.chosen[n] {
			continue
		}
		if lacks := c.supports(n); lacks != "" {
			return lacks
		}
	}
	return ""
}

// supports chooses something that is not a table, or returns why it cannot be.
func (c *chooser) supports(n Name) string {
	if why, known := c.support[n]; known {
		return why
	}
	c.support[n] = "" // it may need itself
	kind, made := c.kinds[n]
	switch {
	case !made: // of an extension, or nothing of that kind
		c.extension(n.Schema)
		return ""
	case kind == Table, kind == other:
		c.support[n] = fmt.Sprintf("%s, which is not made", n)
		return c.support[n]
	}
	there, err := c.server.Has(kind, n)
	if err != nil {
		c.err = err
		return err.Error()
	}
	if there {
		c.out.Uses = append(c.out.Uses, fmt.Sprintf("%s %s", kind, n))
		return ""
	}
	for _, i := range c.makers[n] {
		if lacks := c.needs(&c.all[i]); lacks != "" {
			c.support[n] = lacks
			return lacks
		}
	}
	c.chosen[n] = true
	for _, i := range c.of[n] {
		if slices.Contains(c.makers[n], i) {
			c.keep[i] = true
		} else {
			c.consider(n, i)
		}
	}
	return ""
}

func (c *chooser) extension(schema string) {
	for _, i := range c.spaces {
		s := &c.all[i]
		if at := s.Find("with", "schema"); at < 0 || s.Name(at+2) != schema {
			continue
		}
		name := s.Name(2)
		if s.Has(2, "if", "not", "exists") {
			name = s.Name(5)
		}
		if there, err := c.server.Has(Extension, Name{Table: name}); err != nil {
			c.err = err
		} else if !there {
			c.keep[i] = true
		}
	}
}

// indexes keeps what puts indexes of partitions together. Their names have the schema
// of their table.
func (c *chooser) indexes() {
	for _, i := range slices.Collect(maps.Keys(c.keep)) {
		s := &c.all[i]
		schema := tableOf(s).Schema
		if at := next(s, 0, "constraint"); s.Begins("alter", "table") && at > 0 && s.Name(at-1) == "add" {
			c.chosen[Name{Schema: schema, Table: s.Name(at + 1)}] = true
		}
		if at := next(s, 0, "index"); s.Begins("create") && at > 0 && at < 3 {
			c.chosen[Name{Schema: schema, Table: s.Name(at + 1)}] = true
		}
		if s.Begins("create", "statistics") {
			n := path(s, 2)
			c.chosen[n] = true
			for _, i := range c.of[n] {
				c.consider(n, i)
			}
		}
	}
	for i := range c.all {
		s := &c.all[i]
		if at := s.Find("attach", "partition"); s.Begins("alter", "index") && at > 0 && c.chosen[path(s, 2)] && c.chosen[path(s, at+2)] {
			c.keep[i] = true
		}
		if s.Begins("comment", "on", "index") && c.chosen[path(s, 3)] {
			c.keep[i] = true
		}
	}
}

// settings of a session that a dump needs.
var settings = []string{"client_encoding", "standard_conforming_strings", "check_function_bodies", "xmloption", "row_security"}

func (c *chooser) write(sequences []guard.Statement) (*Choice, error) {
	out := &c.out
	out.To = make(map[Name]Name)
	taken := make(map[Name]Name)
	schemas := make(map[string]bool)
	for n := range c.chosen {
		to := n
		if c.to != "" {
			to.Schema = c.to
		}
		if before, twice := taken[to]; twice && c.kinds[n] == Table {
			return nil, fail.Usagef("%s and %s would both become %s", before, n, to)
		}
		out.To[n], taken[to] = to, n
		schemas[to.Schema] = true
	}
	for _, schema := range slices.Sorted(maps.Keys(schemas)) {
		if there, err := c.server.Has(Schema, Name{Schema: schema}); err != nil {
			return nil, err
		} else if !there {
			out.Pre = append(out.Pre, "CREATE SCHEMA "+postgres.Quote(schema)+";")
		}
	}
	for i := range c.all {
		s := &c.all[i]
		switch {
		case s.Begins("set") && slices.Contains(settings, s.Name(1)):
			out.Settings = append(out.Settings, string(s.Text))
		case s.Begins("set", "default_table_access_method"), c.keep[i]:
			if i < c.post {
				out.Pre = append(out.Pre, c.moved(s))
			} else {
				out.Post = append(out.Post, c.moved(s))
			}
		}
	}
	for i := range sequences {
		s := &sequences[i]
		if refs := s.Refs(); len(refs) == 1 && refs[0].Literal && c.chosen[Name{Schema: refs[0].Schema, Table: refs[0].Name}] {
			out.Set = append(out.Set, c.moved(s))
		}
	}
	slices.Sort(out.Rest)
	out.Rest = slices.Compact(out.Rest)
	slices.Sort(out.Uses)
	return out, nil
}

// moved is the statement with the schema that what is made goes into.
func (c *chooser) moved(s *guard.Statement) string {
	if c.to == "" {
		return string(s.Text)
	}
	var text []byte
	at := 0
	for _, r := range s.Refs() {
		n, chosen := c.out.To[Name{Schema: r.Schema, Table: r.Name}]
		if !chosen {
			continue
		}
		text = append(text, s.Text[at:r.Begin]...)
		if r.Literal {
			text = append(text, postgres.QuoteText(n.Quoted())...)
		} else {
			text = append(text, postgres.Quote(n.Schema)...)
		}
		at = r.End
	}
	return string(append(text, s.Text[at:]...))
}
