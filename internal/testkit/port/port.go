// Package port chooses ports for servers that are told theirs.
package port

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Choose returns a port of 127.0.0.1 at which nothing listens. It is below those that the
// kernel gives to whoever asks for any, so that nobody is given it before the server starts,
// or while it is down.
func Choose() (port int, err error) {
	for range 100 {
		port = 16384 + rand.IntN(16384)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}

// Free is Choose for a test.
func Free(t testing.TB) int {
	t.Helper()
	port, err := Choose()
	if err != nil {
		t.Fatal(err)
	}
	return port
}
