package tree_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/testkit/tree"
	"github.com/takumi-backup/takumi-backup/restore/tree"
)

// shell runs a script in dir and returns what it writes. Tools that are missing
// skip the test, but not where everything is said to be there.
func shell(t testing.TB, dir, script string, tools ...string) []byte {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil && os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
			t.Skipf("there is no %s", tool)
		}
	}
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, stderr.Bytes())
	}
	return out
}

// sample makes a tree that every form of tar can hold: times are whole seconds, and
// what is new is a link to a link.
func sample(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	shell(t, dir, `umask 022; mkdir -p d/e; echo one > f; echo two > d/two; ln f d/again; ln -s f l1; ln -P l1 d/l2; : > empty
		head -c 100000 /dev/zero > d/e/zeros; echo long > d/e/$(printf 'n%.0s' $(seq 80))
		find . -exec touch -h -d @1700000000 {} +`)
	return dir
}

// whole reads an archive the way that a restore does, and fails unless a check
// without a target accepts it as well.
func whole(t testing.TB, data []byte, into string, o tree.Options) (tree.Stats, error) {
	t.Helper()
	run := func(root *os.Root) (tree.Stats, error) {
		a, err := tree.Open(bytes.NewReader(data))
		if err != nil {
			return tree.Stats{}, err
		}
		defer a.Close()
		return tree.Extract(t.Context(), root, a, o)
	}
	root, err := os.OpenRoot(into)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	_, checked := run(nil)
	stats, err := run(root)
	if (err == nil) != (checked == nil) {
		t.Errorf("extraction says %v, and a check %v", err, checked)
	}
	return stats, err
}

// TestForms: what each program writes in each of its forms comes back as it was, or
// in what the form can hold.
func TestForms(t *testing.T) {
	t.Parallel()
	dir := sample(t)
	want := treetest.Describe(t, dir)
	const python = `python3 -c 'import tarfile,sys; a=tarfile.open(fileobj=sys.stdout.buffer,mode="w|",format=tarfile.%s); a.add("."); a.close()'`
	for name, tc := range map[string]struct{ script, tool string }{
		"GNU tar, gnu":          {"tar --format=gnu -c .", "tar"},
		"GNU tar, oldgnu":       {"tar --format=oldgnu -c .", "tar"},
		"GNU tar, pax":          {"tar --format=pax -c .", "tar"},
		"GNU tar, ustar":        {"tar --format=ustar -c .", "tar"},
		"GNU tar, v7":           {"tar --format=v7 -c .", "tar"},
		"GNU tar, sparse":       {"tar --format=gnu -S -c .", "tar"},
		"GNU tar, pax sparse":   {"tar --format=pax -S -c .", "tar"},
		"GNU tar, incremental":  {"tar --format=gnu --listed-incremental=$(mktemp -u) -c .", "tar"},
		"GNU tar, -G":           {"tar --format=gnu -G -c .", "tar"},
		"GNU tar, pax, -G":      {"tar --format=pax -G -c .", "tar"},
		"GNU tar, with a label": {"tar --format=gnu -V label -c .", "tar"},
		"GNU tar, global":       {"tar --format=pax --pax-option=globexthdr.name=g,comment=hello -c .", "tar"},
		"GNU tar, absolute":     {`tar -P --transform "s,^\.,/abs," -c . | cat`, "tar"},
		"GNU tar, --xattrs":     {"tar --xattrs --acls --selinux -c .", "tar"},
		"bsdtar, pax":           {"bsdtar --format=pax -c -f - .", "bsdtar"},
		"bsdtar, restricted":    {"bsdtar -c -f - .", "bsdtar"},
		"bsdtar, ustar":         {"bsdtar --format=ustar -c -f - .", "bsdtar"},
		"bsdtar, gnutar":        {"bsdtar --format=gnutar -c -f - .", "bsdtar"},
		"bsdtar, v7":            {"bsdtar --format=v7tar -c -f - .", "bsdtar"},
		"cpio, ustar":           {"find . | sort | cpio --quiet -o -H ustar", "cpio"},
		"cpio, ustar, depth":    {"find . -depth | cpio --quiet -o -H ustar", "cpio"},
		"cpio, tar":             {"find . | sort | cpio --quiet -o -H tar", "cpio"},
		"Python, ustar":         {fmt.Sprintf(python, "USTAR_FORMAT"), "python3"},
		"Python, gnu":           {fmt.Sprintf(python, "GNU_FORMAT"), "python3"},
		"Python, pax":           {fmt.Sprintf(python, "PAX_FORMAT"), "python3"},
		"7z":                    {"7z a -ttar -snl -snh -so x.tar .", "7z"},
		"gzip":                  {"tar cz .", "tar"},
		"gzip, two members":     {"tar c . > ../m; (head -c 7000 ../m | gzip; tail -c +7001 ../m | gzip)", "tar"},
		"zstd":                  {"tar c . | zstd -q", "zstd"},
		"zstd, long window":     {"tar c . | zstd -q --long=27", "zstd"},
		"xz":                    {"tar c . | xz -0", "xz"},
		"xz, two streams":       {"tar c . > ../m; (head -c 7000 ../m | xz -0; tail -c +7001 ../m | xz -0)", "xz"},
		"bzip2":                 {"tar cj .", "bzip2"},
	} {
		t.Run(name, func(t *testing.T) {
			data, out := shell(t, dir, tc.script, tc.tool), t.TempDir()
			if _, err := whole(t, data, out, tree.Options{NumericOwner: true}); err != nil {
				t.Fatal(err)
			}
			if name == "GNU tar, absolute" {
				out = filepath.Join(out, "abs")
			}
			got := treetest.Describe(t, out)
			if name == "7z" {
				got[""] = want[""] // it stores the names in the folder
			}
			treetest.Compare(t, got, want)
			var a, b unix.Stat_t
			linked := unix.Lstat(out+"/l1", &a) == nil && unix.Lstat(out+"/d/l2", &b) == nil && a.Ino == b.Ino
			if loses := strings.HasPrefix(name, "cpio") || strings.HasPrefix(name, "Python") || name == "7z"; linked == loses {
				t.Errorf("the two names of the symbolic link are one: %v", linked)
			}
		})
	}
}

// TestWrappedDamage: a stream that was cut, or that something follows, is not taken
// for an archive that ends there, and an error of the backup stays what it is.
func TestWrappedDamage(t *testing.T) {
	t.Parallel()
	dir := sample(t)
	for name, script := range map[string]string{"gzip": "tar cz .", "zstd": "tar c . | zstd -q", "xz": "tar c . | xz -0", "bzip2": "tar cj ."} {
		data := shell(t, dir, script, "tar", "zstd", "xz", "bzip2")
		for what, bad := range map[string][]byte{
			"cut in half": data[:len(data)/2], "cut at the end": data[:len(data)-1], "a head alone": data[:8], "followed": append(bytes.Clone(data), "garbage that follows"...),
		} {
			_, err := whole(t, bad, t.TempDir(), tree.Options{})
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		altered := fmt.Errorf("altered")
		for cut := range 3 {
			src := io.MultiReader(bytes.NewReader(data[:len(data)*cut/2]), failing{altered})
			a, err := tree.Open(src)
			if err == nil {
				_, err = tree.Extract(t.Context(), nil, a, tree.Options{})
				a.Close()
			}
			if err != altered {
				t.Errorf("%s, cut at %d/2: %v, want the error of the backup", name, cut, err)
			}
		}
	}
}
