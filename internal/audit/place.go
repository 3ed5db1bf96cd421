package audit

import (
	"os"
	"path/filepath"
	"time"
)

// Find returns the folder of an installation's log: audit in its state folder. Folders made
// later do not change that. A log that an earlier version began in the folder of the
// backups goes on, as long as no other has newer records. others are further logs with
// records.
func Find(state, root string) (dir string, others []string) {
	dir = filepath.Join(state, "audit")
	former := filepath.Join(root, "audit")
	if root == "" || former == dir {
		return dir, nil
	}
	own, old := lastTime(dir), lastTime(former)
	if old.After(own) {
		dir, former, old = former, dir, own
	}
	if !old.IsZero() {
		others = []string{former}
	}
	return dir, others
}

// lastTime is when the last record of a log was written; zero when there is none, or none
// readable. For a broken log it is the time of its file.
func lastTime(dir string) time.Time {
	names, err := months(dir)
	if err != nil || len(names) == 0 {
		return time.Time{}
	}
	end, err := findEnd(dir)
	if r, fault := parse(end.line); err == nil && fault == nil {
		return r.Time
	}
	info, err := os.Stat(filepath.Join(dir, names[len(names)-1]))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
