package rehearse

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/internal/contracts"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres/scratch"
	"github.com/takumi-backup/takumi-backup/restore/tree"
)

func (s *Stage) tree(ctx context.Context, file string, out *Outcome, m *backup.Meter) (err error) {
	folder, err := scratch.NewFolder(ctx, s.o.ScratchDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Remove()) }()
	dir := filepath.Join(folder.Path(), "tree")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("making a folder to restore into: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("opening the folder to restore into: %w", err)
	}
	defer root.Close()

	// What the scratch folder cannot hold says nothing of the backup.
	modes, err := tree.KeepsModes(root)
	if err != nil {
		return err
	}
	if !modes {
		out.note("the file system of the scratch folder keeps no modes, and none were compared")
	}
	var refused error
	o := tree.Options{KeepGoing: true, Rename: true, NoModes: !modes, Report: func(path string, why error) {
		if errors.As(why, new(*tree.UnsafeError)) && refused == nil {
			refused = why
		}
		out.leftOut(path, why)
	}}
	out.Began = time.Now()
	var state *contracts.State
	var stats tree.Stats
	err = s.read(ctx, file, m, func(archive io.Reader) (err error) {
		if out.Kind == backup.KindContracts {
			if state, archive, err = contracts.ReadState(archive); errors.Is(err, contracts.ErrState) {
				out.note("%v", err)
				err = nil
			}
			if err != nil {
				return err
			}
		}
		stats, err = tree.Extract(ctx, root, archive, o)
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return judgeTree(err)
	}
	out.Restored = time.Since(out.Began)
	out.Files, out.Bytes = stats.Files+stats.Links, stats.Bytes
	if err := out.prove(state); err != nil {
		return err
	}
	// Once more, against what is now on the disk.
	c := &comparison{ctx: ctx, root: root, stats: &stats, wrong: make(map[string]string), links: make(map[string][]string)}
	if err := s.read(ctx, file, new(backup.Meter), c.archive); err != nil {
		return err
	}
	if c.unreadable > 0 {
		out.note("%d files do not let this user read them, and were not read again", c.unreadable)
	}
	out.Compared = append(out.Compared, fmt.Sprintf("%d files, folders and links on the disk, byte by byte, with the archive", c.same))
	return c.verdict()
}

// maxNotes bounds the notes about single files.
const maxNotes = 10

func (o *Outcome) leftOut(path string, why error) {
	if len(o.Notes) < maxNotes {
		o.note("%q: %v", path, why)
	}
}

func (o *Outcome) prove(state *contracts.State) error {
	switch {
	case o.Kind != backup.KindContracts:
	case state == nil:
		o.note("the snapshot has no %s that can be checked", contracts.StateName)
	case !state.Asked:
		o.note("the snapshot holds nothing of the chain (%s)", state.Note)
	default:
		if err := state.Verify(); err != nil {
			return backupFault(ErrDiffers, fmt.Errorf("the %s of the snapshot: %w", contracts.StateName, err))
		}
		o.Compared = append(o.Compared, fmt.Sprintf("the code, slots and proofs of %d accounts, with the header of block %d of %s",
			len(state.Accounts), state.Block.Number, state.Network))
	}
	return nil
}

// read gives the archive of a backup to use, which reads it to its end.
func (s *Stage) read(ctx context.Context, file string, m *backup.Meter, use func(io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f, err := s.open(ctx, file, m)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Envelope.Kind == backup.KindIncrement {
		return s.readChain(ctx, file, m, use)
	}
	content := backup.NewPlaintext(f.Reader, m)
	defer content.Close()
	defer cancel()
	archive, err := tree.Open(content)
	if err != nil {
		return err
	}
	defer archive.Close()
	return use(archive)
}

func (s *Stage) readChain(ctx context.Context, file string, m *backup.Meter, use func(io.Reader) error) error {
	h, err := backup.OpenAt(ctx, s.o.Place, file, backup.Options{Keys: s.o.Keys})
	if err != nil {
		return fmt.Errorf("opening %s: %w", file, err)
	}
	defer h.Close()
	whole, err := h.Members(ctx)
	if err != nil {
		return fmt.Errorf("opening %s: %w", file, err)
	}
	archive, err := whole.Whole()
	if err != nil {
		return err
	}
	return use(m.Metered(archive))
}

// judgeTree says what speaks against a backup from what speaks against the disk.
func judgeTree(err error) error {
	for _, target := range []error{tree.ErrArchive, guard.ErrEmpty, members.ErrChain, members.ErrIndex} {
		if errors.Is(err, target) {
			return backupFault(ErrNotRestorable, err)
		}
	}
	if errors.As(err, new(*tree.UnsafeError)) || errors.As(err, new(*guard.IncompleteError)) {
		return backupFault(ErrNotRestorable, err)
	}
	return err
}

type comparison struct {
	ctx        context.Context
	root       *os.Root
	stats      *tree.Stats // of making the tree
	same       int
	unreadable int
	// wrong is why a name differs. A later entry of the same name takes the place
	// of an earlier one, in the tree and here.
	wrong    map[string]string
	links    map[string][]string // those of wrong that are hard links, by what they lead to
	buf, has [64 << 10]byte
}

// maxWrong bounds the names that are remembered: so many are enough.
const maxWrong = 1000

func (c *comparison) archive(src io.Reader) error {
	entries := tar.NewReader(src)
	for len(c.wrong) < maxWrong {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		h, err := entries.Next()
		if err == io.EOF {
			_, err = io.Copy(io.Discard, src)
			return err
		}
		if err != nil {
			return err
		}
		name, kept := c.local(h.Name)
		if !kept {
			continue // and said so
		}
		if h.Typeflag != tar.TypeDir {
			// What links to the earlier one is right to be another file.
			for _, link := range c.links[name] {
				delete(c.wrong, link)
			}
		}
		why, err := c.entry(name, h, entries)
		switch {
		case errors.Is(err, fs.ErrPermission):
			c.unreadable++
		case err != nil:
			return err
		case why != "":
			c.wrong[name] = why
			if h.Typeflag == tar.TypeLink {
				target, _ := c.local(h.Linkname)
				c.links[target] = append(c.links[target], name)
			}
		default:
			delete(c.wrong, name)
			c.same++
		}
	}
	return nil
}

// local is where what the archive names has to be, or false when it was left out.
func (c *comparison) local(name string) (string, bool) {
	name, kept := c.stats.Local(name)
	return cmp.Or(name, "."), kept
}

// entry says in what a name of the tree is not what the archive has, or nothing.
func (c *comparison) entry(name string, h *tar.Header, body io.Reader) (why string, err error) {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont, tar.TypeDir, tar.TypeSymlink, tar.TypeLink:
	default:
		return "", nil // left out, and said so
	}
	info, err := c.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return "it is missing", nil
	}
	if err != nil {
		return "", err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if !info.IsDir() {
			return "it is not a folder", nil
		}
	case tar.TypeSymlink:
		if to, err := c.root.Readlink(name); err != nil || to != h.Linkname {
			return fmt.Sprintf("it leads to %q, want %q", to, h.Linkname), nil
		}
	case tar.TypeLink:
		target, _ := c.local(h.Linkname)
		to, err := c.root.Lstat(target)
		isCopy := err == nil && c.stats.Copied(h.Name) && to.Mode() == info.Mode() && to.Size() == info.Size()
		if err != nil || !os.SameFile(to, info) && !isCopy {
			return fmt.Sprintf("it is not the same file as %q", h.Linkname), nil
		}
	default:
		return c.file(name, info, h, body)
	}
	return "", nil
}

func (c *comparison) file(name string, info fs.FileInfo, h *tar.Header, body io.Reader) (string, error) {
	switch {
	case !info.Mode().IsRegular():
		return "it is not a file", nil
	case info.Size() != h.Size:
		return fmt.Sprintf("it has %d bytes, want %d", info.Size(), h.Size), nil
	case c.stats.Modes && info.Mode().Perm() != fs.FileMode(h.Mode).Perm():
		return fmt.Sprintf("its mode is %v, want %v", info.Mode().Perm(), fs.FileMode(h.Mode).Perm()), nil
	}
	f, err := c.root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for at := int64(0); ; {
		n, err := io.ReadFull(body, c.buf[:])
		if n > 0 {
			if _, err := io.ReadFull(f, c.has[:n]); err != nil {
				return "", fmt.Errorf("reading %q again: %w", name, err)
			}
			if !bytes.Equal(c.buf[:n], c.has[:n]) {
				return fmt.Sprintf("its content differs after byte %d", at), nil
			}
			at += int64(n)
		}
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) && at == h.Size {
			return "", nil
		}
		if err != nil {
			return "", err
		}
	}
}

// verdict is an error with the first differences, if any.
func (c *comparison) verdict() error {
	if len(c.wrong) == 0 {
		return nil
	}
	text := ""
	names := slices.Sorted(maps.Keys(c.wrong))
	for _, name := range names[:min(len(names), maxNotes)] {
		text += fmt.Sprintf("\n  %q: %s", name, c.wrong[name])
	}
	return fmt.Errorf("%w; by the archive:%s", ErrDiffers, text)
}
