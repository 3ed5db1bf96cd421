package members

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"
)

// A tree has thousands of small files, and nearly all headers and lines are plain.
// Those are read and written here; the libraries do the others, five times as slowly.

// readHeader reads the header of an entry from its blocks.
func readHeader(head []byte) (*tar.Header, error) {
	if h := plainHeader(head, files); h != nil {
		return h, nil
	}
	if h := timedHeader(head); h != nil {
		return h, nil
	}
	// The maps of some sparse files are in their bodies: here one of no parts is.
	return tar.NewReader(io.MultiReader(bytes.NewReader(head), bytes.NewReader(noMap))).Next()
}

// files are the types of files and folders.
const files = string(tar.TypeReg) + string(tar.TypeDir)

// plainHeader reads one block of GNU tar, or of ustar with a short name, of one of these
// types, as archive/tar does; the guard has checked its checksum. Of others it returns nil.
func plainHeader(b []byte, types string) *tar.Header {
	if len(b) != 512 || strings.IndexByte(types, b[156]) < 0 || b[0] == 0 || b[345] != 0 || b[157] != 0 {
		return nil
	}
	if magic := string(b[257:265]); magic != "ustar  \x00" && magic != "ustar\x0000" {
		return nil
	}
	name, _, _ := bytes.Cut(b[:100], []byte{0})
	h := &tar.Header{Typeflag: b[156], Name: string(name)}
	var mtime, uid, gid int64
	at := 100
	for _, f := range []struct {
		value *int64
		size  int
	}{{&h.Mode, 8}, {&uid, 8}, {&gid, 8}, {&h.Size, 12}, {&mtime, 12}} {
		for _, c := range b[at : at+f.size-1] {
			if c < '0' || c > '7' {
				return nil
			}
			*f.value = *f.value<<3 | int64(c-'0')
		}
		if at += f.size; b[at-1] != 0 {
			return nil
		}
	}
	for _, c := range b[329:345] { // of devices
		if c != 0 && c != '0' {
			return nil
		}
	}
	h.Uid, h.Gid, h.ModTime = int(uid), int(gid), time.Unix(mtime, 0)
	if h.Typeflag == tar.TypeDir {
		h.Size = 0
	}
	return h
}

// timedHeader reads a plain header that has its times in a POSIX extended header of one
// block, and nothing else there. Of others it returns nil.
func timedHeader(b []byte) *tar.Header {
	if len(b) != 3*512 {
		return nil
	}
	x, h := plainHeader(b[:512], string(tar.TypeXHeader)), plainHeader(b[1024:], files)
	if x == nil || h == nil || x.Size > 512 || b[257+5] != 0 || b[1024+257+5] != 0 { // GNU's magic
		return nil
	}
	for records := b[512 : 512+x.Size]; len(records) > 0; {
		// LENGTH KEY=SECONDS.FRACTION, the length with itself and the line feed.
		digits, _, _ := bytes.Cut(records[:min(len(records), 4)], []byte(" "))
		length, err := strconv.ParseUint(string(digits), 10, 16)
		if err != nil || int(length) > len(records) || int(length) < len(digits)+3 || digits[0] == '0' || records[length-1] != '\n' {
			return nil
		}
		key, value, _ := bytes.Cut(records[len(digits)+1:length-1], []byte("="))
		t, ok := timeOf(value)
		if !ok {
			return nil
		}
		switch string(key) {
		case "mtime":
			h.ModTime = t
		case "atime", "ctime": // no entry has them
		default:
			return nil
		}
		records = records[length:]
	}
	return h
}

// timeOf reads seconds since 1970 with at most nine digits after a point.
func timeOf(text []byte) (time.Time, bool) {
	whole, fraction, pointed := bytes.Cut(text, []byte("."))
	if len(whole) == 0 || len(whole) > 12 || pointed && (len(fraction) == 0 || len(fraction) > 9) {
		return time.Time{}, false
	}
	var sec, nano int64
	for _, c := range whole {
		if c < '0' || c > '9' {
			return time.Time{}, false
		}
		sec = sec*10 + int64(c-'0')
	}
	for i := range 9 {
		c := byte('0')
		if i < len(fraction) {
			c = fraction[i]
		}
		if c < '0' || c > '9' {
			return time.Time{}, false
		}
		nano = nano*10 + int64(c-'0')
	}
	return time.Unix(sec, nano), true
}

// AppendLine appends the JSON of e, as package json writes it.
func AppendLine(b []byte, e *Entry) ([]byte, error) {
	if e.Path == "" || !plain(e.Path) || !plain(e.Link) || e.RawTo != nil || e.Gone {
		line, err := json.Marshal(e)
		return append(b, line...), err
	}
	b = append(append(append(b, `{"p":"`...), e.Path...), `","t":"`...)
	b = append(append(b, e.Type...), '"')
	number := func(name string, value int64) {
		b = append(append(append(b, `,"`...), name...), `":`...)
		b = strconv.AppendInt(b, value, 10)
	}
	for _, f := range [...]struct {
		name  string
		value int64
	}{{"o", e.Offset}, {"d", e.Data}, {"n", e.Size}, {"m", e.MTime}, {"mode", e.Mode}, {"u", int64(e.UID)}, {"g", int64(e.GID)}} {
		if f.value != 0 {
			number(f.name, f.value)
		}
	}
	if e.Link != "" {
		b = append(append(append(b, `,"l":"`...), e.Link...), '"')
	}
	if e.CTime != 0 {
		number("c", e.CTime)
	}
	if e.Inode != 0 {
		b = strconv.AppendUint(append(b, `,"i":`...), e.Inode, 10)
	}
	if len(e.Hash) > 0 {
		b = append(base64.StdEncoding.AppendEncode(append(b, `,"hash":"`...), e.Hash), '"')
	}
	if e.From != nil {
		number("from", int64(*e.From))
	}
	return append(b, '}'), nil
}

// plain says that JSON has s as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}
