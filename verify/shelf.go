package verify

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// MemoryName is the name of the memory's file in the state folder.
	MemoryName = "verified.lines"

	formerName    = "verified.json" // until version 1
	memoryLock    = "verified.lock"
	memoryVersion = 2

	markEvery = 16 << 10 // bytes between two marks
	maxLine   = 64 << 10
)

// ErrMemory is returned for a memory that this package did not write.
var ErrMemory = errors.New("the memory of what was verified is damaged")

// shelf is the memory's file: after a line with its version a line for each path, in their
// order, a quoted path and an entry; and an end that is made of all of them. It is never
// changed, but replaced.
type shelf struct {
	name string
	file io.ReaderAt
	info fs.FileInfo // nil: it is not on the disk
	size int64

	marks []mark
	block []byte // the bytes from the mark of this index on
	held  int
}

type mark struct {
	path string
	at   int64
}

type entry struct {
	Proof *Proof `json:"proof,omitempty"`
	Seen  *sight `json:"seen,omitempty"`
}

type shelfEnd struct {
	Lines int    `json:"lines"`
	CRC32 uint32 `json:"crc32c"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openShelf opens the memory in the state folder dir, or none, or returns was, which may
// be nil, if it is that. A former one is turned into a shelf in memory; the next save
// writes that. The file is closed with the last use of the shelf.
func openShelf(dir string, was *shelf) (*shelf, error) {
	s := &shelf{name: filepath.Join(dir, MemoryName), file: strings.NewReader(""), held: -1}
	file, err := sys.open(s.name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, s.readFormer(filepath.Join(dir, formerName))
	}
	if err != nil {
		return s, fmt.Errorf("reading what was verified: %w", err)
	}
	info, err := file.Stat()
	if err == nil && was != nil && os.SameFile(info, was.info) {
		return was, file.Close()
	}
	if err == nil {
		s.file, s.info, s.size = file, info, info.Size()
		err = s.mark()
	}
	if err != nil {
		file.Close()
		return &shelf{name: s.name, file: strings.NewReader(""), held: -1}, err
	}
	return s, nil
}

// readFormer fills the shelf with what a former version remembered.
func (s *shelf) readFormer(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading what was verified: %w", err)
	}
	var former struct {
		Version int
		Backups map[string]Proof
		Seen    map[string]sight
	}
	if err := json.Unmarshal(text, &former); err != nil || former.Version != 1 {
		return fmt.Errorf("%w: %s", ErrMemory, path)
	}
	all := make(map[string]entry)
	for path, p := range former.Backups {
		all[path] = entry{Proof: &p}
	}
	for path, v := range former.Seen {
		all[path] = entry{all[path].Proof, &v}
	}
	var lines bytes.Buffer
	if err := s.merge(&lines, all, nil); err != nil {
		return err
	}
	s.file, s.size = bytes.NewReader(lines.Bytes()), int64(lines.Len())
	return s.mark()
}

func (s *shelf) mark() error {
	return s.each(func(path string, at int64, line []byte) error {
		if n := len(s.marks); n == 0 || at-s.marks[n-1].at >= markEvery {
			s.marks = append(s.marks, mark{strings.Clone(path), at}) // without its line
		}
		return nil
	})
}

// each calls f with each line, its path and where it begins. The line ends with the call.
// The errors are ErrMemory, those of reading, and of f, which ends it.
func (s *shelf) each(f func(path string, at int64, line []byte) error) error {
	if s.size == 0 && s.info == nil {
		return nil
	}
	damaged := func(err error) error { return fmt.Errorf("%w: %s: %w", ErrMemory, s.name, err) }
	in := bufio.NewReaderSize(io.NewSectionReader(s.file, 0, s.size), maxLine)
	var at int64
	var sum uint32
	var last string
	for n := -1; ; n++ {
		line, err := in.ReadSlice('\n')
		switch {
		case err == io.EOF:
			return damaged(io.ErrUnexpectedEOF)
		case err == bufio.ErrBufferFull:
			return damaged(err)
		case err != nil:
			return fmt.Errorf("reading what was verified: %w", err)
		case n < 0:
			var head struct{ Version int }
			if err := json.Unmarshal(line, &head); err != nil {
				return damaged(err)
			}
			if head.Version != memoryVersion {
				return damaged(fmt.Errorf("it has version %d, and this program knows %d", head.Version, memoryVersion))
			}
		case line[0] == '{':
			var end shelfEnd
			if err := json.Unmarshal(line, &end); err != nil {
				return damaged(err)
			}
			if end != (shelfEnd{n, sum}) || at+int64(len(line)) != s.size {
				return damaged(errors.New("its end is that of another one"))
			}
			return nil
		default:
			path, _, err := cutPath(line)
			if err != nil || n > 0 && path <= last {
				return damaged(fmt.Errorf("line %d is out of place", n+2))
			}
			if err := f(path, at, line); err != nil {
				return err
			}
			last = path
		}
		sum = crc32.Update(sum, castagnoli, line)
		at += int64(len(line))
	}
}

// cutPath divides a line.
func cutPath(line []byte) (path string, rest []byte, err error) {
	quoted, err := strconv.QuotedPrefix(string(line))
	if err != nil {
		return "", nil, err
	}
	path, err = strconv.Unquote(quoted)
	return path, line[len(quoted):], err
}

// of returns the entry of a path, or an empty one. The errors are those of reading.
func (s *shelf) of(path string) (e entry, err error) {
	at, found := slices.BinarySearchFunc(s.marks, path, func(m mark, path string) int { return strings.Compare(m.path, path) })
	if !found {
		at--
	}
	if at < 0 {
		return e, nil
	}
	if at != s.held {
		end := s.size
		if at+1 < len(s.marks) {
			end = s.marks[at+1].at
		}
		s.held, s.block = -1, slices.Grow(s.block[:0], int(end-s.marks[at].at))[:end-s.marks[at].at]
		if _, err := s.file.ReadAt(s.block, s.marks[at].at); err != nil && err != io.EOF {
			return e, fmt.Errorf("reading what was verified: %w", err)
		}
		s.held = at
	}
	start := append(strconv.AppendQuote(nil, path), ' ')
	for line := range bytes.Lines(s.block) {
		if rest, is := bytes.CutPrefix(line, start); is {
			err := json.Unmarshal(rest, &e)
			return e, err
		}
	}
	return e, nil
}

// merge writes the shelf anew, with what changed, and without what forget selects.
func (s *shelf) merge(to io.Writer, changed map[string]entry, forget func(path string) (proof, seen bool)) error {
	out := bufio.NewWriterSize(to, 256<<10)
	var end shelfEnd
	write := func(line []byte) {
		end.CRC32 = crc32.Update(end.CRC32, castagnoli, line)
		out.Write(line) // an error is that of Flush
	}
	put := func(path string, e entry) error {
		if forget != nil {
			proof, seen := forget(path)
			if proof {
				e.Proof = nil
			}
			if seen {
				e.Seen = nil
			}
		}
		if e == (entry{}) {
			return nil
		}
		text, err := json.Marshal(e)
		end.Lines++
		write(slices.Concat(strconv.AppendQuote(nil, path), []byte(" "), text, []byte("\n")))
		return err
	}
	fmt.Fprintf(out, `{"version":%d}`+"\n", memoryVersion)
	end.CRC32 = crc32.Checksum(fmt.Appendf(nil, `{"version":%d}`+"\n", memoryVersion), castagnoli)
	added := slices.Sorted(maps.Keys(changed))
	upTo := func(path string, all bool) error {
		for len(added) > 0 && (all || added[0] < path) {
			if err := put(added[0], changed[added[0]]); err != nil {
				return err
			}
			added = added[1:]
		}
		return nil
	}
	err := s.each(func(path string, _ int64, line []byte) error {
		if err := upTo(path, false); err != nil {
			return err
		}
		var proof, seen bool
		if forget != nil {
			proof, seen = forget(path)
		}
		changes := len(added) > 0 && added[0] == path
		if !proof && !seen && !changes {
			end.Lines++
			write(line)
			return nil
		}
		var e entry
		_, rest, _ := cutPath(line)
		if err := json.Unmarshal(rest, &e); err != nil {
			return err
		}
		if changes {
			e, added = e.with(changed[path]), added[1:]
		}
		return put(path, e)
	})
	if err == nil {
		err = upTo("", true)
	}
	if err != nil {
		return err
	}
	text, err := json.Marshal(end)
	if err != nil {
		return err
	}
	out.Write(append(text, '\n'))
	return out.Flush()
}

// with returns the entry with the parts that newer has.
func (e entry) with(newer entry) entry {
	if newer.Proof != nil {
		e.Proof = newer.Proof
	}
	if newer.Seen != nil {
		e.Seen = newer.Seen
	}
	return e
}
