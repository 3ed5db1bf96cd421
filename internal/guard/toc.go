package guard

// the strings of an entry in a custom-format dump's table of contents
const (
	tocTag       = 2
	tocDesc      = 3
	tocDefn      = 4
	tocCopy      = 6
	tocNamespace = 7
	tocSpace     = 8
	tocOwner     = 9 // and from 1.14 one later
)

// maxTocText bounds what is kept of one string.
const maxTocText = 64 << 10

// contentsTable reads the table of contents of a custom-format dump, and counts its rows.
type contentsTable struct {
	found  *gathering
	packed bool // the data is compressed

	inEntry  bool
	integers int // of the header, read so far
	strings  [][]byte
	cur      []byte
	owner    int

	tables map[int64]Table // whose rows are to come
	table  *Table          // whose rows come
	rows   rowCounter
}

func newContentsTable() contentsTable {
	return contentsTable{found: newGathering(), tables: make(map[int64]Table)}
}

// integer takes one that is not a string's length. The header's first is the level of
// compression, before version 1.15.
func (t *contentsTable) integer(minor byte, v int64) {
	if t.integers++; t.integers == 1 && minor < 15 {
		t.packed = v != 0
	}
}

func (t *contentsTable) text(p []byte) {
	t.cur = append(t.cur, p[:min(len(p), maxTocText-len(t.cur))]...)
}

func (t *contentsTable) endText() {
	i := len(t.strings)
	if i < cap(t.strings) {
		t.strings = t.strings[:i+1]
		t.strings[i] = append(t.strings[i][:0], t.cur...)
	} else {
		t.strings = append(t.strings, append([]byte(nil), t.cur...))
	}
	t.cur = t.cur[:0]
}

// header has been read: its strings are the database and two versions.
func (t *contentsTable) header() {
	if len(t.strings) >= 2 {
		t.found.c.Database = string(t.strings[0])
		t.found.comment(append([]byte("-- Dumped from database version "), t.strings[1]...))
	}
}

func (t *contentsTable) begin(minor byte) {
	t.strings, t.cur, t.inEntry = t.strings[:0], t.cur[:0], true
	if t.owner = tocOwner; minor >= 14 {
		t.owner++
	}
}

func (t *contentsTable) end(id int64) {
	if len(t.strings) <= t.owner {
		return
	}
	s := t.strings
	desc := string(s[tocDesc])
	if desc == "ENCODING" || desc == "STDSTRINGS" || desc == "SEARCHPATH" {
		t.define(s[tocDefn])
		return
	}
	note(t.found.roles, string(s[t.owner]))
	note(t.found.owners, string(s[t.owner]))
	note(t.found.tablespaces, string(s[tocSpace]))
	if desc == "TABLE DATA" {
		t.found.c.Rows = true
		if t.packed || len(s[tocCopy]) == 0 || len(t.tables) >= maxListed {
			t.found.packed = true
			return
		}
		// Not its tag: rows of a partition may be loaded through the root.
		schema, name := tokens(s[tocCopy]).path(1)
		t.tables[id] = Table{Schema: schema, Name: name}
		return
	}
	// A table's long definition has no needs of its own.
	switch desc {
	case "TABLE":
		t.found.c.Makes++
	case "BLOB": // which is counted where its content is
	default:
		t.define(s[tocDefn])
	}
}

func (t *contentsTable) define(sql []byte) {
	l := lexer{to: gatheringListener{t.found}}
	_ = l.write(sql) // nothing there fails
}

// rowsOf returns what counts the rows of an entry, or nil.
func (t *contentsTable) rowsOf(id int64) func([]byte) {
	table, ok := t.tables[id]
	if !ok {
		return nil
	}
	delete(t.tables, id)
	t.table = &table
	t.rows.reset()
	ended := false
	return func(p []byte) {
		for !ended && len(p) > 0 {
			var n int
			n, ended = t.rows.take(p)
			p = p[n:]
		}
	}
}

func (t *contentsTable) endRows() {
	if t.table != nil {
		t.found.table(t.table.Schema, t.table.Name, t.rows.n)
		t.table = nil
	}
}

type gatheringListener struct{ g *gathering }

func (gatheringListener) span(spanKind, []byte) error   { return nil }
func (gatheringListener) comment([]byte) error          { return nil }
func (gatheringListener) order([]byte) error            { return nil }
func (gatheringListener) copied(statement, int64) error { return nil }
func (l gatheringListener) query(s statement, _ bool) error {
	l.g.query(s)
	return nil
}
