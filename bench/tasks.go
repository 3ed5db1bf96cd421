package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// task is something to measure inside a child process.
type task struct {
	Kind  string
	File  string `json:",omitempty"`
	Key   string `json:",omitempty"` // key file
	Codec string `json:",omitempty"`
	Level string `json:",omitempty"`
	Hash  bool   `json:",omitempty"`
	Many  bool   `json:",omitempty"` // on all cores at once
	Count int    `json:",omitempty"`
	Size  int64  `json:",omitempty"`
	// Profile is where a CPU profile of the task is written to.
	Profile string `json:",omitempty"`
}

func (t *task) String() string {
	words := []string{t.Kind}
	for _, w := range []string{t.Codec, t.Level, t.File} {
		if w != "" {
			words = append(words, w)
		}
	}
	if t.Hash {
		words = append(words, "with SHA-256")
	}
	return strings.Join(words, " ")
}

// tasks are what a task's Kind names. Each runs its clock itself, so that
// getting ready does not count.
var tasks = map[string]func(*task, *clock) error{
	"seal":         (*task).seal,
	"open":         (*task).open,
	"random reads": (*task).randomReads,
	"far read":     (*task).farRead,
	"gcm seal":     (*task).gcmSeal,
	"gcm open":     (*task).gcmOpen,
	"sha256":       (*task).sha256,
	"copy":         (*task).copy,
	"pipe":         (*task).pipe,
	"read file":    (*task).readFile,
	"write file":   (*task).writeFile,
	"pack":         (*task).pack,
	"unpack":       (*task).unpack,
}

// clock measures time and CPU between start and stop.
type clock struct {
	sample
	began time.Time
	cpu   float64
}

func (c *clock) start() { c.cpu, c.began = cpuSeconds(), time.Now() }

func (c *clock) stop() {
	c.Seconds = time.Since(c.began).Seconds()
	c.CPU = cpuSeconds() - c.cpu
}

func (c *clock) set(name string, value float64) {
	if c.Values == nil {
		c.Values = make(map[string]float64)
	}
	c.Values[name] = value
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail with these arguments
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func (t *task) measure() (sample, error) {
	f, known := tasks[t.Kind]
	if !known {
		return sample{}, fmt.Errorf("unknown task %q", t.Kind)
	}
	if t.Profile != "" {
		out, err := os.Create(t.Profile)
		if err != nil {
			return sample{}, err
		}
		defer out.Close()
		if err := pprof.StartCPUProfile(out); err != nil {
			return sample{}, err
		}
		defer pprof.StopCPUProfile()
	}
	var c clock
	if err := f(t, &c); err != nil {
		return sample{}, err
	}
	c.Memory = peakResident()
	c.Largest = c.Memory
	return c.sample, nil
}

// peakResident is the most memory this process had resident. Unlike getrusage's
// figure it does not begin with that of the process before exec.
func peakResident() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kib), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

func (t *task) loadKey() (*kek.Key, error) {
	src, err := keystore.Parse("file:" + t.Key)
	if err != nil {
		return nil, err
	}
	return src.Load(context.Background())
}

// besideHash hashes what is written on another goroutine and discards it: the
// store's way of hashing, without its file.
type besideHash struct {
	sha  hash.Hash
	in   chan []byte
	done chan struct{}
}

func newBesideHash() *besideHash {
	b := &besideHash{sha256.New(), make(chan []byte), make(chan struct{})}
	go func() {
		for p := range b.in {
			b.sha.Write(p)
			b.done <- struct{}{}
		}
	}()
	return b
}

func (b *besideHash) Write(p []byte) (int, error) {
	b.in <- p
	<-b.done
	return len(p), nil
}

// inputs loads the key and opens File, which the caller closes.
func (t *task) inputs() (*kek.Key, *os.File, error) {
	key, err := t.loadKey()
	if err != nil {
		return nil, nil, err
	}
	src, err := os.Open(t.File)
	return key, src, err
}

// seal seals File to nowhere.
func (t *task) seal(c *clock) error {
	key, src, err := t.inputs()
	if err != nil {
		return err
	}
	defer src.Close()
	dst := io.Discard
	if t.Hash {
		dst = newBesideHash()
	}
	counted := &countingWriter{w: dst}
	c.start()
	// Not an *os.File, which would take ways of its own through io.Copy.
	_, err = backup.Seal(context.Background(), counted, struct{ io.Reader }{src},
		envelope.Label{Created: time.Now(), Kind: "database", Name: "bench"},
		pack.Options{Codec: pack.Codec(t.Codec), Level: pack.Level(t.Level)}, slot.Recipients(key)...)
	c.stop()
	c.set("size", float64(counted.n))
	return err
}

// open opens File to nowhere.
func (t *task) open(c *clock) error {
	key, src, err := t.inputs()
	if err != nil {
		return err
	}
	defer src.Close()
	c.start()
	r, err := envelope.Open(context.Background(), src, envelope.Options{}, key)
	if err == nil {
		err = backup.Unseal(io.Discard, r, false, new(backup.Meter))
	}
	c.stop()
	return err
}

// randomReads reads Count ranges of Size bytes from anywhere in File.
func (t *task) randomReads(c *clock) error {
	r, done, err := t.openAt()
	if err != nil {
		return err
	}
	defer done()
	random := rand.New(rand.NewChaCha8([32]byte{2}))
	buf := make([]byte, t.Size)
	took := make([]float64, 0, t.Count)
	c.start()
	for range t.Count {
		began := time.Now()
		if _, err := r.ReadAt(buf, random.Int64N(r.Size()-t.Size)); err != nil {
			return err
		}
		took = append(took, time.Since(began).Seconds()*1e6)
	}
	c.stop()
	slices.Sort(took)
	c.set("median µs", median(took))
	c.set("p99 µs", took[len(took)*99/100])
	return nil
}

// farRead opens File, checks its end, and reads Size bytes from its middle.
func (t *task) farRead(c *clock) error {
	buf := make([]byte, t.Size)
	c.start()
	r, done, err := t.openAt()
	if err != nil {
		return err
	}
	defer done()
	_, err = r.ReadAt(buf, farOffset(r.Size()))
	c.stop()
	return err
}

func (t *task) openAt() (*envelope.ReaderAt, func() error, error) {
	key, err := t.loadKey()
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(t.File)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	r, err := envelope.OpenAt(context.Background(), f, info.Size(), envelope.Options{}, key)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return r, f.Close, nil
}

// blocks returns up to n blocks of File, taken evenly from all of it.
func (t *task) blocks(n int) ([][]byte, error) {
	f, err := os.Open(t.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	have := int(info.Size() / pack.DefaultBlockSize)
	n = min(n, have)
	if n == 0 {
		return nil, fmt.Errorf("%s is smaller than a block", t.File)
	}
	r := bufio.NewReader(f)
	var blocks [][]byte
	for i := range n {
		if _, err := f.Seek(int64(have/n*i)*pack.DefaultBlockSize, io.SeekStart); err != nil {
			return nil, err
		}
		r.Reset(f)
		block := make([]byte, pack.DefaultBlockSize)
		if _, err := io.ReadFull(r, block); err != nil {
			return nil, err
		}
		blocks = append(blocks, block)
	}
	return blocks, nil
}
