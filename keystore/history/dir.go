package history

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/takumi-backup/takumi-backup/keystore"
)

// systemDir serves services that have no home.
const systemDir = "/var/lib/takumi-backup"

// Dir returns the usual folder of the history: takumi-backup in $XDG_STATE_HOME,
// else in ~/.local/state, as the XDG Base Directory Specification has it, and
// without a home /var/lib/takumi-backup. A variable that is no absolute path is
// an error.
func Dir() (string, error) {
	for _, place := range []struct{ name, below string }{{"XDG_STATE_HOME", ""}, {"HOME", ".local/state"}} {
		dir := os.Getenv(place.name)
		if dir == "" {
			continue
		}
		if !filepath.IsAbs(dir) {
			return "", fmt.Errorf("%s is %q, not an absolute path", place.name, dir)
		}
		return filepath.Join(dir, place.below, "takumi-backup"), nil
	}
	return systemDir, nil
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
