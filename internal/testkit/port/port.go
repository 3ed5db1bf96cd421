// Package port chooses ports for servers that are told theirs.
package port

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Free returns a port of 127.0.0.1 at which nothing listens. It is below those that the
// kernel gives to whoever asks for any, so that nobody is given it before the server starts.
func Free(t testing.TB) int {
	t.Helper()
	for range 100 {
		chosen := 16384 + rand.IntN(16384)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", chosen)); err == nil {
			l.Close()
			return chosen
		}
	}
	t.Fatal("no port is free")
	return 0
}
