package store

import (
	"strings"
	"time"
)

// Options is what Create makes; the zero value is a plain file that never replaces another.
type Options struct {
	// Sidecar makes the file a backup: Commit also writes NAME.sha256. Create clears the
	// folder of leftovers of crashed backups.
	Sidecar bool

	// Replace lets Commit replace a regular file. It excludes Sidecar: two renames cannot
	// replace a pair at once.
	Replace bool

	// Parents makes missing parent folders, with mode 0700, which stay after an Abort.
	Parents bool

	// Size is how many bytes will come, as far as known; 0 is unknown. A store that cannot
	// take so many says so before the first.
	Size int64
}

// Result describes a committed file.
type Result struct {
	Path   string
	Size   int64
	SHA256 string // lower-case hex; empty without Options.Sidecar
}

// BackupSuffix ends the names that Walk finds.
const BackupSuffix = ".enc"

// EnvelopeSuffix ends the name of a separate envelope.
const EnvelopeSuffix = ".envelope"

// SignatureSuffix ends the name of a backup's signature.
const SignatureSuffix = ".sig"

// Backup is a file that Walk found. Its content has not been read.
type Backup struct {
	Path    string // begins with the root that Walk was given
	Size    int64
	ModTime time.Time
	Sidecar bool   // NAME.sha256 is next to it
	ETag    string // of the object on S3, which another content changes; empty in a folder
}

// Named reports whether Walk finds the name.
func (b Backup) Named() bool {
	name, _ := cutQuery(b.Path)
	return strings.HasSuffix(name, BackupSuffix)
}
