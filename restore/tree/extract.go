// Package tree puts the files of a tar archive back into a folder, and that
// folder in the place of another one.
//
// [Begin] makes a fresh folder beside the final one, [Extract] fills it, and
// [Fresh.Commit] gives it the final name, or [Fresh.Abort] takes it away. Until
// Commit, nothing has happened to the folder that is to be replaced.
//
// # What an archive cannot do
//
// All files are made through an [os.Root] of the fresh folder, by the last part
// of their name in the folder that holds them, and that folder is reached name
// by name through folders alone: nothing is ever written or linked through a
// symbolic link. An absolute name, a name with "..", a hard link to anything but
// a file that was extracted before, a file in the place of a folder and the like
// end the extraction with an [UnsafeError]. Symbolic links are made as they were,
// wherever they lead. Devices and FIFOs, and the setuid and setgid bits of files,
// are left out and reported unless Options.Special asks for them.
//
// # Memory
//
// Two mebibytes, and the names and metadata of the archive's folders, which are
// set last: at most about 300 bytes each plus the path.
package tree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	source "github.com/takumi-backup/takumi-backup/internal/source/tree"
)

var (
	// ErrArchive is wrapped when the content is not a tar archive, or one whose
	// headers contradict themselves.
	ErrArchive = fail.New(fail.Failed, "what was sealed is authentic, but it is no tar archive: takumi-backup inspect says what it is", "not a tar archive that can be read")

	// ErrNoMatch is returned when Options.Include selects nothing.
	ErrNoMatch = fail.New(fail.Failed, "--dry-run lists what the archive holds", "the archive holds nothing by that name")
)

// UnsafeError is an entry that must not be extracted, or cannot be without harm
// to another.
type UnsafeError struct {
	Name   string // as the archive has it
	Reason string
}

func (e *UnsafeError) Error() string {
	return fmt.Sprintf("the archive's entry %q is refused: %s", e.Name, e.Reason)
}

// Fail is the class and the hint of the error.
func (*UnsafeError) Fail() (fail.Class, string) {
	return fail.Failed, "nothing was restored; find out who made this archive: takumi-backup open FILE | tar -tv lists it"
}

func unsafef(h *tar.Header, format string, args ...any) error {
	return &UnsafeError{h.Name, fmt.Sprintf(format, args...)}
}

// Stats counts what was extracted.
type Stats struct {
	Files, Folders, Links, Others int // Links are symbolic and hard ones
	Bytes                         int64
	LeftOut                       int  // what was reported
	Root                          bool // the archive says what mode and owner root has
}

// Options says what to extract. The zero value extracts everything that is safe.
type Options struct {
	Include      source.Patterns // what these select, and what stands below it
	Special      bool            // devices, FIFOs, setuid and setgid files too
	NumericOwner bool            // owners by number, not by name
	Report       func(path string, why error)
	Each         func(*tar.Header) // is called for each entry that is extracted
}

// Extract reads the archive src to its end and makes its files in root, which is
// empty, is nobody else's, and stays open. With a nil root it only checks names,
// and calls Options.Each. When src authenticates what it gives, everything was
// authentic once Extract returns nil, and not before.
//
// Owners are set when the program runs as root. When Extract fails, what it made
// so far stays for the caller to remove. The end of ctx ends it with its cause.
func Extract(ctx context.Context, root *os.Root, src io.Reader, o Options) (Stats, error) {
	if o.Report == nil {
		o.Report = func(string, error) {}
	}
	if o.Each == nil {
		o.Each = func(*tar.Header) {}
	}
	in := &input{ctx: ctx, src: src}
	x := &extractor{Options: o, in: in, owners: newOwners(o.NumericOwner), folders: make(map[string]*tar.Header)}
	if root != nil {
		x.buf = make([]byte, 1<<20)
		x.chain = []*level{{root: root}}
	}
	err := x.run()
	x.leave(1)
	if root != nil {
		x.chain[0].closeDir()
	}
	// What tar makes of an error of its source does not say it better.
	if in.err != nil && in.err != io.EOF {
		err = in.err
	}
	return x.stats, err
}

// input remembers the error of the source.
type input struct {
	ctx context.Context
	src io.Reader
	err error
}

func (in *input) Read(p []byte) (int, error) {
	if in.err == nil && in.ctx.Err() != nil {
		in.err = context.Cause(in.ctx)
	}
	if in.err != nil {
		return 0, in.err
	}
	n, err := in.src.Read(p)
	in.err = err
	return n, err
}

type extractor struct {
	Options
	in     *input
	chain  []*level // the open folders from the root to where the last file was made
	owners *owners
	stats  Stats
	buf    []byte

	folders map[string]*tar.Header // whose metadata is set last
	above   []*tar.Header          // with Include: folders above the current entry
	matched bool
}

func (x *extractor) run() error {
	archive := tar.NewReader(x.in)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrArchive, err)
		}
		if err := x.entry(h, archive); err != nil {
			return err
		}
	}
	if len(x.Include) > 0 && !x.matched {
		return ErrNoMatch
	}
	// Whoever made the stream says at its very end whether it is authentic.
	if _, err := io.Copy(io.Discard, x.in); err != nil {
		return err
	}
	return x.finishFolders()
}

func (x *extractor) entry(h *tar.Header, body io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // names no file
	}
	names, err := split(h, h.Name)
	if err != nil {
		return err
	}
	if len(x.Include) > 0 && !x.Include.MatchAbove(strings.Join(names, "/")) {
		x.remember(names, h)
		return nil
	}
	x.matched = true
	var linked []string
	if h.Typeflag == tar.TypeLink {
		if linked, err = split(h, h.Linkname); err != nil {
			return err
		}
	}
	if len(names) == 0 && h.Typeflag != tar.TypeDir {
		return unsafef(h, "only a folder can stand for the whole tree")
	}
	if h.Size > source.MaxSize {
		return unsafef(h, "it %v", source.ErrTooLarge)
	}
	if why := x.leftOut(h); why != nil {
		x.leaveOut(h, why)
		return nil
	}
	x.stats.Root = x.stats.Root || len(names) == 0
	x.Each(h)
	x.count(h)
	if x.chain == nil {
		return nil
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return x.folder(names, h)
	case tar.TypeSymlink:
		return x.symlink(names, h)
	case tar.TypeLink:
		return x.hardLink(names, linked, h)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return x.special(names, h)
	}
	return x.file(names, h, body)
}

func (x *extractor) leaveOut(h *tar.Header, why error) {
	x.stats.LeftOut++
	x.Report(h.Name, why)
}

// leftOut says why an entry is not extracted, or is nil.
func (x *extractor) leftOut(h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse, tar.TypeSymlink, tar.TypeLink:
		return nil
	case tar.TypeChar, tar.TypeBlock:
		if !x.Special {
			return errors.New("left out: it is a device")
		}
		return nil
	case tar.TypeFifo:
		if !x.Special {
			return errors.New("left out: it is a FIFO")
		}
		return nil
	}
	return fmt.Errorf("left out: it is of the unknown type %q", h.Typeflag)
}

func (x *extractor) count(h *tar.Header) {
	switch h.Typeflag {
	case tar.TypeDir:
		x.stats.Folders++
	case tar.TypeSymlink, tar.TypeLink:
		x.stats.Links++
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		x.stats.Others++
	default:
		x.stats.Files++
		x.stats.Bytes += h.Size
	}
}

// split cuts a path of the archive into names, none for the tree itself.
func split(h *tar.Header, path string) ([]string, error) {
	if path == "" {
		return nil, unsafef(h, "a name in it is empty")
	}
	if path[0] == '/' {
		return nil, unsafef(h, "%q is an absolute path", path)
	}
	if strings.IndexByte(path, 0) >= 0 {
		return nil, unsafef(h, "%q holds a zero byte", path)
	}
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		switch name {
		case "", ".":
			continue
		case "..":
			return nil, unsafef(h, "%q leads upwards", path)
		}
		names = append(names, name)
		if len(names) > source.MaxDepth {
			return nil, unsafef(h, "it %v", source.ErrTooDeep)
		}
	}
	return names, nil
}

// remember keeps the header of a folder that is not included for as long as what
// follows may stand in it.
func (x *extractor) remember(names []string, h *tar.Header) {
	if h.Typeflag != tar.TypeDir {
		return
	}
	h.Name = strings.Join(names, "/")
	for len(x.above) > 0 && !isAbove(x.above[len(x.above)-1].Name, h.Name) {
		x.above = x.above[:len(x.above)-1]
	}
	x.above = append(x.above, h)
}

func isAbove(folder, path string) bool {
	return folder == "" || strings.HasPrefix(path, folder+"/")
}

// finishFolders sets the metadata of the folders, those inside others first:
// making a file in a folder changes its time, and may need more rights than it
// gives.
func (x *extractor) finishFolders() error {
	paths := make([]string, 0, len(x.folders))
	for path := range x.folders {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	slices.Reverse(paths)
	for _, path := range paths {
		if x.in.ctx.Err() != nil {
			return context.Cause(x.in.ctx)
		}
		h := x.folders[path]
		at, name := x.chain[0], "."
		if path != "" {
			var err error
			if at, name, err = x.parent(strings.Split(path, "/"), h); err != nil {
				return err
			}
			// A folder is never replaced, so that this cannot be a link.
			if info, err := at.root.Lstat(name); err != nil || !info.IsDir() {
				return unsafef(h, "it is no folder any more")
			}
		}
		if err := x.finish(at, name, h, x.mode(h)); err != nil {
			return err
		}
	}
	return nil
}

// finish sets owner, mode and time of what stands in a folder and is no link.
func (x *extractor) finish(at *level, name string, h *tar.Header, mode fs.FileMode) error {
	if x.owners != nil {
		if err := at.root.Lchown(name, x.owners.uid(h), x.owners.gid(h)); err != nil {
			return failed("setting the owner of", h, err)
		}
	}
	if err := at.root.Chmod(name, mode); err != nil {
		return failed("setting the mode of", h, err)
	}
	return x.setTime(at, name, h)
}

// failed makes a short error of one of package os.
func failed(doing string, h *tar.Header, err error) error {
	var atPath *fs.PathError
	var atLink *os.LinkError
	switch {
	case errors.As(err, &atPath):
		err = atPath.Err
	case errors.As(err, &atLink):
		err = atLink.Err
	}
	return fmt.Errorf("%s %q: %w", doing, h.Name, err)
}
