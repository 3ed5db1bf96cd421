package tree

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// folder is an open folder, shared by the openers of files in it. The last one closes it.
type folder struct {
	file *os.File
	fd   int
	path string // below the root, "" for the root itself
	stat unix.Stat_t
	refs atomic.Int32
}

type name struct {
	text  string
	isDir bool
	isReg bool
}

func openFolder(parent int, text, path string) (*folder, error) {
	fd, err := openat(parent, text, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	f := &folder{file: os.NewFile(uintptr(fd), text), fd: fd, path: path}
	f.refs.Store(1)
	if err := unix.Fstat(fd, &f.stat); err != nil {
		f.release()
		return nil, err
	}
	return f, nil
}

// openat opens for reading, but no symbolic link, and does not block on a FIFO or a
// terminal.
func openat(parent int, text string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(parent, text, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func (f *folder) hold() *folder {
	f.refs.Add(1)
	return f
}

func (f *folder) release() {
	if f.refs.Add(-1) == 0 {
		f.file.Close()
	}
}

func (f *folder) isGone() bool {
	var now unix.Stat_t
	return unix.Fstat(f.fd, &now) != nil || now.Nlink == 0
}

// list returns the names in the folder, in the order of their bytes, with an error those so
// far.
func (f *folder) list() ([]name, error) {
	const step = 512 // more at once would only be held twice
	var names []name
	for {
		entries, err := f.file.ReadDir(step)
		for _, e := range entries {
			names = append(names, name{e.Name(), e.IsDir(), e.Type().IsRegular()})
		}
		if err != nil {
			slices.SortFunc(names, func(a, b name) int { return strings.Compare(a.text, b.text) })
			if err == io.EOF {
				err = nil
			}
			return names, bare(err)
		}
	}
}

type walker struct {
	opts     Options
	dev      uint64 // of the root
	stack    []frame
	root     *folder // until it has been sent
	excluded atomic.Int64
}

type frame struct {
	*folder
	names []name
}

func newWalker(root *folder, names []name, o Options) *walker {
	return &walker{opts: o, dev: uint64(root.stat.Dev), stack: []frame{{root.hold(), names}}, root: root}
}

func (w *walker) close() {
	for _, f := range w.stack {
		f.release()
	}
	w.stack = nil
}

func (w *walker) fill(b *batch) (bool, error) {
	b.reset()
	if w.root != nil {
		e := entry{path: "./", stat: w.root.stat, ready: true}
		w.attributes(w.root, &e)
		e.earlier = w.earlier(".")
		b.entries = append(b.entries, e)
		w.root = nil
	}
	for len(b.entries) < cap(b.entries) && len(w.stack) > 0 {
		w.step(b)
	}
	if len(w.stack) == 0 {
		return len(b.entries) > 0, io.EOF
	}
	return true, nil
}

// step adds the next entry to b, or leaves a finished folder.
func (w *walker) step(b *batch) {
	top := &w.stack[len(w.stack)-1]
	if len(top.names) == 0 {
		top.release()
		w.stack = w.stack[:len(w.stack)-1]
		return
	}
	n := top.names[0]
	top.names[0].text = "" // the memory of it
	top.names = top.names[1:]
	path := n.text
	if top.path != "" {
		path = top.path + "/" + n.text
	}
	if w.opts.Exclude.Match(path, n.isDir) {
		w.excluded.Add(1)
		return
	}
	e := entry{path: path, name: n.text, isReg: n.isReg, earlier: w.earlier(path)}
	if n.isDir {
		w.enter(top.folder, &e)
	} else {
		e.dir = top.hold()
	}
	b.entries = append(b.entries, e)
}

func (w *walker) earlier(path string) *Facts {
	if w.opts.Earlier == nil {
		return nil
	}
	return w.opts.Earlier(path)
}

// enter makes e a folder's entry and continues inside. An unreadable folder is kept as an
// empty one.
func (w *walker) enter(parent *folder, e *entry) {
	path := e.path
	f, err := openFolder(parent.fd, e.name, path)
	if err != nil {
		e.problem = vanished(err)
		w.unlisted(path, e, true)
		if errors.Is(err, fs.ErrPermission) && fstatat(parent.fd, e.name, &e.stat) == nil && e.stat.Mode&unix.S_IFMT == unix.S_IFDIR {
			e.ready = true
			e.path += "/"
		}
		return
	}
	e.stat, e.ready = f.stat, true
	e.path += "/"
	w.attributes(f, e)
	switch {
	case w.opts.OneFileSystem && uint64(f.stat.Dev) != w.dev:
		f.release()
		return
	case len(w.stack) == MaxDepth:
		e.problem = ErrTooDeep
		w.unlisted(path, e, true)
		f.release()
		return
	}
	var names []name
	if names, err = f.list(); err != nil {
		e.problem = vanished(err)
		w.unlisted(path, e, len(names) == 0)
	}
	w.stack = append(w.stack, frame{f, w.unmarked(f, names)})
}

func (w *walker) unlisted(path string, e *entry, all bool) {
	if w.opts.Unlisted != nil && e.isUnread() {
		w.opts.Unlisted(path, all)
	}
}

func (w *walker) attributes(f *folder, e *entry) {
	if w.opts.NoXattrs {
		return
	}
	var err error
	if e.attrs, err = attributesOf(f.fd, ""); err != nil {
		e.problem = err
	}
}

// cacheTag is how a CACHEDIR.TAG begins (bford.info/cachedir).
const cacheTag = "Signature: 8a477f597d28d172789f06886806bc55"

// unmarked returns the names of a folder, or only the mark that excludes its content.
func (w *walker) unmarked(f *folder, names []name) []name {
	for _, n := range names {
		if slices.Contains(w.opts.ExcludeIfPresent, n.text) || w.opts.ExcludeCaches && n.text == "CACHEDIR.TAG" && n.isReg && hasCacheTag(f.fd) {
			w.excluded.Add(int64(len(names) - 1))
			return []name{n}
		}
	}
	return names
}

func hasCacheTag(dir int) bool {
	fd, err := openat(dir, "CACHEDIR.TAG", 0)
	if err != nil {
		return false
	}
	defer closeFD(fd)
	head := make([]byte, len(cacheTag))
	n, _ := pread(fd, head, 0)
	return string(head[:n]) == cacheTag
}

// vanished separates what is gone, or replaced, from what cannot be read.
func vanished(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrVanished
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return ErrChanged
	}
	return err
}

func fstatat(parent int, text string, st *unix.Stat_t) error {
	for {
		err := unix.Fstatat(parent, text, st, unix.AT_SYMLINK_NOFOLLOW)
		if err != unix.EINTR {
			return err
		}
	}
}
