package main

import (
	"fmt"
	"math"
)

// target is something that takumi-backup set out to reach.
type target struct {
	what  string
	want  float64
	below bool // the value must not be above want, rather than not below
	unit  string
	value func(*results) float64 // NaN when it was not measured
}

func (t target) reached(v float64) bool {
	if t.below {
		return v <= t.want
	}
	return v >= t.want
}

// faster is how many times as fast as another measurement one is, round by
// round.
func faster(m, than *measurement) float64 {
	if m == nil || than == nil {
		return math.NaN()
	}
	// For the same bytes; seconds are what both have.
	return pairwise(than.seconds(), m.seconds())
}

func fasterThanPeer(op, peer string) func(*results) float64 {
	return func(r *results) float64 {
		return faster(r.get("peers", op, programName, "plain"), r.get("peers", op, peer, "plain"))
	}
}

// wallSpeeds are the speeds that a limit was measured at, round by round.
func (m *measurement) wallSpeeds() []float64 {
	return m.column(func(s sample) float64 { return s.Values[wall] })
}

// overLimit is the quotient, round by round, of a job's speed and a limit.
func overLimit(m, limit *measurement) float64 {
	if m == nil || limit == nil {
		return math.NaN()
	}
	return pairwise(m.speeds(), limit.wallSpeeds())
}

// speedUp is how many times as fast all cores are as one.
func speedUp(op string) func(*results) float64 {
	return func(r *results) float64 {
		var one, all *measurement
		for _, m := range r.of("cores", op) {
			switch m.Cores {
			case 1:
				one = m
			case r.Machine.Cores:
				all = m
			}
		}
		return faster(all, one)
	}
}

// codecSpeedUp is the speed-up of packing, or unpacking, with nothing around it.
func (r *results) codecSpeedUp(op string) float64 {
	name := map[string]string{"seal": "pack zstd fastest", "open": "unpack zstd fastest"}[op]
	one, all := r.get("limits", "limit", name, "plain"), r.get("limits", "limit", name+", all cores", "plain")
	if one == nil || all == nil {
		return math.NaN()
	}
	return pairwise(all.wallSpeeds(), one.wallSpeeds())
}

func mostMemory(op string) func(*results) float64 {
	return func(r *results) float64 {
		most := math.NaN()
		for _, m := range r.of("growth", op) {
			for _, s := range m.Samples {
				if v := float64(s.Largest) / mib; !(most >= v) {
					most = v
				}
			}
		}
		return most
	}
}

// milliseconds is the median time of the one measurement of an op.
func milliseconds(op string) func(*results) float64 {
	return func(r *results) float64 {
		for _, m := range r.of("access", op) {
			return 1000 * median(m.seconds())
		}
		return math.NaN()
	}
}

const (
	noneNowhere     = "in process to nowhere, none"
	noneNowhereHash = "in process to nowhere, none, SHA-256"
	ageNowhere      = "age alone to nowhere"
	gcmAllCores     = "AES-256-GCM seal, all cores"
)

var targets = []target{
	{"seal a plain dump to a file, against zstd -1 | age", 1.35, false, "×", fasterThanPeer("seal", "zstd -1 | age")},
	{"the same, against restic", 4, false, "×", fasterThanPeer("seal", "restic")},
	{"the same, against borg with its default lz4", 2.5, false, "×", fasterThanPeer("seal", "borg lz4")},
	{"the same, against gzip | gpg", 10, false, "×", fasterThanPeer("seal", "gzip | gpg")},
	{"its size, against zstd -1 | age", 1.03, true, "×", func(r *results) float64 {
		m, p := r.get("peers", "seal", programName, "plain"), r.get("peers", "seal", "zstd -1 | age", "plain")
		if m == nil || p == nil {
			return math.NaN()
		}
		return float64(m.Size) / float64(p.Size)
	}},
	{"open a plain dump to nowhere, against age -d | zstd -d", 1.6, false, "×", fasterThanPeer("open", "zstd -1 | age")},
	{"the same, against its limit", 0.8, false, "×", func(r *results) float64 {
		m := r.get("work", "open", "file to nowhere", "plain")
		if m == nil {
			return math.NaN()
		}
		b, ok := r.boundOf(m)
		if !ok {
			return math.NaN()
		}
		return m.speed() / b.speed
	}},
	{"seal with codec none and a hash, to nowhere, against SHA-256 on one core", 0.92, false, "×", func(r *results) float64 {
		return overLimit(r.get("work", "seal", noneNowhereHash, "plain"), r.get("limits", "limit", "SHA-256", ""))
	}},
	{"seal with codec none and no hash, to nowhere, against age", 2, false, "×", func(r *results) float64 {
		return faster(r.get("work", "seal", noneNowhere, "plain"), r.get("work", "seal", ageNowhere, "plain"))
	}},
	{"the same, against AES-256-GCM on every core", 0.6, false, "×", func(r *results) float64 {
		m, gcm := r.get("work", "seal", noneNowhere, "plain"), r.get("limits", "limit", "AES-256-GCM seal", "")
		return overLimit(m, gcm) / float64(r.Machine.Cores)
	}},
	{"seal, all cores against one", 1.85, false, "×", speedUp("seal")},
	{"open, all cores against one", 1.85, false, "×", speedUp("open")},
	{"seal, most memory at any size", 64, true, " MiB", mostMemory("seal")},
	{"open, most memory at any size", 64, true, " MiB", mostMemory("open")},
	{"open, time to the first byte", 50, true, " ms", milliseconds("first byte")},
	{"inspect a huge backup", 50, true, " ms", milliseconds("inspect")},
	{"read 1 MiB from the middle of a huge backup", 50, true, " ms", milliseconds("far read")},
}

// targetGrid tells which targets were reached.
func (r *results) targetGrid() grid {
	g := grid{title: "Targets", head: []string{"what", "target", "measured", ""}, left: 1}
	for _, t := range targets {
		v := t.value(r)
		if math.IsNaN(v) {
			continue
		}
		sign, verdict := "≥", "reached"
		if t.below {
			sign = "≤"
		}
		if !t.reached(v) {
			verdict = "**not reached**"
		}
		g.add(t.what, fmt.Sprintf("%s %.4g%s", sign, t.want, t.unit), fmt.Sprintf("%.3g%s", v, t.unit), verdict)
	}
	return g
}
