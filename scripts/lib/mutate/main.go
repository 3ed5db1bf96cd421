// The command mutate finds lines that could be wrong without any test noticing:
// it changes one at a time and runs the tests of the package. See scripts/mutate.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// confined runs a test where it can write to no disk but a /tmp of its own: a
// mutant of what removes or restores files may do so anywhere.
const confined = `#!/bin/sh
unset GOTMPDIR
exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc sh -c '
while read -r _ at type _; do
	case $type in ext4 | xfs | btrfs | overlay | tmpfs | virtiofs | 9p) mount -o remount,bind,ro "$at" 2>/dev/null ;; esac
done </proc/self/mounts
mount -t tmpfs -o size=2g tmpfs /tmp && mount -t tmpfs tmpfs /dev/shm && exec "$0" "$@"' "$@"
`

var (
	wanted = flag.Int("n", 40, "how many mutants of each package")
	seed   = flag.Uint64("seed", 1, "which ones: the same seed and code give the same mutants")
	only   = flag.String("only", "", "those alone that are printed with this text")
	with   = flag.String("with", "", "further packages whose tests are run, with commas between")

	scratch string // not below /tmp, of which a confined test has another one
)

func main() {
	flag.Parse()
	if err := all(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func all(packages []string) (err error) {
	if scratch, err = os.MkdirTemp("/var/tmp", "mutate-"); err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	launcher := os.WriteFile(filepath.Join(scratch, "confined"), []byte(confined), 0o755)
	if err := errors.Join(launcher, os.Chmod(scratch, 0o755)); err != nil { // for tests as another user
		return err
	}
	for _, name := range packages {
		if err := one(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// one draws mutants of a package until so many were built, and reports which of
// them survive.
func one(name string) error {
	var listed struct {
		Dir, ImportPath string
		GoFiles         []string
		Module          struct{ Dir string }
	}
	out, err := exec.Command("go", "list", "-json", name).Output()
	if err == nil {
		err = json.Unmarshal(out, &listed)
	}
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	profile := filepath.Join(scratch, "profile")
	result, text := test(10*time.Minute, "-exec=env -u GOTMPDIR", "-coverprofile="+profile, "-coverpkg="+listed.ImportPath, name)
	began := time.Now()
	if result == survived {
		result, text = test(10*time.Minute, confine(name)...)
	}
	if result != survived {
		return fmt.Errorf("the tests fail as they are:\n%s", text)
	}
	patience := 3*time.Since(began) + 20*time.Second
	covered, err := readProfile(profile)
	if err != nil {
		return err
	}
	var all []mutant
	for _, file := range listed.GoFiles {
		found, err := mutants(filepath.Join(listed.Dir, file), covered[listed.ImportPath+"/"+file])
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	judged, err := equivalents(listed.Module.Dir, all)
	if err != nil {
		return err
	}
	rand.New(rand.NewPCG(*seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	tried, noticed, equivalent := 0, 0, 0
	for _, m := range all {
		if tried == *wanted {
			break
		}
		if !strings.Contains(m.String(), *only) {
			continue
		}
		if why := judged[m.String()]; why != "" {
			equivalent++
			fmt.Printf("equivalent: %s (%s)\n", m, why)
			continue
		}
		result, err := try(m, patience, name)
		switch {
		case err != nil:
			return err
		case result == killed:
			noticed++
		case result == survived:
			fmt.Printf("survives: %s\n", m)
		}
		if result != unbuilt {
			tried++
		}
	}
	if tried == 0 {
		return errors.New("there is nothing to mutate on lines that tests reach")
	}
	fmt.Printf("%s: %d of %d mutants noticed (%d %%), and %d equivalent, of %d possible ones, seed %d\n",
		listed.ImportPath, noticed, tried, 100*noticed/tried, equivalent, len(all), *seed)
	return nil
}

// try builds a mutant in the place of its file, which stays as it is, and runs
// the tests.
func try(m mutant, patience time.Duration, name string) (outcome, error) {
	file, overlay := filepath.Join(scratch, "mutant.go"), filepath.Join(scratch, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {m.file: file}})
	if err := errors.Join(err, os.WriteFile(file, m.text(), 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		return 0, err
	}
	result, _ := test(patience, confine("-failfast", "-overlay="+overlay, name)...)
	return result, nil
}

// confine adds what keeps a test away from the disk: root alone can, and root
// alone has to.
func confine(args ...string) []string {
	if os.Geteuid() != 0 {
		return args
	}
	return append([]string{"-exec=" + filepath.Join(scratch, "confined")}, args...)
}

type outcome int

const (
	survived outcome = iota
	killed           // a test failed, or took too long
	unbuilt          // it is not Go
)

// test runs go test, whose last argument is the package.
func test(patience time.Duration, args ...string) (outcome, string) {
	args = append([]string{"test", "-count=1", "-vet=off", "-timeout=" + patience.String()}, args...)
	if *with != "" {
		args = append(args, strings.Split(*with, ",")...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience+time.Minute) // what is built counts little
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "GOTMPDIR="+scratch, "GOMEMLIMIT=1GiB")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	switch err := cmd.Run(); {
	case err == nil:
		return survived, ""
	case strings.Contains(out.String(), "[build failed]"), strings.Contains(out.String(), "[setup failed]"):
		return unbuilt, out.String()
	}
	return killed, out.String()
}
