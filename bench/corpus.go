package main

import (
	"archive/tar"
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// corpus is a kind of input. write makes about size bytes of it, the same ones
// every time.
type corpus struct {
	name  string
	ext   string
	about string
	write func(w io.Writer, size int64) error
}

var corpora = []corpus{
	{"plain", "sql", "plain pg_dump of a Takumi-like database", writePlainDump},
	{"pgbench", "sql", "COPY lines of pgbench_accounts", writeRows("pgbench", (*rows).account)},
	{"numbers", "sql", "COPY lines of a wide table of numbers", writeRows("numbers", (*rows).numbers)},
	{"documents", "sql", "COPY lines of JSON documents", writeRows("documents", (*rows).document)},
	{"tree", "tar", "tar of the Go distribution's src", writeTree},
	{"json", "json", "one line of JSON", writeJSONLine},
}

// corpusVersion is part of each cached file's name. A change of what the
// generators write changes it.
const corpusVersion = "2"

func corpusNamed(name string) (corpus, error) {
	var known []string
	for _, c := range corpora {
		if c.name == name {
			return c, nil
		}
		known = append(known, c.name)
	}
	return corpus{}, fmt.Errorf("no corpus is called %q; there are %s", name, strings.Join(known, ", "))
}

// file returns the path of the corpus at that size, made on first use.
func (c corpus) file(cache string, size int64) (string, error) {
	path := filepath.Join(cache, fmt.Sprintf("%s-%s-%d.%s", c.name, corpusVersion, size, c.ext))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	progress("making the corpus %s, %s", c.name, sizeText(size))
	f, err := os.CreateTemp(cache, "corpus-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	out := bufio.NewWriterSize(f, 1<<20)
	if err := c.write(out, size); err != nil {
		return "", fmt.Errorf("making the corpus %s: %w", c.name, err)
	}
	if err := out.Flush(); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil { // its write-back would disturb what is measured next
		return "", err
	}
	return path, os.Rename(f.Name(), path)
}

// writeJSONLine writes one array of objects without a line break.
func writeJSONLine(w io.Writer, size int64) error {
	r := newRows("json")
	buf := []byte("[")
	for id := 1; ; id++ {
		buf = append(buf, `{"id":`...)
		buf = append(integer(buf, id), `,"owner":"0x`...)
		buf = append(r.hex(buf, 20), `","name":"`...)
		buf = append(r.pick(buf, givenNames), ' ')
		buf = append(r.pick(buf, lastNames), `","skills":["`...)
		buf = append(r.pick(buf, skills), `","`...)
		buf = append(r.pick(buf, skills), `"],"score":`...)
		buf = append(integer(buf, r.n(10_000)), `,"seen":"`...)
		buf = append(r.later(buf, time.Minute), `"}`...)
		done := int64(len(buf)) >= size
		if done {
			buf = append(buf, ']')
		} else {
			buf = append(buf, ',')
		}
		if len(buf) >= 256<<10 || done {
			n, err := w.Write(buf)
			if err != nil || done {
				return err
			}
			size -= int64(n)
			buf = buf[:0]
		}
	}
}

// writeTree packs GOROOT/src again and again until it has size bytes. It holds
// the same bytes wherever the Go release is the same.
func writeTree(w io.Writer, size int64) error {
	counted := &countingWriter{w: w}
	tw := tar.NewWriter(counted)
	src := filepath.Join(goRoot(), "src")
	for round := 0; counted.n < size; round++ {
		err := filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if counted.n >= size {
				return fs.SkipAll
			}
			if !d.Type().IsRegular() {
				return nil
			}
			name, err := filepath.Rel(src, path)
			if err != nil {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			header := &tar.Header{Name: fmt.Sprintf("src%d/%s", round, filepath.ToSlash(name)), Mode: 0o644, Size: int64(len(text)), Format: tar.FormatUSTAR}
			if len(header.Name) > 100 {
				header.Format = tar.FormatPAX
			}
			if err := tw.WriteHeader(header); err != nil {
				return err
			}
			_, err = tw.Write(text)
			return err
		})
		if err != nil {
			return err
		}
		if counted.n == 0 {
			return fmt.Errorf("there are no files in %s", src)
		}
	}
	return tw.Close()
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func goRoot() string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
