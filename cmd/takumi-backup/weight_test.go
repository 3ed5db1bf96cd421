package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What the program weighs at most; docs/decisions.md says what weighs how much.
const (
	maxBinary = 30_000_000 // bytes of the stripped binary
	maxInit   = 4 << 20    // bytes that packages allocate before main; with them goes the time
)

// TestWeight builds the program as it is handed out. A binary that is suddenly a
// third larger has a reason that is found by
//
//	go build -ldflags=-dumpdep ./cmd/takumi-backup 2>&1 | grep -m3 '<ReflectMethod>'
//
// Who calls a method by a name that is not known before, as text/template and
// html/template do, makes the linker keep every exported method of every type.
func TestWeight(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "takumi-backup")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", exe, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(exe)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the stripped binary has %d bytes", info.Size())
	if info.Size() > maxBinary {
		t.Errorf("the stripped binary has %d bytes, more than %d", info.Size(), maxBinary)
	}

	cmd := exec.CommandContext(t.Context(), exe, "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace strings.Builder
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &trace)
	}
	packages, total := 0, 0
	for lines := bufio.NewScanner(strings.NewReader(trace.String())); lines.Scan(); {
		var name string
		var at, took float64
		var bytes, allocations int
		if _, err := fmt.Sscanf(lines.Text(), "init %s @%f ms, %f ms clock, %d bytes, %d allocs", &name, &at, &took, &bytes, &allocations); err == nil {
			packages, total = packages+1, total+bytes
		}
	}
	t.Logf("%d packages allocate %d bytes before main", packages, total)
	if packages < 10 || total > maxInit {
		t.Errorf("%d packages allocate %d bytes before main, more than %d:\n%s", packages, total, maxInit, &trace)
	}
}
