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

// envelopeSuffix ends the name of a detached envelope.
const envelopeSuffix = ".envelope"

// plainName matches the generated names of unencrypted backups: nobody writes such a name
// again, and leftovers are plaintext.
var plainName = regexp.MustCompile(`_\d{8}_\d{6}(-\d+)?\.(sql|dump|tar|bin)(\.zst|\.gz)?$`)

// strayAge is the age at which a writer of another name removes leftovers. On a local disk
// locks would do; the time is for network file systems without shared locks, and a sidecar
// that is copied before its backup. A variable for tests.
var strayAge = time.Hour

// sweep removes from dir the temporary files and orphan sidecars of backups whose writers
// are gone, with one listing. Errors are ignored: the backup at hand matters more.
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
	for _, suffix := range []string{store.SidecarSuffix, envelopeSuffix, store.SignatureSuffix} {
		name = strings.TrimSuffix(name, suffix)
	}
	return hidden && partial && (strings.HasSuffix(name, store.BackupSuffix) || plainName.MatchString(name))
}

// sweepOrphan removes the sidecar of path if path does not exist, with the reservation of a
// writer of path, so that one between its two renames is not disturbed.
func sweepOrphan(path string) {
	if f, err := begin(path, store.Options{Sidecar: true}); err == nil {
		_ = f.Abort()
	}
}

// isOld uses the inode's change time, which no copying tool sets back.
func isOld(path string) bool {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return false
	}
	return time.Since(time.Unix(st.Ctim.Unix())) >= strayAge
}
