package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/guard"
)

func TestMedianAndSpread(t *testing.T) {
	for _, c := range []struct {
		values         []float64
		median, spread float64
	}{
		{[]float64{4}, 4, 0},
		{[]float64{1, 2}, 1.5, 1. / 3},
		{[]float64{9, 1, 5}, 5, 0.8},
		{[]float64{4, 1, 3, 2}, 2.5, 0.6},
	} {
		before := slices.Clone(c.values)
		if got := median(c.values); got != c.median {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.median)
		}
		if got := spread(c.values); math.Abs(got-c.spread) > 1e-12 {
			t.Errorf("spread(%v) = %v, want %v", c.values, got, c.spread)
		}
		if !slices.Equal(before, c.values) {
			t.Errorf("%v was reordered to %v", before, c.values)
		}
	}
	if !math.IsNaN(median(nil)) || !math.IsNaN(spread(nil)) || !math.IsNaN(pairwise(nil, []float64{1})) {
		t.Error("a figure came out of nothing")
	}
}

func TestPairwise(t *testing.T) {
	// The second round was slow for both: the quotients do not show it, those
	// of the medians would.
	over, under := []float64{10, 60, 12, 12}, []float64{5, 30, 6}
	if got := pairwise(over, under); got != 2 {
		t.Errorf("pairwise = %v, want 2", got)
	}
	fast, slow := timed(1, 2, 1), timed(3, 6, 2)
	if got := faster(fast, slow); got != 3 {
		t.Errorf("faster = %v, want 3", got)
	}
	if !math.IsNaN(faster(fast, nil)) {
		t.Error("something is faster than nothing")
	}
}

func timed(seconds ...float64) *measurement {
	m := &measurement{Bytes: 1e9}
	for _, s := range seconds {
		m.Samples = append(m.Samples, sample{Seconds: s, CPU: 2 * s, Memory: int64(s * mib)})
	}
	return m
}

func TestFigures(t *testing.T) {
	m := timed(2, 4, 3)
	m.Size = 250e6
	if m.speed() != 1000./3 || m.cpu() != 6 || m.memory() != 4 || m.ratio() != 4 {
		t.Errorf("speed %v, CPU %v, memory %v, ratio %v", m.speed(), m.cpu(), m.memory(), m.ratio())
	}
}

func TestLimits(t *testing.T) {
	shared := []term{{"pack", 200, 1}, {"AES-GCM", 2000, 0.5}, {"SHA-256", 1000, 0.5}}
	alone := []term{{"SHA-256", 1000, 0.5}}
	// 1/200 + 0.5/2000 + 0.5/1000 = 0.00575 core-seconds per MB.
	if b := limitOn(2, shared, alone); math.Abs(b.speed-2/0.00575) > 1e-9 || b.stage != allCores {
		t.Errorf("on 2 cores %+v", b)
	}
	if b := limitOn(64, shared, alone); b.speed != 2000 || b.stage != "SHA-256" {
		t.Errorf("on 64 cores %+v", b)
	}
}

func TestCoreSteps(t *testing.T) {
	for all, want := range map[int][]int{1: {1}, 2: {1, 2}, 6: {1, 2, 4, 6}, 8: {1, 2, 4, 8}} {
		if got := coreSteps(all); !slices.Equal(got, want) {
			t.Errorf("coreSteps(%d) = %v, want %v", all, got, want)
		}
	}
}

func TestSizeFlag(t *testing.T) {
	for text, want := range map[string]size{"1": 1, "64K": 64 << 10, "256m": 256 << 20, "1GiB": 1 << 30, "2T": 2 << 40} {
		var got size
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("%q is %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "M", "1X", "1MM", "1.5G", "99999999999999G"} {
		if got := size(7); got.Set(text) == nil || got != 7 {
			t.Errorf("%q is taken as %d", text, got)
		}
	}
}

// The digests hold the generators to the same bytes on every machine. A change
// here goes together with corpusVersion.
var corpusDigests = map[string]string{
	"plain": "0ec92b13075ae18a", "random": "8f12def7f340d155", "zeros": "30e14955ebf13522", "json": "d576d0d9e90b54ac",
}

const testCorpusSize = 1 << 20

func TestCorporaAreReproducible(t *testing.T) {
	for _, c := range corpora {
		var text bytes.Buffer
		if err := c.write(&text, testCorpusSize); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if n := text.Len(); n < testCorpusSize*9/10 || n > testCorpusSize*13/10 {
			t.Errorf("%s has %d bytes, far from the %d that were asked for", c.name, n, testCorpusSize)
		}
		sum := sha256.Sum256(text.Bytes())
		got := hex.EncodeToString(sum[:8])
		// The tree depends on the Go release, and the custom format on how that
		// release deflates.
		if want := corpusDigests[c.name]; want != "" && got != want {
			t.Errorf("%s has the digest %s, want %s", c.name, got, want)
		}
		var again bytes.Buffer
		if err := c.write(&again, testCorpusSize); err != nil || !bytes.Equal(again.Bytes(), text.Bytes()) {
			t.Errorf("%s is another one the second time (%v)", c.name, err)
		}
	}
}

func TestCorporaPassTheGuard(t *testing.T) {
	want := map[string]guard.Format{"plain": guard.PlainDump, "custom": guard.CustomDump, "tree": guard.Tar}
	for _, c := range corpora {
		var text bytes.Buffer
		if err := c.write(&text, testCorpusSize); err != nil {
			t.Fatalf("%s: %v", c.name, err)
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

func TestPlainDumpCompressesLikeOne(t *testing.T) {
	var text bytes.Buffer
	if err := writePlainDump(&text, 4<<20); err != nil {
		t.Fatal(err)
	}
	packed := &countingWriter{w: io.Discard}
	if err := (&task{Codec: "zstd", Level: "fastest"}).packAll(packed, [][]byte{text.Bytes()}); err != nil {
		t.Fatal(err)
	}
	// A pg_dump of the database in scripts/lib/takumi.sql has 3.2 by zstd -1.
	if ratio := float64(text.Len()) / float64(packed.n); ratio < 2.5 || ratio > 3.5 {
		t.Errorf("the ratio is %.2f", ratio)
	}
}

func TestGrid(t *testing.T) {
	g := grid{title: "T", left: 1, head: []string{"", "MB/s"}}
	g.add("zstd | age", "7")
	g.add("晴", "**12**")
	if got, want := g.text(), "\nT\n              MB/s\n  zstd | age     7\n  晴             12\n"; got != want {
		t.Errorf("text\n%q, want\n%q", got, want)
	}
	if got, want := g.markdown(), "|  | MB/s |\n|---|--:|\n| zstd \\| age | 7 |\n| 晴 | **12** |\n"; got != want {
		t.Errorf("markdown\n%q, want\n%q", got, want)
	}
}

// sampleResults has something in every section.
func sampleResults() *results {
	r := &results{Machine: machine{Name: "test", CPU: "Testor", Cores: 2, Go: "go1.26"}, Date: "2026-01-02", Commit: "abc", Size: 1 << 30, Rounds: 3}
	add := func(k key, s *shape, seconds float64, size int64, values map[string]float64) {
		m := &measurement{key: k, Shape: s, Command: "x | y", Bytes: 1e9, Size: size}
		for i := range 3 {
			m.Samples = append(m.Samples, sample{Seconds: seconds + float64(i)/100, CPU: 1, Memory: 9 << 20, Largest: 5 << 20, Values: values})
		}
		r.Measurements = append(r.Measurements, m)
	}
	sealed := &shape{Codec: "zstd", Level: "fastest", Hash: true, File: true}
	opened := &shape{Codec: "zstd", Level: "fastest", Open: true}
	add(key{Part: "peers", Op: "seal", Name: programName, Corpus: "plain"}, nil, 2, 3e8, nil)
	add(key{Part: "peers", Op: "seal", Name: "zstd -1 | age", Corpus: "plain"}, nil, 3, 3e8, nil)
	add(key{Part: "work", Op: "seal", Name: "file to file", Corpus: "plain"}, sealed, 2, 3e8, nil)
	add(key{Part: "work", Op: "open", Name: "file to nowhere", Corpus: "plain"}, opened, 1, 0, nil)
	for _, cores := range []int{1, 2} {
		add(key{Part: "cores", Op: "seal", Name: programName, Corpus: "plain", Cores: cores}, sealed, 4/float64(cores), 3e8, nil)
	}
	for _, name := range []string{"64 MiB", "256 MiB"} {
		add(key{Part: "growth", Op: "seal", Name: name, Corpus: "plain"}, nil, 2, 3e8, nil)
		add(key{Part: "growth", Op: "open", Name: name, Corpus: "plain"}, nil, 1, 0, nil)
	}
	add(key{Part: "access", Op: "first byte", Name: "open"}, nil, 0.01, 0, nil)
	for name, speed := range map[string]float64{"AES-256-GCM seal": 3000, "AES-256-GCM open": 3000, "SHA-256": 1500, "file read, cached": 9000, "file write and sync": 800} {
		add(key{Part: "limits", Op: "limit", Name: name}, nil, 1, 0, map[string]float64{wall: speed, busy: speed})
	}
	add(key{Part: "limits", Op: "limit", Name: "pack zstd fastest", Corpus: "plain"}, nil, 1, 0, map[string]float64{wall: 250, busy: 250, "ratio": 3})
	add(key{Part: "limits", Op: "limit", Name: "unpack zstd fastest", Corpus: "plain"}, nil, 1, 0, map[string]float64{wall: 1100, busy: 1100})
	return r
}

func TestPageKeepsWhatIsWrittenByHand(t *testing.T) {
	r := sampleResults()
	old := "# Benchmarks\n\nby hand\n\n" + generatedBegins + "\nstale\n" + generatedEnds + "\n\nfindings\n"
	page, err := r.page(old)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(page, "# Benchmarks\n\nby hand\n\n"+generatedBegins) || !strings.HasSuffix(page, generatedEnds+"\n\nfindings\n") || strings.Contains(page, "stale") {
		t.Errorf("the page is now:\n%s", page)
	}
	again, err := r.page(page)
	if err != nil || again != page {
		t.Errorf("rendering again changes the page (%v)", err)
	}
	for _, part := range []string{"Testor, 2 cores", "go1.26", "2026-01-02", "commit abc", `zstd -1 \| age`, "≥ 1.35×", "1.5×", "benchmarks/peers-seal.svg", "2 / (1/9000 read + 1/250 pack + "} {
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
}

func TestPublishAndLoad(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/BENCHMARKS.md", []byte(generatedBegins+generatedEnds), 0o600); err != nil {
		t.Fatal(err)
	}
	r := sampleResults()
	if err := r.save(dir + "/test.json"); err != nil {
		t.Fatal(err)
	}
	loaded, err := loadResults(dir + "/test.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := loaded.publish(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(dir + "/BENCHMARKS.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := r.page(generatedBegins + generatedEnds)
	if err != nil || string(page) != want {
		t.Errorf("what was saved and loaded renders differently (%v)", err)
	}
	for _, link := range regexp.MustCompile(`\((benchmarks/[^)]*)\)`).FindAllStringSubmatch(want, -1) {
		if _, err := os.Stat(dir + "/" + link[1]); err != nil {
			t.Error(err)
		}
	}
}

func TestCommandLine(t *testing.T) {
	w := work{Stages: [][]string{{"/usr/bin/zstd", "-1"}, {"/x/age", "-r", "a b"}}, Stdin: "in", Stdout: "out", Sync: []string{"out"}}
	if got, want := w.String(), "zstd -1 < in | age -r 'a b' > out && sync out"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
