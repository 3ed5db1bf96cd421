package backup

import (
	"io"

	"github.com/takumi-backup/takumi-backup/envelope"
)

// Content reads the original bytes of a backup. Its end is io.EOF only when all
// of them have proved authentic. It belongs to one goroutine.
type Content struct {
	*io.PipeReader
	done chan struct{}
}

// NewContent begins to open r, on all cores, and counts what comes out. The
// caller calls Close, which waits for that to end; r is not closed.
func NewContent(r *envelope.Reader, m *Meter) *Content {
	from, to := io.Pipe()
	c := &Content{from, make(chan struct{})}
	go func() {
		defer close(c.done)
		to.CloseWithError(Unseal(to, r, false, m))
	}()
	return c
}

// Close ends the reading and waits for what works on it: a Read of the file
// below, at most.
func (c *Content) Close() error {
	err := c.PipeReader.Close()
	<-c.done
	return err
}
