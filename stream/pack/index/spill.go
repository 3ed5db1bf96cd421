package index

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/takumi-backup/takumi-backup/stream"
)

const spillContext = "takumi-backup/v1 index spill"

// spill is a temporary file of pieces, each a sealed stream under a key of its
// own. The file loses its name at once where the system allows it, and close
// removes it elsewhere.
type spill struct {
	file   *os.File
	end    int64
	pieces []spilled
}

type spilled struct {
	key         [stream.KeySize]byte
	begin, size int64
}

// write adds a piece: what fill writes.
func (s *spill) write(dir string, fill func(io.Writer) error) error {
	if s.file == nil {
		file, err := os.CreateTemp(dir, ".takumi-backup-index-*")
		if err != nil {
			return fmt.Errorf("making a temporary file for the index: %w", err)
		}
		s.file = file
		os.Remove(file.Name()) // where that fails, close tries again
	}
	p := spilled{begin: s.end}
	rand.Read(p.key[:]) // never fails
	counted := &counter{w: io.NewOffsetWriter(s.file, s.end)}
	sealing, err := stream.NewWriter(counted, p.key[:], []byte(spillContext))
	if err == nil {
		out := bufio.NewWriterSize(sealing, 64<<10)
		err = errors.Join(fill(out), out.Flush())
	}
	if err == nil {
		err = sealing.Close()
	}
	if err != nil {
		return fmt.Errorf("writing the temporary file of the index: %w", err)
	}
	p.size = counted.n
	s.end += p.size
	s.pieces = append(s.pieces, p)
	return nil
}

func (s *spill) read(p *spilled) (io.Reader, error) {
	r, err := stream.NewReader(io.NewSectionReader(s.file, p.begin, p.size), p.key[:], []byte(spillContext))
	if err != nil {
		return nil, fmt.Errorf("reading the temporary file of the index: %w", err)
	}
	return r, nil
}

func (s *spill) close() error {
	for i := range s.pieces {
		clear(s.pieces[i].key[:])
	}
	s.pieces = nil
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	os.Remove(s.file.Name()) // mostly gone already
	s.file = nil
	return err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
