package backup

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// Suffix ends the file name of every sealed backup.
const Suffix = ".enc"

// The kinds of format version 1.
const (
	KindDatabase  = "database"
	KindContracts = "contracts"
	KindUploads   = "uploads"
	// KindIncrement is the kind of an archive with the changes of a tree since the archive
	// before it in its chain.
	KindIncrement = "uploads-increment"
	KindStream    = "stream"
)

// Family is the kind for retention: increments count as uploads.
func Family(kind string) string {
	if kind == KindIncrement {
		return KindUploads
	}
	return kind
}

// Link is a place in a chain of increments, by the file name: the first half of the chain's
// id (the index has all of it), and the number.
type Link struct {
	Chain string
	N     int
}

// After is how many places l is behind m in one chain, 0 for two chains.
func (l Link) After(m Link) int {
	if l.Chain != m.Chain {
		return 0
	}
	return l.N - m.N
}

func (l Link) tag() string { return fmt.Sprintf(".%s-%d", l.Chain, l.N) }

var linkTag = regexp.MustCompile(`_\d{8}_\d{6}(?:-\d+)?\.([0-9a-f]{16})-(\d{1,4})\.`)

// LinkOf returns the place in a chain by a file name.
func LinkOf(name string) (l Link, ok bool) {
	all := linkTag.FindAllStringSubmatch(name, -1)
	if all == nil {
		return l, false
	}
	last := all[len(all)-1]
	n, err := strconv.Atoi(last[2])
	return Link{last[1], n}, err == nil
}

// KindOf returns the kind that a format speaks for.
func KindOf(f guard.Format) string {
	if f.IsDump() {
		return KindDatabase
	}
	return KindStream
}

// Naming has the parts of a generated name.
type Naming struct {
	Base   string // the name it was given, or ""
	DBName string // the database's, or ""
	Kind   string
	Format guard.Format
	Codec  pack.Codec
	Time   time.Time
	Plain  bool // packed, and not encrypted
	Link   Link // in a chain
}

// FileName returns BASE_YYYYMMDD_HHMMSS.EXT.enc, in UTC, and for n above 1
// BASE_YYYYMMDD_HHMMSS-n.EXT.enc. A plain file lacks the .enc; a link has its place in the
// chain after the time.
func (m Naming) FileName(n int) string {
	base := m.Base
	switch {
	case base != "":
	case m.Kind == KindDatabase && m.DBName != "":
		base = m.DBName + "_db"
	case m.Kind == KindDatabase:
		base = "takumi_db"
	default:
		base = m.Kind
	}
	again := ""
	if n > 1 {
		again = fmt.Sprintf("-%d", n)
	}
	if m.Link.Chain != "" {
		again += m.Link.tag()
	}
	name := base + "_" + m.Time.UTC().Format("20060102_150405") + again + "." + extension(m.Format) + m.Codec.Extension()
	if m.Plain {
		return name
	}
	return name + Suffix
}

// unjudged is the extension of unknown formats.
const unjudged = "bin"

// Unjudged reports whether the name shows that the content's format is unknown, so that
// nobody knows whether it is complete.
func (b *Backup) Unjudged() bool {
	return strings.HasSuffix(SeriesOf(store.Base(b.Path)), "."+unjudged)
}

func extension(f guard.Format) string {
	switch f {
	case guard.PlainDump, guard.MySQLDump, guard.SQLiteDump:
		return "sql"
	case guard.RedisDump:
		return "rdb"
	case guard.MongoArchive:
		return "archive"
	case guard.CustomDump:
		return "dump"
	case guard.Tar:
		return "tar"
	}
	return unjudged
}

// SourceOf returns the database of a backup, by its own claim, as part of a file name, or
// "".
func SourceOf(e *envelope.Envelope) string {
	series := SeriesOf(e.Name)
	for _, ending := range []string{".sql", ".dump"} {
		if name, ok := strings.CutSuffix(series, "_db"+ending); ok && e.Kind == KindDatabase {
			return name
		}
	}
	return ""
}
