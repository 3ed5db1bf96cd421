package local

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Walk yields the backups of a store: the regular files under root whose names end in
// ".enc", folder by folder in the order of their names. Unfinished files have other names.
//
// What may hold backups and cannot be looked at is an *[store.Error] with its path, and the
// walk goes on: an unreadable folder, root included, and a symbolic link to a folder or a
// backup that the walk does not meet anyway. Skipped are links inside root, files that
// vanish meanwhile, and the lost+found of a file system mounted at root. The end of ctx
// ends the walk with its cause.
//
// With all, for callers that must miss no backup whatever its name, it yields every regular
// file, unfinished ones too, and follows links to files elsewhere.
func Walk(ctx context.Context, root string, all bool) iter.Seq2[store.Backup, error] {
	return func(yield func(store.Backup, error) bool) {
		w := walker{ctx: ctx, root: filepath.Clean(root), all: all, yield: yield}
		w.found(w.root, fs.ModeDir)
	}
}

type walker struct {
	ctx   context.Context
	root  string
	all   bool // whatever its name
	yield func(store.Backup, error) bool
}

// found handles an entry of a folder that names did not drop, and reports whether the walk goes on.
func (w *walker) found(path string, mode fs.FileMode) bool {
	if w.ended() {
		return false
	}
	switch {
	case mode.IsDir():
		if path == filepath.Join(w.root, "lost+found") {
			return true
		}
		return w.folder(path)
	case mode&fs.ModeSymlink != 0:
		return w.link(path)
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return w.yield(store.Backup{}, fault("look at", path, err))
	}
	sidecar, err := os.Lstat(path + store.SidecarSuffix)
	return w.yield(store.Backup{Path: path, Size: info.Size(), ModTime: info.ModTime(), Sidecar: err == nil && sidecar.Mode().IsRegular()}, nil)
}

// ended reports whether the context has ended, and says so.
func (w *walker) ended() bool {
	if w.ctx.Err() == nil {
		return false
	}
	w.yield(store.Backup{}, context.Cause(w.ctx))
	return true
}

func (w *walker) link(path string) bool {
	if w.mayPass(path) {
		return true
	}
	if info, err := os.Stat(path); w.all && err == nil && info.Mode().IsRegular() {
		return w.yield(store.Backup{Path: path, Size: info.Size(), ModTime: info.ModTime()}, nil)
	}
	return w.yield(store.Backup{}, fault("follow", path, store.ErrLink))
}

func (w *walker) folder(path string) bool {
	names, err := w.names(path)
	if w.ended() { // and names has some of them
		return false
	}
	if err != nil && (path == w.root || !errors.Is(err, fs.ErrNotExist)) && !w.yield(store.Backup{}, fault("read", path, err)) {
		return false
	}
	return names.each(func(name string, mode fs.FileMode) bool {
		return w.found(filepath.Join(path, name), mode)
	})
}

// names reads a folder's names and drops at once what is neither a folder, a link nor a
// wanted file: a folder may have a million backups, and twice as many companions.
func (w *walker) names(path string) (*names, error) {
	n := new(names)
	flags := os.O_RDONLY | unix.O_DIRECTORY // to open a pipe would wait for a writer
	if path != w.root {
		flags |= unix.O_NOFOLLOW // a link that took the folder's place
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return n, err
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(1024)
		for _, e := range entries {
			if mode := e.Type(); mode.IsDir() || mode&fs.ModeSymlink != 0 || mode.IsRegular() && w.wants(e.Name()) {
				n.add(e.Name(), mode)
			}
		}
		if err != nil || w.ctx.Err() != nil {
			if err == io.EOF {
				err = nil
			}
			return n.sorted(), err
		}
	}
}

type names struct {
	blocks []string // each name after two bytes for its length, and one for its type
	last   strings.Builder
	order  []uint32 // where they are
}

const nameBlock = 1 << 16

func (n *names) add(name string, mode fs.FileMode) {
	if n.last.Cap()-n.last.Len() < 3+len(name) {
		n.last = strings.Builder{}
		n.last.Grow(nameBlock)
		n.blocks = append(n.blocks, "")
	}
	n.order = append(n.order, uint32((len(n.blocks)-1)*nameBlock+n.last.Len()))
	kind := byte('f')
	switch {
	case mode.IsDir():
		kind = 'd'
	case mode&fs.ModeSymlink != 0:
		kind = 'l'
	}
	n.last.Write([]byte{byte(len(name) >> 8), byte(len(name)), kind})
	n.last.WriteString(name)
	n.blocks[len(n.blocks)-1] = n.last.String()
}

// sorted returns the names in their order, and so in that of the blocks. n is used up.
func (n *names) sorted() *names {
	slices.SortFunc(n.order, func(a, b uint32) int {
		x, _ := n.at(a)
		y, _ := n.at(b)
		return strings.Compare(x, y)
	})
	if len(n.blocks) < 2 {
		return n
	}
	to := &names{order: make([]uint32, 0, len(n.order))}
	for _, at := range n.order {
		to.add(n.at(at))
	}
	return to
}

// each calls f with each name of what sorted returned until it returns false, and reports
// whether it did not. It lets go of what it passes: who lists a million keeps the names too.
func (n *names) each(f func(name string, mode fs.FileMode) bool) bool {
	for _, at := range n.order {
		if block := at / nameBlock; block > 0 {
			n.blocks[block-1] = ""
		}
		if !f(n.at(at)) {
			return false
		}
	}
	return true
}

func (n *names) at(i uint32) (name string, mode fs.FileMode) {
	text := n.blocks[i/nameBlock][i%nameBlock:]
	switch text[2] {
	case 'd':
		mode = fs.ModeDir
	case 'l':
		mode = fs.ModeSymlink
	}
	return text[3 : 3+int(text[0])<<8+int(text[1])], mode
}

func (w *walker) wants(path string) bool { return w.all || strings.HasSuffix(path, store.BackupSuffix) }

// mayPass reports whether the link at path may be skipped without missing anything.
func (w *walker) mayPass(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	if !info.IsDir() && !w.wants(path) {
		return true
	}
	target, err := filepath.EvalSymlinks(path)
	root, rootErr := filepath.EvalSymlinks(w.root)
	if err != nil || rootErr != nil {
		return false
	}
	inside := target == root || strings.HasPrefix(target, strings.TrimRight(root, "/")+"/")
	return inside && (info.IsDir() || w.wants(target))
}
