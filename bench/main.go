// Command bench measures takumi-backup against what a user would take in its place,
// on the same data, in turns.
//
//	go run ./bench                                  everything but databases; half an hour
//	go run ./bench -only databases                  dump and restore of a database
//	go run ./bench -size 512M -limit 8m             everything, within twelve minutes
//	go run ./bench -only peers -rounds 5            beside the peers
//	go run ./bench -only peers -match 'seal.*(takumi|zstd -1)' -size 256M
//
// docs/BENCHMARKS.md says what is measured and how. What happens inside one process
// is measured by Go benchmarks in the packages, with benchstat.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/takumi-backup/takumi-backup/keystore"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	cache   string // corpora and built programs; kept
	scratch string // what is being measured; removed in the end
	size    size   // of the corpora
	rounds  int
	limit   time.Duration // for all rounds; 0 is none
	match   *regexp.Regexp
	builds  []build // of takumi-backup, this checkout's first
	env     []string
	undo    []func() // what ends with the run

	recipient string  // of age
	gcm       float64 // bytes that one core seals in a second
}

type build struct {
	name, path string
	other      bool // than this checkout's
}

func run() error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	b := &bench{size: 1 << 30}
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	usual := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == databases }) // it has a run of its own
	only := flag.String("only", strings.Join(usual, ","), "parts to measure, with commas between them; there is also "+databases)
	match := flag.String("match", "", "measure only what matches this regular expression, as in 'seal.*(takumi|zstd -1)'")
	docs := flag.String("docs", "", "also bring BENCHMARKS.md in this folder up to date")
	flag.IntVar(&b.rounds, "rounds", 5, "how often each is measured")
	flag.DurationVar(&b.limit, "limit", 0, "begin no further round after this time, such as 10m")
	flag.Var(&b.size, "size", "size of the corpora, such as 256M")
	flag.StringVar(&b.cache, "cache", filepath.Join(cache, "takumi-backup-bench"), "folder for corpora, programs and what is made, on the disk to be measured")
	flag.Func("also", "measure another build of takumi-backup next to this checkout's: NAME=PATH (repeatable)", func(v string) error {
		name, path, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return errors.New("not NAME=PATH")
		}
		path, err := filepath.Abs(path)
		b.builds = append(b.builds, build{name, path, true})
		return err
	})
	byLibrary := flag.String("by-library", "", "only seal this file, packed by klauspost/compress, to the path that is the argument, with the key in BACKUP_ENCRYPTION_KEY_FILE")
	flag.Parse()
	if *byLibrary != "" && flag.NArg() == 1 {
		return sealByLibrary(keystore.File{Path: os.Getenv("BACKUP_ENCRYPTION_KEY_FILE")}, *byLibrary, flag.Arg(0))
	}
	if b.match, err = regexp.Compile(*match); err != nil {
		return err
	}
	if b.cache, err = filepath.Abs(b.cache); err != nil {
		return err
	}
	chosen := strings.Split(*only, ",")
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			return fmt.Errorf("-only: no part is called %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	if flag.NArg() > 0 || b.rounds < 1 {
		return errors.New("there are no arguments, and at least one round")
	}
	r, err := b.measureAll(chosen)
	if err != nil {
		return err
	}
	fmt.Print(r.markdown())
	if *docs != "" {
		return r.publish(filepath.Join(*docs, "BENCHMARKS.md"))
	}
	return nil
}

func (b *bench) measureAll(chosen []string) (*results, error) {
	if err := os.MkdirAll(filepath.Join(b.cache, "bin"), 0o700); err != nil {
		return nil, err
	}
	var err error
	if b.scratch, err = os.MkdirTemp(b.cache, "run-"); err != nil {
		return nil, err
	}
	end := sync.OnceFunc(func() {
		for _, undo := range b.undo {
			undo()
		}
		os.RemoveAll(b.scratch)
	})
	defer end()
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stopped
		end()
		os.Exit(130)
	}()
	if err := b.setUp(); err != nil {
		return nil, err
	}
	r := &results{about: b.about(), versions: b.versions()}
	for _, p := range parts {
		if !slices.Contains(chosen, p.name) {
			continue
		}
		jobs, err := p.jobs(b)
		if err != nil {
			return nil, fmt.Errorf("getting the part %s ready: %w", p.name, err)
		}
		jobs = slices.DeleteFunc(jobs, func(j *job) bool { return !b.match.MatchString(p.name + " " + j.op + " " + j.name) })
		r.sections = append(r.sections, section{p, jobs})
	}
	r.gcm = b.gcm
	r.rounds, err = b.measure(r.sections)
	return r, err
}

// size is a flag value: bytes, with an optional K, M or G.
type size int64

func (s *size) String() string { return fmt.Sprintf("%dM", *s>>20) }

func (s *size) Set(text string) error {
	shift := strings.IndexByte(" KMG", (text + " ")[max(0, len(text)-1)])
	n, err := strconv.ParseInt(strings.TrimRight(text, "KMG"), 10, 32)
	if err != nil || n < 1 {
		return errors.New("not a size")
	}
	*s = size(n << (10 * max(0, shift)))
	return nil
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
