// Package jsonlines keeps files of JSON lines in the state folder, to which lines are
// added. A crash leaves at most the beginning of the last one, which counts for nothing.
package jsonlines

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// maxLine bounds a line in bytes.
const maxLine = 64 << 10

// Read calls f with each line of a file and its number, from 1 on, and returns how many
// bytes the whole lines have. A line that is longer than any of these is nil. The errors
// are those of the system, [io/fs.ErrNotExist] among them, and of f, which ends it.
func Read(path string, f func(n int, line []byte) error) (whole int64, err error) {
	file, err := fsutil.OpenRegular(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	lines := bufio.NewReaderSize(file, maxLine)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		length := int64(len(line))
		for err == bufio.ErrBufferFull {
			var more []byte
			more, err = lines.ReadSlice('\n')
			line, length = nil, length+int64(len(more))
		}
		if err == io.EOF {
			return whole, nil
		}
		if err == nil {
			err = f(n, line)
		}
		if err != nil {
			return whole, err
		}
		whole += length
	}
}

// Append adds v as a line to a file, which is made when there is none, on disk before it
// returns. Any number of processes may do that at once.
func Append(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := fsutil.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	file, err := openLocked(path)
	if err != nil {
		return err
	}
	if text = append(text, '\n'); cut(file) {
		text = append([]byte{'\n'}, text...)
	}
	_, err = file.Write(text)
	if err == nil {
		err = errors.Join(file.Sync(), fsutil.SyncDir(filepath.Dir(path)))
	}
	return errors.Join(err, file.Close())
}

// openLocked opens a file to which lines are added, under a lock that any number of others
// may have as well, but for [Rewrite].
func openLocked(path string) (*os.File, error) {
	for {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		_ = lock(file, unix.LOCK_SH) // where there are no locks, nothing is rewritten
		if isAt(file, path) {
			return file, nil
		}
		file.Close() // another one took its place
	}
}

func lock(file *os.File, how int) error {
	for {
		if err := unix.Flock(int(file.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}

func isAt(file *os.File, path string) bool {
	mine, err := file.Stat()
	there, missing := os.Stat(path)
	return err == nil && missing == nil && os.SameFile(mine, there)
}

// sys holds the calls of Rewrite that change something, so that tests can make each fail.
var sys = struct {
	create  func(path string, flags int, mode fs.FileMode) (*os.File, error)
	write   func(*os.File, []byte) (int, error)
	sync    func(*os.File) error
	rename  func(from, to string) error
	syncDir func(dir string) error
}{os.OpenFile, (*os.File).Write, (*os.File).Sync, os.Rename, fsutil.SyncDir}

// Rewrite gives a file the lines that f returns, which is called while nobody adds any; of
// two that rewrite at once one does nothing. After a crash the former file is there, or the
// new one, whole. It does nothing where files cannot be locked.
func Rewrite(path string, f func() (lines []any, err error)) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if lock(file, unix.LOCK_EX|unix.LOCK_NB) != nil || !isAt(file, path) {
		return nil
	}
	lines, err := f()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	w := json.NewEncoder(&text)
	w.SetEscapeHTML(false)
	for _, line := range lines {
		if err := w.Encode(line); err != nil {
			return err
		}
	}
	fresh, err := sys.create(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = sys.write(fresh, text.Bytes())
	if err == nil {
		err = sys.sync(fresh)
	}
	if err = errors.Join(err, fresh.Close()); err == nil {
		err = sys.rename(path+".new", path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path+".new"))
	}
	return sys.syncDir(filepath.Dir(path))
}

// cut reports whether the file ends in a line without an end.
func cut(file *os.File) bool {
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	var last [1]byte
	_, err = file.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}
