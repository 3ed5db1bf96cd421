package guard

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"hash/crc64"
)

// tailLen is how much of an input's end is kept for formats that the end decides.
const tailLen = 64 << 10

type tail struct {
	format Format
	pos    int64
	kept   []byte
	judge  func(*tail) string // says what is wrong with the end, or ""
}

func (t *tail) write(p []byte) error {
	t.pos += int64(len(p))
	if len(p) >= tailLen {
		t.kept = append(t.kept[:0], p[len(p)-tailLen:]...)
		return nil
	}
	if len(t.kept)+len(p) > 2*tailLen {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-tailLen:]...)
	}
	t.kept = append(t.kept, p...)
	return nil
}

func (t *tail) finish() error {
	if reason := t.judge(t); reason != "" {
		return &IncompleteError{Format: t.format, Offset: t.pos, Reason: reason}
	}
	return nil
}

// lastLine returns the last non-empty line, and whether it is complete.
func (t *tail) lastLine() (line []byte, whole bool) {
	text := bytes.TrimRight(t.kept, " \t\r\n")
	whole = len(text) < len(t.kept)
	return text[bytes.LastIndexByte(text, '\n')+1:], whole
}

const (
	mysqlBegins   = "-- MySQL dump "
	mariadbBegins = "-- MariaDB dump "
	mariadbFirst  = `/*M!999999\- enable the sandbox mode */`
	mariadbOld    = `/*!999999\- enable the sandbox mode */`
	mysqlEnds     = "-- Dump completed"

	sqliteBegins = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"
	sqliteEnds   = "COMMIT;"
	sqliteFailed = "ROLLBACK; -- due to errors"
)

func isMySQL(head []byte) bool {
	for _, first := range []string{mariadbFirst, mariadbOld} {
		if rest, ok := bytes.CutPrefix(head, []byte(first)); ok {
			head = bytes.TrimLeft(rest, " \r\n")
		}
	}
	return bytes.HasPrefix(head, []byte(mysqlBegins)) || bytes.HasPrefix(head, []byte(mariadbBegins))
}

// endOfMySQL looks for the last line of mysqldump and mariadb-dump. Before it, line breaks
// in values are escaped.
func endOfMySQL(t *tail) string {
	if line, _ := t.lastLine(); !bytes.HasPrefix(line, []byte(mysqlEnds)) {
		return fmt.Sprintf("it does not end with the line %q", mysqlEnds)
	}
	return ""
}

func endOfSQLite(t *tail) string {
	switch line, _ := t.lastLine(); string(line) {
	case sqliteEnds:
		return ""
	case sqliteFailed:
		return "sqlite3 met errors while it read the database"
	}
	return fmt.Sprintf("it does not end with the line %q", sqliteEnds)
}

// A dump of Redis ends with an opcode and, from version 5, the CRC-64 of all before, least
// significant byte first; 0 when disabled. redis-cli --rdb appends the end marker of a
// transfer in a pipe, forty hexadecimal digits, which the server skips.
const (
	redisMagic   = "REDIS"
	redisHeader  = 9 // with four digits of a version
	redisEnd     = 0xff
	redisCRCFrom = 5
	redisMark    = 40
	redisHeld    = 1 + 8 + redisMark // opcode, checksum, marker
)

// jones is the CRC-64 of Redis: polynomial ad93d23594c935a9, reflected, begun
// with 0 and not inverted.
var jones = crc64.MakeTable(0x95ac9329ac4bc9b5)

// redis sums up all but the last bytes, which may follow the sum.
type redis struct {
	pos  int64
	crc  uint64
	head [redisHeader]byte
	last []byte // at most redisHeld
}

func isRedis(head []byte) bool {
	if len(head) < redisHeader || string(head[:len(redisMagic)]) != redisMagic {
		return false
	}
	for _, c := range head[len(redisMagic):redisHeader] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func (r *redis) write(p []byte) error {
	if r.pos < redisHeader {
		copy(r.head[r.pos:], p)
	}
	r.pos += int64(len(p))
	if over := len(r.last) + len(p) - redisHeld; over > 0 {
		n := min(over, len(r.last))
		r.crc = redisSum(r.crc, r.last[:n])
		r.last = append(r.last[:0], r.last[n:]...)
		r.crc = redisSum(r.crc, p[:over-n])
		p = p[over-n:]
	}
	r.last = append(r.last, p...)
	return nil
}

// redisSum undoes the inversions of package crc64.
func redisSum(crc uint64, p []byte) uint64 { return ^crc64.Update(^crc, jones, p) }

func (r *redis) finish() error {
	reason := r.ends(r.last)
	for n := len(r.last) - 1; reason != "" && n >= max(0, len(r.last)-redisMark) && isHex(r.last[n]); n-- {
		if r.ends(r.last[:n]) == "" {
			return nil
		}
	}
	if reason == "" {
		return nil
	}
	return &IncompleteError{Format: RedisDump, Offset: r.pos, Reason: reason}
}

func (r *redis) ends(last []byte) string {
	version := 0
	for _, c := range r.head[len(redisMagic):] {
		version = 10*version + int(c-'0')
	}
	sums := 8
	if version < redisCRCFrom {
		sums = 0
	}
	at := len(last) - sums - 1
	if at < 0 || last[at] != redisEnd {
		return "it does not end with the opcode for the end and its checksum"
	}
	if sums == 0 {
		return ""
	}
	if crc := binary.LittleEndian.Uint64(last[at+1:]); crc != 0 && crc != redisSum(r.crc, last[:at+1]) {
		return "its checksum does not agree"
	}
	return ""
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

// An xz file is one stream or more, with zeros between and behind them in fours. A stream
// ends with an index of its blocks and a footer of twelve bytes.
const (
	xzMagic     = "\xfd7zXZ\x00"
	xzEnd       = "YZ"
	xzHeaderLen = 12
	xzFooterLen = 12
)

// endOfXZ checks the footer and the index of the last stream, and that the index accounts
// for the whole of a single stream. Nothing is unpacked.
func endOfXZ(t *tail) string {
	text := t.kept
	for bytes.HasSuffix(text, []byte{0, 0, 0, 0}) {
		text = text[:len(text)-4]
	}
	pos := t.pos - int64(len(t.kept)-len(text))
	if len(text) < xzFooterLen || string(text[len(text)-2:]) != xzEnd {
		return "it does not end with the footer of a stream"
	}
	footer := text[len(text)-xzFooterLen:]
	if crc32.ChecksumIEEE(footer[4:10]) != binary.LittleEndian.Uint32(footer) {
		return "the footer of its last stream is damaged"
	}
	size := (int64(binary.LittleEndian.Uint32(footer[4:])) + 1) * 4
	if size+xzFooterLen > pos {
		return "it is shorter than its index"
	}
	if size+xzFooterLen > int64(len(text)) {
		return "" // an index of thousands of blocks: the footer suffices
	}
	index := text[len(text)-xzFooterLen-int(size) : len(text)-xzFooterLen]
	total, ok := xzBlocks(index)
	if !ok {
		return "the index of its last stream is damaged"
	}
	if total += xzHeaderLen + size + xzFooterLen; total > pos {
		return "it is shorter than its index says"
	}
	return ""
}

func xzBlocks(index []byte) (total int64, ok bool) {
	body := index[:len(index)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(index[len(body):]) || len(body) == 0 || body[0] != 0 {
		return 0, false
	}
	body = body[1:]
	number := func() uint64 {
		v, n := binary.Uvarint(body)
		if n <= 0 {
			ok, body = false, nil
			return 0
		}
		body = body[n:]
		return v
	}
	ok = true
	for n := number(); n > 0 && ok; n-- {
		size := number()
		_ = number() // unpacked
		if size > 1<<62 {
			return 0, false
		}
		if total += int64((size + 3) &^ 3); total < 0 {
			return 0, false
		}
	}
	return total, ok
}
