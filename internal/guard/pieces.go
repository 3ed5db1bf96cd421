package guard

import "bytes"

// Piece is a part of a plain dump of one database: rows of a table or, with Part, the
// statements before all rows (pre), those that set sequences (sequences) or fill large
// objects (large-objects), or the rest (post). Offsets and lengths are bytes of the dump.
type Piece struct {
	Part           string
	Schema, Table  string
	Copy           int64 // where the COPY statement of the rows begins
	Offset, Length int64 // of whole rows, without the end marker
	Rows           int64
}

// The parts of a dump that hold no rows.
const (
	PartPre          = "pre"
	PartSequences    = "sequences"
	PartLargeObjects = "large-objects"
	PartPost         = "post"
)

// pieceSize is where rows of a COPY are cut. Readers of a piece unpack the frames at both
// ends whole.
const pieceSize = 8 << 20

// pieces finds the pieces of a plain dump in pg_dump's order: what makes tables, the data,
// the rest. For other orders it omits pre and post.
type pieces struct {
	tell func(Piece)
	bad  bool

	began bool  // the data has
	pre   int64 // where it did
	end   int64 // of the data so far
	after bool  // a statement that is not a data has followed

	gap   Piece // statements that are data
	table Piece // the rows at hand
}

func (p *pieces) statement(s statement, text []byte, begin, end int64) {
	part := ""
	switch {
	case isCopy(s):
	case bytes.HasPrefix(text, []byte("SELECT pg_catalog.setval(")):
		part = PartSequences
	case string(text) == "BEGIN;", string(text) == "COMMIT;", bytes.HasPrefix(text, []byte("SELECT pg_catalog.lo_open(")),
		bytes.HasPrefix(text, []byte("SELECT pg_catalog.lowrite(")), bytes.HasPrefix(text, []byte("SELECT pg_catalog.lo_close(")):
		part = PartLargeObjects
	default:
		p.after = p.began
		p.bad = p.bad || s.hasPrefix("insert")
		return
	}
	if !p.began {
		p.began, p.pre = true, begin
	}
	p.bad = p.bad || p.after
	p.end = end
	if p.gap.Part != part {
		p.closeGap()
	}
	if part == "" {
		p.table = Piece{Copy: begin}
		p.table.Schema, p.table.Table = s.path(1)
		return
	}
	if p.gap.Part == "" {
		p.gap = Piece{Part: part, Offset: begin}
	}
	p.gap.Length = end - p.gap.Offset
}

func (p *pieces) closeGap() {
	if p.gap.Part != "" && !p.bad {
		p.tell(p.gap)
	}
	p.gap = Piece{}
}

// rows notes that the current COPY has n rows between begin and end.
func (p *pieces) rows(begin, end, n int64, last bool) {
	t := &p.table
	if t.Offset == 0 {
		t.Offset = begin
	}
	if t.Length = end - t.Offset; t.Length < pieceSize && !last {
		return
	}
	told := n - t.Rows // Rows are those of the pieces before
	if !p.bad && (told > 0 || last && t.Rows == 0) {
		piece := *t
		piece.Rows = told
		p.tell(piece)
	}
	t.Offset, t.Length, t.Rows = end, 0, n
}

func (p *pieces) finish(size int64) {
	p.closeGap()
	if p.bad {
		return
	}
	if !p.began {
		p.pre, p.end = size, size
	}
	p.tell(Piece{Part: PartPre, Length: p.pre})
	p.tell(Piece{Part: PartPost, Offset: p.end, Length: size - p.end})
}

// ParseCopy parses a COPY … FROM stdin in pg_dump's form: without options, programs and
// files. Without a list columns is nil.
func ParseCopy(sql []byte) (schema, table string, columns []string, ok bool) {
	s := tokens(sql)
	if !s.hasPrefix("copy") {
		return "", "", nil, false
	}
	i := 2
	if schema, table = s.path(1); len(s) > 2 && s[2] == (token{symbol, "."}) {
		i = 4
	}
	if i < len(s) && s[i] == (token{symbol, "("}) {
		for columns = []string{}; i+1 < len(s) && s.isName(i+1); i += 2 {
			columns = append(columns, s.name(i+1))
			if i+2 < len(s) && s[i+2] != (token{symbol, ","}) {
				break
			}
		}
		if i += 2; i >= len(s) || s[i] != (token{symbol, ")"}) {
			return "", "", nil, false
		}
		i++
	}
	rest := s[min(i, len(s)):]
	ok = table != "" && len(rest) == 3 && rest.hasPrefix("from", "stdin") && rest[2] == (token{symbol, ";"})
	return schema, table, columns, ok
}

func (s statement) isName(i int) bool { return s[i].kind == word || s[i].kind == name }

// RowCount counts rows in COPY's text format. Its zero value is ready.
type RowCount struct{ c rowCounter }

// Take takes the next bytes, and returns false for an end marker.
func (r *RowCount) Take(p []byte) bool {
	for len(p) > 0 {
		n, ended := r.c.take(p)
		if ended {
			return false
		}
		p = p[n:]
	}
	return true
}

// Rows returns the number of rows, and whether the last is whole.
func (r *RowCount) Rows() (n int64, whole bool) { return r.c.n, len(r.c.line) == 0 }
