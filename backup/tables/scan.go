package tables

import (
	"fmt"
	"io"

	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// Scan reads a dump of PostgreSQL to its end and returns the tables that it has rows
// of, in its own order. Size is -1 where it is not known.
func Scan(src io.Reader) ([]Table, error) {
	sizes := make(map[postgres.TableName]int64)
	whole := guard.NewReader(src, guard.Options{Piece: func(p guard.Piece) {
		if p.Part == "" {
			sizes[postgres.TableName{Schema: p.Schema, Table: p.Table}] += p.Length
		}
	}})
	defer whole.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{whole}, make([]byte, 1<<20)); err != nil {
		return nil, err
	}
	c := whole.Contents()
	if c == nil || !c.Counted {
		return nil, fmt.Errorf("the dump does not say how many rows its tables have: they are packed, or come as INSERT")
	}
	all := make([]Table, len(c.Tables))
	for i, t := range c.Tables {
		all[i] = Table{postgres.TableName{Schema: t.Schema, Table: t.Name}, t.Rows, -1}
		if size, known := sizes[all[i].TableName]; known {
			all[i].Size = size
		}
	}
	return all, nil
}
