// Package jsonlines keeps files of JSON lines in the state folder, to which lines are
// added. A crash leaves at most the beginning of the last one, which counts for nothing.
package jsonlines

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

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
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
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
