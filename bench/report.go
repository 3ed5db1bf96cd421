package main

import (
	"fmt"
	"math"
	"os"
	"strings"
)

type results struct {
	about    string
	rounds   int
	gcm      float64 // as in bench
	versions []string
	sections []section
}

type section struct {
	part
	jobs []*job
}

// get returns one job, or nil.
func (r *results) get(part, op, name string) *job {
	for _, s := range r.sections {
		for _, j := range s.jobs {
			if s.name == part && j.op == op && j.name == name && len(j.samples) > 0 {
				return j
			}
		}
	}
	return nil
}

type target struct {
	what  string
	sign  string
	want  float64
	value func(*results) float64 // NaN when it was not measured
}

func than(part, op, name, peer string) func(*results) float64 {
	return func(r *results) float64 { return faster(r.get(part, op, name), r.get(part, op, peer), seconds) }
}

func sizeThan(part, peer string) func(*results) float64 {
	return func(r *results) float64 {
		j, p := r.get(part, "seal", ours), r.get(part, "seal", peer)
		if j == nil || p == nil {
			return math.NaN()
		}
		return float64(j.size) / float64(p.size)
	}
}

func perCore(kind string) func(*results) float64 {
	return func(r *results) float64 {
		return faster(r.get("kinds", kind, ours), r.get("kinds", kind, "zstd -1"), cpu)
	}
}

func speedUp(op string) func(*results) float64 {
	return func(r *results) float64 {
		return faster(r.get("cores", op, fmt.Sprintf("%.0f cores", cores())), r.get("cores", op, "1 cores"), seconds)
	}
}

func ofGCM(r *results) float64 {
	if j := r.get("none", "seal", ours); j != nil {
		return float64(j.bytes) / median(j.values(seconds)) / (cores() * r.gcm)
	}
	return math.NaN()
}

func ofRclone(r *results) float64 {
	return faster(r.get("s3", "open --packed", ours), r.get("s3", "cat", "rclone"), seconds)
}

func milliseconds(op, name string) func(*results) float64 {
	return func(r *results) float64 {
		if j := r.get("access", op, name); j != nil {
			return 1000 * median(j.values(seconds))
		}
		return math.NaN()
	}
}

// mostMemory is that of the largest input; a pipe's feeder takes some of it.
func mostMemory(op string) func(*results) float64 {
	return func(r *results) float64 {
		most := math.NaN()
		for _, s := range r.sections {
			for _, j := range s.jobs {
				if s.name == "growth" && j.op == op && len(j.samples) > 0 {
					most = max(j.mostMemory(), map[bool]float64{false: most}[math.IsNaN(most)])
				}
			}
		}
		return most
	}
}

var targets = []target{
	{"seal a plain dump to a file, against `zstd -1 \\| age`", "≥", 1.4, than("peers", "seal", ours, "zstd -1 | age")},
	{"the same without the proof", "≥", 1.9, than("peers", "seal", ours+" unproved", "zstd -1 | age")},
	{"in Go alone", "≥", 1.1, than("peers", "seal", inGo, "zstd -1 | age")},
	{"in Go alone, without the proof", "≥", 1.35, than("peers", "seal", inGo+" unproved", "zstd -1 | age")},
	{"with assembly and without the proof, against restic", "≥", 4.5, than("peers", "seal", ours+" unproved", "restic")},
	{"the same, against borg with its default lz4", "≥", 2.5, than("peers", "seal", ours+" unproved", "borg lz4")},
	{"the same, against `gzip \\| gpg`", "≥", 18, than("peers", "seal", ours+" unproved", "gzip | gpg")},
	{"its size, against `zstd -1`", "≤", 1, sizeThan("peers", "zstd -1 | age")},
	{"seal a tree of source files without the proof, against `zstd -1 \\| age`", "≥", 1.2, than("tree", "seal", ours+" unproved", "zstd -1 | age")},
	{"its size, against `zstd -1`", "≤", 1.04, sizeThan("tree", "zstd -1 | age")},
	{"the encoder on one core, against `zstd -1`: plain dump", "≥", 1.5, perCore("plain")},
	{"pgbench", "≥", 1.5, perCore("pgbench")},
	{"a wide table of numbers", "≥", 1.5, perCore("numbers")},
	{"JSON documents", "≥", 1.5, perCore("documents")},
	{"open a plain dump to nowhere, against `age -d \\| zstd -d`", "≥", 1.6, than("peers", "open", ours, "zstd -1 | age")},
	{"open what it packed, against what klauspost/compress packed", "≥", 0.95, than("peers", "open", ours, byLibrary)},
	{"seal with codec none to nowhere, against age", "≥", 2, than("none", "seal", ours, "age")},
	{"the same, against AES-GCM on all cores", "≥", 0.6, ofGCM},
	{"fetch and open from S3 without unpacking, against `rclone cat`", "≥", 1, ofRclone},
	{"seal, all cores against one", "≥", 1.9, speedUp("seal")},
	{"open, all cores against one", "≥", 1.9, speedUp("open")},
	{"seal, most memory at any size, MiB", "≤", 64, mostMemory("seal")},
	{"open, most memory at any size, MiB", "≤", 64, mostMemory("open")},
	{"open, time to the first byte, ms", "≤", 50, milliseconds("first byte", "open")},
	{"inspect, ms", "≤", 50, milliseconds("inspect", "inspect")},
	{"dump a database, against `pg_dump \\| takumi-backup seal`: `--jobs 1`", "≥", 0.95, than(databases, "dump", jobsNamed(1), piped)},
	{"`--jobs 2`", "≥", 0.95, than(databases, "dump", jobsNamed(2), piped)},
	{"`--jobs 4`", "≥", 0.95, than(databases, "dump", jobsNamed(4), piped)},
	{"CPU time of it: `--jobs 2`", "≤", 1.1, cpuThan(jobsNamed(2), piped)},
	{"`--jobs 4`", "≤", 1.1, cpuThan(jobsNamed(4), piped)},
	{"restore a database by `--jobs 4`, against `age -d \\| zstd -d \\| psql`", "≥", 1.3, than(databases, "restore", jobsNamed(4), backByAge)},
}

func (t target) verdict(v float64) string {
	if v >= t.want && t.sign == "≥" || v <= t.want && t.sign == "≤" {
		return "reached"
	}
	return "**not reached**"
}

func (r *results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s Rounds: %d.\n\n### Targets\n\n| what | target | measured |  |\n|---|--:|--:|---|\n", r.about, r.rounds)
	for _, t := range targets {
		if v := t.value(r); !math.IsNaN(v) {
			fmt.Fprintf(&b, "| %s | %s %.4g | %.4g | %s |\n", t.what, t.sign, t.want, v, t.verdict(v))
		}
	}
	for _, s := range r.sections {
		if len(s.jobs) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n", s.title, s.about)
		b.WriteString("| | | s | MB/s | CPU s/GB | memory MiB | size ratio | disturbed | command |\n|---|---|--:|--:|--:|--:|--:|--:|---|\n")
		for _, j := range s.jobs {
			j.row(&b)
		}
		if s.more != nil {
			b.WriteString("\n" + s.more(r))
		}
	}
	fmt.Fprintf(&b, "\nVersions: %s.\n", strings.Join(r.versions, "; "))
	return b.String()
}

func (j *job) row(b *strings.Builder) {
	took, gigabytes := median(j.values(seconds)), float64(j.bytes)/1e9
	speed, perGB, ratio, disturbed := "", "", "", 0
	if j.bytes > 0 {
		speed = fmt.Sprintf("%.0f", 1000*gigabytes/took)
		perGB = fmt.Sprintf("%.2f", median(j.values(cpu))/gigabytes)
	}
	if j.size > 0 {
		ratio = fmt.Sprintf("%.3f", float64(j.bytes)/float64(j.size))
	}
	for _, s := range j.samples {
		if s.disturbed {
			disturbed++
		}
	}
	fmt.Fprintf(b, "| %s | %s | %.3f | %s | %s | %.0f | %s | %d of %d | `%s` |\n", j.op, cell(j.name), took, speed, perGB, j.mostMemory(), ratio,
		disturbed, len(j.samples), cell(j.command))
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// The page's generated parts are between these lines, that of databases alone between
// its own; all else is written by hand.
const (
	generatedBegins = "<!-- Generated by go run ./bench%s: begin. Do not edit. -->"
	generatedEnds   = "<!-- Generated by go run ./bench%s: end. -->"
)

func (r *results) publish(path string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	page, err := r.page(string(old))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(page), 0o644)
}

func (r *results) page(old string) (string, error) {
	alone := ""
	if len(r.sections) == 1 && r.sections[0].name == databases {
		alone = " -only databases"
	}
	begin, end := fmt.Sprintf(generatedBegins, alone), fmt.Sprintf(generatedEnds, alone)
	before, rest, begins := strings.Cut(old, begin)
	_, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		return "", fmt.Errorf("the page lacks the line %q or %q", begin, end)
	}
	return before + begin + "\n\n" + r.markdown() + "\n" + end + after, nil
}
