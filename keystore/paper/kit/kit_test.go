package kit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

var date = time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)

// testBlocks returns the written form of a key, and what is like five shares of it: for a seed
// the same each time, because what a code looks like is chance.
func testBlocks(t testing.TB, seed byte) (*kek.Key, []*paper.Block) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{seed})
	material := make([]byte, kek.Size)
	random.Read(material)
	key, err := kek.New(material)
	if err != nil {
		t.Fatal(err)
	}
	blocks := []*paper.Block{paper.NewKey(key)}
	for n := range 5 {
		payload := make([]byte, paper.ShareSize)
		random.Read(payload)
		payload[paper.ShareSize-1] = max(payload[paper.ShareSize-1], 1) // the x of a share is never zero
		b, err := paper.NewShare(paper.Label{Kind: paper.KindShare, KeyID: key.ID(), Set: "4T9K7M2Q", Number: n + 1, Total: 5, Threshold: 3}, payload)
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, b)
	}
	return key, blocks
}

// same reports whether want is all that was read.
func same(got []*paper.Block, want ...*paper.Block) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if got[i].Label != want[i].Label || !bytes.Equal(got[i].Payload(), want[i].Payload()) {
			return false
		}
	}
	return true
}

// scanImage encodes img and scans it.
func scanImage(t testing.TB, img image.Image, encode func(*bytes.Buffer, image.Image) error) ([]*paper.Block, error) {
	t.Helper()
	var file bytes.Buffer
	if err := encode(&file, img); err != nil {
		t.Fatal(err)
	}
	return Scan(&file)
}

func asPNG(w *bytes.Buffer, img image.Image) error { return png.Encode(w, img) }

func asJPEG(w *bytes.Buffer, img image.Image) error {
	return jpeg.Encode(w, img, &jpeg.Options{Quality: 50})
}

// turned returns img turned by a quarter.
func turned(img image.Image) image.Image {
	b := img.Bounds()
	out := image.NewGray(image.Rect(0, 0, b.Dy(), b.Dx()))
	for y := range b.Dy() {
		for x := range b.Dx() {
			out.Set(b.Dy()-1-y, x, img.At(x, y))
		}
	}
	return out
}

// TestCodes: what is drawn is read, whatever the code looks like by chance.
func TestCodes(t *testing.T) {
	seeds := 15
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		seeds = 250
	}
	for seed := range seeds {
		_, blocks := testBlocks(t, byte(seed))
		for _, b := range blocks[:3] {
			c, err := newCode(b)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := scanImage(t, c.image(3), asPNG); err != nil || !same(got, b) {
				t.Errorf("%v: got %v, %v", b, got, err)
			}
		}
	}
}

func TestImageAndBack(t *testing.T) {
	_, blocks := testBlocks(t, 0)
	for _, b := range blocks[:2] {
		var file bytes.Buffer
		if err := PNG(&file, b); err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(file.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Scan(&file); err != nil || !same(got, b) {
			t.Errorf("%v: got %v, %v", b, got, err)
		}
		if got, err := scanImage(t, turned(img), asJPEG); err != nil || !same(got, b) {
			t.Errorf("%v turned, as JPEG: got %v, %v", b, got, err)
		}
	}
}

// A stain on the code does not keep it from being read.
func TestStain(t *testing.T) {
	_, blocks := testBlocks(t, 0)
	c, err := newCode(blocks[1])
	if err != nil {
		t.Fatal(err)
	}
	img := c.image(6)
	middle := img.Bounds().Dx() / 2
	draw.Draw(img, image.Rect(middle-40, middle-40, middle+40, middle+40), image.NewUniform(color.Black), image.Point{}, draw.Src)
	if got, err := scanImage(t, img, asPNG); err != nil || !same(got, blocks[1]) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestScanRefuses(t *testing.T) {
	blank := image.NewGray(image.Rect(0, 0, 300, 300))
	if b, err := scanImage(t, blank, asPNG); b != nil || !errors.Is(err, ErrNoCode) {
		t.Errorf("a blank image: %v, %v", b, err)
	}
	tiny := image.NewGray(image.Rect(0, 0, 1, 1))
	if b, err := scanImage(t, tiny, asPNG); b != nil || !errors.Is(err, ErrNoCode) {
		t.Errorf("a tiny image: %v, %v", b, err)
	}
	var whole bytes.Buffer
	if err := png.Encode(&whole, blank); err != nil {
		t.Fatal(err)
	}
	// A header that promises more than anybody should take memory for.
	vast := bytes.Clone(whole.Bytes())
	copy(vast[16:], []byte{0, 1, 0, 0, 0, 1, 0, 0})
	binary.BigEndian.PutUint32(vast[29:], crc32.ChecksumIEEE(vast[12:29]))
	if _, err := Scan(bytes.NewReader(vast)); err == nil || !strings.Contains(err.Error(), "65536 by 65536 pixels") {
		t.Errorf("a vast image: %v", err)
	}
	for name, file := range map[string][]byte{
		"nothing": nil, "words": []byte("TAKUMI-BACKUP KEY V1"), "half an image": whole.Bytes()[:60], "a vast image": vast,
	} {
		if b, err := Scan(bytes.NewReader(file)); b != nil || !errors.Is(err, ErrImage) {
			t.Errorf("%s: %v, %v", name, b, err)
		}
	}
	if b, err := Scan(strings.NewReader(strings.Repeat(" ", maxImage+1))); b != nil || !errors.Is(err, ErrImage) || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("a vast file: %v, %v", b, err)
	}
}

func TestHTML(t *testing.T) {
	key, blocks := testBlocks(t, 0)
	var out bytes.Buffer
	if err := HTML(&out, blocks, date); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, b := range blocks {
		if !strings.Contains(page, string(b.Text())) {
			t.Errorf("the text of %v is missing", b)
		}
	}
	if n := strings.Count(page, "<section>"); n != 6 {
		t.Errorf("%d pages, want 6", n)
	}
	for _, want := range []string{
		"2026-11-23", string(key.ID()), "3 of 5", blocks[1].Set, "takumi-backup key combine -o KEYFILE", "takumi-backup key import -o KEYFILE",
		"recover.py --written", "Custodian", "Signature", "Never photograph", "Never keep it with the backups", "break-after: page",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing", want)
		}
	}
	// Nothing is loaded, and nothing runs.
	if found := regexp.MustCompile(`(?i)\b(src|href|xlink|url|import|script|https?):?\b[=(:/]`).FindString(page); found != "" {
		t.Errorf("the page may load something: %q", found)
	}
	if strings.Contains(page, "ZgotmplZ") {
		t.Error("the template refused a value")
	}
}

func TestPDF(t *testing.T) {
	_, blocks := testBlocks(t, 0)
	var out bytes.Buffer
	if err := PDF(&out, blocks, date); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte("%PDF-")) || !bytes.Contains(out.Bytes(), []byte("/Count 6")) {
		t.Error("it is no PDF of 6 pages")
	}
}

// Two rows of modules are in a line, in colours that no theme changes.
func TestTerminal(t *testing.T) {
	_, blocks := testBlocks(t, 0)
	out, err := Terminal(blocks[1])
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCode(blocks[1])
	if err != nil {
		t.Fatal(err)
	}
	drawn, text, _ := strings.Cut(string(out), "\n\n")
	if text != string(blocks[1].Text()) {
		t.Errorf("below the code stands %q", text)
	}
	lines := strings.Split(drawn, "\n")
	if len(lines) != (len(c)+1)/2 {
		t.Fatalf("%d lines for %d rows", len(lines), len(c))
	}
	// The code as somebody sees it.
	img := image.NewGray(image.Rect(0, 0, len(c)*6, len(lines)*12))
	for i, line := range lines {
		line, colours := strings.CutPrefix(line, "\x1b[38;5;16;48;5;231m")
		line, reset := strings.CutSuffix(line, "\x1b[0m")
		if !colours || !reset {
			t.Fatalf("line %d does not set and reset its colours", i)
		}
		for x, r := range []rune(line) {
			for half, dark := range []bool{r == '▀' || r == '█', r == '▄' || r == '█'} {
				if !dark {
					at := image.Rect(x*6, i*12+half*6, x*6+6, i*12+half*6+6)
					draw.Draw(img, at, image.White, image.Point{}, draw.Src)
				}
			}
		}
	}
	if got, err := scanImage(t, img, asPNG); err != nil || !same(got, blocks[1]) {
		t.Errorf("got %v, %v", got, err)
	}
}
