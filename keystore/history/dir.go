package history

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// variables for tests
var (
	systemDir = "/var/lib/takumi-backup"
	homeOf    = func(uid int) string { // "" if unknown
		if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
			return u.HomeDir
		}
		return ""
	}
	uid = os.Geteuid
)

// homeDir is the folder of a user's history, below the home.
const homeDir = ".local/state/takumi-backup"

// Dir returns the state folder: takumi-backup in $XDG_STATE_HOME if set;
// /var/lib/takumi-backup for root, for its owner, and without a home; else ~/.local/state,
// as in the XDG Base Directory Specification. The home of root and of that owner is used
// when an earlier version left a history there. Folders that are made later do not change
// it. A variable that is not an absolute path is an error.
func Dir() (string, error) {
	xdg, home := os.Getenv("XDG_STATE_HOME"), os.Getenv("HOME")
	switch {
	case xdg != "" && !filepath.IsAbs(xdg):
		return "", fail.Usagef("XDG_STATE_HOME is %q, not an absolute path", xdg)
	case xdg != "":
		return filepath.Join(xdg, "takumi-backup"), nil
	case uid() == 0:
		// With sudo, $HOME may be that of another user.
		for _, home := range []string{homeOf(0), home} {
			if dir := filepath.Join(home, homeDir); filepath.IsAbs(home) && holdsMine(dir) {
				return dir, nil
			}
		}
		return systemDir, nil
	case home != "" && !filepath.IsAbs(home):
		return "", fail.Usagef("HOME is %q, not an absolute path", home)
	case home == "":
		return systemDir, nil
	}
	if dir := filepath.Join(home, homeDir); holdsMine(dir) || !isMine(systemDir) {
		return dir, nil
	}
	return systemDir, nil
}

// isMine reports whether dir is a folder that belongs to this user.
func isMine(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == uid()
}

func holdsMine(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) > 0 && isMine(dir)
}

// Others returns the other folders with a history that Dir might return in another
// environment: run from a shell and as a service, the program would not know the same keys.
// None while $XDG_STATE_HOME is set.
func Others(dir string) []string {
	if os.Getenv("XDG_STATE_HOME") != "" {
		return nil
	}
	places := []string{systemDir}
	for _, home := range []string{os.Getenv("HOME"), homeOf(os.Getuid())} {
		if filepath.IsAbs(home) {
			places = append(places, filepath.Join(home, homeDir))
		}
	}
	known, err := os.Stat(filepath.Join(dir, FileName))
	if err != nil {
		return nil
	}
	var others []string
	for _, place := range places {
		if info, err := os.Stat(filepath.Join(place, FileName)); err == nil && !os.SameFile(info, known) && !slices.Contains(others, place) {
			others = append(others, place)
		}
	}
	return others
}

// CheckOutside returns an error when dir, the folder of the history, is under root, the
// folder of the backups.
func CheckOutside(dir, root string) error {
	// as for a key file
	inside, err := keystore.File{Path: filepath.Join(dir, FileName)}.Inside(root)
	if err != nil {
		return fmt.Errorf("cannot tell whether %s is apart from the backups in %s: %w", dir, root, err)
	}
	if inside {
		return fmt.Errorf("the key history would be in %s, in or under %s, the folder of the backups", dir, root)
	}
	return nil
}
