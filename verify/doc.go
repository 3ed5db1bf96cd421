// Package verify proves backups, and remembers the proofs.
//
// A [Job] goes through a whole store and gives a [Report]; a [Checker] checks one backup.
// [OpenMemory] keeps the proofs between runs.
//
// # How a backup is read
//
// The file is read once. A goroutine computes its SHA-256 for the comparison with the
// sidecar; the same bytes are authenticated, unpacked and handed to the guard of their
// kind. After a failure half way, the rest is still read for the sum. A second reading
// happens only when nothing could be opened at all, and when a backup changed while it was
// read: a rewrap is not damage.
//
// # Memory
//
// As many backups as there are cores are read at once, each by one goroutine and the
// hash's, with some 4 MiB (more for backups packed in larger blocks than usual, up to 8 MiB
// each); one large backup at a time is read on all cores, with 4 MiB for each and two more.
// Only the state of the chain in a contract snapshot is parsed whole; and the report takes
// about 1 KiB for each backup.
package verify
