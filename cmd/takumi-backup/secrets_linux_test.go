package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSecretsStayOut does to the program what people do with a key by mistake,
// and looks for it in all that is printed.
func TestSecretsStayOut(t *testing.T) {
	raw, err := hex.DecodeString(mainKey)
	if err != nil {
		t.Fatal(err)
	}
	b := newSandbox(t)
	b.seal([]byte("content"), "-o", "x.enc")
	keys := t.TempDir()
	key := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(keys, name)
		writeFile(t, path, []byte(content))
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return "file:" + path
	}
	base64Key := base64.StdEncoding.EncodeToString(raw)

	var printed bytes.Buffer
	try := func(env string, args ...string) {
		cmd := b.program(args...)
		cmd.Stdin = strings.NewReader("content")
		if env != "" {
			cmd.Env = append(slices.Clone(b.env), env)
		}
		cmd.Stdout, cmd.Stderr = &printed, &printed
		cmd.Run() // whether it succeeds is not the question
	}
	for _, given := range []string{
		mainKey, strings.ToUpper(mainKey), base64Key, "file:" + mainKey, "env:" + mainKey, "hex:" + mainKey, "file:" + base64Key,
		"file:" + keys + "/" + mainKey,
		key("open", mainKey, 0o644), key("raw", string(raw), 0o600), key("base64", base64Key, 0o600),
		key("long", mainKey+mainKey, 0o600), key("short", mainKey[:63], 0o600), key("cr", mainKey+"\r\n", 0o600),
		key("quoted", `"`+mainKey+`"`, 0o600), key("assigned", "KEY="+mainKey, 0o600), key("typo", mainKey[:40]+"g"+mainKey[41:], 0o600),
		key("good", mainKey, 0o600), // for what is printed when all is well
	} {
		for _, args := range [][]string{
			{"seal", "-o", "-"}, {"open", "x.enc"}, {"key", "id"}, {"key", "check"}, {"key", "check", "--json"},
		} {
			try("", append(args, "--key", given)...)
		}
		try("BACKUP_ENCRYPTION_KEY_FILE="+strings.TrimPrefix(given, "file:"), "open", "x.enc")
	}
	for _, args := range [][]string{
		{"key", "id", mainKey}, {"key", "check", mainKey}, {"key", "generate", mainKey}, {"key", mainKey}, {mainKey},
		{"key", "generate", "-o", mainKey}, {"key", "generate", "-o", keys + "/" + mainKey + "/x"},
		{"seal", mainKey}, {"seal", "--" + mainKey}, {"seal", "-k", mainKey}, {"seal", "--kind", mainKey}, {"seal", "--codec", mainKey},
		{"seal", "--guard", mainKey}, {"seal", "--level", mainKey}, {"seal", "--key=" + mainKey},
		{"seal", "--quiet=" + mainKey}, {"version", mainKey}, {"open", "x.enc", mainKey}, {"seal", "--", "false", mainKey},
		{"seal", "--", "no-such-command", "--password", mainKey},
	} {
		try("", args...)
	}

	text := printed.String()
	lower := strings.ToLower(text)
	for what, found := range map[string]bool{
		"raw":    strings.Contains(text, string(raw[:8])) || strings.Contains(text, string(raw[24:])),
		"base64": strings.Contains(text, base64Key[:16]) || strings.Contains(text, base64Key[24:]),
		"digits": slices.ContainsFunc(windows(mainKey, 16), func(w string) bool { return strings.Contains(lower, w) }),
	} {
		if found {
			t.Errorf("the key is printed, %s:\n%s", what, text)
		}
	}
}

// windows returns every piece of s of n bytes.
func windows(s string, n int) (pieces []string) {
	for i := range len(s) - n + 1 {
		pieces = append(pieces, s[i:i+n])
	}
	return pieces
}

// TestNothingInTheClear looks at what seal and open hold open while they work:
// the sealed file is all that is on a disk.
func TestNothingInTheClear(t *testing.T) {
	needIntegration(t)
	t.Parallel()
	row := []byte("a row that nobody else may read\n")
	content := bytes.Repeat(row, 8<<20/len(row))

	b := newSandbox(t)
	cmd := b.program("seal", "-o", "x.enc", "--codec", "none")
	w := heldPipe(t, cmd)
	seal := b.start(cmd)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	partial := b.path(".x.enc.partial")
	eventually(t, "seal writes", func() bool {
		info, err := os.Stat(partial)
		return err == nil && info.Size() > 4<<20
	})
	if got, want := regularFiles(t, seal.Process.Pid), []string{partial, b.path(".x.enc.sha256.partial")}; !slices.Equal(got, want) {
		t.Errorf("seal holds %q open, want %q", got, want)
	}
	for _, name := range files(t, b.dir) {
		onDisk := readFile(t, b.path(name))
		if bytes.Contains(onDisk, row) || bytes.Contains(onDisk, []byte(mainKey)) {
			t.Errorf("%s has what is secret", name)
		}
	}
	b.holds(".x.enc.partial", ".x.enc.sha256.partial")
	w.Close()
	seal.exits(exitOK)

	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd = b.program("open", "x.enc", "-o", "-")
	cmd.Stdout = out
	open := b.start(cmd)
	out.Close()
	if _, err := io.ReadFull(r, make([]byte, len(row))); err != nil { // and so it is at work
		t.Fatal(err)
	}
	if got, want := regularFiles(t, open.Process.Pid), []string{b.path("x.enc")}; !slices.Equal(got, want) {
		t.Errorf("open holds %q open, want %q", got, want)
	}
	b.holds("x.enc", "x.enc.sha256")
	io.Copy(io.Discard, r)
	open.exits(exitOK)
}

// regularFiles lists the files that a process holds open, in memory and deleted
// ones too.
func regularFiles(t *testing.T, pid int) (paths []string) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err != nil || !info.Mode().IsRegular() {
			continue
		}
		path, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		// The Go runtime's own.
		if !strings.HasPrefix(path, "/sys/") && !strings.HasPrefix(path, "anon_inode:") {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}
