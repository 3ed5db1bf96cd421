package main

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	switch os.Getenv("TAKUMI_TEST_AS") {
	case "program": // a process of its own, to be killed
		os.Exit(run(os.Args[1:]))
	case "restart": // what a rollout runs
		resp, err := http.Get(os.Args[1])
		if err != nil || resp.StatusCode != http.StatusOK {
			os.Exit(1)
		}
		os.Exit(0)
	}
	testscript.Main(m, map[string]func(){"takumi-secrets": main})
}

// TestScripts runs testdata/script. Each script starts in the environment staging with
// SECRETS_BACKEND=dotenv:$WORK/.env, a file that does not exist yet.
func TestScripts(t *testing.T) {
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("TAKUMI_ENV", "staging")
			e.Setenv("REPO", repo)
			e.Setenv("SECRETS_BACKEND", "dotenv:"+filepath.Join(e.WorkDir, ".env"))
			e.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// exits CODE COMMAND ARG...: the command ends with exactly this code.
			"exits": func(ts *testscript.TestScript, neg bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				got := 0
				if err := ts.Exec(args[1], args[2:]...); err != nil {
					var exit *exec.ExitError
					if !errors.As(err, &exit) {
						ts.Fatalf("%v", err)
					}
					got = exit.ExitCode()
				}
				if neg || got != want {
					ts.Fatalf("exit code %d, want %d", got, want)
				}
			},
			"mode": func(ts *testscript.TestScript, _ bool, args []string) {
				info, err := os.Stat(ts.MkAbs(args[1]))
				ts.Check(err)
				if got := strconv.FormatInt(int64(info.Mode().Perm()), 8); got != args[0] {
					ts.Fatalf("%s has mode %s", args[1], got)
				}
			},
		},
	})
}
