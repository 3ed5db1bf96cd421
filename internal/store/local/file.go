// Package local keeps backups in a local folder.
//
// A backup exists either whole, under its final name, with mode 0600 and its SHA-256
// sidecar, or not at all; existing files are never overwritten. [Create] reserves a name
// and opens a temporary file next to it, [File.Commit] makes it durable and renames it,
// [File.Abort] removes it.
//
// # Reservations
//
// The temporary file of NAME is .NAME.partial in the same folder, locked with flock(2)
// while its writer lives. Whoever holds the lock of the inode at that path owns NAME, its
// sidecar and its temporary files; only the owner removes or renames them. A crash drops
// the lock, which marks the leftovers, and the next writer of that name removes them. So
// does, after an hour, a writer of any backup in the same folder.
//
// # A full disk and SIGXFSZ
//
// A file-size limit is reported as EFBIG, like a full disk, but only to a process that
// takes SIGXFSZ with [os/signal.Notify]: the Go runtime dies of that signal otherwise. That
// is up to the program.
package local

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// File is a file being written to the store. It is not safe for concurrent use. It must be
// ended with Commit or Abort; Abort after Commit does nothing, so it can be deferred.
type File struct {
	path    string
	replace bool
	data    *reservation
	sidecar *reservation // nil without Options.Sidecar
	beside  []*reservation
	hash    *store.Hasher // nil without Options.Sidecar
	back    writeBack
	size    int64
	err     error // the first failed write, sticky
	ended   bool
}

// Create reserves path and opens a temporary file next to it.
//
// It fails with ErrExists when path, or a sidecar of it that no crash explains, exists
// already; with ErrBusy while another process writes it; with ErrName when the file name is
// unfit; and with *Error when the folder refuses. A failed Create leaves nothing behind.
func Create(path string, opts store.Options) (*File, error) {
	if err := checkName(path, opts.Sidecar); err != nil {
		return nil, err
	}
	if opts.Sidecar && opts.Replace {
		panic("local: Options.Sidecar and Options.Replace exclude each other")
	}
	path = filepath.Clean(path)
	if opts.Parents {
		if err := makeParents(filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	f, err := begin(path, opts)
	if err != nil {
		return nil, err
	}
	if opts.Sidecar {
		sweep(filepath.Dir(path))
	}
	return f, nil
}

// begin is Create for a checked path, without the sweep.
func begin(path string, opts store.Options) (*File, error) {
	data, err := reserve(path)
	if err != nil {
		return nil, err
	}
	f := &File{path: path, replace: opts.Replace, data: data, back: writeBack{file: data.file}}
	err = checkTarget(path, opts.Replace)
	if err == nil && opts.Sidecar {
		err = f.addSidecar()
	}
	if err != nil {
		return nil, withCleanup(err, f.Abort())
	}
	return f, nil
}

// addSidecar reserves the sidecar's name hours before it is needed, so that a conflict
// shows early.
func (f *File) addSidecar() error {
	sidecar, err := reserve(f.path + store.SidecarSuffix)
	if err != nil {
		return err
	}
	f.sidecar, f.hash = sidecar, store.NewHasher()
	if err := removeOrphan(f.path); err != nil {
		return err
	}
	return checkTarget(sidecar.path, false)
}

// Write appends p and hashes it concurrently, so large pieces (1 MiB) are fast. After an
// error every Write and Commit returns that error.
func (f *File) Write(p []byte) (int, error) {
	if f.ended {
		return 0, os.ErrClosed
	}
	if f.err != nil {
		return 0, f.err
	}
	if f.hash != nil {
		f.hash.Begin(p)
		defer f.hash.Wait()
	}
	n, err := sys.write(f.data.file, p)
	f.size += int64(n)
	if err != nil {
		f.err = fault("write", f.path, err)
		return n, f.err
	}
	f.back.advance(f.size)
	return n, nil
}

// Beside has Commit write path+suffix too, over a file that an earlier backup of that name
// left.
func (f *File) Beside(suffix string, content []byte) {
	if f.ended || f.err != nil {
		return
	}
	r, err := reserve(f.path + suffix)
	if err == nil {
		f.beside = append(f.beside, r)
		err = r.fill(string(content))
	}
	f.err = err
}

// Commit makes the file durable and gives it its name: after success, the file and its
// sidecar survive a power cut. After an error nothing is left, neither file nor sidecar nor
// temporary; only a replacing Commit that fails at the last step, the sync of the folder,
// leaves the new file.
func (f *File) Commit() (store.Result, error) {
	if f.ended {
		return store.Result{}, os.ErrClosed
	}
	sum, err := f.commit()
	if err != nil {
		return store.Result{}, withCleanup(err, f.Abort())
	}
	f.end()
	return store.Result{Path: f.path, Size: f.size, SHA256: sum}, nil
}

func (f *File) commit() (sum string, err error) {
	if f.err != nil {
		return "", f.err
	}
	if err := sys.sync(f.data.file); err != nil {
		return "", fault("sync", f.path, err)
	}
	for _, r := range f.beside {
		if err := r.place(true); err != nil {
			return "", err
		}
	}
	if f.sidecar != nil {
		digest := f.hash.Finish()
		sum = hex.EncodeToString(digest[:])
		if err := f.placeSidecar(digest); err != nil {
			return "", err
		}
	}
	if err := f.data.place(f.replace); err != nil {
		return "", err
	}
	return sum, syncDir(filepath.Dir(f.path))
}

func (f *File) placeSidecar(sum [sha256.Size]byte) error {
	if err := f.sidecar.fill(store.FormatSidecar(sum, filepath.Base(f.path))); err != nil {
		return err
	}
	if err := f.sidecar.place(false); err != nil {
		return err
	}
	// Without this sync a power cut could keep the second rename and lose this one.
	return syncDir(filepath.Dir(f.path))
}

func syncDir(dir string) error {
	if err := sys.syncDir(dir); err != nil {
		return fault("sync", dir, err)
	}
	return nil
}

// Abort removes what Create and Write made. After Commit, or another Abort, it does
// nothing.
func (f *File) Abort() error {
	if f.ended {
		return nil
	}
	defer f.end()
	if f.data.placed {
		if f.replace {
			return nil // the old file is gone; keep the new one
		}
		// Backup first, so that it never lacks its sidecar.
		return firstError(f.data.remove(), f.removeCompanions())
	}
	// Temporary file last: it protects the sidecar from others.
	return firstError(f.removeCompanions(), f.data.remove())
}

func (f *File) removeCompanions() (err error) {
	for _, r := range f.companions() {
		err = firstError(err, r.remove())
	}
	return err
}

// companions are the files that are made with this one.
func (f *File) companions() []*reservation {
	if f.sidecar == nil {
		return f.beside
	}
	return append([]*reservation{f.sidecar}, f.beside...)
}

func (f *File) end() {
	f.ended = true
	if f.hash != nil {
		f.hash.Finish()
	}
	for _, r := range f.companions() {
		r.release()
	}
	f.data.release()
}

// WriteFile makes the file at path, whole or not at all. Its errors are those of [Create].
func WriteFile(path string, content []byte, opts store.Options) error {
	f, err := Create(path, opts)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(content); err != nil {
		return err
	}
	_, err = f.Commit()
	return err
}
