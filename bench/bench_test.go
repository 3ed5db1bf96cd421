package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/guard"
)

// The digests hold the generators to the same bytes on every machine. A change
// here goes together with corpusVersion.
var corpusDigests = map[string]string{
	"plain": "0ec92b13075ae18a", "json": "d576d0d9e90b54ac", "pgbench": "0ec5dc4eb4bda222", "numbers": "d6b2b83babbde166", "documents": "e83ebfe75e045ccb",
}

func TestCorpora(t *testing.T) {
	const size = 1 << 20
	want := map[string]guard.Format{"plain": guard.PlainDump, "tree": guard.Tar}
	for _, c := range corpora {
		var text bytes.Buffer
		if err := c.write(&text, size); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if n := text.Len(); n < size*9/10 || n > size*13/10 {
			t.Errorf("%s has %d bytes, far from the %d that were asked for", c.name, n, size)
		}
		sum := sha256.Sum256(text.Bytes())
		// The tree depends on the Go release.
		if got, want := hex.EncodeToString(sum[:8]), corpusDigests[c.name]; want != "" && got != want {
			t.Errorf("%s has the digest %s, want %s", c.name, got, want)
		}
		if got := guard.Sniff(text.Bytes()[:guard.SniffLen]); got != want[c.name] {
			t.Errorf("%s is taken for: %v", c.name, got)
		}
		r := guard.NewReader(bytes.NewReader(text.Bytes()), guard.Options{})
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		r.Close()
	}
}

func TestFaster(t *testing.T) {
	nan := math.NaN()
	if got := median([]float64{3, nan, 1, 2}); got != 2 {
		t.Errorf("the median is %v", got)
	}
	if !math.IsNaN(median([]float64{nan})) {
		t.Error("nothing has a median")
	}
	us, them := &job{}, &job{}
	for i, s := range []float64{1, 1, 8} {
		us.samples = append(us.samples, sample{seconds: s, disturbed: i == 2})
		them.samples = append(them.samples, sample{seconds: 2})
	}
	if got := faster(us, them, seconds); got != 2 {
		t.Errorf("with a disturbed round it is %v times as fast", got)
	}
	us.samples = us.samples[2:]
	if got := faster(us, them, seconds); got != 0.25 {
		t.Errorf("with disturbed rounds alone it is %v times as fast", got)
	}
}

func TestPipeline(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	j := &job{stages: [][]string{{"/bin/cat"}, {"/bin/sed", "s/^/a b/"}}, stdin: in, stdout: out, makes: []string{out}, sync: true}
	s, err := j.run(nil)
	if err != nil || s.seconds <= 0 || s.memory <= 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != "a bone\na btwo\n" {
		t.Errorf("it wrote %q, %v", got, err)
	}
	if got, want := j.String(), "cat < "+in+" | sed 's/^/a b/' > "+out+" && sync "+out; got != strings.ReplaceAll(want, "'s/^/a b/'", "'s/^/a b/'") {
		t.Errorf("%q, want %q", got, want)
	}
	fails := &job{stages: [][]string{{"/bin/sh", "-c", "echo why >&2; exit 3"}, {"/bin/cat"}}}
	if _, err := fails.run(nil); err == nil || !strings.Contains(err.Error(), "exit status 3: why") {
		t.Errorf("the error is %v", err)
	}
	// A program that never ends by itself dies of the closed pipe.
	endless := &job{stages: [][]string{{"/bin/sh", "-c", "while :; do echo; done"}}, once: true}
	if s, err := endless.run(nil); err != nil || s.seconds <= 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSizeFlag(t *testing.T) {
	for text, want := range map[string]size{"1": 1, "64K": 64 << 10, "256M": 256 << 20, "2G": 2 << 30} {
		var got size
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("%q is %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "M", "1X", "1.5G"} {
		if new(size).Set(text) == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestPageKeepsWhatIsWrittenByHand(t *testing.T) {
	seal := func(name string, seconds float64) *job {
		return &job{op: "seal", name: name, bytes: 1e9, size: 3e8, command: "x | y", samples: []sample{{seconds: seconds, cpu: 1, memory: 9 << 20}}}
	}
	r := &results{about: "Testor, 2 cores", versions: []string{"age v1"}, sections: []section{{parts[0], []*job{seal(ours, 2), seal("zstd -1 | age", 3)}}}}
	begin, end := fmt.Sprintf(generatedBegins, ""), fmt.Sprintf(generatedEnds, "")
	old := "# Benchmarks\n\nby hand\n\n" + begin + "\nstale\n" + end + "\n\nfindings\n"
	page, err := r.page(old)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(page, "# Benchmarks\n\nby hand\n\n"+begin) || !strings.HasSuffix(page, end+"\n\nfindings\n") || strings.Contains(page, "stale") {
		t.Errorf("the page is now:\n%s", page)
	}
	if again, err := r.page(page); err != nil || again != page {
		t.Errorf("rendering again changes the page (%v)", err)
	}
	for _, part := range []string{"Testor, 2 cores", `zstd -1 \| age`, "| ≥ 1.4 | 1.5 | reached |", "| 500 |", "`x \\| y`", "age v1"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q:\n%s", part, page)
		}
	}
	if regexp.MustCompile(`NaN|Inf`).MatchString(page) {
		t.Errorf("a figure is none:\n%s", page)
	}
	if _, err := r.page("no marks"); err == nil {
		t.Error("a page without marks was replaced")
	}
	r.sections = []section{{part{name: databases}, nil}}
	if _, err := r.page(page); err == nil {
		t.Error("the figures of databases replaced those of all else")
	}
}

// TestServerSeconds: what a process and its children did counts, before and after they end.
func TestServerSeconds(t *testing.T) {
	pid := strconv.Itoa(os.Getpid())
	before := serverSeconds(pid)
	if err := exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done").Run(); err != nil {
		t.Fatal(err)
	}
	if after := serverSeconds(pid); after < before+0.02 {
		t.Errorf("%v seconds, then %v", before, after)
	}
}
