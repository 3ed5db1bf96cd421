package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type job struct {
	op, name string     // what is done, and by whom
	stages   [][]string // programs; the first of each is a path
	stdin    string     // a file; without one, nothing
	stdout   string     // a file; without one, nowhere
	makes    []string   // files and folders that it makes; the first one's size counts
	before   []string   // a program to run first, outside the clock
	sync     bool       // what it makes is synced within the clock
	bytes    int64      // of plaintext that go through
	server   string     // the process of a PostgreSQL server that works for it
	once     bool       // stop the clock at the first byte that comes out

	command string
	size    int64 // of what was made
	samples []sample
}

type sample struct {
	seconds, cpu float64   // by the clock; user and system of all processes
	memory       int64     // the peaks of all programs, in bytes
	programs     []float64 // of cpu, by stage
	server       float64   // of cpu
	// disturbed says that other processes, or the host, took a tenth of the cores'
	// time or more.
	disturbed bool
}

// measure runs all jobs in every round, those of a part in turns, beginning with
// another one each time. What was disturbed is run again, twice at most and not
// after the limit. What took long is not in further rounds if there is a limit.
func (b *bench) measure(sections []section) (rounds int, err error) {
	began := time.Now()
	late := func() bool { return b.limit > 0 && time.Since(began) > b.limit }
	for _, s := range sections {
		for _, j := range s.jobs {
			j.command = b.tidy(j.String())
		}
	}
	for ; rounds == 0 || rounds < b.rounds && !late(); rounds++ {
		for _, section := range sections {
			for i := range section.jobs {
				j := section.jobs[(i+rounds)%len(section.jobs)]
				if b.limit > 0 && rounds > 0 && j.samples[0].seconds > 15 {
					continue
				}
				var s sample
				for try := 0; try == 0 || s.disturbed && try < 3 && !late(); try++ {
					if s, err = b.once(j); err != nil {
						return rounds, fmt.Errorf("%s, %s: %w", j.op, j.name, err)
					}
				}
				j.samples = append(j.samples, s)
				progress("round %d  %-14s %-22s %8.3f s, %6.2f s of CPU, %4d MiB%s", rounds+1, j.op, j.name, s.seconds, s.cpu, s.memory>>20,
					map[bool]string{true: ", disturbed"}[s.disturbed])
			}
		}
	}
	return rounds, nil
}

func (b *bench) once(j *job) (s sample, err error) {
	for _, path := range j.makes {
		if err := os.RemoveAll(path); err != nil {
			return s, err
		}
	}
	if j.before != nil {
		if _, err := b.output(j.before...); err != nil {
			return s, err
		}
	}
	busy, server := busySeconds(), 0.0
	if j.server != "" {
		server = serverSeconds(j.server)
	}
	if s, err = j.run(b.env); err != nil {
		return s, err
	}
	if j.server != "" {
		s.server = serverSeconds(j.server) - server
		s.cpu += s.server
	}
	s.disturbed = busySeconds()-busy-s.cpu > 0.1*s.seconds*cores()+0.02
	if len(j.makes) > 0 {
		j.size, err = sizeOf(j.makes[0])
	}
	return s, err
}

func (j *job) run(env []string) (s sample, err error) {
	var cmds []*exec.Cmd
	var ours []*os.File // ends of pipes that only the programs may hold
	var in *os.File
	if j.stdin != "" {
		if in, err = os.Open(j.stdin); err != nil {
			return s, err
		}
		ours = append(ours, in)
	}
	for i, argv := range j.stages {
		cmd := &exec.Cmd{Path: argv[0], Args: argv, Env: env, Stderr: new(bytes.Buffer)}
		if in != nil {
			cmd.Stdin = in
		}
		switch last := i == len(j.stages)-1; {
		case !last || j.once:
			r, w, err := os.Pipe()
			if err != nil {
				return s, err
			}
			cmd.Stdout, in = w, r
			if ours = append(ours, w); !last {
				ours = append(ours, r)
			}
		case j.stdout != "":
			out, err := os.OpenFile(j.stdout, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
			if err != nil {
				return s, err
			}
			cmd.Stdout = out
			ours = append(ours, out)
		}
		cmds = append(cmds, cmd)
	}
	began := time.Now()
	for _, cmd := range cmds {
		if err := cmd.Start(); err != nil {
			return s, err
		}
	}
	for _, f := range ours {
		f.Close()
	}
	if j.once {
		_, err = in.Read(make([]byte, 1))
		s.seconds = time.Since(began).Seconds()
		in.Close() // the programs die of it, as they should
	}
	for _, cmd := range cmds {
		if e := cmd.Wait(); e != nil && err == nil && !j.once {
			err = fmt.Errorf("%s: %w: %s", cmd.Path, e, bytes.TrimSpace(cmd.Stderr.(*bytes.Buffer).Bytes()))
		}
		s.programs = append(s.programs, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
		s.cpu += s.programs[len(s.programs)-1]
		s.memory += cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10 // Linux counts in KiB
	}
	if err == nil && j.sync {
		err = syncTree(j.makes[0])
	}
	if !j.once {
		s.seconds = time.Since(began).Seconds()
	}
	return s, err
}

func syncTree(path string) error {
	return filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}

// sizeOf returns the bytes of a file, or of all files in a folder.
func sizeOf(path string) (n int64, err error) {
	err = filepath.Walk(path, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// busySeconds is the time that all cores worked since the start, for whomever, and
// that the host took from them.
func busySeconds() (sum float64) {
	stat, _ := os.ReadFile("/proc/stat") // without it nothing counts as disturbed
	line, _, _ := strings.Cut(string(stat), "\n")
	for i, field := range strings.Fields(line) {
		if i >= 1 && i <= 8 && i != 4 && i != 5 { // not idle, not waiting for a disk
			ticks, _ := strconv.ParseFloat(field, 64)
			sum += ticks / 100
		}
	}
	return sum
}

// values returns a figure of the rounds that were not disturbed, or of all if they
// all were; NaN for those left out keeps the rounds in step.
func (j *job) values(of func(sample) float64) (v []float64) {
	all := !slices.ContainsFunc(j.samples, func(s sample) bool { return !s.disturbed })
	for _, s := range j.samples {
		if s.disturbed && !all {
			v = append(v, math.NaN())
		} else {
			v = append(v, of(s))
		}
	}
	return v
}

func seconds(s sample) float64 { return s.seconds }
func cpu(s sample) float64     { return s.cpu }

func median(values []float64) float64 {
	v := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(v) == 0 {
		return math.NaN()
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// faster says how many times as fast j is as than: the median of the quotients of
// the rounds in which both were undisturbed.
func faster(j, than *job, of func(sample) float64) float64 {
	if j == nil || than == nil {
		return math.NaN()
	}
	a, b := than.values(of), j.values(of)
	var q []float64
	for i := range min(len(a), len(b)) {
		q = append(q, a[i]/b[i])
	}
	return median(q)
}

// mostMemory is the most of all rounds, in MiB.
func (j *job) mostMemory() float64 {
	most := 0.0
	for _, s := range j.samples {
		most = max(most, float64(s.memory)/(1<<20))
	}
	return most
}

// String is the pipeline as one would type it.
func (j *job) String() string {
	var b strings.Builder
	for i, argv := range j.stages {
		if i > 0 {
			b.WriteString(" | ")
		}
		b.WriteString(filepath.Base(argv[0]))
		for _, arg := range argv[1:] {
			if arg == "" || strings.ContainsAny(arg, " $'\"*|<>&;") {
				arg = "'" + arg + "'"
			}
			b.WriteString(" " + arg)
		}
		if i == 0 && j.stdin != "" {
			b.WriteString(" < " + j.stdin)
		}
	}
	if j.stdout != "" {
		b.WriteString(" > " + j.stdout)
	}
	if j.sync {
		b.WriteString(" && sync " + j.makes[0])
	}
	return b.String()
}
