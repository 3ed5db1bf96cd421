package store

import (
	"strings"
	"time"
)

// Options says what Create makes. The zero value is a plain file that never
// replaces another.
type Options struct {
	// Sidecar makes the file a backup: its content is hashed while it is
	// written and NAME.sha256 is committed with it. Strays of crashed backups
	// are cleared from the folder on the way.
	Sidecar bool

	// Replace lets Commit put the file in the place of a regular file. It
	// does not go together with Sidecar: two renames cannot replace a pair
	// without a moment in which the two disagree.
	Replace bool

	// Parents makes missing parent folders, with mode 0700. They stay when
	// the file is aborted.
	Parents bool
}

// Result describes a committed file.
type Result struct {
	Path   string
	Size   int64
	SHA256 string // lower-case hex; empty without Options.Sidecar
}

// BackupSuffix ends the names that Walk finds.
const BackupSuffix = ".enc"

// EnvelopeSuffix ends the name of an envelope that is a file of its own.
const EnvelopeSuffix = ".envelope"

// SignatureSuffix ends the name of a backup's signature.
const SignatureSuffix = ".sig"

// Backup is a file that Walk found. Nothing of its content has been read.
type Backup struct {
	Path    string // begins with the root that Walk was given
	Size    int64
	ModTime time.Time
	Sidecar bool // NAME.sha256 is next to it
}

// Named reports whether the name is one that Walk finds.
func (b Backup) Named() bool {
	name, _ := cutQuery(b.Path)
	return strings.HasSuffix(name, BackupSuffix)
}
