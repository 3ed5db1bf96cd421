package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// results is everything that one run found out.
type results struct {
	Machine      machine        `json:"machine"`
	Date         string         `json:"date"`
	Commit       string         `json:"commit"`
	Size         int64          `json:"corpus_bytes"`
	Rounds       int            `json:"rounds"`
	Tools        []tool         `json:"tools"`
	Measurements []*measurement `json:"measurements"`
}

// machine says what was measured on, and nothing of whose it is.
type machine struct {
	Name   string `json:"name"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int64  `json:"memory"`
	System string `json:"system"`
	Disk   string `json:"disk"`
	Go     string `json:"go"`
}

// tool is a program that took part.
type tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// thisMachine describes the machine, with the disk that dir is on.
func thisMachine(dir string) machine {
	m := machine{CPU: cpuModel(), Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		m.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		release, _, _ := bytes.Cut(name.Release[:], []byte{0})
		m.System += ", Linux " + firstNumbers(string(release))
	}
	m.Disk = fileSystem(dir)
	m.Name = slug(fmt.Sprintf("%s %d cores", m.CPU, m.Cores))
	return m
}

func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// firstNumbers cuts a kernel's release to its version: the rest may name the
// one who built it.
func firstNumbers(s string) string { return regexp.MustCompile(`^[0-9.]*`).FindString(s) }

func fileSystem(dir string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "unknown"
	}
	names := map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay", 0x2fc12fc1: "zfs"}
	if name, known := names[int64(fs.Type)]; known {
		return name
	}
	return fmt.Sprintf("file system %#x", fs.Type)
}

// slug makes a file name of a text.
func slug(s string) string {
	return strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(s), "-"), "-")
}

// commit names the checkout that is measured.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// tools asks the programs for their versions.
func (b *bench) tools() []tool {
	var all []tool
	for _, argv := range [][]string{b.takumi("version"), {"age", "--version"}, {"zstd", "--version"}, {"gzip", "--version"}, {"gpg", "--version"},
		{"pigz", "--version"}, {"openssl", "version"}, {"restic", "version"}, {"borg", "--version"}, {"tar", "--version"}} {
		path := b.program(argv[0])
		if path == "" {
			continue
		}
		out, err := b.output(append([]string{path}, argv[1:]...)...)
		if err != nil {
			continue
		}
		first, _, _ := strings.Cut(out, "\n")
		all = append(all, tool{baseName(argv[0]), strings.Trim(first, "* ")})
	}
	return all
}

func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// tidy takes this machine's folders out of a command line.
func (b *bench) tidy(command string) string {
	return strings.NewReplacer(b.scratch, "$OUT", b.cache, "$IN", goRoot(), "$GOROOT").Replace(command)
}

func (r *results) save(path string) error {
	out, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(out, '\n'), 0o644)
}

func loadResults(path string) (*results, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(results)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// today is the date of a run.
func today() string { return time.Now().UTC().Format("2006-01-02") }

// of returns the measurements of a part, in order; op "" means all of it.
func (r *results) of(part, op string) (found []*measurement) {
	for _, m := range r.Measurements {
		if m.Part == part && (op == "" || m.Op == op) && len(m.Samples) > 0 {
			found = append(found, m)
		}
	}
	return found
}

// get returns one measurement, or nil.
func (r *results) get(part, op, name, corpus string) *measurement {
	for _, m := range r.of(part, op) {
		if m.Name == name && m.Corpus == corpus {
			return m
		}
	}
	return nil
}
