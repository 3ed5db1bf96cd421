package backup

import (
	"io"

	"github.com/takumi-backup/takumi-backup/envelope"
)

// Plaintext reads the original bytes of a backup. Its end is io.EOF only when all
// of them have proved authentic. It belongs to one goroutine.
type Plaintext struct {
	*io.PipeReader
	done chan struct{}
}

// NewPlaintext begins to open r, on all cores, and counts what comes out. The
// caller calls Close, which waits for that to end; r is not closed.
func NewPlaintext(r *envelope.Reader, m *Meter) *Plaintext {
	from, to := io.Pipe()
	c := &Plaintext{from, make(chan struct{})}
	go func() {
		defer close(c.done)
		to.CloseWithError(Unseal(to, r, false, m))
	}()
	return c
}

// Close ends the reading and waits for what works on it: a Read of the file
// below, at most.
func (c *Plaintext) Close() error {
	err := c.PipeReader.Close()
	<-c.done
	return err
}
