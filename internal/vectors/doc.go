// Package vectors holds every reader of sealed backups against the published
// vectors of docs/vectors: this program's, in order and at random, and
// scripts/recover.py, which shares no code with it. It has tests alone.
//
// The vectors are made here as well, from recipes over a small kit that seals
// by itself: it can write what a good writer never would, and a mistake in the
// shipped writer cannot hide behind the same mistake in the vectors. Nothing in
// them is random or depends on a compressor, so that
//
//	go test ./internal/vectors -update
//
// gives the same bytes with every release of Go, and a vector that changes was
// changed on purpose.
package vectors
