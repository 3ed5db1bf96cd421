// Package packages_test holds the lists of the packages against what they list.
package packages_test

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/scripts/systemd"
)

type list struct {
	Name, Description string
	Contents          []struct {
		Src, Dst, Type string
		FileInfo       struct{ Mode int } `json:"file_info"`
	}
	Scripts map[string]string
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestLists: what the packages take from the checkout is there, and each unit of the
// checkout is in one.
func TestLists(t *testing.T) {
	var staged []string
	for _, name := range []string{"takumi-backup", "takumi-secrets", "age-plugin-pkcs11"} {
		var l list
		if err := yaml.Unmarshal([]byte(read(t, name+".yaml")), &l); err != nil {
			t.Fatal(err)
		}
		if l.Name != name || len(l.Contents) < 5 {
			t.Errorf("%s: %+v", name, l)
		}
		for line := range strings.Lines(l.Description) {
			if len(line) > 80 {
				t.Errorf("%s: lintian refuses the long line %q", name, line)
			}
		}
		for _, c := range l.Contents {
			if c.Src == "" || c.Dst == "" {
				t.Errorf("%s: %+v", name, c)
			}
			// What is below /etc is the administrator's: an upgrade keeps it.
			if strings.HasPrefix(c.Dst, "/etc/") != (c.Type == "config|noreplace") {
				t.Errorf("%s: %s is %q", name, c.Dst, c.Type)
			}
			if rest, ok := strings.CutPrefix(c.Src, "${STAGE}/"); ok {
				staged = append(staged, rest)
				continue
			}
			if found, err := filepath.Glob(filepath.Join("../..", c.Src)); err != nil || len(found) == 0 {
				t.Errorf("%s: %s is missing", name, c.Src)
			}
		}
		for _, script := range l.Scripts {
			if found, _ := filepath.Glob(strings.TrimPrefix(path.Ext(script), ".")); len(found) != 1 {
				t.Errorf("%s: %s is missing", name, script)
			}
		}
	}
	packed := func(file string) bool {
		return slices.ContainsFunc(staged, func(pattern string) bool { ok, _ := path.Match(pattern, file); return ok })
	}
	units, err := filepath.Glob("../secrets/*.[st]*[er]")
	if err != nil || len(units) != 4 {
		t.Fatal(units, err)
	}
	for _, f := range systemd.Files(systemd.Program) {
		units = append(units, f.Path)
	}
	for _, unit := range units {
		file := "units/" + path.Base(unit)
		if folder := path.Base(path.Dir(unit)); strings.HasSuffix(folder, ".d") {
			file = strings.TrimSuffix(folder, ".d") + "/takumi-backup.conf"
		}
		if !packed(file) {
			t.Errorf("no package has %s", unit)
		}
	}
}

// TestMaintainerScripts: they are shell, do nothing to a host that systemd does not run,
// and each folder of tmpfiles.d is made by postinst too.
func TestMaintainerScripts(t *testing.T) {
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		if out, err := exec.CommandContext(t.Context(), "sh", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", script, out)
		}
		if text := read(t, script); !strings.HasPrefix(text, "#!/bin/sh\n") || !strings.Contains(text, "\nset -e\n") || !strings.Contains(text, "/run/systemd/system") {
			t.Errorf("%s is not whole", script)
		}
	}
	// It runs the very pipe of postinst.
	pipe := regexp.MustCompile(`sed -n 's.*while read`).FindString(read(t, "postinst"))
	pipe = strings.Replace(pipe, `"/usr/lib/tmpfiles.d/$name.conf"`, "../systemd/takumi-backup.tmpfiles", 1)
	pipe = strings.TrimSuffix(pipe, "| while read")
	out, err := exec.CommandContext(t.Context(), "sh", "-c", pipe).CombinedOutput()
	want := ""
	for _, dir := range []string{"/var/backups/takumi", "/var/lib/takumi-backup"} {
		want += fmt.Sprintf("%s 0700 takumi-backup takumi-backup -\n", dir)
	}
	if err != nil || string(out) != want {
		t.Errorf("postinst makes %q: %v", out, err)
	}
}

// TestDependabot: it knows each module, so that none is forgotten.
func TestDependabot(t *testing.T) {
	var file struct {
		Updates []struct {
			Ecosystem string `json:"package-ecosystem"`
			Directory string
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "../../.github/dependabot.yml")), &file); err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, u := range file.Updates {
		if u.Ecosystem == "gomod" {
			known = append(known, u.Directory)
		}
	}
	var modules []string
	err := filepath.WalkDir("../..", func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "go.mod" && !strings.Contains(p, "testdata") {
			modules = append(modules, path.Join("/", strings.TrimPrefix(path.Dir(filepath.ToSlash(p)), "../..")))
		}
		return err
	})
	slices.Sort(known)
	slices.Sort(modules)
	if err != nil || !slices.Equal(known, modules) {
		t.Errorf("it looks at %q, and there are %q (%v)", known, modules, err)
	}
}

// TestSample: the sample has no setting that the program does not know.
func TestSample(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backup.toml")
	if err := os.WriteFile(path, []byte(read(t, "backup.toml")), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f := loaded.File; f.Schedule.Backup == "" || len(f.Databases) != 1 || len(f.Stores) != 1 {
		t.Errorf("%+v", f)
	}
}
