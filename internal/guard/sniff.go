package guard

import (
	"bytes"
	"encoding/binary"
)

// Format is what the first bytes say an input is.
type Format int

const (
	Unknown    Format = iota
	PlainDump         // SQL text of pg_dump or pg_dumpall
	CustomDump        // pg_dump -Fc
	Tar               // of any age; pg_dump -Ft is one of these
	Gzip
	Zstd
	Bzip2
	XZ
	LZ4
	MySQLDump    // SQL text of mysqldump or mariadb-dump
	SQLiteDump   // SQL text of sqlite3's .dump
	RedisDump    // an RDB file
	MongoArchive // mongodump --archive
)

func (f Format) String() string {
	switch f {
	case PlainDump:
		return "plain SQL dump"
	case CustomDump:
		return "custom-format dump"
	case Tar:
		return "tar archive"
	case Gzip:
		return "gzip stream"
	case Zstd:
		return "zstd stream"
	case Bzip2:
		return "bzip2 stream"
	case XZ:
		return "xz stream"
	case LZ4:
		return "lz4 stream"
	case MySQLDump:
		return "dump of MySQL or MariaDB"
	case SQLiteDump:
		return "dump of SQLite"
	case RedisDump:
		return "dump of Redis"
	case MongoArchive:
		return "archive of mongodump"
	}
	return "unknown format"
}

// IsDump reports whether only PostgreSQL's dump programs write the format.
func (f Format) IsDump() bool { return f == PlainDump || f == CustomDump }

// SniffLen is how many bytes Sniff wants to see.
const SniffLen = 512

const (
	customMagic  = "PGDMP"
	gzipMagic    = "\x1f\x8b\x08"
	bzip2Magic   = "BZh"
	zstdMagic    = "\x28\xb5\x2f\xfd"
	tarMagic     = "ustar"
	tarMagicAt   = 257
	skippableLen = 8 // magic and size of a skippable zstd frame
)

// Sniff recognises a format by the first SniffLen bytes of an input, or all of a shorter
// one; with fewer it may return Unknown.
func Sniff(head []byte) Format {
	switch {
	case bytes.HasPrefix(head, []byte(customMagic)):
		return CustomDump
	case bytes.HasPrefix(head, []byte(gzipMagic)):
		return Gzip
	case isZstd(head):
		return Zstd
	case len(head) >= tarMagicAt && bytes.HasPrefix(head[tarMagicAt:], []byte(tarMagic)):
		return Tar
	case plainEnding(head) != nil:
		return PlainDump
	case len(head) > 3 && bytes.HasPrefix(head, []byte(bzip2Magic)) && head[3] >= '1' && head[3] <= '9':
		return Bzip2
	case bytes.HasPrefix(head, []byte(xzMagic)):
		return XZ
	case bytes.HasPrefix(head, []byte(lz4Magic)):
		return LZ4
	case isMySQL(head):
		return MySQLDump
	case bytes.HasPrefix(head, []byte(sqliteBegins)):
		return SQLiteDump
	case isRedis(head):
		return RedisDump
	case bytes.HasPrefix(head, []byte(mongoMagic)):
		return MongoArchive
	case isOldTar(head):
		return Tar
	}
	return Unknown
}

// isZstd looks behind skippable frames: parallel compressors begin with one, but so do
// other formats.
func isZstd(head []byte) bool {
	for len(head) >= skippableLen && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18" {
		n := uint64(binary.LittleEndian.Uint32(head[4:])) + skippableLen
		if n > uint64(len(head)) {
			return false
		}
		head = head[n:]
	}
	return bytes.HasPrefix(head, []byte(zstdMagic))
}
