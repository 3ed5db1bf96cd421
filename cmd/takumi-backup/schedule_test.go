package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestScheduledCommands: whatever the units, the crontab and the manifests run is
// a command of the program, with flags that it has.
func TestScheduledCommands(t *testing.T) {
	t.Parallel()
	commands := make(map[string][]string) // by where each stands
	for pattern, line := range map[string]string{
		"systemd/*.service": `(?m)^ExecStart=/usr/local/bin/takumi-backup (.+)$`,
		"cron/*.cron":       `(?m)^[0-9].* takumi-backup +takumi-backup (.+)$`,
	} {
		for _, file := range scripts(t, pattern) {
			for _, m := range regexp.MustCompile(line).FindAllStringSubmatch(file.text, -1) {
				commands[file.name+": "+m[1]] = strings.Fields(m[1])
			}
		}
	}
	for _, file := range scripts(t, "kubernetes/*.yaml") {
		for document := range strings.SplitSeq(file.text, "\n---\n") {
			var parsed any
			if err := yaml.Unmarshal([]byte(document), &parsed); err != nil {
				t.Fatal(err)
			}
			for _, args := range allArgs(parsed) {
				commands[file.name+": "+strings.Join(args, " ")] = args
			}
		}
	}
	if len(commands) != 4+3+7 {
		t.Errorf("there are %d commands", len(commands))
	}
	for where, args := range commands {
		cmd, rest, err := newRoot().Find(args)
		if err != nil || !cmd.HasParent() {
			t.Errorf("%s: %v", where, err)
			continue
		}
		if err := cmd.ParseFlags(rest); err != nil {
			t.Errorf("%s: %v", where, err)
		} else if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
}

type script struct{ name, text string }

func scripts(t *testing.T, pattern string) (files []script) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("../../scripts", pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %v", pattern, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, script{filepath.Base(path), string(text)})
	}
	return files
}

// allArgs finds what is under "args", however deep.
func allArgs(in any) (found [][]string) {
	switch in := in.(type) {
	case []any:
		for _, v := range in {
			found = append(found, allArgs(v)...)
		}
	case map[string]any:
		for name, v := range in {
			list, ok := v.([]any)
			if name != "args" || !ok {
				found = append(found, allArgs(v)...)
				continue
			}
			var args []string
			for _, arg := range list {
				args = append(args, arg.(string))
			}
			found = append(found, args)
		}
	}
	return found
}
