package main

import (
	"bytes"
	"fmt"
	"testing"
)

// TestManyAtOnce: eight backups of one second get eight names.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	const many = 8
	var seals [many]*running
	content := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "backup %d\n", i), 10000) }
	for i := range seals {
		cmd := b.program("seal")
		cmd.Stdin = bytes.NewReader(content(i))
		seals[i] = b.start(cmd)
	}
	var want []string
	for i, seal := range seals {
		path := string(bytes.TrimSpace(seal.exits(exitOK).stdout.Bytes()))
		b.opens(path, content(i))
		path = path[len(b.dir)+1:]
		want = append(want, path, path+".sha256")
	}
	b.holds(want...)
}

// TestManyForOneName: one wins, and the others say so.
func TestManyForOneName(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	const many = 8
	var seals [many]*running
	for i := range seals {
		cmd := b.program("seal", "-o", "x.enc")
		cmd.Stdin = bytes.NewReader([]byte("content"))
		seals[i] = b.start(cmd)
	}
	won := 0
	for _, seal := range seals {
		if seal.Wait() == nil {
			won++
		} else if code := seal.ProcessState.ExitCode(); code != exitFailed {
			t.Errorf("exit code %d, want %d\n%s", code, exitFailed, seal.stderr.Bytes())
		}
	}
	if won != 1 {
		t.Errorf("%d of %d wrote one file", won, many)
	}
	b.holds("x.enc", "x.enc.sha256")
	b.opens("x.enc", []byte("content"))
}
