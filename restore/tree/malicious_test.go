package tree_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/testkit/tree"
	"github.com/takumi-backup/takumi-backup/restore/tree"
)

// raw is a header block that package archive/tar would not write.
func raw(change func(h []byte), body string) []byte {
	h := make([]byte, 512)
	copy(h, "victim")
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x0000000000000\x00", len(body)))
	h[156] = '0'
	copy(h[257:], "ustar\x0000")
	change(h)
	sum(h)
	padded := make([]byte, (len(body)+511)/512*512)
	copy(padded, body)
	return append(h, padded...)
}

// sum sets the checksum of a header.
func sum(h []byte) {
	copy(h[148:], "        ")
	n := 0
	for _, c := range h {
		n += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", n))
}

// extended is a file behind PAX records that change it.
func extended(records ...string) []byte {
	var body strings.Builder
	for _, r := range records {
		n := len(r) + 3
		for len(fmt.Sprint(n))+len(r)+2 != n {
			n++
		}
		fmt.Fprintf(&body, "%d %s\n", n, r)
	}
	return append(raw(func(h []byte) { h[156] = 'x' }, body.String()), raw(func([]byte) {}, "written")...)
}

func long(kind byte, text string) []byte {
	return raw(func(h []byte) { copy(h, "././@LongLink"); h[156] = kind }, text+"\x00")
}

func entries(blocks ...[]byte) []byte {
	return append(bytes.Join(blocks, nil), make([]byte, 1024)...)
}

// TestMaliciousArchives: the canary next to the target, and the one that absolute
// names reach, stay as they are, and each archive ends as it should.
func TestMaliciousArchives(t *testing.T) {
	t.Parallel()
	// Found by absolute names and links as well as by relative ones.
	outside := t.TempDir()
	canary := filepath.Join(outside, "canary")
	top := []string{strings.Split(canary, "/")[1]} // absolute names lead into the target
	deep := strings.Repeat("../", 30) + canary[1:]
	mode := func(p part, mode int64) part { p.Mode = mode; return p }
	special := func(name string, kind byte) part {
		return part{tar.Header{Typeflag: kind, Name: name, Devmajor: 1, Devminor: 3}, ""}
	}
	p := func(parts ...part) []byte { return pack(t, parts...) }
	const refused, broken, good = "refused", "not a tar archive", ""
	for _, tc := range []struct {
		name string
		data []byte
		want string   // in the error; "" for success
		has  []string // in the target, after success
	}{
		{"traversal", p(file("../canary/evil", "x")), refused, nil},
		{"traversal from below", p(file("a/../../canary/evil", "x")), refused, nil},
		{"traversal that stays inside", p(file("a/../b", "x")), refused, nil},
		{"traversal in full", p(file(deep+"/evil", "x")), refused, nil},
		{"traversal at the end", p(dir("a/..")), refused, nil},
		{"traversal by a folder", p(dir("../canary/evil/")), refused, nil},
		{"absolute", p(file(canary+"/evil", "x")), good, top},
		{"absolute, two slashes", p(file("/"+canary+"/evil", "x")), good, top},
		{"absolute folder", p(dir(canary + "/evil/")), good, top},
		{"write through an absolute link", p(sym("l", canary), file("l/evil", "x")), refused, nil},
		{"write through a relative link", p(sym("l", "../canary"), file("l/evil", "x")), refused, nil},
		{"write through a link inside", p(dir("d"), sym("l", "d"), file("l/x", "x")), refused, nil},
		{"folder behind a link", p(sym("l", canary), dir("l/evil")), refused, nil},
		{"folder in place of a link", p(sym("l", canary), dir("l"), file("l/evil", "x")), refused, nil},
		{"link to the parent, then dots", p(sym("l", ".."), file("l/../canary/evil", "x")), refused, nil},
		{"links in a row", p(sym("a", canary), sym("b", "a"), file("b/evil", "x")), refused, nil},
		{"file over a link", p(sym("l", canary+"/file"), file("l", "x")), good, []string{"l"}},
		{"link over a link", p(sym("l", canary), sym("l", "elsewhere"), file("f", "x")), good, []string{"l", "f"}},
		{"mode of a link's target", p(sym("l", canary+"/file"), mode(dir("l"), 0o777)), refused, nil},
		{"hard link out", p(hard("l", "../canary/file"), file("l", "x")), refused, nil},
		{"hard link out, absolute", p(hard("l", canary+"/file")), refused, nil},
		{"hard link to a link", p(sym("s", canary+"/file"), hard("l", "s"), file("l", "x")), good, []string{"s", "l"}},
		{"hard link through a link", p(sym("s", canary), hard("l", "s/file")), refused, nil},
		{"hard link behind a link", p(file("f", "x"), sym("s", canary), hard("s/evil", "f")), refused, nil},
		{"hard link to a folder", p(dir("d"), hard("l", "d")), refused, nil},
		{"hard link to itself", p(file("f", "x"), hard("f", "f")), refused, nil},
		{"hard link to the tree", p(hard("l", ".")), refused, nil},
		{"hard link to what comes later", p(hard("l", "f"), file("f", "x")), refused, nil},
		{"write through a hard link", p(file("f", "first"), hard("l", "f"), file("l", "x")), good, []string{"f", "l"}},
		{"character device", p(special("d", tar.TypeChar)), good, nil},
		{"block device", p(special("d", tar.TypeBlock)), good, nil},
		{"FIFO", p(special("d", tar.TypeFifo)), good, nil},
		{"device behind a link", p(sym("l", canary), special("l/evil", tar.TypeFifo)), good, []string{"l"}},
		{"setuid", p(mode(file("f", "x"), 0o6755)), good, []string{"f"}},
		{"long name", p(file(strings.Repeat("n", 300), "x")), "file name too long", nil},
		{"long path", p(file(strings.Repeat("n/", 2000)+"f", "x")), good, []string{"n"}},
		{"deep path", p(file(strings.Repeat("n/", 5000)+"f", "x")), refused, nil},
		{"line break", p(file("a\nb", "x")), good, []string{"a\nb"}},
		{"zero byte in a field", entries(raw(func(h []byte) { copy(h, "a\x00/../../evil") }, "x")), good, []string{"a"}},
		{"zero byte in a record", entries(extended("path=a\x00b")), broken, nil},
		{"empty name", entries(raw(func(h []byte) { clear(h[:100]) }, "x")), refused, nil},
		{"file called dot", p(file(".", "x")), refused, nil},
		{"folder called dot", p(dir("."), dir("./"), file("./f", "x")), good, []string{"f"}},
		{"entry called dots", p(file("..", "x")), refused, nil},
		{"link called dot", p(sym(".", canary)), refused, nil},
		{"file over folder", p(dir("d"), file("d/x", "x"), file("d", "x")), refused, nil},
		{"link over folder", p(dir("d"), sym("d", canary), file("d/evil", "x")), refused, nil},
		{"folder over file", p(file("d", "x"), dir("d")), refused, nil},
		{"file in a file", p(file("d", "x"), file("d/x", "x")), refused, nil},
		{"link over file", p(file("f", "x"), sym("f", canary+"/file"), file("g", "x")), good, []string{"f", "g"}},
		{"file twice", p(file("f", "x"), file("f", "y")), good, []string{"f"}},
		{"cases", p(file("Case", "x"), file("case", "x"), dir("CASE")), good, []string{"Case", "case", "CASE"}},
		{"size of 7 EiB", entries(raw(func(h []byte) { copy(h[124:136], "\x80\x00\x00\x00\x70\x00\x00\x00\x00\x00\x00\x00") }, "")), refused, nil},
		{"sparse, 7 EiB", entries(sparse("7000000000000000000")), refused, nil},
		{"sparse, map beyond its end", entries(sparse("10", "100", "5")), broken, nil},
		{"negative size", entries(raw(func(h []byte) { copy(h[124:136], strings.Repeat("\xff", 12)) }, "")), broken, nil},
		{"negative size in a record", entries(extended("size=-512")), broken, nil},
		{"path by a record", entries(extended("path=../canary/evil")), refused, nil},
		{"absolute path by a record", entries(extended("path=" + canary + "/evil")), good, top},
		{"size by a record", entries(extended("size=100000")), "unexpected EOF", nil},
		{"link by a record", entries(append(extended("linkpath=" + canary + "/file")[:1024],
			raw(func(h []byte) { h[156] = '1' }, "")...)), refused, nil},
		{"GNU long name", entries(long('L', "../canary/evil"), raw(func([]byte) {}, "x")), refused, nil},
		{"GNU long link", entries(long('K', canary+"/file"), raw(func(h []byte) { h[156] = '1' }, "")), refused, nil},
		{"symbolic link to nothing", entries(raw(func(h []byte) { h[156] = '2' }, "")), refused, nil},
		{"unknown type", entries(raw(func(h []byte) { h[156] = 'V' }, "")), good, nil},
		{"no archive", []byte(strings.Repeat("not a header ", 100)), broken, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			around := t.TempDir()
			for _, dir := range []string{canary, filepath.Join(around, "canary")} {
				os.RemoveAll(dir)
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "file"), []byte("precious"), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			target := filepath.Join(around, "target")
			if err := os.Mkdir(target, 0o755); err != nil {
				t.Fatal(err)
			}
			before, beside := treetest.Describe(t, outside), treetest.Describe(t, filepath.Join(around, "canary"))
			_, err := extract(t, target, bytes.NewReader(tc.data), tree.Options{})
			switch {
			case tc.want == good && err != nil, tc.want != good && (err == nil || !strings.Contains(err.Error(), tc.want)),
				tc.want == refused && !errors.As(err, new(*tree.UnsafeError)), tc.want == broken && !errors.Is(err, tree.ErrArchive):
				t.Errorf("got %v, want %q", err, tc.want)
			}
			// What a check without a target accepts, extraction takes, and the other way round.
			if _, checked := tree.Extract(t.Context(), nil, bytes.NewReader(tc.data), tree.Options{}); tc.name != "long name" && (checked == nil) != (err == nil) {
				t.Errorf("extraction says %v, and a check %v", err, checked)
			}
			treetest.Compare(t, treetest.Describe(t, outside), before)
			treetest.Compare(t, treetest.Describe(t, filepath.Join(around, "canary")), beside)
			if names, _ := os.ReadDir(around); len(names) != 2 {
				t.Errorf("beside the target stands %v", names)
			}
			if tc.want == good {
				checkTarget(t, target, tc.has)
			}
		})
	}
}

// checkTarget looks at the first level of what was extracted.
func checkTarget(t *testing.T, target string, want []string) {
	t.Helper()
	entries, err := os.ReadDir(target)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(want) {
		t.Errorf("the target holds %v, want %q", entries, want)
	}
	for _, name := range want {
		info, err := os.Lstat(filepath.Join(target, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Mode()&(os.ModeSetuid|os.ModeSetgid|os.ModeDevice|os.ModeNamedPipe) != 0 {
			t.Errorf("%q has mode %v", name, info.Mode())
		}
	}
	if first, err := os.ReadFile(filepath.Join(target, "f")); err == nil && string(first) == "xfirst" {
		t.Error("a file was written through its other name")
	}
}

// sparse is a GNU sparse file of some size with a map.
func sparse(size string, parts ...string) []byte {
	records := []string{"GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.name=f", "GNU.sparse.size=" + size,
		fmt.Sprintf("GNU.sparse.numblocks=%d", len(parts)/2), "GNU.sparse.map=" + strings.Join(parts, ",")}
	data := extended(records...)
	return append(data[:len(data)-1024], raw(func([]byte) {}, "")...)
}

// TestHostileNoise: no change of a single byte of a good archive does more than
// fail, or extract something else inside.
func TestHostileNoise(t *testing.T) {
	t.Parallel()
	data := pack(t, dir("a"), file("a/f", "content"), sym("a/l", "../x"), hard("a/h", "a/f"))
	around := treetest.TempDir(t)
	for header := 0; header < len(data)-1024; header += 512 {
		for _, at := range []int{0, 1, 2, 3, 100, 106, 125, 134, 135, 156, 157, 158, 159, 160, 345} {
			for _, to := range []byte{0, '.', '/', '1', '5', 0xff} {
				changed := bytes.Clone(data)
				changed[header+at] = to
				sum(changed[header : header+512])
				target := filepath.Join(around, fmt.Sprint(header, at, to))
				if err := os.Mkdir(target, 0o700); err != nil {
					t.Fatal(err)
				}
				_, _ = extract(t, target, bytes.NewReader(changed), tree.Options{})
				_ = os.Chmod(filepath.Join(target, "a"), 0o700)
				if err := os.RemoveAll(target); err != nil {
					t.Fatal(err)
				}
				if names, err := os.ReadDir(around); err != nil || len(names) != 0 {
					t.Fatalf("byte %d as %q: %v, %v", header+at, to, names, err)
				}
			}
		}
	}
}

// TestFolderGivesWay: a folder that somebody puts a link in the place of, before what is in
// it gets its metadata, ends the extraction, and nothing is changed behind the link.
func TestFolderGivesWay(t *testing.T) {
	t.Parallel()
	out, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "d")
	if err := os.MkdirAll(filepath.Join(elsewhere, "e"), 0o700); err != nil {
		t.Fatal(err)
	}
	data := pack(t, dir("d/e"), file("z", "1"), part{tar.Header{Typeflag: tar.TypeFifo, Name: "fifo"}, ""})
	_, err := extract(t, out, bytes.NewReader(data), tree.Options{Report: func(string, error) { // of the fifo, which is left out
		if err := errors.Join(os.Rename(filepath.Join(out, "d"), filepath.Join(out, "moved")), os.Symlink(elsewhere, filepath.Join(out, "d"))); err != nil {
			t.Error(err)
		}
	}})
	if !errors.As(err, new(*tree.UnsafeError)) {
		t.Errorf("%v", err)
	}
	if info, err := os.Stat(filepath.Join(elsewhere, "e")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("behind the link: %v, %v", info, err)
	}
}
