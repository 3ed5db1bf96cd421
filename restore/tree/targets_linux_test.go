package tree_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	source "github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/testkit/tree"
	"github.com/takumi-backup/takumi-backup/restore/tree"
)

// contents returns what every file below dir holds, by its path.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		found[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestFolding: on a file system that folds case no file takes another's place.
func TestFolding(t *testing.T) {
	t.Parallel()
	target := treetest.Mount(t, "folding")
	data := pack(t, dir("./"), file("a", "1"), file("A", "2"), file("a", "3"), file("A", "4"), dir("Dir/"), file("Dir/x", "5"), dir("dir/"), file("dir/X", "6"),
		file("dir/x", "7"), hard("DIR/y", "dir/x"), file("a~1", "8"), sym("L", "a"), sym("l", "A"))
	for name, tc := range map[string]struct {
		o    tree.Options
		err  error
		want string // the contents, sorted
	}{
		"modes":   {tree.Options{}, tree.ErrModes, ""},
		"refused": {tree.Options{NoModes: true}, tree.ErrConflict, ""},
		"renamed": {tree.Options{NoModes: true, Rename: true}, nil, "3 4 5 6 7 7 8"},
		"kept":    {tree.Options{NoModes: true, KeepGoing: true}, nil, "3 5 8"},
	} {
		into := filepath.Join(target, name)
		if err := os.Mkdir(into, 0o700); err != nil {
			t.Fatal(err)
		}
		var reported []string
		tc.o.Report = func(path string, why error) { reported = append(reported, path) }
		stats, err := extract(t, into, bytes.NewReader(data), tc.o)
		if !errors.Is(err, tc.err) {
			t.Errorf("%s: %v", name, err)
		}
		if tc.err != nil {
			continue
		}
		var got []string
		for _, text := range contents(t, into) {
			got = append(got, text)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != tc.want || stats.Failed+stats.Renamed == 0 || len(reported) < stats.Failed+stats.Renamed {
			t.Errorf("%s: %q, want %q; %+v, reported %q", name, got, tc.want, stats, reported)
		}
	}
}

// TestNames: one name that the target cannot hold.
func TestNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 300)
	data := pack(t, file("a", "1"), file(long+".jpg", "2"), dir(long), file(long+"/x", "3"), hard("b", long+".jpg"), file("c", "4"))
	out := t.TempDir()
	if _, err := extract(t, out, bytes.NewReader(data), tree.Options{}); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("got %v", err)
	}
	var reported []string
	o := tree.Options{KeepGoing: true, Report: func(path string, _ error) { reported = append(reported, path[:1]) }}
	stats, err := extract(t, t.TempDir(), bytes.NewReader(data), o)
	if err != nil || stats.Files != 2 || stats.Failed != 3 || stats.LeftOut != 1 || len(reported) != 4 {
		t.Errorf("%v, %+v, reported %q", err, stats, reported)
	}
	out = t.TempDir()
	o = tree.Options{Rename: true}
	if stats, err = extract(t, out, bytes.NewReader(data), o); err != nil || stats.Renamed != 2 || stats.Files != 4 || stats.Bytes != 4 {
		t.Errorf("%v, %+v", err, stats)
	}
	short := strings.Repeat("n", 196)
	got := contents(t, out)
	if len(got) != 5 || got[short+".jpg"] != "2" || got[short+"nnnn/x"] != "3" || got["b"] != "2" {
		t.Errorf("got %q", got)
	}
	if local, ok := stats.Local(long + "/x"); !ok || local != short+"nnnn/x" {
		t.Errorf("Local says %q, %v", local, ok)
	}
}

// TestUnsafeGoOn: with KeepGoing what is refused is left out, and the rest comes.
func TestUnsafeGoOn(t *testing.T) {
	t.Parallel()
	data := pack(t, file("a", "1"), file("../b", "2"), hard("c", "missing"), sym("d", "/tmp"), file("d/e", "3"), file("f", "4"))
	out := t.TempDir()
	stats, err := extract(t, out, bytes.NewReader(data), tree.Options{KeepGoing: true})
	if err != nil || stats.Failed != 3 || stats.Files != 2 || len(contents(t, out)) != 2 {
		t.Errorf("%v, %+v, %q", err, stats, contents(t, out))
	}
	cut := data[:len(data)-2000]
	if _, err := extract(t, t.TempDir(), bytes.NewReader(cut), tree.Options{KeepGoing: true}); !errors.Is(err, tree.ErrArchive) {
		t.Errorf("an archive that was cut: %v", err)
	}
}

// TestIncludeFurtherName: a hard link whose first name is not included comes as a
// file, by a second reading, and so does one that leads over another.
func TestIncludeFurtherName(t *testing.T) {
	t.Parallel()
	data := pack(t, dir("a"), file("a/first", "content"), sym("s", "x"), hard("b", "a/first"), hard("c", "b"), hard("d", "./c"), hard("t", "s"))
	include, err := source.ParsePatterns([]string{"c", "d", "t"})
	if err != nil {
		t.Fatal(err)
	}
	out, times := t.TempDir(), 0
	o := tree.Options{Include: include, Again: func() (io.ReadCloser, error) {
		times++
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
	stats, err := extract(t, out, bytes.NewReader(data), o)
	if err != nil || stats.Files != 1 || times > 3 {
		t.Fatalf("%v, %+v, read again %d times", err, stats, times)
	}
	got := contents(t, out)
	target, err := os.Readlink(filepath.Join(out, "t"))
	if len(got) != 2 || got["c"] != "content" || got["d"] != "content" || target != "x" {
		t.Errorf("got %q, %q, %v", got, target, err)
	}
}

// TestIncludeCounts: with KeepGoing, what could not be made under a further name is counted
// as failed, and as nothing else.
func TestIncludeCounts(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 300)
	data := pack(t, file("first", "content"), file("other", "1"), hard(long, "first"), hard("fine", "other"), hard(long+"2", "other"))
	include, err := source.ParsePatterns([]string{long, "fine", long + "2"})
	if err != nil {
		t.Fatal(err)
	}
	o := tree.Options{Include: include, KeepGoing: true, Again: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
	stats, err := extract(t, t.TempDir(), bytes.NewReader(data), o)
	if err != nil || stats.Files != 1 || stats.Links != 0 || stats.Failed != 2 || stats.Bytes != 1 {
		t.Errorf("%+v, %v", stats, err)
	}
}

// TestIncludeOfSeveral: of several entries of one name a hard link is to the last before
// it, as when the archive is restored whole.
func TestIncludeOfSeveral(t *testing.T) {
	t.Parallel()
	data := pack(t, file("a", "1"), hard("h1", "a"), file("a", "22"), hard("h2", "a"), hard("h3", "h1"), file("a", "333"))
	for name, want := range map[string]string{"h1": "1", "h2": "22", "h3": "1"} {
		include, err := source.ParsePatterns([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		some, whole := t.TempDir(), t.TempDir()
		o := tree.Options{Include: include, Again: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
		if _, err := extract(t, some, bytes.NewReader(data), o); err != nil {
			t.Fatal(err)
		}
		if _, err := extract(t, whole, bytes.NewReader(data), tree.Options{}); err != nil {
			t.Fatal(err)
		}
		if one, all := contents(t, some)[name], contents(t, whole)[name]; one != want || all != want {
			t.Errorf("%s holds %q alone, and %q among all, want %q", name, one, all, want)
		}
	}
}

// attributes sets attributes of each kind, some of which only root may set.
func attributes(t testing.TB, dir string) {
	t.Helper()
	treetest.Shell(t, dir, `mkdir -p d/e; echo x > f; echo y > d/g; ln -s f l; mkfifo p
		printf '\001\000\n=\377' > ../value; python3 - <<'END'
import os
value = open("../value", "rb").read()
os.setxattr("f", "user.bin", value)
os.setxattr("f", "user.with=sign%and", b"1")
os.setxattr("f", "user.empty", b"")
os.setxattr("d", "user.folder", b"2")
if os.geteuid() == 0:
    os.setxattr("f", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    os.setxattr("f", "trusted.t", b"3")
    os.setxattr("l", "trusted.link", b"4", follow_symlinks=False)
END
		setfacl -m u:65534:rw,g:12345:r d/g; setfacl -d -m u:54321:rwx d; setfacl -m u:54321:r p; chmod 440 f`, "setfacl", "python3")
}

// attributesIn lists all attributes and ACLs below dir.
func attributesIn(t testing.TB, dir string) string {
	return string(treetest.Shell(t, dir, "getfattr -h -R -d -m - -e hex . | sort; find . ! -type l -print0 | sort -z | xargs -0 getfacl -p -n", "getfattr", "getfacl"))
}

// TestAttributes: extended attributes and ACLs come back, GNU tar and bsdtar find
// them in our archives, and we find theirs.
func TestAttributes(t *testing.T) {
	t.Parallel()
	in := filepath.Join(t.TempDir(), "in")
	if err := os.Mkdir(in, 0o755); err != nil {
		t.Fatal(err)
	}
	attributes(t, in)
	want := attributesIn(t, in)
	data := archive(t, in)
	check := func(name, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
	out := t.TempDir()
	if stats, err := extract(t, out, bytes.NewReader(data), everything(t)); err != nil || !stats.Modes || !stats.Root || stats.NoAttributes > 0 {
		t.Fatalf("%+v, %v", stats, err)
	}
	check("ours", attributesIn(t, out), want)

	plain := t.TempDir()
	if _, err := extract(t, plain, bytes.NewReader(data), tree.Options{NoXattrs: true}); err != nil {
		t.Fatal(err)
	}
	check("without", string(treetest.Shell(t, plain, "getfattr -h -R -d -m - .", "getfattr")), "")

	path := filepath.Join(t.TempDir(), "ours.tar")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	asRoot := os.Geteuid() == 0
	if asRoot {
		theirs := t.TempDir()
		treetest.Shell(t, theirs, "tar --xattrs --xattrs-include='*' -xpf "+path, "tar")
		check("GNU tar reads ours", attributesIn(t, theirs), want)
	}
	for name, script := range map[string]string{
		"GNU tar": "tar --xattrs --xattrs-include='*' --acls --format=pax -c .", "GNU tar, numeric": "tar --xattrs --xattrs-include='*' --acls --numeric-owner --format=pax -c .",
		"bsdtar": "bsdtar --xattrs --acls --format=pax -c -f - .",
	} {
		out := t.TempDir()
		if _, err := extract(t, out, bytes.NewReader(treetest.Shell(t, in, script, "tar", "bsdtar")), tree.Options{Special: true}); err != nil {
			t.Fatal(err)
		}
		got, want := attributesIn(t, out), want
		if name == "bsdtar" { // keeps no ACL of a FIFO
			got, want = onlyOf(got, "user."), onlyOf(want, "user.")
		}
		check("we read "+name, got, want)
	}
}

func onlyOf(text, word string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, word) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// TestAttributesThatCannotBe: a target without attributes is told of once, and those
// that give rights need to be asked for.
func TestAttributesThatCannotBe(t *testing.T) {
	t.Parallel()
	var parts []part
	for _, name := range []string{"a", "b", "c"} {
		p := file(name, name)
		p.PAXRecords = map[string]string{"SCHILY.xattr.user.x": "1", "SCHILY.xattr.security.capability": "2", "SCHILY.xattr.nonsense.x": "3", "SCHILY.acl.access": "user::nonsense:x:y"}
		p.Format = tar.FormatPAX
		parts = append(parts, p)
	}
	var reported []string
	stats, err := extract(t, t.TempDir(), bytes.NewReader(pack(t, parts...)), tree.Options{Report: func(_ string, why error) { reported = append(reported, why.Error()) }})
	if err != nil || stats.Files != 3 || stats.LeftOut != 6 || len(reported) > 4 {
		t.Errorf("%v, %+v, %q", err, stats, reported)
	}
}
