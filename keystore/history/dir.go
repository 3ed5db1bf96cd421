package history

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/takumi-backup/takumi-backup/keystore"
)

// systemDir is the system's own. Variables for the tests.
var (
	systemDir = "/var/lib/takumi-backup"
	rootHome  = func() string {
		if u, err := user.LookupId("0"); err == nil {
			return u.HomeDir
		}
		return ""
	}
	uid = os.Geteuid
)

// homeDir is where a user's history is, below the home.
const homeDir = ".local/state/takumi-backup"

// Dir returns the state folder of who runs the program: takumi-backup in
// $XDG_STATE_HOME where that is set; /var/lib/takumi-backup for root, for the user
// whom that folder belongs to, and without a home; for people ~/.local/state, as
// the XDG Base Directory Specification has it. Earlier versions took the home of
// root and of that user as well: what they left there stays the place. No folder
// that comes into being later changes it. A variable that is not an absolute path is
// an error.
func Dir() (string, error) {
	xdg, home := os.Getenv("XDG_STATE_HOME"), os.Getenv("HOME")
	switch {
	case xdg != "" && !filepath.IsAbs(xdg):
		return "", fmt.Errorf("XDG_STATE_HOME is %q, not an absolute path", xdg)
	case xdg != "":
		return filepath.Join(xdg, "takumi-backup"), nil
	case uid() == 0:
		// Not $HOME first: with sudo it may be that of somebody else.
		for _, home := range []string{rootHome(), home} {
			if dir := filepath.Join(home, homeDir); filepath.IsAbs(home) && holdsMine(dir) {
				return dir, nil
			}
		}
		return systemDir, nil
	case home != "" && !filepath.IsAbs(home):
		return "", fmt.Errorf("HOME is %q, not an absolute path", home)
	case home == "":
		return systemDir, nil
	}
	if dir := filepath.Join(home, homeDir); holdsMine(dir) || !isMine(systemDir) {
		return dir, nil
	}
	return systemDir, nil
}

// isMine says whether a folder is there and belongs to who runs the program.
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

// Others returns the other folders that Dir might have returned for this user,
// with another environment, and that hold a history too: run from a shell and run
// as a service, the program would not know of the same keys. There are none while
// $XDG_STATE_HOME says which is meant.
func Others(dir string) []string {
	if os.Getenv("XDG_STATE_HOME") != "" {
		return nil
	}
	homes := []string{os.Getenv("HOME")}
	if u, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil {
		homes = append(homes, u.HomeDir)
	}
	places := []string{systemDir}
	for _, home := range homes {
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

// CheckApart returns an error when dir, the folder of the history, is in or
// under root, the folder of the backups.
func CheckApart(dir, root string) error {
	// A key file would be just so.
	inside, err := keystore.File{Path: filepath.Join(dir, FileName)}.Inside(root)
	if err != nil {
		return fmt.Errorf("cannot tell whether %s is apart from the backups in %s: %w", dir, root, err)
	}
	if inside {
		return fmt.Errorf("the key history would be in %s, in or under %s, the folder of the backups", dir, root)
	}
	return nil
}
