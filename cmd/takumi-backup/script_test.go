package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script. Each script starts with
//
//	$KEY, $OTHER_KEY  two good key files, the first of which the environment names
//	$KEY_ID, $OTHER_ID, and $HEX_KEY, the digits of the first
//	$SAMPLES          real dumps and archives
//	BACKUP_ROOT       $WORK/store, which does not exist yet
//	TAKUMI_AUDIT_DIR  a folder elsewhere, which does not exist yet either
func TestScripts(t *testing.T) {
	samples, err := filepath.Abs("../../internal/guard/testdata")
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"KEY": keyFile(t, mainKey), "KEY_ID": keyID(t, mainKey),
		"OTHER_KEY": keyFile(t, otherKey), "OTHER_ID": keyID(t, otherKey),
		"HEX_KEY": mainKey, "SAMPLES": samples, "GORACE": os.Getenv("GORACE"),
	}
	logs := t.TempDir()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			for name, value := range env {
				e.Setenv(name, value)
			}
			e.Setenv("BACKUP_ENCRYPTION_KEY_FILE", env["KEY"])
			e.Setenv("BACKUP_ROOT", filepath.Join(e.WorkDir, "store"))
			e.Setenv("TAKUMI_AUDIT_DIR", filepath.Join(logs, filepath.Base(e.WorkDir)))
			e.Setenv("XDG_STATE_HOME", filepath.Join(logs, "state", filepath.Base(e.WorkDir)))
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "integration" {
				return integration(), nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits,
			"holds": scriptHolds,
			"mode":  scriptMode,
			"flip":  scriptFlip,
			"cut":   scriptCut,
		},
	})
}

// exits CODE COMMAND ARG...: the command ends with exactly this code.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG...")
	}
	want := number(ts, args[0])
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if int64(got) != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// holds DIR [PATTERN...]: the folder has exactly these names, in this order.
// A folder that does not exist holds nothing.
func scriptHolds(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: holds DIR [PATTERN...]")
	}
	var names []string
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	if !errors.Is(err, os.ErrNotExist) {
		ts.Check(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) != len(args)-1 {
		ts.Fatalf("%s holds %q, want %q", args[0], names, args[1:])
	}
	for i, pattern := range args[1:] {
		re, err := regexp.Compile("^(" + pattern + ")$")
		ts.Check(err)
		if !re.MatchString(names[i]) {
			ts.Fatalf("%s holds %q, want %q", args[0], names, args[1:])
		}
	}
}

// mode OCTAL FILE...: the files have this mode.
func scriptMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode OCTAL FILE...")
	}
	for _, name := range args[1:] {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
			ts.Fatalf("%s has mode %s, want %s", name, got, args[0])
		}
	}
}

// flip FILE OFFSET: changes one byte; a negative offset counts from the end.
func scriptFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	data := []byte(ts.ReadFile(args[0]))
	at := number(ts, args[1])
	if at < 0 {
		at += int64(len(data))
	}
	data[at] ^= 0x20
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

// cut FILE SIZE: shortens a file; a negative size is what is taken off.
func scriptCut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cut FILE SIZE")
	}
	data := []byte(ts.ReadFile(args[0]))
	size := number(ts, args[1])
	if size < 0 {
		size += int64(len(data))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Clone(data[:size]), 0o600))
}

func number(ts *testscript.TestScript, word string) int64 {
	n, err := strconv.ParseInt(word, 10, 64)
	ts.Check(err)
	return n
}
