package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// exchangeContents moves the final folder's content into DIR/.before-TIME, and the fresh
// one's into the final one. After an error everything is back.
func (f *Fresh) exchangeContents() (former string, err error) {
	var moved [][2]string // from, to
	was, err := os.Stat(f.final)
	if err != nil {
		return "", err
	}
	dressed := false
	defer func() {
		if err != nil && dressed {
			err = errors.Join(err, f.copyOwner(was))
		}
		for i := len(moved) - 1; err != nil && i >= 0; i-- {
			if back := sys.renameNew(moved[i][1], moved[i][0]); back != nil {
				err = errors.Join(err, fmt.Errorf("moving it back: %w", back))
			}
		}
		if err != nil && former != "" {
			_ = unix.Rmdir(former) // unless something could not be moved back
			former = ""
		}
	}()
	move := func(from, to string, except ...string) error {
		entries, err := os.ReadDir(from)
		if err != nil {
			return err
		}
		for _, e := range entries {
			step := [2]string{filepath.Join(from, e.Name()), filepath.Join(to, e.Name())}
			if slices.Contains(except, step[0]) {
				continue
			}
			if err := sys.renameNew(step[0], step[1]); err != nil {
				return err
			}
			moved = append(moved, step)
		}
		return nil
	}
	if err := sys.mkdir(f.before(), 0o700); err != nil {
		return "", err
	}
	former = f.before()
	stays := []string{f.path, former}
	if lost := filepath.Join(f.final, lostAndFound); !exists(filepath.Join(f.path, lostAndFound)) {
		stays = append(stays, lost) // fsck wants it there
	}
	if err := move(f.final, former, stays...); err != nil {
		return former, err
	}
	if !f.o.Replace && len(moved) > 0 && (len(moved) > 1 || filepath.Base(moved[0][0]) != lostAndFound) {
		return former, ErrNotEmpty // somebody filled it meanwhile
	}
	// What was in it is safe before anything new is.
	if err := sys.syncDir(former); err != nil {
		return former, err
	}
	like, err := f.root.Stat(".") // with the time that it has before it is emptied
	if err != nil {
		return former, err
	}
	if err := move(f.path, f.final); err != nil {
		return former, err
	}
	if !f.inherit {
		dressed = true
		if err := f.copyOwner(like); err != nil {
			return former, err
		}
		copyAttributes(f.path, f.final)
	}
	kept := len(moved) > 0 && filepath.Dir(moved[0][1]) == former
	if err := sys.rmdir(f.path); err != nil {
		return former, err
	}
	if !kept {
		_ = unix.Rmdir(former)
		former = ""
	}
	if !f.inherit {
		_ = os.Chtimes(f.final, like.ModTime(), like.ModTime()) // all is done; a time is no reason to undo it
	}
	return former, nil
}

// copyOwner gives the final folder this owner and mode.
func (f *Fresh) copyOwner(like fs.FileInfo) error {
	if os.Geteuid() == 0 {
		st := like.Sys().(*syscall.Stat_t)
		if err := sys.chownPath(f.final, int(st.Uid), int(st.Gid)); err != nil && !isAny(err, ungiven) {
			return err
		}
	}
	if f.o.NoModes {
		return nil
	}
	return sys.chmodPath(f.final, like.Mode())
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
