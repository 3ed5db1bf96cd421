// Package tree reads a folder as a tar archive.
//
// [Open] a folder, read the archive to io.EOF, and Close it. Problems go to Options.Report,
// and the archive stays valid whatever happens to the files meanwhile.
//
// # The archive
//
// POSIX (PAX) format. The folder itself is "./", and everything else follows by its path
// below it, each folder before its content, and names in the order of their bytes, so the
// same tree gives the same archive. It keeps modes, modification times to the nanosecond,
// owners by number and name, symbolic links, devices and FIFOs, and hard links. Names are
// bytes, in any encoding. Holes of sparse files are zeros in the archive, and cost no
// reading. Sockets are reported and left out. Extended attributes, with ACLs and
// capabilities, are records SCHILY.xattr.NAME, as of GNU tar and bsdtar.
//
// A file that changes while it is read is read again, at most twice. A large one is in the
// archive by then: it comes again under the same name, and the last one counts, as for
// every reader of tar. A further name is a hard link only while size, mtime and ctime are
// those of the first: a deleted file's inode may be another's by now.
//
// Symbolic links are not followed. Every file is opened from its open folder, so that
// renaming folders meanwhile cannot redirect the reading.
//
// # Memory
//
// Several goroutines read small files ahead, into at most 12 MiB; for large ones the kernel
// prefetches the beginning. Besides, there are the names of the folders on the way from the
// root, at most about 150 bytes each plus the name, and about 200 bytes plus the path for
// each file with further hard links to come.
package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/parallel"
)

var (
	// ErrEmpty is returned by Open for an empty folder, as an unmounted volume looks.
	ErrEmpty = errors.New("the folder is empty")

	// ErrGone is returned by Read when the folder itself was removed meanwhile.
	ErrGone = errors.New("the folder was removed while it was read")

	// The reasons of a Problem that no system call gives.
	ErrChanged    = errors.New("it changed each time it was read")
	ErrVanished   = errors.New("it vanished before it was read")
	ErrTooDeep    = fmt.Errorf("it is deeper than %d folders", MaxDepth)
	ErrTooLarge   = fmt.Errorf("it is larger than %d TiB", MaxSize>>40)
	ErrSocket     = errors.New("it is a socket, which no archive can hold")
	ErrAttributes = errors.New("its extended attributes are larger than a header of an archive may be, and not all are kept")
)

// MaxDepth bounds a tree's depth. Each level takes a file descriptor, and no deeper path
// can be used.
const MaxDepth = 2048

// MaxSize bounds a file, holes included: the largest possible hole would keep a processor
// busy for years.
const MaxSize = 16 << 40

// Problem is something that the archive does not hold as it was.
type Problem struct {
	Path string // below the folder
	Err  error
}

func (p Problem) Error() string { return fmt.Sprintf("%q: %v", p.Path, p.Err) }

func (p Problem) Unwrap() error { return p.Err }

// Stats counts what went into the archive.
type Stats struct {
	Files    int   `json:"files"`
	Folders  int   `json:"folders"`
	Links    int   `json:"links"` // symbolic and hard ones
	Others   int   `json:"others"`
	Bytes    int64 `json:"bytes"`    // of the files, holes included
	Problems int   `json:"problems"` // the sum of the following three
	Unread   int   `json:"unread"`   // could not be read, or not all of it
	Changed  int   `json:"changed"`  // stored as at some moment, or as a mixture
	Vanished int   `json:"vanished"` // were gone before they were read
	Again    int   `json:"again"`    // changed, and are in the archive as they were a moment later
	Sockets  int   `json:"sockets"`
	Excluded int   `json:"excluded"` // what below a folder is left out with it is not counted
	Same     int   `json:"same"`     // are in an earlier archive as they are
}

// String has the counts, and what went wrong.
func (s Stats) String() string {
	words := fmt.Sprintf("%d files, %d folders, %d links", s.Files, s.Folders, s.Links)
	for _, more := range []struct {
		n    int
		what string
	}{
		{s.Others, "devices and FIFOs"}, {s.Same, "as they were"}, {s.Excluded, "excluded"}, {s.Again, "read again"}, {s.Changed, "changed each time"},
		{s.Vanished, "vanished"}, {s.Unread, "unread"}, {s.Sockets, "sockets left out"},
	} {
		if more.n > 0 {
			words += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	return words
}

// Options says what to read. The zero value reads everything.
type Options struct {
	Exclude Patterns
	// Folders below the root with one of these names, or a CACHEDIR.TAG, are left out
	// except for that.
	ExcludeIfPresent []string
	ExcludeCaches    bool
	OneFileSystem    bool // other file systems are left out; their mount points are empty folders
	NoXattrs         bool // extended attributes are left out
	AllowEmpty       bool
	Report           func(Problem) // is called by Read; may be nil

	// Earlier, if set, returns the facts of a path in an earlier archive, or nil: an
	// unchanged file is left out. It is called for each path in the order of the archive,
	// on a goroutine of its own; the folder itself is ".". Seen, which must then be set, is
	// called by Read for each path of the tree in that order too.
	Earlier func(path string) *Facts
	Seen    func(path string, f Facts, stored bool)
	// Unread is called by Read in place of Seen, for a path with facts that is there and
	// cannot be read. Unlisted is called after Earlier for a folder whose names are not
	// known, or not all of them; nothing below it may be called deleted. Both must be set
	// with Earlier.
	Unread   func(path string)
	Unlisted func(path string, all bool)
	// Checksum, with Earlier, compares files by reading them.
	Checksum bool
}

// Reader is the archive of a folder, for one goroutine at a time.
type Reader struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	opts   Options
	stats  Stats
	err    error

	// The reading ahead: parallel.Run hands batches over, one at a time.
	root    *folder
	walk    *walker
	loader  *loader
	batches []batch
	out     chan *batch
	back    chan struct{}
	gone    chan struct{}
	runErr  error

	// position in the archive: the parts of an entry, in their order
	cur   *batch
	next  int // entry of cur
	tries int // that the last entry was read
	head  []byte
	body  []byte
	file  *bigFile
	held  *bigFile // has changed, and comes again
	zeros int64
	last  bool // the zeros are the end

	links map[inode]*link
}

type inode struct{ dev, ino uint64 }

type link struct {
	path string
	stat unix.Stat_t // of the file when it was read
	left uint64      // names still to be met
	same bool        // it is in an earlier archive
}

// isFile reports whether st is of this file, and not of another that got its inode.
func (l *link) isFile(st *unix.Stat_t) bool {
	return l.stat.Size == st.Size && l.stat.Mtim == st.Mtim && l.stat.Ctim == st.Ctim
}

// Open starts to read the folder dir. It fails when dir is a symbolic link, not a folder,
// unreadable, or empty. Read fails with the cause of ctx when that ends. The caller closes
// the Reader.
func Open(ctx context.Context, dir string, o Options) (*Reader, error) {
	root, names, err := openRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the folder %s: %w", dir, err)
	}
	if len(names) == 0 && !o.AllowEmpty {
		root.release()
		return nil, fmt.Errorf("reading the folder %s: %w", dir, ErrEmpty)
	}
	if o.Report == nil {
		o.Report = func(Problem) {}
	}
	r := &Reader{
		opts: o, root: root, walk: newWalker(root, names, o),
		batches: make([]batch, batchesAhead),
		out:     make(chan *batch), back: make(chan struct{}, 1), gone: make(chan struct{}),
		links: make(map[inode]*link),
	}
	r.loader = newLoader(r.walk)
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	go r.readAhead()
	return r, nil
}

func openRoot(dir string) (*folder, []name, error) {
	// A slash at the end would follow a link.
	if trimmed := strings.TrimRight(dir, "/"); trimmed != "" {
		dir = trimmed
	}
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return nil, nil, bare(err)
	case info.Mode()&os.ModeSymlink != 0:
		return nil, nil, errors.New("it is a symbolic link: name the folder that it leads to")
	case !info.IsDir():
		return nil, nil, errors.New("it is not a folder")
	}
	root, err := openFolder(unix.AT_FDCWD, dir, "")
	if err != nil {
		return nil, nil, err
	}
	names, err := root.list()
	if err != nil {
		root.release()
		return nil, nil, err
	}
	return root, names, nil
}

// bare returns a system call's error without package os's path.
func bare(err error) error {
	if e := (*os.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

func (r *Reader) readAhead() {
	defer close(r.gone)
	defer close(r.out)
	// Opening small files is waiting, for a disk or for the kernel.
	workers := min(max(4, 2*runtime.GOMAXPROCS(0)), 16)
	r.runErr = parallel.Run(workers, r.batches, parallel.Stages[batch]{
		Fill: func(b *batch) (bool, error) {
			if r.ctx.Err() != nil {
				return false, context.Cause(r.ctx)
			}
			return r.walk.fill(b)
		},
		Work:  r.loader.load,
		Drain: r.handOver,
	})
}

// handOver gives a batch to Read and waits until it is used up.
func (r *Reader) handOver(b *batch) error {
	select {
	case r.out <- b:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	select {
	case <-r.back:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// Close ends the reading and waits for its goroutines. It returns nil and may
// be called again.
func (r *Reader) Close() error {
	if r.root == nil {
		return nil
	}
	if r.err == nil {
		r.err = os.ErrClosed
	}
	r.cancel(os.ErrClosed)
	<-r.gone
	r.closeFile()
	for i := range r.batches {
		r.batches[i].reset()
	}
	r.walk.close()
	r.root.release()
	r.root, r.cur = nil, nil
	return nil
}

// Stats returns what Read has met so far.
func (r *Reader) Stats() Stats {
	s := r.stats
	s.Excluded = int(r.walk.excluded.Load())
	return s
}

// Read returns the next bytes of the archive. Errors stay.
func (r *Reader) Read(p []byte) (n int, err error) {
	for n < len(p) && r.err == nil {
		if r.ctx.Err() != nil {
			r.err = context.Cause(r.ctx)
			break
		}
		var got int
		switch rest := p[n:]; {
		case len(r.head) > 0:
			got = copy(rest, r.head)
			r.head = r.head[got:]
		case len(r.body) > 0:
			got = copy(rest, r.body)
			r.body = r.body[got:]
		case r.file != nil:
			if got = r.file.read(rest); r.file.done() {
				r.endFile()
			}
		case r.zeros > 0:
			got = int(min(int64(len(rest)), r.zeros))
			clear(rest[:got])
			r.zeros -= int64(got)
		default:
			r.err = r.advance()
		}
		n += got
	}
	if n > 0 {
		return n, nil
	}
	return 0, r.err
}

// advance goes to the next entry, or to the end.
func (r *Reader) advance() error {
	if r.last {
		return io.EOF
	}
	if r.held != nil {
		r.sendAgain()
		return nil
	}
	for r.cur == nil || r.next == len(r.cur.entries) {
		if r.cur != nil {
			r.cur = nil
			r.back <- struct{}{}
		}
		b, more := <-r.out
		if !more {
			return r.finish()
		}
		r.cur, r.next = b, 0
	}
	e := &r.cur.entries[r.next]
	r.next++
	r.tries = 1
	r.report(e.path, e.problem)
	if e.head == nil && !e.same {
		if e.earlier != nil && e.isUnread() {
			r.opts.Unread(strings.TrimSuffix(e.path, "/"))
		}
		return nil
	}
	if e.again && e.problem == nil {
		r.stats.Again++
	}
	if e.regular() && e.stat.Nlink > 1 && r.isKnown(e) {
		return nil
	}
	if e.same {
		r.stats.Same++
		r.seen(e, false)
		return nil
	}
	if e.file == nil {
		r.seen(e, true)
	}
	r.count(e)
	r.head, r.body, r.file = e.head, e.body, e.file
	e.file = nil
	if e.regular() {
		r.zeros = -e.stat.Size & (blockSize - 1)
	}
	return nil
}

// isKnown sends a hard link for a file that the archive has under another name, and
// remembers other files.
func (r *Reader) isKnown(e *entry) bool {
	id := inode{uint64(e.stat.Dev), e.stat.Ino}
	first, known := r.links[id]
	if !known || !first.isFile(&e.stat) {
		r.links[id] = &link{e.path, e.stat, uint64(e.stat.Nlink) - 1, e.same}
		return false
	}
	if first.left--; first.left == 0 {
		delete(r.links, id)
	}
	e.close()
	// An earlier archive's link would come before a file that is stored anew.
	if e.linked = first.path; first.same && e.isUnchanged() {
		r.stats.Same++
		r.seen(e, false)
		return true
	}
	r.seen(e, true)
	r.head = e.encodeLink(first.path)
	r.stats.Links++
	return true
}

func (r *Reader) endFile() {
	err := r.file.checkUnchanged()
	if err == ErrChanged && r.tries < maxTries {
		r.file, r.held = nil, r.file
		return
	}
	if err == nil && r.tries > 1 {
		r.stats.Again++
	}
	r.report(r.file.path, err)
	r.closeFile()
	e := &r.cur.entries[r.next-1]
	if err != nil {
		e.problem = err
	}
	r.seen(e, true)
}

// sendAgain sends the entry of a large file that has changed again.
func (r *Reader) sendAgain() {
	f, e := r.held, &r.cur.entries[r.next-1]
	before := e.stat
	if !f.restart(&e.stat) {
		r.report(f.path, ErrChanged)
		r.closeFile()
		e.problem = ErrChanged
		r.seen(e, true)
		return
	}
	r.tries++
	r.stats.Bytes += e.stat.Size - before.Size
	if first := r.links[inode{uint64(before.Dev), before.Ino}]; first != nil && first.path == e.path {
		first.stat = e.stat
	}
	var b batch
	r.loader.encode(&b, e)
	r.head, r.file, r.held = b.heads[e.extra.start:e.extra.end], f, nil
	r.zeros = -e.stat.Size & (blockSize - 1)
}

func (r *Reader) count(e *entry) {
	switch e.stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		r.stats.Files++
		r.stats.Bytes += e.stat.Size
	case unix.S_IFDIR:
		r.stats.Folders++
	case unix.S_IFLNK:
		r.stats.Links++
	default:
		r.stats.Others++
	}
}

func (r *Reader) report(path string, err error) {
	switch {
	case err == nil:
		return
	case errors.Is(err, ErrSocket):
		r.stats.Sockets++
	default:
		r.stats.Problems++
		switch {
		case errors.Is(err, ErrChanged):
			r.stats.Changed++
		case errors.Is(err, ErrVanished):
			r.stats.Vanished++
		default:
			r.stats.Unread++
		}
	}
	r.opts.Report(Problem{path, err})
}

func (r *Reader) closeFile() {
	for _, f := range []**bigFile{&r.file, &r.held} {
		if *f != nil {
			(*f).close()
			*f = nil
		}
	}
}

func (r *Reader) finish() error {
	if r.runErr != nil {
		return r.runErr
	}
	if r.root.isGone() {
		return ErrGone
	}
	r.zeros, r.last = 2*blockSize, true
	return nil
}
