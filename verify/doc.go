// Package verify proves that backups are what they should be, and remembers what
// it has proved.
//
// A [Job] goes through a whole store and gives a [Report]; a [Checker] looks at
// one backup. [OpenMemory] keeps, between runs, what was proved when.
//
// # How a backup is read
//
// The file is read once. Its SHA-256 is computed next to that, on a goroutine of
// its own, and compared with the sidecar; the same bytes are authenticated,
// unpacked and handed to the guard of their kind. Where that fails half way, the
// rest is still read for the sum. A second reading happens only where nothing
// could be opened at all, and where a backup changed while it was read: a rewrap
// is not damage.
//
// # Memory
//
// As many backups as there are cores are read at once, each by one goroutine and
// the hash's, with some 4 MiB (more where a backup was packed in larger blocks
// than usual, up to 8 MiB each); one large backup at a time is read on all
// cores, with 4 MiB for each and two more. Nothing grows with the size of a
// backup but the state of the chain in a contract snapshot, which is parsed
// whole; and with their number only the report, by about 1 KiB each.
package verify
