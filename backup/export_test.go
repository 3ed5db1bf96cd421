package backup

import "time"

// Settle has incremental backups trust the times of files sooner, and returns how long a
// test has to wait after a change.
func Settle(d time.Duration) { settled = d }
