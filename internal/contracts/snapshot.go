package contracts

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"
)

// ErrEmpty is returned for a folder that holds nothing of a contracts project.
var ErrEmpty = errors.New("it holds none of out, src, test, script, foundry.toml and interfaces")

// The names of the two documents that a snapshot adds to the files.
const (
	MetadataName = "snapshot_metadata.json"
	StateName    = "contract_state.json"
)

// What a snapshot takes of CONTRACTS_DIR, where it exists.
var (
	folders   = []string{"out", "src", "test", "script", "lib", "broadcast"}
	documents = []string{"foundry.toml", "foundry.lock", "remappings.txt", ".gitmodules", "interfaces/metadata.json", "interfaces/deploy.json"}
)

// Metadata is snapshot_metadata.json.
type Metadata struct {
	Network string    `json:"network"`
	Time    time.Time `json:"time"`
	Revision
}

// Snapshot says what goes into an archive.
type Snapshot struct {
	Dir      string // CONTRACTS_DIR
	Metadata Metadata
	State    *State
	// Report gets what the archive cannot hold: sockets, pipes and devices. It may be nil,
	// and is called by Read.
	Report func(path, why string)
}

// Open returns the snapshot as a tar archive, which is made while it is read:
// a folder snapshot_YYYYMMDD_HHMMSS with both documents, and after them the
// files. Links are kept as links, except that the folders and files named above
// are followed. A file that changes while it is read fails the snapshot, as does
// a folder without any of them, with ErrEmpty. The end of ctx ends the Read that
// waits, with its cause. Close stops the work and waits for it.
func Open(ctx context.Context, s Snapshot) io.ReadCloser {
	r, w := io.Pipe()
	a := &archive{ctx: ctx, Snapshot: s, tar: tar.NewWriter(w), done: make(chan struct{}), PipeReader: r}
	go func() {
		defer close(a.done)
		w.CloseWithError(a.write()) // io.EOF for nil
	}()
	a.unhook = context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	return a
}

type archive struct {
	Snapshot
	*io.PipeReader
	ctx    context.Context
	tar    *tar.Writer
	top    string
	done   chan struct{}
	unhook func() bool
}

// Read fails once ctx has ended, even before the work has noticed.
func (a *archive) Read(p []byte) (int, error) {
	if a.ctx.Err() != nil {
		return 0, context.Cause(a.ctx)
	}
	return a.PipeReader.Read(p)
}

// Close ends the archive where it is.
func (a *archive) Close() error {
	a.unhook()
	a.PipeReader.Close()
	<-a.done
	return nil
}

func (a *archive) write() error {
	at := a.Metadata.Time.UTC().Truncate(time.Second)
	a.Metadata.Time = at
	a.top = "snapshot_" + at.Format("20060102_150405")
	err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: a.top + "/", Mode: 0o700, ModTime: at, Format: tar.FormatPAX})
	if err != nil {
		return err
	}
	if err := a.document(MetadataName, a.Metadata); err != nil {
		return err
	}
	if err := a.document(StateName, a.State); err != nil {
		return err
	}
	found := false
	for _, name := range folders {
		existed, err := a.folder(name)
		if err != nil {
			return fmt.Errorf("reading %s: %w", filepath.Join(a.Dir, name), err)
		}
		found = found || existed
	}
	for _, name := range documents {
		// Without waiting: a pipe in the place of a file has no other end.
		f, err := os.OpenFile(filepath.Join(a.Dir, name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = a.file(f, name)
			f.Close()
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", filepath.Join(a.Dir, name), err)
		}
		found = true
	}
	if !found {
		return fmt.Errorf("%s: %w", a.Dir, ErrEmpty)
	}
	return a.tar.Close()
}

func (a *archive) document(name string, content any) error {
	data, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	h := &tar.Header{Name: path.Join(a.top, name), Mode: 0o600, Size: int64(len(data)), ModTime: a.Metadata.Time, Format: tar.FormatPAX}
	if err := a.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err = a.tar.Write(data)
	return err
}

// folder adds a folder and everything under it, and says whether it exists.
// os.Root keeps links that lead elsewhere, put there meanwhile, from being
// followed.
func (a *archive) folder(name string) (bool, error) {
	root, err := os.OpenRoot(filepath.Join(a.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer root.Close()
	return true, fs.WalkDir(root.FS(), ".", func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if a.ctx.Err() != nil {
			return context.Cause(a.ctx)
		}
		inside := path.Join(name, at)
		switch d.Type() {
		case 0:
			f, err := root.Open(at)
			if err != nil {
				return err
			}
			defer f.Close()
			return a.file(f, inside)
		case fs.ModeDir, fs.ModeSymlink:
			info, err := d.Info()
			if err != nil {
				return err
			}
			target := ""
			if d.Type() == fs.ModeSymlink {
				if target, err = root.Readlink(at); err != nil {
					return err
				}
			}
			return a.header(info, inside, target)
		}
		if a.Report != nil {
			a.Report(inside, "it is a socket, pipe or device")
		}
		return nil
	})
}

func (a *archive) header(info fs.FileInfo, name, target string) error {
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	h.Name = path.Join(a.top, name)
	if info.IsDir() {
		h.Name += "/"
	}
	h.Format = tar.FormatPAX
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	return a.tar.WriteHeader(h)
}

func (a *archive) file(f *os.File, name string) error {
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if !before.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", name)
	}
	if err := a.header(before, name, ""); err != nil {
		return err
	}
	// One byte more than announced would be an error of the tar's writer.
	n, err := io.Copy(a.tar, io.LimitReader(f, before.Size()))
	if err != nil {
		return err
	}
	after, err := f.Stat()
	if err != nil {
		return err
	}
	if n < before.Size() || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		return fmt.Errorf("%s changed while it was read: run this again when nobody builds", name)
	}
	return nil
}
