// Package harden keeps the memory of this process, which holds keys and
// plaintext, from being written to disk or read by the user's other processes.
package harden

// Process turns core dumps off. On Linux it takes away the right to a core
// file (RLIMIT_CORE, soft and hard) and marks the process as not dumpable
// (PR_SET_DUMPABLE). The limit alone is not enough, because a core that is
// piped to a collector ignores it; the mark alone is not enough, because a
// child process starts without it, whereas the limit is inherited. Without the
// mark, the same user's other processes may also attach with a debugger.
//
// It cannot be undone. Call it first in main. Elsewhere than on Linux it does
// nothing. An error says which of the two failed; the other is still in force.
func Process() error { return process() }
