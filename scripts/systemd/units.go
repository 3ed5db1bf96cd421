// Package systemd has the units that run takumi-backup by the clock. A caller
// writes what [Files] returns; docs/SCHEDULING.md says what else is to be done.
package systemd

import (
	"bytes"
	"embed"
	"path"
	"strings"
)

//go:embed *.service *.timer *.sysusers *.tmpfiles
var units embed.FS

// Folders of files that are not units, by their ending.
var folders = map[string]string{".sysusers": "etc/sysusers.d", ".tmpfiles": "etc/tmpfiles.d"}

// Program is where the units have the program, unless a package has it elsewhere.
const Program = "/usr/local/bin/takumi-backup"

// File is a file of a system's configuration.
type File struct {
	Path string // from the root, without the slash
	Text []byte
}

// Files returns the units, the user that they run as, and the folder that they
// need, in the order of their names. The units run program.
func Files(program string) []File {
	entries, err := units.ReadDir(".")
	if err != nil {
		panic(err) // they are part of the program
	}
	var files []File
	for _, e := range entries {
		text, err := units.ReadFile(e.Name())
		if err != nil {
			panic(err)
		}
		target := path.Join("etc/systemd/system", e.Name())
		if folder, ok := folders[path.Ext(e.Name())]; ok {
			target = path.Join(folder, "takumi-backup.conf")
		}
		files = append(files, File{target, bytes.ReplaceAll(text, []byte(Program), []byte(program))})
	}
	return files
}

// Timers are the names of the timers.
func Timers() (names []string) {
	for _, f := range Files(Program) {
		if path.Ext(f.Path) == ".timer" {
			names = append(names, path.Base(f.Path))
		}
	}
	return names
}

// ForTOML makes units that go by /etc/takumi-backup/backup.toml, and the key that it
// names, in place of backup.conf and backup.key. Both have to belong to the user of the
// units. Schedules are what OnCalendar of a timer is, by its unit; "" leaves it.
func ForTOML(files []File, schedules map[string]string) []File {
	for i, f := range files {
		var lines []string
		for line := range strings.Lines(string(f.Text)) {
			switch {
			case strings.HasPrefix(line, "EnvironmentFile=-/etc/takumi-backup/backup.conf"), strings.HasPrefix(line, "LoadCredential=key:"),
				strings.HasPrefix(line, "# The same settings as for --config."), strings.HasPrefix(line, "# The key is read by root"):
				continue
			case strings.HasPrefix(line, "OnCalendar=") && schedules[path.Base(f.Path)] != "":
				line = "OnCalendar=" + schedules[path.Base(f.Path)] + "\n"
			}
			lines = append(lines, strings.ReplaceAll(line, "--config none --key file:${CREDENTIALS_DIRECTORY}/key", "--config /etc/takumi-backup/backup.toml"))
		}
		files[i].Text = []byte(strings.Join(lines, ""))
	}
	return files
}
