package fsutil

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// OpenRegular opens a regular file for reading. Anything else at path is an error, without
// blocking. The errors are os.Open's; the caller closes the file.
func OpenRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder", path)
	} else if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ErrOpen is returned for a file that others may read or change.
var ErrOpen = errors.New("it can hold secrets, and is not private")

// ReadPrivate returns at most max bytes of a regular file that is as private as a key file
// has to be ([Private]); else the error is ErrOpen.
func ReadPrivate(path string, max int64) ([]byte, error) {
	f, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if reason, fix := Private(path, ShellWord(path), info, f); reason != "" {
		return nil, fmt.Errorf("%s: %w: %s; to fix: %s", path, ErrOpen, reason, fix)
	}
	return io.ReadAll(io.LimitReader(f, max))
}
