package local

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// envelopeSuffix is that of the envelope that a rewrap puts next to a backup.
const envelopeSuffix = ".envelope"

// plainName is what the generated names of unencrypted backups end in. Nobody
// writes such a name again, and what is left under it is plaintext.
var plainName = regexp.MustCompile(`_\d{8}_\d{6}(-\d+)?\.(sql|dump|tar|bin)(\.zst|\.gz)?$`)

// strayAge is how long a stray is before a writer of another name clears it
// away. Locks alone would do on a local disk; the time is for what they do not
// cover, such as network file systems that do not share them and a sidecar that
// is being copied in ahead of its backup. A variable for the tests.
var strayAge = time.Hour

// sweep removes from dir the temporary files and orphan sidecars of backups
// whose writers are gone. It costs one listing of the folder. What it cannot do
// it leaves for the next writer, and says nothing: the backup at hand matters
// more.
func sweep(dir string) {
	names, err := listDir(dir)
	if err != nil {
		return
	}
	slices.Sort(names)
	for _, name := range names {
		path := filepath.Join(dir, name)
		backup, isSidecar := strings.CutSuffix(name, store.SidecarSuffix)
		switch {
		case isPartialOfBackup(name):
			if isOld(path) && !isStagedSidecar(dir, names, name) {
				_ = reclaim(path)
			}
		case isSidecar && strings.HasSuffix(backup, store.BackupSuffix):
			if _, found := slices.BinarySearch(names, backup); !found && isOld(path) {
				sweepOrphan(filepath.Join(dir, backup))
			}
		}
	}
}

func listDir(dir string) ([]string, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	return folder.Readdirnames(-1)
}

func isPartialOfBackup(name string) bool {
	name, hidden := strings.CutPrefix(name, partialPrefix)
	name, partial := strings.CutSuffix(name, partialSuffix)
	name = strings.TrimSuffix(strings.TrimSuffix(name, store.SidecarSuffix), envelopeSuffix)
	return hidden && partial && (strings.HasSuffix(name, store.BackupSuffix) || plainName.MatchString(name))
}

// sweepOrphan removes the sidecar of path if path does not exist. It does so as
// a writer of path that thinks better of it: one that is between its two
// renames holds the reservation and is not disturbed.
func sweepOrphan(path string) {
	if f, err := begin(path, store.Options{Sidecar: true}); err == nil {
		_ = f.Abort()
	}
}

// isOld goes by the time of the last change of the inode, which, unlike the
// modification time, no copying tool sets back.
func isOld(path string) bool {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return false
	}
	return time.Since(time.Unix(st.Ctim.Unix())) >= strayAge
}
