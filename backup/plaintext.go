package backup

import (
	"io"

	"github.com/takumi-backup/takumi-backup/envelope"
)

// Plaintext reads the original bytes of a backup. It ends with io.EOF only when all of them
// are authentic. It belongs to one goroutine.
type Plaintext struct {
	*io.PipeReader
	done chan struct{}
}

// NewPlaintext opens r on all cores and counts the output. The caller calls Close, which
// waits for that to end; r is not closed.
func NewPlaintext(r *envelope.Reader, m *Meter) *Plaintext {
	from, to := io.Pipe()
	c := &Plaintext{from, make(chan struct{})}
	go func() {
		defer close(c.done)
		to.CloseWithError(Unseal(to, r, false, m))
	}()
	return c
}

// Close ends the reading and waits for its goroutines: for one Read of the file at most.
func (c *Plaintext) Close() error {
	err := c.PipeReader.Close()
	<-c.done
	return err
}
