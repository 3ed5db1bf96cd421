package kit

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

// need returns where a tool is. With the switch on a tool that is missing fails.
func need(t *testing.T, tool, pkg string) string {
	t.Helper()
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1, as scripts/test does, to print pages with Chromium and read them with zbarimg")
	}
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Fatalf("%v: apt-get install %s", err, pkg)
	}
	return path
}

func command(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", cmd, err, stderr.Bytes())
	}
	return out
}

// readPages rasterises a PDF and reads the code on each page, with zbarimg and
// with Scan. There is one page for each block, and nothing else.
func readPages(t *testing.T, pdf string, blocks []*paper.Block) {
	t.Helper()
	prefix := filepath.Join(t.TempDir(), "page")
	command(t, need(t, "pdftoppm", "poppler-utils"), "-r", "150", "-png", pdf, prefix)
	images, err := filepath.Glob(prefix + "-*.png")
	if err != nil || len(images) != len(blocks) {
		t.Fatalf("%d pages for %d blocks, %v", len(images), len(blocks), err)
	}
	for i, path := range images {
		readImage(t, path, blocks[i])
	}
}

func readImage(t *testing.T, path string, want *paper.Block) {
	t.Helper()
	raw := command(t, need(t, "zbarimg", "zbar-tools"), "-q", "--raw", path)
	read, err := paper.Parse(raw)
	if err != nil || !same(read, want) {
		t.Errorf("zbarimg, %s: %v, %v; want %v", filepath.Base(path), read, err, want)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if got, err := Scan(file); err != nil || !same(got, want) {
		t.Errorf("Scan, %s: %v, %v; want %v", filepath.Base(path), got, err, want)
	}
}

// TestPrintedKit: the codes of a kit, printed and read again by other programs
// and by ours, are the key and its shares.
func TestPrintedKit(t *testing.T) {
	chromium := need(t, "chromium", "chromium")
	_, blocks := testBlocks(t, 0)
	dir := t.TempDir()
	save := func(name string, write func(*bytes.Buffer) error) string {
		var out bytes.Buffer
		if err := write(&out); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("html", func(t *testing.T) {
		page := save("kit.html", func(w *bytes.Buffer) error { return HTML(w, blocks, date) })
		for _, size := range []string{"A4", "Letter"} {
			// Chromium prints on the paper that the page asks for; the kit leaves
			// that open, for the printer to say.
			sized := save(size+".html", func(w *bytes.Buffer) error {
				text, err := os.ReadFile(page)
				w.WriteString(strings.Replace(string(text), "@page { ", "@page { size: "+size+"; ", 1))
				return err
			})
			printed := filepath.Join(dir, size+".pdf")
			// Without its sandbox, for it refuses to run as root with it.
			command(t, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+filepath.Join(dir, "profile"),
				"--no-pdf-header-footer", "--print-to-pdf="+printed, "file://"+sized)
			readPages(t, printed, blocks)
		}
	})
	t.Run("pdf", func(t *testing.T) {
		readPages(t, save("kit.pdf", func(w *bytes.Buffer) error { return PDF(w, blocks, date) }), blocks)
	})
	t.Run("png", func(t *testing.T) {
		for i, b := range blocks {
			readImage(t, save(fmt.Sprintf("kit-%d.png", i), func(w *bytes.Buffer) error { return PNG(w, b) }), b)
		}
	})
}
