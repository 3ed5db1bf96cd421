package main

import (
	"fmt"
	"math"
	"strings"
)

// shape says what a job of ours consists of, so that its limit can be computed
// from those of its parts.
type shape struct {
	Open  bool   `json:"open,omitempty"`
	Codec string `json:"codec"`
	Level string `json:"level,omitempty"`
	Pipe  bool   `json:"pipe,omitempty"` // its input is one
	Hash  bool   `json:"hash,omitempty"` // it makes a sidecar
	File  bool   `json:"file,omitempty"` // its output is one, and synced
}

// term is a part of the work: what it costs to put Factor bytes through it for
// each byte of plaintext.
type term struct {
	name   string
	speed  float64 // MB/s
	factor float64
}

func (t term) cost() float64 { return t.factor / t.speed } // core-seconds per MB

func (t term) String() string {
	if t.factor == 1 {
		return fmt.Sprintf("1/%.0f %s", t.speed, t.name)
	}
	return fmt.Sprintf("%.3f/%.0f %s", t.factor, t.speed, t.name)
}

// bound is the most that a job can reach.
type bound struct {
	speed      float64 // MB/s of plaintext
	stage      string  // what it is that limits
	arithmetic string
}

// allCores is the stage that limits when no single one does.
const allCores = "all cores busy"

// limitOn returns the bound for n cores: all terms share them, and each stage
// that runs on one goroutine also has to keep up by itself.
func limitOn(n int, shared []term, alone []term) bound {
	var sum float64
	var words []string
	for _, t := range shared {
		sum += t.cost()
		words = append(words, t.String())
	}
	best := bound{float64(n) / sum, allCores, fmt.Sprintf("%d / (%s) = %.0f", n, strings.Join(words, " + "), float64(n)/sum)}
	for _, t := range alone {
		if speed := 1 / t.cost(); speed < best.speed {
			best.speed, best.stage = speed, t.name
			best.arithmetic = fmt.Sprintf("%s alone: %.0f / %.3f = %.0f", t.name, t.speed, t.factor, speed)
		}
	}
	return best
}

// limit looks up what the machine can do.
func (r *results) limit(name, corpus, value string) float64 {
	if m := r.get("limits", "limit", name, corpus); m != nil {
		return m.value(value)
	}
	return math.NaN()
}

const (
	wall = "MB/s"
	busy = "CPU MB/s"
)

// terms splits a measured job of ours into its parts, those that share the
// cores and those that bind one goroutine. ok is false where a part was not
// measured.
func (r *results) terms(m *measurement) (shared, alone []term, ok bool) {
	s := m.Shape
	if s == nil {
		return nil, nil, false
	}
	packed := 1.0 // bytes for each byte of plaintext
	if s.Codec != "none" {
		packed = 1 / r.limit("pack "+s.Codec+" "+s.Level, m.Corpus, "ratio")
		if m.Size > 0 && !s.Open {
			packed = 1 / m.ratio()
		}
	}
	read := term{"read", r.limit("file read, cached", "", wall), 1}
	if s.Pipe {
		read = term{"pipe", r.limit("pipe", "", wall), 1}
	}
	write := term{"write", r.limit("file write and sync", "", busy), packed}
	disk := term{"disk", r.limit("file write and sync", "", wall), packed}
	var gcm, codec term
	if s.Open {
		read.factor, write.factor, disk.factor = packed, 1, 1
		gcm = term{"AES-GCM", r.limit("AES-256-GCM open", "", wall), packed}
		codec = term{"unpack", r.limit("unpack "+s.Codec+" "+s.Level, m.Corpus, wall), 1}
	} else {
		gcm = term{"AES-GCM", r.limit("AES-256-GCM seal", "", wall), packed}
		codec = term{"pack", r.limit("pack "+s.Codec+" "+s.Level, m.Corpus, wall), 1}
	}
	shared = []term{read}
	alone = []term{read}
	if s.Codec != "none" {
		shared = append(shared, codec)
	}
	shared = append(shared, gcm)
	if s.Hash {
		hash := term{"SHA-256", r.limit("SHA-256", "", wall), packed}
		shared = append(shared, hash)
		alone = append(alone, hash)
	}
	if s.File {
		shared = append(shared, write)
		alone = append(alone, disk)
	}
	if s.Codec != "none" {
		alone = append(alone, inRow("the packed side", packed, gcm, shared, s.Open))
	}
	for _, t := range append(shared, alone...) {
		if math.IsNaN(t.cost()) {
			return nil, nil, false
		}
	}
	return shared, alone, true
}

// inRow is the stage that the packed bytes go through one after the other: the
// packer's output is sealed, hashed and written, or read and opened, on one
// goroutine. The hash runs beside the write, so the slower of the two counts.
func inRow(name string, packed float64, gcm term, parts []term, open bool) term {
	seconds := gcm.cost()
	beside := 0.0
	for _, t := range parts {
		switch {
		case open && (t.name == "read" || t.name == "pipe"):
			seconds += t.cost()
		case !open && (t.name == "SHA-256" || t.name == "write"):
			beside = max(beside, t.cost())
		}
	}
	return term{name, packed / (seconds + beside), packed}
}

// boundOf returns the limit of a measured job on this machine.
func (r *results) boundOf(m *measurement) (bound, bool) {
	shared, alone, ok := r.terms(m)
	if !ok {
		return bound{}, false
	}
	cores := r.Machine.Cores
	if m.Cores > 0 {
		cores = m.Cores
	}
	return limitOn(cores, shared, alone), true
}

// projection is what the model expects on other machines: the same cores, more
// of them.
type projection struct {
	cores int
	bound
}

// project follows a job to more cores, until adding cores changes nothing.
func (r *results) project(m *measurement) (steps []projection) {
	shared, alone, ok := r.terms(m)
	if !ok {
		return nil
	}
	for n := 1; n <= 64; n *= 2 {
		b := limitOn(n, shared, alone)
		steps = append(steps, projection{n, b})
		if b.stage != allCores {
			break
		}
	}
	return steps
}
