package treetest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Form is a program that archives folders, in one of its formats.
type Form struct {
	Script string // for sh, in the folder; writes the archive
	Tool   string
	Write  func(w io.Writer, dir string) error // in place of a script
	// Under is the folder in the archive that the tree is in.
	Under string
	// NoLinks is for programs that store a symbolic link of two names twice, and
	// NoRoot for those that leave out the folder itself.
	NoLinks, NoRoot bool
	// ShortNames is for forms whose paths have 100 bytes at most.
	ShortNames bool
	Packed     bool
}

const python = `python3 -c 'import tarfile,sys; a=tarfile.open(fileobj=sys.stdout.buffer,mode="w|",format=tarfile.%s); a.add("."); a.close()'`

// Forms are the archives that people bring along, by what makes them.
var Forms = map[string]Form{
	"GNU tar, gnu":             {Script: "tar --format=gnu -c .", Tool: "tar"},
	"GNU tar, oldgnu":          {Script: "tar --format=oldgnu -c .", Tool: "tar"},
	"GNU tar, pax":             {Script: "tar --format=pax -c .", Tool: "tar"},
	"GNU tar, ustar":           {Script: "tar --format=ustar -c .", Tool: "tar"},
	"GNU tar, v7":              {Script: "tar --format=v7 -c .", Tool: "tar", ShortNames: true},
	"GNU tar, gnu sparse":      {Script: "tar --format=gnu -S -c .", Tool: "tar"},
	"GNU tar, oldgnu sparse":   {Script: "tar --format=oldgnu -S -c .", Tool: "tar"},
	"GNU tar, pax sparse 0.0":  {Script: "tar --format=pax -S --sparse-version=0.0 -c .", Tool: "tar"},
	"GNU tar, pax sparse 0.1":  {Script: "tar --format=pax -S --sparse-version=0.1 -c .", Tool: "tar"},
	"GNU tar, pax sparse 1.0":  {Script: "tar --format=pax -S --sparse-version=1.0 -c .", Tool: "tar"},
	"GNU tar, incremental":     {Script: "tar --format=gnu --listed-incremental=$(mktemp -u) -c .", Tool: "tar"},
	"GNU tar, pax incremental": {Script: "tar --format=pax -S --listed-incremental=$(mktemp -u) -c .", Tool: "tar"},
	"GNU tar, -G":              {Script: "tar --format=gnu -G -c .", Tool: "tar"},
	"GNU tar, pax, -G":         {Script: "tar --format=pax -G -c .", Tool: "tar"},
	"GNU tar, with a label":    {Script: "tar --format=gnu -V label -c .", Tool: "tar"},
	"GNU tar, global":          {Script: "tar --format=pax --pax-option=globexthdr.name=g,comment=hello -c .", Tool: "tar"},
	"GNU tar, absolute":        {Script: `tar -P --transform "s,^\.,/abs,S" -c . | cat`, Tool: "tar", Under: "abs"},
	"GNU tar, --xattrs":        {Script: "tar --xattrs --acls --selinux -c .", Tool: "tar"},
	"GNU tar, small records":   {Script: "tar -b 1 -c .", Tool: "tar"},
	"bsdtar, pax":              {Script: "bsdtar --format=pax -c -f - .", Tool: "bsdtar"},
	"bsdtar, restricted":       {Script: "bsdtar -c -f - .", Tool: "bsdtar"},
	"bsdtar, sparse":           {Script: "bsdtar --format=pax --read-sparse -c -f - .", Tool: "bsdtar"},
	"bsdtar, ustar":            {Script: "bsdtar --format=ustar -c -f - .", Tool: "bsdtar"},
	"bsdtar, gnutar":           {Script: "bsdtar --format=gnutar -c -f - .", Tool: "bsdtar"},
	"bsdtar, v7":               {Script: "bsdtar --format=v7tar -c -f - .", Tool: "bsdtar", ShortNames: true},
	"cpio, ustar":              {Script: "find . | sort | cpio --quiet -o -H ustar", Tool: "cpio", NoLinks: true},
	"cpio, ustar, depth":       {Script: "find . -depth | cpio --quiet -o -H ustar", Tool: "cpio", NoLinks: true},
	"cpio, tar":                {Script: "find . | sort | cpio --quiet -o -H tar", Tool: "cpio", NoLinks: true, ShortNames: true},
	"Python, ustar":            {Script: fmt.Sprintf(python, "USTAR_FORMAT"), Tool: "python3", NoLinks: true},
	"Python, gnu":              {Script: fmt.Sprintf(python, "GNU_FORMAT"), Tool: "python3", NoLinks: true},
	"Python, pax":              {Script: fmt.Sprintf(python, "PAX_FORMAT"), Tool: "python3", NoLinks: true},
	"7z":                       {Script: "7z a -ttar -snl -snh -so x.tar .", Tool: "7z", NoLinks: true, NoRoot: true},
	"Go, ustar":                {Write: goTar(tar.FormatUSTAR), NoLinks: true},
	"Go, pax":                  {Write: goTar(tar.FormatPAX), NoLinks: true},
	"Go, gnu":                  {Write: goTar(tar.FormatGNU), NoLinks: true},
	"gzip":                     {Script: "tar cz .", Tool: "tar", Packed: true},
	"gzip, two members":        {Script: "tar c . > ../m; (head -c 7000 ../m | gzip; tail -c +7001 ../m | gzip)", Tool: "tar", Packed: true},
	"zstd":                     {Script: "tar c . | zstd -q", Tool: "zstd", Packed: true},
	"zstd, long window":        {Script: "tar c . | zstd -q --long=27", Tool: "zstd", Packed: true},
	"xz":                       {Script: "tar c . | xz -0", Tool: "xz", Packed: true},
	"xz, two streams":          {Script: "tar c . > ../m; (head -c 7000 ../m | xz -0; tail -c +7001 ../m | xz -0)", Tool: "xz", Packed: true},
	"bzip2":                    {Script: "tar cj .", Tool: "bzip2", Packed: true},
}

// Make returns the archive of dir.
func (f Form) Make(t testing.TB, dir string) []byte {
	t.Helper()
	var out bytes.Buffer
	f.MakeTo(t, &out, dir)
	return out.Bytes()
}

// MakeTo writes the archive of dir.
func (f Form) MakeTo(t testing.TB, out io.Writer, dir string) {
	t.Helper()
	if f.Write == nil {
		shell(t, out, dir, f.Script, f.Tool)
	} else if err := f.Write(out, dir); err != nil {
		t.Fatal(err)
	}
}

// Shell runs a script in dir and returns what it writes. Tools that are missing
// skip the test, but not where everything is said to be there.
func Shell(t testing.TB, dir, script string, tools ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	shell(t, &out, dir, script, tools...)
	return out.Bytes()
}

func shell(t testing.TB, out io.Writer, dir, script string, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil && os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
			t.Skipf("there is no %s", tool)
		}
	}
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, stderr.Bytes())
	}
}

// Sample makes a tree that every form of tar can hold: times are whole seconds, and
// what is new is a link to a link, and a file with holes.
func Sample(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	holes, err := os.Create(filepath.Join(dir, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	defer holes.Close()
	for i := range int64(30) { // more than a header has room for
		if _, err := holes.WriteAt(fmt.Appendf(nil, "island %d", i), i<<15); err != nil {
			t.Fatal(err)
		}
	}
	if err := holes.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	Shell(t, dir, `umask 022; mkdir -p d/e; echo one > f; echo two > d/two; ln f d/again; ln -s f l1; ln -P l1 d/l2; : > empty
		head -c 100000 /dev/zero > d/e/zeros; echo long > d/e/$(printf 'n%.0s' $(seq 80))
		find . -exec touch -h -d @1700000000 {} +`)
	return dir
}

// goTar writes with Go's package, as programs in Go do.
func goTar(format tar.Format) func(io.Writer, string) error {
	return func(out io.Writer, dir string) error {
		w := tar.NewWriter(out)
		first := make(map[uint64]string)
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			target, _ := os.Readlink(path) // empty for the others
			h, err := tar.FileInfoHeader(info, target)
			if err != nil {
				return err
			}
			if h.Name, err = filepath.Rel(dir, path); err != nil {
				return err
			}
			if h.Format = format; format == tar.FormatUSTAR {
				h.AccessTime, h.ChangeTime = time.Time{}, time.Time{} // it has no room for them
			}
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				return err
			}
			if earlier := first[st.Ino]; info.Mode().IsRegular() && earlier != "" {
				h.Typeflag, h.Linkname, h.Size = tar.TypeLink, earlier, 0
			}
			first[st.Ino] = h.Name
			if err := w.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
				return err
			}
			content, err := os.ReadFile(path)
			if err == nil {
				_, err = w.Write(content)
			}
			return err
		})
		if err != nil {
			return err
		}
		return w.Close()
	}
}
