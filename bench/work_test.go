package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPipeline(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.WriteFile(in, []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := work{
		Stages: [][]string{{"/bin/cat"}, {"/bin/sed", "s/^/{} /"}},
		Stdin:  in, Stdout: filepath.Join(dir, "out-{}"), Sync: []string{filepath.Join(dir, "out-{}")}, Copies: 2,
	}
	s, err := w.pipelines()
	if err != nil {
		t.Fatal(err)
	}
	if s.Seconds <= 0 || s.CPU <= 0 || s.Largest <= 0 || s.Memory < s.Largest {
		t.Errorf("the sample is %+v", s)
	}
	for number, want := range map[string]string{"0": "0 one\n0 two\n", "1": "1 one\n1 two\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, "out-"+number)); err != nil || string(got) != want {
			t.Errorf("copy %s wrote %q (%v), want %q", number, got, err, want)
		}
	}
}

func TestPipelineFails(t *testing.T) {
	w := work{Stages: [][]string{{"/bin/sh", "-c", "echo why >&2; exit 3"}, {"/bin/cat"}}}
	if _, err := w.pipelines(); err == nil || !strings.Contains(err.Error(), "exit status 3: why") {
		t.Errorf("the error is %v", err)
	}
}

func TestFirstByte(t *testing.T) {
	// A program that never ends by itself dies of the closed pipe.
	w := work{Stages: [][]string{{"/bin/sh", "-c", "while :; do echo; done"}}, FirstByte: true}
	s, err := w.pipelines()
	if err != nil || s.Seconds <= 0 || s.Seconds > 10 {
		t.Errorf("%+v, %v", s, err)
	}
	silent := work{Stages: [][]string{{"/bin/true"}}, FirstByte: true}
	if _, err := silent.pipelines(); err == nil {
		t.Error("a byte came out of nothing")
	}
}
