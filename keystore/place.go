package keystore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Local is a Source in a file system of this machine.
type Local interface {
	Source

	// Inside reports whether the key, or any symbolic link on the way to it, is under the
	// folder dir, which need not exist.
	Inside(dir string) (bool, error)
}

// CheckOutside returns an *Error of kind ErrRefused when src is under dir, the folder of the
// backups: whoever copies or steals that folder would have the key too. A program that
// writes to dir stops then; one that only reads warns. Sources outside the file system
// pass, and so does a key in takumi-backup of the user's settings (os.UserConfigDir) when
// dir is the home folder itself.
func CheckOutside(src Source, dir string) error {
	local, ok := src.(Local)
	if !ok {
		return nil
	}
	inside, err := local.Inside(dir)
	if inside && isOwnKey(local, dir) {
		return nil
	}
	if abs, absErr := filepath.Abs(dir); absErr == nil {
		dir = abs // says more than "."
	}
	if err != nil {
		return &Error{URI: src.String(), Kind: ErrRefused, Reason: fmt.Sprintf("cannot tell whether it is apart from %s: %v", display(dir), err), Err: err}
	}
	if inside {
		return &Error{
			URI: src.String(), Kind: ErrRefused,
			Reason: "it is in or under " + display(dir) + ", the folder of the backups: who copies the folder takes the key along",
			Fix:    "move it to a folder of its own, such as /etc/takumi-backup, or ~/.config/takumi-backup for one user",
		}
	}
	return nil
}

// isOwnKey reports whether dir is the user's home and the key in its settings.
func isOwnKey(key Local, dir string) bool {
	config, err := os.UserConfigDir()
	if err != nil {
		return false
	}
	home, _ := os.UserHomeDir()
	own, _ := key.Inside(filepath.Join(config, "takumi-backup"))
	return own && sameFile(dir, home)
}

// sameFile is os.SameFile by name; one that does not exist is the same as no other.
func sameFile(a, b string) bool {
	is, _ := os.Stat(a)
	other, _ := os.Stat(b)
	return os.SameFile(is, other)
}

// Inside implements Local.
func (f File) Inside(dir string) (bool, error) {
	key, links, err := walk(f.Path)
	if err != nil {
		return false, err
	}
	folder, _, err := walk(dir)
	if err != nil {
		return false, err
	}
	for _, place := range append(links, key) {
		if under(place, folder) {
			return true, nil
		}
	}
	return false, nil
}

// under reports whether folder is a parent of place by name or, for folders mounted twice,
// by identity.
func under(place, folder string) bool {
	for parent := filepath.Dir(place); ; parent = filepath.Dir(parent) {
		if parent == folder || sameFile(parent, folder) {
			return true
		}
		if parent == filepath.Dir(parent) {
			return false
		}
	}
}

// maxLinks is Linux's limit of symbolic links in a path.
const maxLinks = 40

// walk follows path as the kernel does. It returns the end and the places of the symbolic
// links on the way, free of links themselves. Missing files count as plain names.
func walk(path string) (end string, links []string, err error) {
	if !filepath.IsAbs(path) {
		// filepath.Abs would drop "link/..", which leads to the parent of the link's
		// target.
		wd, err := os.Getwd()
		if err != nil {
			return "", nil, err
		}
		path = wd + "/" + path
	}
	end = "/"
	for rest := strings.Split(path, "/"); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			end = filepath.Dir(end)
			continue
		}
		next := filepath.Join(end, name)
		target, err := os.Readlink(next)
		if isMissing(err) || errors.Is(err, syscall.EINVAL) { // it is no link
			end = next
			continue
		}
		if err != nil {
			return "", nil, cause(err)
		}
		if links = append(links, next); len(links) > maxLinks {
			return "", nil, syscall.ELOOP
		}
		if filepath.IsAbs(target) {
			end = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return end, links, nil
}
