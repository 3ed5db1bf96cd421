package keystore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// File is a key file; see the package comment for its rules.
type File struct {
	Path string
}

// String returns "file:PATH".
func (f File) String() string { return "file:" + display(f.Path) }

// Load opens the file, checks the open file, and reads at most 512 bytes. It does not block
// on devices. The Error's Reason and Fix name the first fault. A pipe gives its key once,
// so that key is remembered for the life of the program.
func (f File) Load(ctx context.Context) (*kek.Key, error) {
	text, piped, err := f.read(ctx, maxText)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	if piped && len(text) == 0 {
		known, ok := pipes.Load(f.Path)
		if !ok {
			return nil, f.refuse("it is a named pipe, and nothing was written to it", "")
		}
		text = known.([]byte)
	}
	key, err := ParseText(text)
	if err != nil {
		e := &Error{URI: f.String(), Kind: ErrRefused, Reason: err.Error(), Err: err}
		if material, _ := otherForm(text); material != nil {
			clear(material)
			e.Fix = "takumi-backup key import -o KEYFILE " + shellWord(f.Path)
		}
		return nil, e
	}
	if piped {
		pipes.Store(f.Path, bytes.Clone(text))
	}
	return key, nil
}

// pipes are the texts of keys that were read from pipes, by path.
var pipes sync.Map

// ReadSecret returns at most max bytes of a file that is as private as a key file has to
// be, such as a passphrase or a token. The caller wipes them. The errors are those of Load.
func (f File) ReadSecret(ctx context.Context, max int) ([]byte, error) {
	text, _, err := f.read(ctx, max)
	return text, err
}

func (f File) read(ctx context.Context, max int) (text []byte, piped bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	if looksLikeKey(f.Path) {
		return nil, false, f.refuse("the path looks like a key itself", "give the path of the file that holds the key, and make a new key: others may have seen this one")
	}
	file, err := sys.open(f.Path)
	if err != nil {
		return nil, false, f.openError(err)
	}
	defer file.Close()
	// The open file is checked, so that nobody can swap it before it is read.
	info, err := file.Stat()
	if err != nil {
		return nil, false, f.systemError(err)
	}
	if reason, fix := fsutil.Private(f.Path, shellWord(f.Path), info, file); reason != "" {
		return nil, false, f.refuse(reason, fix)
	}
	piped = info.Mode()&fs.ModeNamedPipe != 0
	text = make([]byte, max)
	n, err := 0, error(nil)
	if _, known := pipes.Load(f.Path); piped && !known {
		n, err = readPipe(ctx, file, text)
	} else if !piped {
		n, err = io.ReadFull(reading{file}, text)
	}
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		clear(text)
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		return nil, false, f.systemError(err)
	}
	return text[:n], piped, nil
}

type reading struct{ *os.File }

func (r reading) Read(p []byte) (int, error) { return sys.read(r.File, p) }

// pipePatience is how long the writer of a named pipe may take to open it; a variable for
// tests.
var pipePatience = 5 * time.Second

// readPipe reads until the writer is done or text is full. A named pipe reads as ended
// until a writer opens it.
func readPipe(ctx context.Context, pipe *os.File, text []byte) (int, error) {
	stop := context.AfterFunc(ctx, func() { _ = pipe.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for end := time.Now().Add(pipePatience); ; {
		n, err := io.ReadFull(pipe, text)
		if err != io.EOF || time.Now().After(end) {
			return n, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// DestroyCommand implements Destroyable.
func (f File) DestroyCommand(kek.ID) string { return "shred -u " + shellWord(f.Path) }

func (f File) refuse(reason, fix string) error {
	return &Error{URI: f.String(), Kind: ErrRefused, Reason: reason, Fix: fix}
}

func (f File) systemError(err error) error {
	err = cause(err)
	return &Error{URI: f.String(), Kind: ErrRefused, Reason: err.Error(), Err: err}
}

func (f File) openError(err error) error {
	err = cause(err)
	e := &Error{URI: f.String(), Kind: ErrRefused, Reason: err.Error(), Err: err}
	if isMissing(err) {
		e.Kind = ErrNotFound
		if _, err := os.Lstat(f.Path); err == nil {
			e.Reason = "it is a symbolic link to a file that does not exist"
		}
		return e
	}
	// The metadata may be readable even if the file is not.
	info, statErr := os.Stat(f.Path)
	switch {
	case statErr != nil:
	case !info.Mode().IsRegular():
		e.Reason, e.Fix = fsutil.Private(f.Path, shellWord(f.Path), info, nil)
	case errors.Is(err, fs.ErrPermission):
		e.Reason = fmt.Sprintf("its owner and its mode, %s, do not let uid %d read it", fsutil.Octal(info.Mode()), os.Geteuid())
		e.Fix = fsutil.OwnerFix(shellWord(f.Path))
	}
	return e
}
