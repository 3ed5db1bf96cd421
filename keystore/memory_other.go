//go:build unix && !linux

package keystore

import "os"

// inMemory is never true here: the deliveries it is about are Linux's.
func inMemory(*os.File) bool { return false }
