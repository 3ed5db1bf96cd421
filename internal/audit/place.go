package audit

import (
	"os"
	"path/filepath"
	"time"
)

// Find returns the folder of the log of an installation: audit in its state
// folder, and no folder that comes into being changes that. Earlier versions took
// audit in the folder of the backups when that was there: such a log goes on, for
// as long as no other has newer records. Further logs that hold records are
// returned as well.
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

// lastTime is when the last record of a log was written; zero when there is none,
// or none that this user may read. One that is broken ended when its file did.
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
