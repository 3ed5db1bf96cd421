package verify

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/contracts"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/restore/tree"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// content unpacks a backup and checks that it is a whole one of its kind. The error is of
// reading or unpacking; other faults of the content are added to b.
func (c *Checker) content(ctx context.Context, b *Backup, f *backup.Handle, narrow bool) error {
	var src io.Reader
	stop := func() error { return nil }
	if narrow {
		unpacked, err := pack.NewReader(struct{ io.Reader }{f}, pack.Codec(f.Envelope.Codec))
		if err != nil {
			return err
		}
		src = unpacked
	} else {
		all := backup.NewPlaintext(f.Reader, new(backup.Meter))
		src, stop = all, all.Close
	}
	counted := &counter{Reader: src}
	c.judge(ctx, b, counted)
	// Whatever a judge thinks, all of it is read: damage may come later.
	err := drain(counted)
	_ = stop() // closing a pipe does not fail
	b.Content = counted.n
	// And what does not unpack may be damaged behind that place.
	if rest := drain(f); rest != nil {
		err = rest
	}
	if err == nil {
		b.Proven = Content
	}
	return err
}

var pieces = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// drain reads to the end, in larger pieces than io.Discard, on the caller's goroutine.
func drain(src io.Reader) error {
	piece := pieces.Get().(*[256 << 10]byte)
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{src}, piece[:])
	clear(piece[:]) // of what was decrypted
	pieces.Put(piece)
	return err
}

// counter counts the bytes read, and keeps the last error.
type counter struct {
	io.Reader
	n   int64
	err error
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	c.err = err
	return n, err
}

// judge reads the content by its kind. Errors of the source are left to later reads.
func (c *Checker) judge(ctx context.Context, b *Backup, src *counter) {
	broken := func(code Code, severity Severity, err error, advice string) {
		if src.err == nil || src.err == io.EOF {
			b.add(Finding{Severity: severity, Code: code, Message: err.Error(), Advice: advice, cause: err})
		}
	}
	const older = "use an older backup, and make a new one now"
	if b.Kind == backup.KindManifest {
		if _, err := postgres.ReadManifest(src); err != nil {
			broken(NotRestorable, Error, err, "the backup that it belongs to can be restored with --ignore-manifest")
		}
		return
	}
	var content io.Reader = src
	if b.Kind == backup.KindContracts {
		state, whole, err := contracts.ReadState(src)
		content = whole
		if err == nil && state != nil {
			err = state.Verify()
		}
		if err != nil {
			broken(NotRestorable, Error, err, older)
		}
	}
	head := bufio.NewReaderSize(content, guard.SniffLen)
	content = head
	first, _ := head.Peek(guard.SniffLen) // an error comes again
	if b.Kind == backup.KindDatabase {
		if guard.Sniff(first) == guard.CustomDump {
			if l := newLister(ctx, c.pgRestore()); l != nil {
				content = io.TeeReader(head, l)
				defer func() {
					if err := l.finish(); err != nil && ctx.Err() == nil && !b.has(Incomplete) {
						broken(NotRestorable, Warning, err, "try pg_restore --list of the server's version; it may only be too old for this dump")
					}
				}()
			}
		}
	}
	unjudged, err := c.follow(ctx, b.Kind, guard.Sniff(first), content)
	switch {
	case errors.Is(err, tree.ErrArchive), errors.As(err, new(*tree.UnsafeError)):
		severity := Error
		if b.Kind != backup.KindUploads && b.Kind != backup.KindContracts {
			severity = Warning // an archive that was sealed to be opened
		}
		broken(NotRestorable, severity, fmt.Errorf("restore refuses it: %w", err), "takumi-backup open FILE | tar -tv lists it; restore uploads --keep-going restores the rest of an archive")
	case errors.Is(err, guard.ErrUnsupported):
		broken(Incomplete, Warning, fmt.Errorf("whether what was sealed is whole cannot be told: %w", err), "upgrade takumi-backup, or restore it to see")
	case errors.As(err, new(*guard.IncompleteError)), errors.Is(err, guard.ErrEmpty):
		broken(Incomplete, Warning, fmt.Errorf("it is as it was sealed, but what was sealed is not whole: %w", err),
			"if it was not sealed so on purpose (--guard=off), use an older backup and look why the source stopped early")
	case err == nil:
		b.Unjudged = unjudged
	}
}

// follow reads content to its end by its format, and returns why it could not be judged, if
// so. An archive is read by the code that restores it.
func (c *Checker) follow(ctx context.Context, kind string, is guard.Format, content io.Reader) (unjudged string, err error) {
	// An increment's hard links may lead to another archive of its chain.
	if kind == backup.KindIncrement || kind != backup.KindUploads && kind != backup.KindContracts && (is != guard.Tar || kind == backup.KindDatabase) {
		whole := guard.NewReader(content, guard.Options{})
		defer whole.Close()
		err := drain(whole)
		return whole.Unjudged(), err
	}
	archive, err := tree.Open(content)
	if err != nil {
		return "", err
	}
	defer archive.Close()
	_, err = tree.Extract(ctx, nil, archive, tree.Options{})
	return "", err
}

// lister gives a dump to pg_restore --list.
type lister struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer
}

// newLister starts program, or returns nil when that fails.
func newLister(ctx context.Context, program string) *lister {
	l := &lister{cmd: exec.CommandContext(ctx, program, "--list")}
	l.cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	l.cmd.Stderr = &l.stderr
	l.cmd.WaitDelay = 5 * time.Second
	var err error
	if l.stdin, err = l.cmd.StdinPipe(); err != nil || l.cmd.Start() != nil {
		return nil
	}
	return l
}

// Write takes all that it is given, also when the program has enough.
func (l *lister) Write(p []byte) (int, error) {
	_, _ = l.stdin.Write(p)
	return len(p), nil
}

// finish waits for the program, and says what it did not like.
func (l *lister) finish() error {
	l.stdin.Close()
	err := l.cmd.Wait()
	if err == nil {
		return nil
	}
	words, _, _ := strings.Cut(strings.TrimSpace(l.stderr.String()), "\n")
	return fmt.Errorf("%s --list does not read it (%w): %s", filepath.Base(l.cmd.Path), err, words)
}
