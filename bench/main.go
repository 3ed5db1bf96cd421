// Command bench measures takumi-backup against what a user would take in its
// place, and against what the machine can do at all, in one run on one machine.
//
//	go run ./bench                             everything; hours with the default sizes
//	go run ./bench -only peers -rounds 5       side by side with the peers
//	go run ./bench -only peers -size 256M -match 'peers/(seal|open)/(takumi|zstd -1)'
//
// docs/BENCHMARKS.md says what is measured and how.
package main

import (
	"crypto/rand"
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
	"syscall"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == childFlag {
		os.Exit(child(os.Args[2]))
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// parts are what -only chooses from, in the order of a full run.
var parts = []string{"peers", "tree", "work", "limits", "cores", "parallel", "growth", "access"}

type options struct {
	only    []string
	match   *regexp.Regexp
	rounds  int
	size    size // of the corpora
	largest size // of the growth
	huge    size // of the sparse backup
	fill    bool
	machine string
	results string // folder
	docs    string // folder
	render  string // results to render again
}

func parseFlags(b *bench) (options, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return options{}, err
	}
	o := options{size: 1 << 30, largest: 16 << 30, huge: 100 << 30}
	only := flag.String("only", strings.Join(parts, ","), "parts to measure, with commas between them")
	match := flag.String("match", "", "measure only what matches this regular expression, as in 'seal/(takumi|zstd -1)'")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each is measured")
	flag.Var(&o.size, "size", "size of the corpora, such as 256M")
	flag.Var(&o.largest, "largest", "largest input of the part growth")
	flag.Var(&o.huge, "huge", "size of the sparse backup of the part access")
	flag.StringVar(&b.cache, "cache", filepath.Join(cache, "takumi-backup-bench"), "folder for corpora, programs and what is measured, on the disk to be measured")
	flag.BoolVar(&o.fill, "fill", false, "fill the page cache first: steadier figures in a virtual machine that gives free memory back to its host")
	flag.StringVar(&b.profiles, "profiles", "", "write a CPU profile of the last run of each task in process to this folder")
	flag.StringVar(&o.machine, "machine", "", "name of the machine in the results (default: processor and cores)")
	flag.StringVar(&o.results, "results", "", "also write the results to this folder, as MACHINE.json")
	flag.StringVar(&o.docs, "docs", "", "also bring BENCHMARKS.md and its charts in this folder up to date")
	flag.StringVar(&o.render, "render", "", "measure nothing: take the results from this file")
	flag.Func("also", "measure another build of takumi-backup beside this checkout's: NAME=PATH (repeatable)", func(v string) error {
		name, path, ok := strings.Cut(v, "=")
		if !ok || name == "" || strings.Contains(name, "/") {
			return errors.New("not NAME=PATH")
		}
		path, err := filepath.Abs(path)
		b.builds = append(b.builds, build{name, path})
		return err
	})
	flag.Parse()
	if b.cache, err = filepath.Abs(b.cache); err != nil {
		return o, err
	}
	if b.profiles != "" {
		if err := os.MkdirAll(b.profiles, 0o755); err != nil {
			return o, err
		}
	}
	if flag.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if o.rounds < 1 {
		return o, errors.New("-rounds is less than 1")
	}
	for _, part := range strings.Split(*only, ",") {
		if !slices.Contains(parts, part) {
			return o, fmt.Errorf("-only: no part is called %q; there are %s", part, strings.Join(parts, ", "))
		}
		o.only = append(o.only, part)
	}
	o.match, err = regexp.Compile(*match)
	return o, err
}

func run() error {
	b := new(bench)
	o, err := parseFlags(b)
	if err != nil {
		return err
	}
	var r *results
	if o.render != "" {
		r, err = loadResults(o.render)
	} else {
		r, err = b.measureAll(o)
	}
	if err != nil {
		return err
	}
	r.print()
	if o.results != "" {
		if err := os.MkdirAll(o.results, 0o755); err != nil {
			return err
		}
		if err := r.save(filepath.Join(o.results, r.Machine.Name+".json")); err != nil {
			return err
		}
	}
	if o.docs != "" {
		return r.publish(o.docs)
	}
	return nil
}

func (b *bench) measureAll(o options) (*results, error) {
	defer func() {
		if b.scratch != "" {
			os.RemoveAll(b.scratch)
		}
	}()
	if err := b.setUp(); err != nil {
		return nil, err
	}
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stopped
		os.RemoveAll(b.scratch)
		os.Exit(130)
	}()
	r := &results{Machine: thisMachine(b.cache), Date: today(), Commit: commit(), Size: int64(o.size), Rounds: o.rounds}
	if o.machine != "" {
		r.Machine.Name = slug(o.machine)
	}
	inputs, err := b.inputs(o)
	if err != nil {
		return nil, err
	}
	if o.fill {
		if err := b.fillPageCache(); err != nil {
			return nil, fmt.Errorf("filling the page cache: %w", err)
		}
	}
	if err := b.fasterAge(inputs["plain"], min(3, o.rounds)); err != nil {
		return nil, err
	}
	r.Tools = b.tools()
	// Limits stand in the same rounds as the work that is held against them.
	for _, group := range [][]string{{"peers"}, {"tree"}, {"work", "limits"}, {"cores"}, {"parallel"}, {"growth"}, {"access"}} {
		var blocks []block
		for _, part := range group {
			if slices.Contains(o.only, part) {
				more, err := b.jobsOf(part, o, inputs)
				if err != nil {
					return nil, fmt.Errorf("getting the part %s ready: %w", part, err)
				}
				blocks = append(blocks, more...)
			}
		}
		found, err := b.measure(blocks, o.rounds, o.match)
		if err != nil {
			return nil, err
		}
		r.Measurements = append(r.Measurements, found...)
	}
	return r, nil
}

// inputs makes the corpora that the chosen parts need.
func (b *bench) inputs(o options) (map[string]string, error) {
	inputs := make(map[string]string)
	for _, c := range corpora {
		if c.name != "plain" && !slices.Contains(o.only, "work") && !slices.Contains(o.only, "limits") {
			continue
		}
		path, err := c.file(b.cache, int64(o.size))
		if err != nil {
			return nil, err
		}
		inputs[c.name] = path
	}
	return inputs, nil
}

func (b *bench) jobsOf(part string, o options, inputs map[string]string) ([]block, error) {
	plain := inputs["plain"]
	switch part {
	case "peers":
		return b.peerJobs(plain)
	case "tree":
		return b.treeJobs()
	case "work":
		return b.workJobs(inputs)
	case "limits":
		return b.limitJobs(inputs, int64(o.size)), nil
	case "cores":
		return b.coreJobs(plain)
	case "parallel":
		c, err := corpusNamed("plain")
		if err != nil {
			return nil, err
		}
		quarter, err := c.file(b.cache, int64(o.size)/4)
		if err != nil {
			return nil, err
		}
		return b.parallelJobs(quarter)
	case "growth":
		return b.growthJobs(int64(o.largest))
	}
	return b.accessJobs(plain, int64(o.huge))
}

// size is a flag value: bytes, with an optional K, M, G or T.
type size int64

func (s *size) String() string { return sizeText(int64(*s)) }

var sizeSyntax = regexp.MustCompile(`^([0-9]+)(?:([KMGT])(?:IB)?)?$`)

func (s *size) Set(text string) error {
	match := sizeSyntax.FindStringSubmatch(strings.ToUpper(text))
	if match == nil {
		return errors.New("not a size")
	}
	n, err := strconv.ParseInt(match[1], 10, 64)
	if match[2] != "" {
		shift := 10 * (1 + strings.Index("KMGT", match[2]))
		if n > 1<<62>>shift {
			return errors.New("too large")
		}
		n <<= shift
	}
	if err != nil || n == 0 {
		return errors.New("not a size")
	}
	*s = size(n)
	return nil
}

// progress tells the person who waits what is going on.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand stops the program instead
	return b
}
