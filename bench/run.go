package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// job is something to measure, and what to do around it, outside the clock.
type job struct {
	key     key
	bytes   int64 // of plaintext that go through
	shape   *shape
	work    work
	prepare func() error
	// after looks at what was made. It returns the size of it, if that is of
	// interest, and may take it away.
	after func() (int64, error)
	// check is after the first run only.
	check func() error
}

// key says what a job is. It is unique among the jobs of a run.
type key struct {
	Part   string `json:"part"` // peers, work, ...
	Op     string `json:"op"`   // seal, open, ...
	Name   string `json:"name"` // who does it, or how
	Corpus string `json:"corpus,omitempty"`
	Cores  int    `json:"cores,omitempty"`  // when not all
	Copies int    `json:"copies,omitempty"` // at once, when more than 1
}

func (k key) String() string {
	s := k.Part + "/" + k.Op + "/" + k.Name
	if k.Corpus != "" {
		s += "/" + k.Corpus
	}
	if k.Cores > 0 {
		s += fmt.Sprintf("/%d cores", k.Cores)
	}
	if k.Copies > 1 {
		s += fmt.Sprintf("/%d at once", k.Copies)
	}
	return s
}

// measurement is a job with what it cost in each round.
type measurement struct {
	key
	Shape   *shape   `json:"shape,omitempty"`
	Command string   `json:"command"`
	Bytes   int64    `json:"bytes,omitempty"`
	Size    int64    `json:"size,omitempty"` // of what was made
	Samples []sample `json:"samples"`
}

func (m *measurement) column(value func(sample) float64) []float64 {
	var v []float64
	for _, s := range m.Samples {
		v = append(v, value(s))
	}
	return v
}

func (m *measurement) seconds() []float64 {
	return m.column(func(s sample) float64 { return s.Seconds })
}

// speeds are in MB/s.
func (m *measurement) speeds() []float64 {
	return m.column(func(s sample) float64 { return float64(m.Bytes) / mb / s.Seconds })
}

func (m *measurement) speed() float64 { return median(m.speeds()) }

// cpu is in seconds per GB.
func (m *measurement) cpu() float64 {
	return median(m.column(func(s sample) float64 { return s.CPU })) / (float64(m.Bytes) / gb)
}

// memory is in MiB: the most of all rounds, because a bound is what matters.
func (m *measurement) memory() float64 {
	peak := 0.0
	for _, s := range m.Samples {
		peak = max(peak, float64(s.Memory)/mib)
	}
	return peak
}

// ratio is how many times smaller the result is.
func (m *measurement) ratio() float64 { return float64(m.Bytes) / float64(m.Size) }

// value is the median of a task's own figure.
func (m *measurement) value(name string) float64 {
	return median(m.column(func(s sample) float64 { return s.Values[name] }))
}

// block is a row of jobs that need each other's results and run in order.
type block []job

// measure runs the blocks n times, in turns, so that a slow minute of the
// machine falls on all of them. Each round begins with another block.
func (b *bench) measure(blocks []block, n int, match *regexp.Regexp) ([]*measurement, error) {
	var chosen []block
	var all []*measurement
	byKey := make(map[key]*measurement)
	for _, bl := range blocks {
		var keep block
		for _, j := range bl {
			if !match.MatchString(j.key.String()) {
				continue
			}
			if byKey[j.key] != nil {
				return nil, fmt.Errorf("two jobs are called %s", j.key)
			}
			if j.work.Task != nil && b.profiles != "" {
				j.work.Task.Profile = filepath.Join(b.profiles, slug(j.key.String())+".pprof")
			}
			m := &measurement{key: j.key, Shape: j.shape, Command: b.tidy(j.work.String()), Bytes: j.bytes}
			byKey[j.key] = m
			all = append(all, m)
			keep = append(keep, j)
		}
		if len(keep) > 0 {
			chosen = append(chosen, keep)
		}
	}
	for round := range n {
		for i := range chosen {
			for _, j := range chosen[(i+round)%len(chosen)] {
				if err := b.once(j, byKey[j.key], round); err != nil {
					return nil, fmt.Errorf("%s: %w", j.key, err)
				}
			}
		}
	}
	return all, nil
}

func (b *bench) once(j job, m *measurement, round int) error {
	if j.prepare != nil {
		if err := j.prepare(); err != nil {
			return err
		}
	}
	s, err := j.work.run(b.env)
	if err != nil {
		return err
	}
	m.Samples = append(m.Samples, s)
	if j.check != nil && round == 0 {
		if err := j.check(); err != nil {
			return err
		}
	}
	if j.after != nil {
		if m.Size, err = j.after(); err != nil {
			return err
		}
	}
	note := fmt.Sprintf("%.3f s", s.Seconds)
	if j.bytes > 0 {
		note = fmt.Sprintf("%.1f MB/s, ", float64(j.bytes)/mb/s.Seconds) + note
	}
	progress("round %d  %-60s %s, %.2f s of CPU, %d MiB", round+1, j.key, note, s.CPU, s.Memory>>20)
	return nil
}

// keepSize returns an after that only looks.
func keepSize(path string) func() (int64, error) {
	return func() (int64, error) { return sizeOf(path) }
}

// takeAway returns an after that removes files once their size is known. The
// first counts.
func takeAway(paths ...string) func() (int64, error) {
	return func() (int64, error) {
		n, err := sizeOf(paths[0])
		for _, p := range paths {
			os.RemoveAll(p)
		}
		return n, err
	}
}

// clearAway returns a prepare that removes files and folders.
func clearAway(paths ...string) func() error {
	return func() error {
		for _, p := range paths {
			if err := os.RemoveAll(p); err != nil {
				return err
			}
		}
		return nil
	}
}
