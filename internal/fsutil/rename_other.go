//go:build !linux

package fsutil

// RenameNew renames from to to. Where something is at to, it fails with an
// error that wraps fs.ErrExist and changes nothing.
func RenameNew(from, to string) error { return LinkNew(from, to) }
