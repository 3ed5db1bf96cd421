package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// hashes are those of all files of the sandbox's folder.
func (b *sandbox) hashes() string {
	var text strings.Builder
	for _, name := range files(b, b.dir) {
		fmt.Fprintf(&text, "%s %x\n", name, sha256.Sum256(readFile(b, b.path(name))))
	}
	return text.String()
}

// TestServe: the program serves its pages until TERM, asks for the token, changes
// nothing but the audit log, and keeps the key out of every page.
func TestServe(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	if err := os.Mkdir(b.path("files"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, b.path("files/a member"), []byte("content"))
	b.run(exitOK, nil, "backup", "uploads", b.path("files"), "--quiet")
	writeFile(t, b.tmp+"/token", []byte("0123456789abcdefghijklmnop\n"))
	before := b.hashes()

	cmd := b.program("serve", "--listen", "127.0.0.1:0", "--contents", "--token-file", b.tmp+"/token")
	words, told, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer words.Close()
	cmd.Stderr = told
	r := b.start(cmd)
	told.Close()
	line, err := bufio.NewReader(words).ReadString('\n')
	m := regexp.MustCompile(`(http://127\.0\.0\.1:\d+)/ shows the backups in `).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("%q, %v", line, err)
	}
	get := func(method, path, token string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, m[1]+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth("me", token)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(text)
	}
	if code, text := get("GET", "/", "0123456789abcdefghijklmno"); code != http.StatusUnauthorized || strings.Contains(text, "uploads") {
		t.Errorf("with a wrong token: %d, %s", code, text)
	}
	const token = "0123456789abcdefghijklmnop"
	if code, _ := get("POST", "/", token); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
	_, list := get("GET", "/backups", token)
	ref := regexp.MustCompile(`/backup/[0-9a-f]{20}`).FindString(list)
	for path, want := range map[string]string{"/": "uploads.tar", "/series": "<svg", "/backups": "authentic", "/findings": "Nothing was found wrong", "/drills": "no drill is known", "/audit": "backup uploads", ref: "restore uploads", ref + "/contents": "a member"} {
		code, text := get("GET", path, token)
		if code != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: %d, %.3000s", path, code, text)
		}
		if strings.Contains(text, mainKey) || strings.Contains(text, token) {
			t.Errorf("%s has a secret", path)
		}
	}
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.exits(exitOK)
	if after := b.hashes(); after != before {
		t.Errorf("the store was changed:\n%s\n%s", before, after)
	}
	var seen []string
	for _, rec := range b.records() {
		seen = append(seen, rec.Operation+" "+rec.Path)
	}
	if n := len(seen); n == 0 || !strings.HasPrefix(seen[n-1], "serve "+b.path("store/uploads/")) || strings.Count(strings.Join(seen, "\n"), "serve ") != 1 {
		t.Errorf("the records are %q", seen)
	}
}
