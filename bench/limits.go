package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/takumi-backup/takumi-backup/stream"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// The machine's limits: each part of the work by itself, as Go does it, with
// nothing around it. A task runs for about limitTime and gives bytes per second
// of one core, or of all with Many.

const limitTime = 700 * time.Millisecond

// repeat calls f, which handles n bytes, until time is up, on one core or on
// all, and notes the speed. each gives every goroutine an f of its own.
func (t *task) repeat(c *clock, n int, each func() func()) {
	workers := 1
	if t.Many {
		workers = runtime.GOMAXPROCS(0)
	}
	rounds := make([]int, workers)
	var wg sync.WaitGroup
	c.start()
	for i := range workers {
		f := each()
		wg.Go(func() {
			for time.Since(c.began) < limitTime {
				f()
				rounds[i]++
			}
		})
	}
	wg.Wait()
	c.stop()
	total := 0
	for _, r := range rounds {
		total += r
	}
	c.setSpeed(int64(total) * int64(n))
}

func (c *clock) setSpeed(n int64) {
	c.set("MB/s", float64(n)/mb/c.Seconds)
	c.set("CPU MB/s", float64(n)/mb/c.CPU)
}

func newGCM() cipher.AEAD {
	block, err := aes.NewCipher(randomBytes(32))
	if err == nil {
		var gcm cipher.AEAD
		if gcm, err = cipher.NewGCM(block); err == nil {
			return gcm
		}
	}
	panic("bench: " + err.Error()) // 32 bytes are a key
}

// A run of the stream, so that the data comes from the same cache.
const gcmRun = 32

func (t *task) gcmSeal(c *clock) error {
	t.repeat(c, gcmRun*stream.ChunkSize, func() func() {
		gcm := newGCM()
		plain := randomBytes(gcmRun * stream.ChunkSize)
		sealed := make([]byte, 0, gcmRun*(stream.ChunkSize+stream.TagSize))
		nonce := make([]byte, gcm.NonceSize())
		return func() {
			sealed = sealed[:0]
			for i := range gcmRun {
				sealed = gcm.Seal(sealed, nonce, plain[i*stream.ChunkSize:(i+1)*stream.ChunkSize], nil)
			}
		}
	})
	return nil
}

func (t *task) gcmOpen(c *clock) error {
	t.repeat(c, gcmRun*stream.ChunkSize, func() func() {
		gcm := newGCM()
		nonce := make([]byte, gcm.NonceSize())
		var chunks [][]byte
		for range gcmRun {
			chunks = append(chunks, gcm.Seal(nil, nonce, randomBytes(stream.ChunkSize), nil))
		}
		plain := make([]byte, 0, gcmRun*stream.ChunkSize)
		return func() {
			plain = plain[:0]
			for _, chunk := range chunks {
				var err error
				if plain, err = gcm.Open(plain, nonce, chunk, nil); err != nil {
					panic("bench: " + err.Error()) // it was sealed right above
				}
			}
		}
	})
	return nil
}

func (t *task) sha256(c *clock) error {
	t.repeat(c, 1<<20, func() func() {
		h := sha256.New()
		data := randomBytes(1 << 20)
		return func() { h.Write(data) }
	})
	return nil
}

func (t *task) copy(c *clock) error {
	// Larger than the caches, as blocks on their way from stage to stage are.
	const n = 64 << 20
	from, to := randomBytes(n), make([]byte, n)
	t.repeat(c, n, func() func() { return func() { copy(to, from) } })
	return nil
}

// pipe sends bytes from one goroutine to another.
func (t *task) pipe(c *clock) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	c.start()
	go func() {
		defer w.Close()
		data := make([]byte, 128<<10)
		for time.Since(c.began) < limitTime {
			if _, err := w.Write(data); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 1<<20)
	var total int64
	for {
		n, err := r.Read(buf)
		total += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	c.stop()
	c.setSpeed(total)
	return nil
}

// readFile reads File, which is cached by then.
func (t *task) readFile(c *clock) error {
	buf := make([]byte, 1<<20)
	var total int64
	for range 2 { // the first time brings it into the cache
		f, err := os.Open(t.File)
		if err != nil {
			return err
		}
		total = 0
		c.start()
		for {
			n, err := f.Read(buf)
			total += int64(n)
			if err == io.EOF {
				break
			}
			if err != nil {
				f.Close()
				return err
			}
		}
		c.stop()
		f.Close()
	}
	c.setSpeed(total)
	return nil
}

// writeFile writes Size random bytes to a new File and syncs it.
func (t *task) writeFile(c *clock) error {
	data := randomBytes(1 << 20)
	f, err := os.Create(t.File)
	if err != nil {
		return err
	}
	defer os.Remove(t.File)
	defer f.Close()
	c.start()
	for n := int64(0); n < t.Size; n += int64(len(data)) {
		if _, err := f.Write(data); err != nil {
			return err
		}
	}
	err = f.Sync()
	c.stop()
	c.setSpeed(t.Size)
	return err
}

const packSample = 48 // blocks

// pack packs blocks of File, one frame or member each.
func (t *task) pack(c *clock) error {
	blocks, err := t.blocks(packSample)
	if err != nil {
		return err
	}
	out := &countingWriter{w: io.Discard}
	if err := t.packAll(out, blocks); err != nil {
		return err
	}
	t.repeat(c, pack.DefaultBlockSize, func() func() {
		w, err := t.packer(io.Discard)
		i := 0
		return func() {
			if err == nil {
				_, err = w.Write(blocks[i%len(blocks)])
			}
			if err != nil {
				panic("bench: " + err.Error()) // it worked above
			}
			i++
		}
	})
	c.set("ratio", float64(len(blocks)*pack.DefaultBlockSize)/float64(out.n))
	return nil
}

func (t *task) packer(out io.Writer) (*pack.Writer, error) {
	return pack.NewWriter(out, pack.Options{Codec: pack.Codec(t.Codec), Level: pack.Level(t.Level)})
}

// packAll packs on this goroutine alone.
func (t *task) packAll(out io.Writer, blocks [][]byte) error {
	w, err := t.packer(out)
	if err != nil {
		return err
	}
	for _, b := range blocks {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return w.Close()
}

// unpack unpacks what pack makes of blocks of File, a frame at a time.
func (t *task) unpack(c *clock) error {
	blocks, err := t.blocks(packSample)
	if err != nil {
		return err
	}
	var frames [][]byte
	for _, b := range blocks {
		var frame bytes.Buffer
		if err := t.packAll(&frame, [][]byte{b}); err != nil {
			return err
		}
		frames = append(frames, frame.Bytes())
	}
	t.repeat(c, pack.DefaultBlockSize, func() func() {
		one, err := t.unpacker()
		i := 0
		return func() {
			if err == nil {
				err = one(frames[i%len(frames)])
			}
			if err != nil {
				panic("bench: " + err.Error()) // it was packed right above
			}
			i++
		}
	})
	return nil
}

// unpacker returns what unpacks one frame or member. For zstd that is the
// library's own call: the limit is what it can do, not what pack makes of it.
func (t *task) unpacker() (func([]byte) error, error) {
	switch pack.Codec(t.Codec) {
	case pack.Zstd:
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		buf := make([]byte, 0, pack.DefaultBlockSize)
		return func(frame []byte) error {
			_, err := d.DecodeAll(frame, buf)
			return err
		}, nil
	case pack.Gzip:
		return func(member []byte) error {
			r, err := pack.NewReader(bytes.NewReader(member), pack.Gzip)
			if err == nil {
				_, err = io.Copy(io.Discard, struct{ io.Reader }{r})
			}
			return err
		}, nil
	}
	return nil, fmt.Errorf("nothing unpacks %q", t.Codec)
}
