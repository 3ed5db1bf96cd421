package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// work is one thing to measure: a pipeline of programs or a task inside a
// process of this program. Each runs in a fresh child process, so that none
// inherits another's memory.
type work struct {
	// Stages are the programs of a pipeline. In arguments and in the paths
	// below, {} stands for the number of the copy.
	Stages [][]string `json:",omitempty"`
	Stdin  string     `json:",omitempty"` // a file; without one, nothing
	Stdout string     `json:",omitempty"` // a file; without one, nowhere
	// Sync lists what the programs wrote and did not sync themselves, files or
	// folders. It is synced before the clock stops.
	Sync   []string `json:",omitempty"`
	Copies int      `json:",omitempty"` // of the pipeline at once; 0 means 1

	Task *task `json:",omitempty"` // in place of Stages

	Cores int `json:",omitempty"` // to run on; 0 means all
	// FirstByte stops the clock when the first byte comes out.
	FirstByte bool `json:",omitempty"`
}

// sample is what one run of a work cost.
type sample struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"` // seconds, user and system, of all processes
	// Memory is the sum over the processes of the most that each had resident,
	// in bytes.
	Memory int64 `json:"memory"`
	// Largest is the largest of these.
	Largest int64 `json:"largest"`
	// Values holds what a task measures besides.
	Values map[string]float64 `json:"values,omitempty"`
}

// String is the work as one would type it.
func (w work) String() string {
	if w.Task != nil {
		return "(in process) " + w.Task.String()
	}
	var b strings.Builder
	for i, argv := range w.Stages {
		if i > 0 {
			b.WriteString(" | ")
		}
		for j, arg := range argv {
			if j == 0 {
				arg = filepath.Base(arg)
			} else {
				b.WriteByte(' ')
			}
			if arg == "" || strings.ContainsAny(arg, " $'\"*|<>&;") {
				arg = "'" + arg + "'"
			}
			b.WriteString(arg)
		}
		if i == 0 && w.Stdin != "" {
			b.WriteString(" < " + w.Stdin)
		}
	}
	if w.Stdout != "" {
		b.WriteString(" > " + w.Stdout)
	}
	if len(w.Sync) > 0 {
		b.WriteString(" && sync " + strings.Join(w.Sync, " "))
	}
	return b.String()
}

// childFlag is how the program tells its copies what to do.
const childFlag = "-child"

// run measures w once in a child process.
func (w work) run(env []string) (sample, error) {
	spec, err := json.Marshal(w)
	if err != nil {
		return sample{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return sample{}, err
	}
	cmd := exec.Command(self, childFlag, string(spec))
	cmd.Env = env
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return sample{}, fmt.Errorf("%s: %w\n%s", w, err, bytes.TrimSpace(complaints.Bytes()))
	}
	var s sample
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		return sample{}, fmt.Errorf("%s: %w", w, err)
	}
	return s, nil
}

// child is the other side of run. It returns the exit code.
func child(spec string) int {
	var w work
	err := json.Unmarshal([]byte(spec), &w)
	var s sample
	if err == nil {
		err = useCores(w.Cores)
	}
	if err == nil {
		if w.Task != nil {
			s, err = w.Task.measure()
		} else {
			s, err = w.pipelines()
		}
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// useCores binds this process, and those it starts, to n cores.
func useCores(n int) error {
	if n == 0 {
		return nil
	}
	var have, want unix.CPUSet
	if err := unix.SchedGetaffinity(0, &have); err != nil {
		return err
	}
	for cpu := 0; cpu < len(have)*64 && want.Count() < n; cpu++ {
		if have.IsSet(cpu) {
			want.Set(cpu)
		}
	}
	runtime.GOMAXPROCS(n)
	// Affinity belongs to a thread, and a new one has that of its parent.
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &want); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// pipelines runs the copies side by side.
func (w work) pipelines() (sample, error) {
	var total sample
	var mu sync.Mutex
	var first error
	var wg sync.WaitGroup
	start := time.Now()
	for i := range max(1, w.Copies) {
		wg.Go(func() {
			s, err := w.pipeline(strconv.Itoa(i), start)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && first == nil {
				first = err
			}
			total.Seconds = max(total.Seconds, s.Seconds)
			total.CPU += s.CPU
			total.Memory += s.Memory
			total.Largest = max(total.Largest, s.Largest)
		})
	}
	wg.Wait()
	return total, first
}

func (w work) pipeline(number string, start time.Time) (s sample, err error) {
	name := func(text string) string { return strings.ReplaceAll(text, "{}", number) }
	var cmds []*exec.Cmd
	var open []*os.File // the parent's ends
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	var stdin *os.File
	if w.Stdin != "" {
		if stdin, err = os.Open(name(w.Stdin)); err != nil {
			return s, err
		}
		open = append(open, stdin)
	}
	var stdout *os.File
	switch {
	case w.FirstByte:
		// Made below: the pipe's reading end is ours.
	case w.Stdout != "":
		if stdout, err = os.OpenFile(name(w.Stdout), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
			return s, err
		}
		open = append(open, stdout)
	}
	for i, argv := range w.Stages {
		cmd := &exec.Cmd{Path: argv[0], Args: []string{filepath.Base(argv[0])}, Stderr: new(bytes.Buffer)}
		for _, arg := range argv[1:] {
			cmd.Args = append(cmd.Args, name(arg))
		}
		if stdin != nil {
			cmd.Stdin = stdin
		}
		if i < len(w.Stages)-1 || w.FirstByte {
			r, out, err := os.Pipe()
			if err != nil {
				return s, err
			}
			open = append(open, r, out)
			cmd.Stdout, stdin = out, r
		} else if stdout != nil {
			cmd.Stdout = stdout
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Start(); err != nil {
			return s, err
		}
	}
	// Only the programs may hold the pipes, or none sees another's end.
	for _, f := range open {
		if f != stdout && !(w.FirstByte && f == stdin) {
			f.Close()
		}
	}
	if w.FirstByte {
		_, err := stdin.Read(make([]byte, 1))
		s.Seconds = time.Since(start).Seconds()
		stdin.Close() // the programs die of it, as they should
		for _, cmd := range cmds {
			cmd.Wait()
			s.add(cmd.ProcessState)
		}
		return s, err
	}
	var failed error
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w: %s", cmd.Args[0], err, bytes.TrimSpace(cmd.Stderr.(*bytes.Buffer).Bytes()))
		}
		s.add(cmd.ProcessState)
	}
	for _, path := range w.Sync {
		if err := syncTree(name(path)); err != nil && failed == nil {
			failed = err
		}
	}
	s.Seconds = time.Since(start).Seconds()
	return s, failed
}

func (s *sample) add(p *os.ProcessState) {
	s.CPU += (p.UserTime() + p.SystemTime()).Seconds()
	if usage, ok := p.SysUsage().(*syscall.Rusage); ok {
		resident := usage.Maxrss << 10 // Linux counts in KiB
		s.Memory += resident
		s.Largest = max(s.Largest, resident)
	}
}

// syncTree makes a file, or every file in a folder, durable.
func syncTree(path string) error {
	return filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}
