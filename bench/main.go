// Command bench measures takumi-backup against what a user would take in its
// place, and against what the machine can do at all, in one run on one machine.
//
//	go run ./bench                                  everything; hours with the default sizes
//	go run ./bench -only peers -rounds 5            side by side with the peers
//	go run ./bench -only peers -size 256M -match 'takumi|zstd -1'
//
// See docs/BENCHMARKS.md for what is measured and how.
package main

import (
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
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

type options struct {
	size   size
	rounds int
	match  *regexp.Regexp
}

func run() error {
	cacheRoot, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	b := new(bench)
	o := options{size: 1 << 30}
	match := flag.String("match", "", "measure only the contenders whose name matches this regular expression")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each is measured")
	flag.Var(&o.size, "size", "size of the corpora, such as 256M or 1G")
	flag.StringVar(&b.cache, "cache", filepath.Join(cacheRoot, "takumi-backup-bench"), "folder for corpora, programs and what is measured; on the disk to be measured")
	flag.Func("also", "measure another build of takumi-backup too: NAME=PATH (repeatable)", func(v string) error {
		name, path, ok := strings.Cut(v, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=PATH", v)
		}
		b.builds = append(b.builds, build{name, path})
		return nil
	})
	flag.Parse()
	if o.match, err = regexp.Compile(*match); err != nil {
		return err
	}
	if err := b.setUp(); err != nil {
		return err
	}
	defer os.RemoveAll(b.scratch)
	return b.comparePeers(o)
}

func (b *bench) comparePeers(o options) error {
	plain, err := corpusNamed("plain")
	if err != nil {
		return err
	}
	input, err := plain.file(b.cache, int64(o.size))
	if err != nil {
		return err
	}
	if err := b.fasterAge(input, 3); err != nil {
		return err
	}
	found, missing := b.peers(input)
	for _, m := range missing {
		progress("left out: %s", m)
	}
	var chosen []contender
	for _, c := range found {
		if o.match.MatchString(c.name) {
			chosen = append(chosen, c)
		}
	}
	seal := make(map[string][]float64)
	open := make(map[string][]float64)
	sizes := make(map[string]int64)
	for round := range o.rounds {
		for i := range chosen {
			c := chosen[(i+round)%len(chosen)]
			for _, argv := range c.prepare {
				if _, err := b.output(argv...); err != nil {
					return err
				}
			}
			s, err := c.seal.run(b.env)
			if err != nil {
				return err
			}
			seal[c.name] = append(seal[c.name], s.Seconds)
			if sizes[c.name], err = sizeOf(c.output); err != nil {
				return err
			}
			opened, err := c.open.run(b.env)
			if err != nil {
				return err
			}
			open[c.name] = append(open[c.name], opened.Seconds)
			progress("round %d: %-22s seal %6.2f s %6.2f cpu %4d MiB, open %6.2f s %6.2f cpu %4d MiB", round+1, c.name,
				s.Seconds, s.CPU, s.Memory>>20, opened.Seconds, opened.CPU, opened.Memory>>20)
		}
	}
	info, err := os.Stat(input)
	if err != nil {
		return err
	}
	for _, c := range chosen {
		fmt.Printf("%-22s seal %7.1f MB/s ±%2.0f%% (x%.2f)  open %7.1f MB/s ±%2.0f%% (x%.2f)  ratio %.4f\n", c.name,
			float64(info.Size())/mb/median(seal[c.name]), 100*spread(seal[c.name]), pairwise(seal[c.name], seal[chosen[0].name]),
			float64(info.Size())/mb/median(open[c.name]), 100*spread(open[c.name]), pairwise(open[c.name], open[chosen[0].name]),
			float64(info.Size())/float64(sizes[c.name]))
	}
	return nil
}

// size is a flag value: bytes, with an optional K, M, G or T.
type size int64

func (s *size) String() string { return sizeText(int64(*s)) }

func (s *size) Set(text string) error {
	digits := strings.TrimRight(strings.TrimSuffix(strings.ToUpper(text), "IB"), "KMGT")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 {
		return fmt.Errorf("%q is not a size", text)
	}
	if unit := strings.ToUpper(text)[len(digits):]; unit != "" {
		n <<= 10 * (1 + strings.IndexByte("KMGT", unit[0]))
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
