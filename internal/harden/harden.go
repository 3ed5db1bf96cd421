// Package harden keeps the memory of this process, which holds keys and plaintext, from
// disk and from the user's other processes, and handles its signals, priority and user.
package harden

// Process turns core dumps off. On Linux it sets RLIMIT_CORE (soft and hard) to 0 and
// PR_SET_DUMPABLE off. The limit is not enough, because a core that is piped to a collector
// ignores it; nor is the mark, which a child does not inherit. The mark also keeps the same
// user's debuggers out.
//
// It cannot be undone. Call it first in main. Elsewhere than on Linux it does nothing. An
// error names the one that failed; the other is in force.
func Process() error { return process() }
