package tree

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

type headerExtra struct {
	target     string // of a symbolic link
	start, end int    // of the header, in the batch's buffer
}

func (l *loader) encode(b *batch, e *entry) {
	if e.extra == nil {
		e.extra = new(headerExtra)
	}
	h := e.header()
	h.attrs = e.attrs
	h.uname, h.gname = l.owners.user(int(e.stat.Uid)), l.owners.group(int(e.stat.Gid))
	e.extra.start = len(b.heads)
	b.heads = h.append(b.heads)
	e.extra.end = len(b.heads)
}

func (e *entry) encodeLink(first string) []byte {
	h := e.header()
	h.kind, h.target, h.size = '1', first, 0
	return h.append(nil)
}

// header is a header of a POSIX archive, as of package archive/tar, which is so slow that
// it would dominate the reading of small files.
type header struct {
	kind         byte
	path, target string
	mode         uint32
	uid, gid     uint32
	uname, gname string
	size         int64
	mtime        time.Time
	major, minor uint32
	attrs        []attribute
}

func (e *entry) header() header {
	h := header{
		path: e.path, mode: uint32(e.stat.Mode & 0o7777), uid: e.stat.Uid, gid: e.stat.Gid,
		mtime: time.Unix(e.stat.Mtim.Unix()),
	}
	switch e.stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.kind, h.size = '0', e.stat.Size
	case unix.S_IFDIR:
		h.kind = '5'
	case unix.S_IFLNK:
		h.kind, h.target = '2', e.extra.target
	case unix.S_IFIFO:
		h.kind = '6'
	case unix.S_IFCHR:
		h.kind = '3'
	case unix.S_IFBLK:
		h.kind = '4'
	}
	if h.kind == '3' || h.kind == '4' {
		h.major, h.minor = unix.Major(uint64(e.stat.Rdev)), unix.Minor(uint64(e.stat.Rdev))
	}
	return h
}

// append appends the header's blocks to dst: values that do not fit a header of 1988 go
// into records of a block before it.
func (h *header) append(dst []byte) []byte {
	var room [512]byte
	records := room[:0]
	// Readers take names for UTF-8 unless they are told otherwise (POSIX, pax).
	for _, text := range []string{h.path, h.target, h.uname, h.gname} {
		if !utf8.ValidString(text) {
			records = appendRecord(records, "hdrcharset", "BINARY")
			break
		}
	}
	text := func(key, value string, width int) string {
		if len(value) > width || !isASCII(value) {
			records = appendRecord(records, key, value)
			return ""
		}
		return value
	}
	number := func(key string, value int64, width int) int64 {
		if value >= 1<<(3*(width-1)) {
			records = appendRecord(records, key, strconv.FormatInt(value, 10))
			return 0
		}
		return value
	}
	b := block{kind: h.kind, mode: int64(h.mode), major: int64(h.major), minor: int64(h.minor)}
	b.path = text("path", h.path, 100)
	b.target = text("linkpath", h.target, 100)
	b.uname, b.gname = text("uname", h.uname, 31), text("gname", h.gname, 31)
	b.uid, b.gid = number("uid", int64(h.uid), 8), number("gid", int64(h.gid), 8)
	b.size = number("size", h.size, 12)
	if sec := h.mtime.Unix(); sec >= 0 && sec < 1<<33 {
		b.mtime = sec
	}
	if b.mtime != h.mtime.Unix() || h.mtime.Nanosecond() != 0 {
		records = appendRecord(records, "mtime", timeText(h.mtime))
	}
	for _, a := range h.attrs {
		records = appendRecord(records, xattrPrefix+escapeKey.Replace(a.name), a.value)
	}
	if len(records) > 0 {
		dst = (&block{kind: 'x', path: "PaxHeader", mode: 0o644, size: int64(len(records))}).append(dst)
		dst = append(dst, records...)
		dst = append(dst, make([]byte, -len(records)&(blockSize-1))...)
		if b.path == "" {
			b.path = "named-in-PaxHeader" // for programs that do not read it
		}
	}
	return b.append(dst)
}

// attribute is an extended attribute; its value may be any bytes.
type attribute struct{ name, value string }

// xattrPrefix is star's keyword for extended attributes, which GNU tar, bsdtar and others
// use.
const xattrPrefix = "SCHILY.xattr."

// escapeKey keeps a name from ending early, as GNU tar does.
var escapeKey = strings.NewReplacer("%", "%25", "=", "%3D")

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// appendRecord appends "LENGTH KEY=VALUE\n", whose length counts its own digits.
func appendRecord(dst []byte, key, value string) []byte {
	rest := len(key) + len(value) + 3
	length := rest + digits(rest)
	if digits(length) > digits(rest) {
		length++
	}
	dst = strconv.AppendInt(dst, int64(length), 10)
	dst = append(dst, ' ')
	dst = append(dst, key...)
	dst = append(dst, '=')
	dst = append(dst, value...)
	return append(dst, '\n')
}

func digits(n int) int { return len(strconv.Itoa(n)) }

// timeText returns seconds as a decimal fraction. A time.Time counts upwards from whole
// seconds, also before 1970.
func timeText(t time.Time) string {
	sec, nano := t.Unix(), int64(t.Nanosecond())
	sign := ""
	if sec < 0 && nano > 0 {
		sec, nano = sec+1, 1e9-nano
		if sec == 0 {
			sign = "-"
		}
	}
	if nano == 0 {
		return strconv.FormatInt(sec, 10)
	}
	return fmt.Sprintf("%s%d.%09d", sign, sec, nano)
}

type block struct {
	kind                                      byte
	path, target, uname, gname                string
	mode, uid, gid, size, mtime, major, minor int64
}

func (b *block) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, blockSize)...)
	p := dst[start:]
	copy(p[0:100], b.path)
	octal(p[100:108], b.mode)
	octal(p[108:116], b.uid)
	octal(p[116:124], b.gid)
	octal(p[124:136], b.size)
	octal(p[136:148], b.mtime)
	p[156] = b.kind
	copy(p[157:257], b.target)
	copy(p[257:265], "ustar\x0000")
	copy(p[265:297], b.uname)
	copy(p[297:329], b.gname)
	octal(p[329:337], b.major)
	octal(p[337:345], b.minor)
	// The sum counts its own field as spaces.
	sum := int64(8 * ' ')
	for _, c := range p {
		sum += int64(c)
	}
	octal(p[148:155], sum)
	p[155] = ' '
	return dst
}

func octal(field []byte, n int64) {
	for i := len(field) - 2; i >= 0; i-- {
		field[i] = '0' + byte(n&7)
		n >>= 3
	}
}
