package tables

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/stream/pack"
	"github.com/takumi-backup/takumi-backup/stream/pack/index"
)

var (
	// ErrNoIndex is returned for a packed stream that has no index of a dump.
	ErrNoIndex = fail.New(fail.Failed, "restore database without --table restores all of it; takumi-backup open brings a dump in custom format to pg_restore --table", "the backup has no index of a plain dump")
	// ErrNoTable is returned for a table that the dump has no rows of.
	ErrNoTable = fail.New(fail.Failed, "takumi-backup ls FILE lists those that there are", "the dump has no rows of this table")
	// ErrIndex is wrapped when an index and its dump contradict each other.
	ErrIndex = fail.New(fail.Damaged, "restore database without --table and --jobs reads the dump without its index", "the index of the backup is not that of its dump")
)

// Table is a table with rows in a dump.
type Table struct {
	postgres.TableName
	Rows, Size int64 // Size is that of the rows, in bytes of the dump
}

// Block is a number of whole rows of a table, as COPY has them.
type Block struct {
	postgres.TableName
	Offset, Length, Rows int64
	Copy                 int64 // where their COPY statement begins
}

// Dump is a plain dump that has an index. It is safe for concurrent use when its
// source is.
type Dump struct {
	packed *pack.ReaderAt
	index  *index.Reader
}

// Indexed returns the dump that packed holds, by its index. The errors are
// ErrNoIndex, those of [index.NewReader] and those of the source.
func Indexed(packed *pack.ReaderAt) (*Dump, error) {
	in, ok, err := index.Open(packed, "pgdump", new(struct{}))
	switch {
	case errors.Is(err, index.ErrOther):
		return nil, fmt.Errorf("%w: %w", ErrIndex, err)
	case err != nil:
		return nil, err
	case !ok:
		return nil, ErrNoIndex
	}
	return &Dump{packed, in}, nil
}

// Size is the length of the dump.
func (d *Dump) Size() int64 { return d.packed.Size() }

func (d *Dump) lines(from iter.Seq2[[]byte, error]) iter.Seq2[*line, error] {
	return func(yield func(*line, error) bool) {
		for text, err := range from {
			l := new(line)
			if err == nil {
				err = json.Unmarshal(text, l)
			}
			if err == nil && (l.Offset < 0 || l.Length < 0 || l.Rows < 0 || l.Part != PartContents && l.Offset > d.Size()-l.Length) {
				err = fmt.Errorf("%w: it leads outside", ErrIndex)
			}
			if err != nil {
				yield(nil, fmt.Errorf("reading the index: %w", err))
				return
			}
			if !yield(l, nil) {
				return
			}
		}
	}
}

func (l *line) block() Block {
	return Block{postgres.TableName{Schema: l.Schema, Table: l.Table}, l.Offset, l.Length, l.Rows, l.Copy}
}

// Blocks returns all rows of the dump, in the order of schemas and tables. An error
// ends it.
func (d *Dump) Blocks() iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		for l, err := range d.lines(d.index.All()) {
			if err != nil {
				yield(Block{}, err)
				return
			}
			if l.Table != "" && !yield(l.block(), nil) {
				return
			}
		}
	}
}

// Tables returns the tables that the dump has rows of, in the order of schemas and
// names. An error ends it.
func (d *Dump) Tables() iter.Seq2[Table, error] {
	return func(yield func(Table, error) bool) {
		var held *Table
		for b, err := range d.Blocks() {
			if err != nil {
				yield(Table{}, err)
				return
			}
			if held != nil && held.TableName != b.TableName {
				if !yield(*held, nil) {
					return
				}
				held = nil
			}
			if held == nil {
				held = &Table{TableName: b.TableName}
			}
			held.Rows += b.Rows
			held.Size += b.Length
		}
		if held != nil {
			yield(*held, nil)
		}
	}
}

// Find returns the rows of one table, or ErrNoTable. A name
// without a schema is that of the only table of that name.
func (d *Dump) Find(name postgres.TableName) ([]Block, error) {
	var found []Block
	lines := d.index.All()
	if name.Schema != "" {
		key := tableKey(name.Schema, name.Table)
		lines = d.index.Range(key, append(bytes.Clone(key), bytes.Repeat([]byte{0xff}, 8)...))
	}
	for l, err := range d.lines(lines) {
		if err != nil {
			return nil, err
		}
		if l.Table != name.Table || l.Table == "" || name.Schema != "" && l.Schema != name.Schema {
			continue
		}
		if len(found) > 0 && found[0].Schema != l.Schema {
			return nil, fmt.Errorf("there are %s and %s: name the schema", found[0].TableName, l.block().TableName)
		}
		found = append(found, l.block())
	}
	if found == nil {
		return nil, fmt.Errorf("table %s: %w", name, ErrNoTable)
	}
	return found, nil
}

// Part returns where the parts of this name are in the dump, in their order.
func (d *Dump) Part(name string) ([]*io.SectionReader, error) {
	key := append([]byte{0}, name...)
	var parts []*io.SectionReader
	for l, err := range d.lines(d.index.Range(key, key)) {
		if err != nil {
			return nil, err
		}
		if l.Part == name && l.Table == "" {
			parts = append(parts, io.NewSectionReader(d.packed, l.Offset, l.Length))
		}
	}
	return parts, nil
}

// Contents returns the table of contents that a parallel dump has, or nil.
func (d *Dump) Contents() ([]byte, error) {
	key := []byte("\x00" + PartContents)
	var contents []byte
	for l, err := range d.lines(d.index.Range(key, key)) {
		if err != nil {
			return nil, err
		}
		if l.Part == PartContents && l.Table == "" {
			contents = append(contents, l.Bytes...)
		}
	}
	return contents, nil
}

// maxCopy bounds a COPY statement, as the guard does.
const maxCopy = 256 << 10

// Columns returns the columns of a block's rows, nil for all of the table. They are
// read from the COPY statement in the dump, which has to be of the block's table.
func (d *Dump) Columns(b Block) ([]string, error) {
	var text []byte
	for n := int64(4 << 10); ; n *= 8 {
		text = make([]byte, min(n, maxCopy, d.Size()-max(0, min(b.Copy, d.Size()))))
		if got, err := d.packed.ReadAt(text, max(0, min(b.Copy, d.Size()))); got < len(text) {
			return nil, err
		}
		if end := copyEnd(text); end > 0 || n >= maxCopy {
			text = text[:end]
			break
		}
	}
	schema, table, columns, ok := guard.ParseCopy(text)
	if !ok || schema != b.Schema || table != b.Table {
		return nil, fmt.Errorf("%w: at byte %d is not the COPY of %s", ErrIndex, b.Copy, b.TableName)
	}
	return columns, nil
}

// copyEnd returns where the line of a COPY ends, with its semicolon, or 0. Names may
// have anything in them.
func copyEnd(text []byte) int {
	quoted := false
	for i, c := range text {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted:
			return i + 1
		}
	}
	return 0
}

// Rows returns the rows of a block, in the text format of COPY. What is read is
// authenticated chunk by chunk. It ends with an error when they are not as many whole
// rows as the index says, or when there is an end marker among them.
func (d *Dump) Rows(b Block) io.Reader {
	return b.Counted(d.Section(b.Offset, b.Offset+b.Length))
}

const readAhead = 4 << 20

type rows struct {
	src   io.Reader
	of    Block
	count guard.RowCount
}

func (r *rows) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	ok := r.count.Take(p[:n])
	if ok && err == io.EOF {
		got, whole := r.count.Rows()
		ok = whole && got == r.of.Rows
	}
	if !ok {
		return 0, fmt.Errorf("%w: the rows of %s at byte %d are not as it says", ErrIndex, r.of.TableName, r.of.Offset)
	}
	return n, err
}

// Piece is a block of rows or, where Part is set, a part of the dump without rows.
type Piece struct {
	Part string
	Block
	// Gap is where what is between this piece and the one before begins: the end
	// marker of other rows, comments, the COPY statement of these. Follows says that
	// the piece before is of the same COPY, and Rest that rows came before.
	Gap           int64
	Follows, Rest bool
}

// Pieces returns all pieces of the dump in its order. Together with their gaps they are
// the whole dump; an index for which that is not so is ErrIndex. The caller holds what
// is in the gaps to [Dump.CheckGap].
func (d *Dump) Pieces() ([]Piece, error) {
	var all []Piece
	for l, err := range d.lines(d.index.All()) {
		if err != nil {
			return nil, err
		}
		if l.Part != PartContents {
			all = append(all, Piece{Part: l.Part, Block: l.block()})
		}
	}
	slices.SortStableFunc(all, func(a, b Piece) int { return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Length, b.Length)) })
	at := int64(0)
	for i := range all {
		p := &all[i]
		p.Gap = at
		if p.Offset < at || (p.Part == "") != (p.Table != "") || p.Part == "" && p.Copy < 0 {
			return nil, fmt.Errorf("%w: two of its entries overlap, or one is of nothing", ErrIndex)
		}
		if i > 0 {
			before := &all[i-1]
			p.Rest = before.Table != ""
			p.Follows = p.Rest && p.Table != "" && before.Copy == p.Copy
		}
		if p.Follows && p.Offset != at || !p.Follows && p.Table != "" && (p.Copy < at || p.Copy >= p.Offset) {
			return nil, fmt.Errorf("%w: rows of %s are without their COPY", ErrIndex, p.TableName)
		}
		at = p.Offset + p.Length
	}
	if len(all) < 2 || all[0].Part != guard.PartPre || all[0].Offset != 0 || all[len(all)-1].Part != guard.PartPost || at != d.Size() {
		return nil, fmt.Errorf("%w: it is not of all of it", ErrIndex)
	}
	return all, nil
}

// between is what is in a gap before the COPY: an end marker, comments and spaces.
var between = regexp.MustCompile(`^(\\\.\r?\n)?(--[^\n]*\n|[ \t\r\n]+|--[^\n]*$)*$`)

// CheckGap reads what is before a piece, from src, and returns the columns of its rows,
// nil for all; of rows that follow others they are not known by it. Anything else than
// belongs there is ErrIndex.
func (p *Piece) CheckGap(src io.Reader) ([]string, error) {
	bad := func() ([]string, error) {
		return nil, fmt.Errorf("%w: what is at byte %d does not belong there", ErrIndex, p.Gap)
	}
	size := p.Offset - p.Gap
	if size > maxCopy+64<<10 {
		return bad()
	}
	gap := make([]byte, size)
	if _, err := io.ReadFull(src, gap); err != nil {
		return nil, err
	}
	if p.Follows {
		return nil, nil
	}
	rest := gap
	if p.Table != "" {
		rest = gap[:p.Copy-p.Gap]
	}
	if !between.Match(rest) || bytes.HasPrefix(rest, []byte(`\.`)) != p.Rest {
		return bad()
	}
	if p.Table == "" {
		return nil, nil
	}
	text := gap[p.Copy-p.Gap:]
	end := copyEnd(text)
	sql, line := text[:end], text[end:]
	schema, table, columns, ok := guard.ParseCopy(sql)
	if !ok || schema != p.Schema || table != p.Table || len(line) == 0 || line[len(line)-1] != '\n' || len(bytes.TrimSpace(line)) > 0 {
		return bad()
	}
	return columns, nil
}

// Section reads the dump from begin to end, several frames in one go.
func (d *Dump) Section(begin, end int64) io.Reader {
	return bufio.NewReaderSize(io.NewSectionReader(d.packed, begin, end-begin), int(min(max(16, end-begin), readAhead)))
}

// Counted is rows from src, held to what the index says of the block as Rows does.
func (b Block) Counted(src io.Reader) io.Reader {
	return &rows{src: io.LimitReader(src, b.Length), of: b}
}
