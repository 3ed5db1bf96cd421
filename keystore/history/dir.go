package history

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/takumi-backup/takumi-backup/keystore"
)

// systemDir serves services that have no home. A variable for the tests.
var systemDir = "/var/lib/takumi-backup"

// homeDir is where a user's history is, below the home.
const homeDir = ".local/state/takumi-backup"

// Dir returns the usual folder of the history: takumi-backup in $XDG_STATE_HOME,
// else in ~/.local/state, as the XDG Base Directory Specification has it, and
// without a home /var/lib/takumi-backup. A variable that is no absolute path is
// an error.
func Dir() (string, error) {
	for _, place := range []struct{ name, below string }{{"XDG_STATE_HOME", "takumi-backup"}, {"HOME", homeDir}} {
		dir := os.Getenv(place.name)
		if dir == "" {
			continue
		}
		if !filepath.IsAbs(dir) {
			return "", fmt.Errorf("%s is %q, not an absolute path", place.name, dir)
		}
		return filepath.Join(dir, place.below), nil
	}
	return systemDir, nil
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

// CheckApart returns an error when dir, the folder of the history, stands in or
// under root, the folder of the backups.
func CheckApart(dir, root string) error {
	// A key file would stand just so.
	inside, err := keystore.File{Path: filepath.Join(dir, FileName)}.Inside(root)
	if err != nil {
		return fmt.Errorf("cannot tell whether %s stands apart from the backups in %s: %w", dir, root, err)
	}
	if inside {
		return fmt.Errorf("the key history would stand in %s, in or under %s, the folder of the backups", dir, root)
	}
	return nil
}
