// Package tree extracts a tar archive into a new folder, and puts that in place of another.
//
// [Begin] makes a fresh folder, [Extract] fills it, and [Fresh.Commit] renames it to the
// final name, or [Fresh.Abort] removes it. Until Commit, the old folder is untouched.
// [Unwrap] first decompresses an archive that was compressed before it was sealed.
//
// # Hostile archives
//
// All files are made through an [os.Root] of the fresh folder, by the last part of their
// name in an open folder that is reached name by name through folders alone: nothing is
// written or linked through a symbolic link. A name with "..", a hard link to an entry that
// was not extracted before, a file in place of a folder and the like end the extraction
// with an [UnsafeError]; leading slashes are dropped. Symbolic links keep their targets.
// Devices and FIFOs, the setuid and setgid bits of files, and attributes that give rights
// are left out and reported unless Options.Special is set.
//
// # Limits of the target
//
// Names that are one to the target's file system are an [ErrConflict], modes that it does
// not keep an [ErrModes]: no file replaces another, and nobody gains rights unseen. Owners
// and attributes that cannot be set are reported once and counted. Without hard links,
// copies are made.
//
// # Memory
//
// Two mebibytes, and the names and metadata of the archive's folders, which are set last:
// at most about 300 bytes each plus the path. A check without a root keeps eight bytes for
// each entry; some forty are kept where the target folds case or names may be changed.
package tree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	source "github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

// Stats counts what was extracted.
type Stats struct {
	Files        int   `json:"files"`
	Folders      int   `json:"folders"`
	Links        int   `json:"links"` // symbolic and hard ones
	Others       int   `json:"others"`
	Bytes        int64 `json:"bytes"`
	LeftOut      int   `json:"left_out"` // what was left out on purpose, and reported
	Failed       int   `json:"failed"`   // with Options.KeepGoing: what could not be made, and was reported
	Renamed      int   `json:"renamed"`
	NoOwner      int   `json:"no_owner"`      // entries that did not get their owner
	NoAttributes int   `json:"no_attributes"` // entries that did not get all of their attributes

	Root  bool `json:"-"` // the archive says what mode and owner root has
	Modes bool `json:"-"` // the target keeps modes

	names *names
}

// String has the counts of what was restored, and of what went wrong.
func (s Stats) String() string {
	words := fmt.Sprintf("%d files, %d folders, %d links", s.Files, s.Folders, s.Links)
	if s.Others > 0 {
		words += fmt.Sprintf(", %d devices and FIFOs", s.Others)
	}
	words += ", " + values.BytesText(s.Bytes)
	for _, more := range []struct {
		n    int
		what string
	}{{s.Failed, "failed"}, {s.LeftOut, "left out"}, {s.Renamed, "renamed"}, {s.NoOwner, "without their owner"}, {s.NoAttributes, "without all their attributes"}} {
		if more.n > 0 {
			words += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	return words
}

// Options selects what to extract. The zero value extracts everything that is safe.
type Options struct {
	Include      source.Patterns // what these select, and what is below it
	Special      bool            // devices, FIFOs, setuid and setgid files, capabilities too
	NumericOwner bool            // owners by number, not by name

	NoOwner, NoModes, NoXattrs bool // leave these as a new file has them

	// KeepGoing leaves out, reports and counts what is unsafe or does not fit the target.
	KeepGoing bool
	// Rename gives another name, and reports it, to an entry whose name is taken or
	// impossible on the target.
	Rename bool

	// Again opens the archive a second time, for hard links to files that Include does not
	// select. Without it these are unsafe.
	Again func() (io.ReadCloser, error)

	Report func(path string, why error) // nil is silent
	Each   func(*tar.Header)            // is called for each entry that is extracted; may be nil
}

// Extract reads the archive src to its end and makes its files in root, which is empty and
// private, and stays open. With a nil root it checks the entries against each other, and
// calls Options.Each. All of src is authentic, if src authenticates, only once Extract
// returns nil.
//
// As root it sets owners. After an error the caller removes the files made so far. The end
// of ctx ends it with its cause.
func Extract(ctx context.Context, root *os.Root, src io.Reader, o Options) (Stats, error) {
	if o.Report == nil {
		o.Report = func(string, error) {}
	}
	if o.Each == nil {
		o.Each = func(*tar.Header) {}
	}
	in := &input{ctx: ctx, src: src}
	x := &extractor{
		Options: o, in: in, folders: make(map[string]*tar.Header), pending: make(map[string]bool),
		implied: make(map[string]bool), said: make(map[string]bool), made: make(map[uint64]struct{}), names: newNames(),
	}
	x.stats.names = x.names
	if !o.NoOwner {
		x.owners = newOwners(o.NumericOwner)
	}
	var err error
	if root != nil {
		x.buf = make([]byte, 1<<20)
		x.chain = []*level{{root: root}}
		x.traits, err = probe(root)
		if err == nil && !x.traits.modes && !x.NoModes {
			err = ErrModes
		}
	}
	if err == nil {
		err = x.run()
	}
	x.leave(1)
	if root != nil {
		x.chain[0].closeDir()
	}
	x.stats.Modes = x.traits.modes
	// tar would replace the source's error by a worse one
	if in.err != nil && in.err != io.EOF {
		err = in.err
	}
	return x.stats, err
}

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
	traits traits
	chain  []*level // open folders from the root to the last file's
	owners *owners
	stats  Stats
	buf    []byte
	names  *names

	folders map[string]*tar.Header // whose metadata is set last
	above   []*tar.Header          // with Include: folders above the current entry
	implied map[string]bool        // made before the archive had an entry of them
	wanted  []*tar.Header          // hard links whose content is still to be found
	pending map[string]bool        // the names of those
	said    map[string]bool        // what is reported once
	made    map[uint64]struct{}    // where names may be changed: the made files, by the hash of the path
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
		if err := x.skipFailed(h, x.entry(h, archive)); err != nil {
			return err
		}
	}
	if len(x.Include) > 0 && !x.matched {
		return ErrNoMatch
	}
	// Only the end of the stream shows that it is authentic.
	if _, err := io.Copy(io.Discard, x.in); err != nil {
		return err
	}
	if x.chain == nil {
		if x.KeepGoing {
			return nil
		}
		return x.names.verdict()
	}
	if err := x.extractLinked(); err != nil {
		return err
	}
	return x.finishFolders()
}

// skipFailed ignores an entry's failure if the rest is wanted.
func (x *extractor) skipFailed(h *tar.Header, err error) error {
	if err == nil || !x.KeepGoing || !isOnlyOne(err) {
		return err
	}
	x.stats.Failed++
	x.names.leaveOut(clean(h.Name))
	x.Report(h.Name, err)
	return nil
}

func (x *extractor) entry(h *tar.Header, body io.Reader) error {
	if err := x.normalise(h, body); err != nil || h.Typeflag == tar.TypeXGlobalHeader {
		return err
	}
	names, err := x.split(h, h.Name)
	if err != nil {
		return err
	}
	whole := strings.Join(names, "/")
	if len(x.Include) > 0 && !x.Include.MatchAbove(whole, h.Typeflag == tar.TypeDir) {
		x.remember(whole, h)
		return nil
	}
	x.matched = true
	var linked []string
	if h.Typeflag == tar.TypeLink {
		if linked, err = x.split(h, h.Linkname); err != nil {
			return err
		}
		switch from := strings.Join(linked, "/"); {
		case from == "":
			return unsafef(h, "it is a hard link to the tree itself")
		case from == whole:
			return unsafef(h, "it is a hard link to itself")
		case x.names.gone[from]:
			x.leaveOut(whole, h, fmt.Errorf("left out, as %q is", from))
			return nil
		}
	}
	if len(names) == 0 && h.Typeflag != tar.TypeDir {
		return unsafef(h, "only a folder can stand for the whole tree")
	}
	if h.Size > source.MaxSize {
		return unsafef(h, "%v", source.ErrTooLarge)
	}
	if why := x.leftOut(h); why != nil {
		x.leaveOut(whole, h, why)
		return nil
	}
	if err := x.make(names, linked, h, body); err != nil {
		return err
	}
	x.stats.Root = x.stats.Root || len(names) == 0
	x.Each(h)
	x.count(h)
	return nil
}

func (x *extractor) make(names, linked []string, h *tar.Header, body io.Reader) error {
	if h.Typeflag == tar.TypeSymlink && (h.Linkname == "" || strings.IndexByte(h.Linkname, 0) >= 0) {
		return unsafef(h, "it is a symbolic link to %q", h.Linkname)
	}
	if to := strings.Join(linked, "/"); h.Typeflag == tar.TypeLink && len(x.Include) > 0 && (x.pending[to] || !x.Include.MatchAbove(to, false)) {
		return x.noteLink(linked, h)
	}
	if x.chain == nil {
		x.names.see(names, linked, h)
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

func (x *extractor) leaveOut(path string, h *tar.Header, why error) {
	x.stats.LeftOut++
	x.names.leaveOut(path)
	x.Report(h.Name, why)
}

func (x *extractor) once(kind string, h *tar.Header, format string, args ...any) {
	if !x.said[kind] {
		x.said[kind] = true
		x.Report(h.Name, fmt.Errorf(format, args...))
	}
}

// leftOut says why an entry is not extracted, or is nil.
func (x *extractor) leftOut(h *tar.Header) error {
	if x.Special {
		return nil
	}
	switch h.Typeflag {
	case tar.TypeChar, tar.TypeBlock:
		return errors.New("left out: it is a device")
	case tar.TypeFifo:
		return errors.New("left out: it is a FIFO")
	}
	return nil
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

// remember keeps the header of an excluded folder while entries inside may follow.
func (x *extractor) remember(path string, h *tar.Header) {
	if h.Typeflag != tar.TypeDir {
		return
	}
	h.Name = path
	if x.implied[path] { // some programs store a folder after what it holds
		x.folders[path] = h
	}
	for len(x.above) > 0 && !isAbove(x.above[len(x.above)-1].Name, h.Name) {
		x.above = x.above[:len(x.above)-1]
	}
	x.above = append(x.above, h)
}

func isAbove(folder, path string) bool {
	return folder == "" || strings.HasPrefix(path, folder+"/")
}
