package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"testing"
)

// readOnce gives cmd a standard output of which the test reads so many bytes
// before it goes away; none at all before cmd starts.
func readOnce(b *sandbox, cmd *exec.Cmd, n int) *running {
	b.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	if n == 0 {
		r.Close()
	}
	cmd.Stdout = w
	run := b.start(cmd)
	w.Close()
	if n > 0 {
		if _, err := io.ReadFull(r, make([]byte, n)); err != nil {
			b.Error(err)
		}
		r.Close()
	}
	return run
}

// TestClosedOutput: a reader that has gone away is a failure, by exit code and
// not by death, and what cannot be reported is not kept.
func TestClosedOutput(t *testing.T) {
	content := tooMuch()
	for name, tc := range map[string]struct {
		args   []string
		read   int
		silent bool // it does nothing but print
	}{
		"seal, path":            {[]string{"seal"}, 0, false},
		"seal, JSON":            {[]string{"seal", "--json"}, 0, false},
		"seal to file, JSON":    {[]string{"seal", "--json", "-o", "y.enc"}, 0, false},
		"seal to output":        {[]string{"seal", "-o", "-"}, 0, false},
		"seal to output, later": {[]string{"seal", "-o", "-", "--sidecar", "y.sha256"}, 1, false},
		"open":                  {[]string{"open", "x.enc"}, 0, true},
		"open, later":           {[]string{"open", "x.enc"}, 1, true},
		"open packed, later":    {[]string{"open", "--packed", "x.enc"}, 1, true},
		"inspect":               {[]string{"inspect", "x.enc"}, 0, true},
		"key id":                {[]string{"key", "id"}, 0, true},
		"version":               {[]string{"version"}, 0, true},
		"list":                  {[]string{"list", "."}, 0, true},
		"list, JSON":            {[]string{"list", "--json", "."}, 0, true},
		"status":                {[]string{"status", "."}, 0, true},
		"status, JSON":          {[]string{"status", "--json", "."}, 0, true},
		"prune":                 {[]string{"prune", "--quiet", "."}, 0, true},
		"config show":           {[]string{"config", "show"}, 0, true},
		"config schema":         {[]string{"config", "schema"}, 0, true},
		"key history":           {[]string{"key", "history", "--root", "."}, 0, true},
		"audit show":            {[]string{"audit", "show"}, 0, true},
		"verify":                {[]string{"verify", "--quiet", "--json", "x.enc"}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newSandbox(t)
			b.seal(content, "-o", "x.enc")
			cmd := b.program(tc.args...)
			cmd.Stdin = bytes.NewReader(content)
			run := readOnce(b, cmd, tc.read)
			if run.exits(exitFailed); !tc.silent {
				run.says("broken pipe")
			} else if run.stderr.Len() > 0 {
				t.Errorf("it complains: %s", &run.stderr)
			}
			b.holds("x.enc", "x.enc.sha256")
		})
	}
}

// TestNoOutput: without a standard output the runtime supplies one that takes
// everything, and a backup would vanish in it unnoticed.
func TestNoOutput(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	b.start(b.command("sh", "-c", "exec takumi-backup seal -o - -- echo content >&-")).exits(exitFailed).says("writing standard output: it is closed")
	b.start(b.command("sh", "-c", "exec takumi-backup seal -o - -- echo content >/dev/null")).exits(exitOK)
}

// TestUnreadOutput: the path of a backup that went to a named file is not
// printed, so nobody has to read it.
func TestUnreadOutput(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	cmd := b.program("seal", "-o", "x.enc")
	cmd.Stdin = bytes.NewReader([]byte("content"))
	readOnce(b, cmd, 0).exits(exitOK)
	b.holds("x.enc", "x.enc.sha256")
}
