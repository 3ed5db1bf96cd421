package guard

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Contents is what a dump of PostgreSQL holds and needs, by its own words. Names are not
// quoted.
type Contents struct {
	Cluster  bool    // it is one of pg_dumpall
	Database string  // the name of the database, where the dump has it, or ""
	Server   string  // the version of the server that was dumped, as "15.8", or ""
	Encoding string  // what the dump is written in, or ""
	Tables   []Table // the tables with rows in it, in the order of the dump
	// Counted means that the rows of all tables were counted, which is impossible for
	// INSERTs and packed rows.
	Counted bool
	// Rows means that there is data, of tables, even empty ones, or large objects.
	Rows bool
	// Makes is how many tables the dump makes, with or without rows.
	Makes        int
	LargeObjects int64

	Roles       []string // that it names, sorted
	Owners      []string // those of them that get things, sorted
	Tablespaces []string // sorted; pg_default is none
	Extensions  []string // sorted
	// Superuser are statements that only a superuser may run, in words.
	Superuser []string
	// Properties are the statements of pg_dump -C that are about the database.
	Properties []string
}

// Table is a table and the number of its rows.
type Table struct {
	Schema, Name string
	Rows         int64
}

// maxListed bounds each list; a dump of a hundred thousand tables stays below.
const maxListed = 1 << 20

type gathering struct {
	c           Contents
	tables      map[[2]string]int // index of c.Tables
	roles       map[string]bool
	owners      map[string]bool
	tablespaces map[string]bool
	extensions  map[string]bool
	superuser   map[string]bool
	packed      bool // rows that could not be counted
}

func newGathering() *gathering {
	return &gathering{
		tables: make(map[[2]string]int), roles: make(map[string]bool), owners: make(map[string]bool),
		tablespaces: make(map[string]bool), extensions: make(map[string]bool), superuser: make(map[string]bool),
	}
}

func (g *gathering) contents() *Contents {
	c := g.c
	c.Counted = !g.packed
	sorted := func(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
	c.Owners = sorted(g.owners)
	c.Roles, c.Tablespaces, c.Extensions, c.Superuser = sorted(g.roles), sorted(g.tablespaces), sorted(g.extensions), sorted(g.superuser)
	return &c
}

func note(set map[string]bool, name string) {
	if name != "" && len(set) < maxListed {
		set[name] = true
	}
}

func (g *gathering) table(schema, name string, n int64) {
	g.c.Rows = true
	key := [2]string{schema, name}
	i, there := g.tables[key]
	if !there {
		if len(g.c.Tables) >= maxListed {
			g.packed = true
			return
		}
		i = len(g.c.Tables)
		g.tables[key] = i
		g.c.Tables = append(g.c.Tables, Table{Schema: schema, Name: name})
	}
	g.c.Tables[i].Rows += n
}

// version is how pg_dump says where a dump is from.
var version = regexp.MustCompile(`^-- Dumped from database version (\d+(?:\.\d+)?)`)

func (g *gathering) comment(line []byte) {
	if match := version.FindSubmatch(line); match != nil && g.c.Server == "" {
		g.c.Server = string(match[1])
	}
}

// superuserOnly are statements that PostgreSQL lets no one else run.
var superuserOnly = []struct {
	words []string
	says  string
}{
	{[]string{"create", "event", "trigger"}, "an event trigger"},
	{[]string{"create", "foreign", "data", "wrapper"}, "a foreign-data wrapper"},
	{[]string{"create", "subscription"}, "a subscription"},
	{[]string{"create", "access", "method"}, "an access method"},
	{[]string{"create", "text", "search", "template"}, "a text search template"},
	{[]string{"create", "text", "search", "parser"}, "a text search parser"},
	{[]string{"create", "operator", "class"}, "an operator class"},
	{[]string{"create", "operator", "family"}, "an operator family"},
}

func (g *gathering) query(s statement) {
	switch {
	case s.hasPrefix("insert"):
		g.packed, g.c.Rows = true, true
	case s.hasPrefix("create", "table"), s.hasPrefix("create", "unlogged", "table"):
		g.c.Makes++
	case s.hasPrefix("create", "extension"):
		i := 2
		if s[i:].hasPrefix("if", "not", "exists") {
			i += 3
		}
		note(g.extensions, s.name(i))
	case s.hasPrefix("set", "default_tablespace"):
		note(g.tablespaces, s.value(3))
	case s.hasPrefix("set", "client_encoding"):
		g.c.Encoding = s.value(3)
	case s.hasPrefix("select", "pg_catalog") && len(s) > 3 && s[3].value == "lo_create":
		g.c.Rows = true
		g.c.LargeObjects++
	}
	g.needsRoles(s)
	for _, only := range superuserOnly {
		if s.hasPrefix(only.words...) {
			note(g.superuser, only.says)
		}
	}
	if s.hasPrefix("create") && (s.hasPrefix("create", "function") || s.hasPrefix("create", "or", "replace", "function")) {
		if i := s.find("language"); i > 0 && (s.name(i+1) == "c" || s.name(i+1) == "internal") {
			note(g.superuser, "a function in C")
		}
	}
	if s.hasPrefix("create", "publication") && s.find("for", "all", "tables") > 0 {
		note(g.superuser, "a publication of all tables")
	}
}

func (g *gathering) needsRoles(s statement) {
	in := func(set map[string]bool, i int) {
		if name := s.name(i); name != "" && !(s[i].kind == word && pseudoRole(name)) {
			note(set, name)
		}
	}
	role := func(i int) { in(g.roles, i) }
	after := func(words ...string) {
		if i := s.find(words...); i >= 0 {
			role(i + len(words))
		}
	}
	owner := func(words ...string) {
		if i := s.find(words...); i >= 0 {
			role(i + len(words))
			in(g.owners, i+len(words))
		}
	}
	switch {
	case s.hasPrefix("alter", "default", "privileges"):
		owner("for", "role")
		after("to")
		after("from")
	case s.hasPrefix("alter"):
		owner("owner", "to")
		if s.hasPrefix("alter", "role") {
			role(2)
		}
	case s.hasPrefix("grant"):
		role(s.rfind("to") + 1)
		after("granted", "by")
	case s.hasPrefix("revoke"):
		role(s.rfind("from") + 1)
	case s.hasPrefix("set", "session", "authorization"):
		if len(s) > 3 && s[3].value != "default" {
			note(g.roles, s[3].value)
		}
	case s.hasPrefix("create", "schema"):
		owner("authorization")
	case s.hasPrefix("create", "user", "mapping"):
		after("for")
	case s.hasPrefix("create", "policy"):
		for i := s.find("to") + 1; i > 0 && i < len(s); i += 2 {
			role(i)
			if i+1 >= len(s) || s[i+1] != (token{symbol, ","}) {
				break
			}
		}
	}
}

func pseudoRole(name string) bool {
	switch name {
	case "public", "current_user", "session_user", "current_role":
		return true
	}
	return false
}

func (s statement) value(i int) string {
	if i < len(s) && s[i].kind == symbol || i >= len(s) {
		return ""
	}
	return s[i].value
}

// rfind returns where a word is last outside of parentheses, or -2.
func (s statement) rfind(w string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == (token{word, w}) {
			return i
		}
	}
	return -2
}

// Major returns the major version of the server that was dumped, or 0.
func (c *Contents) Major() int {
	first, _, _ := strings.Cut(c.Server, ".")
	n, _ := strconv.Atoi(first) // 0
	return n
}
